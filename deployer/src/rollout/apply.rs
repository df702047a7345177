//! Writes a plan in one transaction, if what it was made from still stands: the service and each instance that got a task are
//! guarded by their versions. Nothing is written otherwise, and the next pass plans again.

mod outcome;

use super::NotWritten;
use super::backoff::{End, Ending};
use super::observe::{SERVICE_EVENT, subject};
use super::observed::{Observed, Step};
use super::{failures, words};
use crate::context::Context;
use crate::{store, task_events};
use model::Timestamp;
use model::ids::{DeploymentId, InstanceId, TaskId};
use model::service::Deployment;
use model::task::{ContainerState, DesiredStatus, HealthStatus, ServiceTask, StopCode, Task, TaskStatus};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use platform::failpoint;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Written,
    /// Something changed since it was observed.
    Outdated,
}

/// A plan and all that writing it needs; the transaction may run more than once.
struct Work {
    observed: Observed,
    primary: Deployment,
    steps: Vec<Step>,
    /// Ids of the tasks that `Start` and `Refuse` make, in the order of the steps.
    ids: Vec<TaskId>,
    now: Timestamp,
    healthy_after: Duration,
}

/// Writes `steps` and wakes the agents they concern.
pub async fn apply(context: &Context, observed: Observed, steps: Vec<Step>, now: Timestamp) -> Result<Applied, DbError> {
    let Some(primary) = observed.primary().cloned() else { return Ok(Applied::Outdated) };
    let ids = steps.iter().map(|_| TaskId::from_random(platform::random::bits128())).collect();
    let healthy_after = context.config.healthy_after;
    let work = Arc::new(Work { observed, primary, steps, ids, now, healthy_after });
    let concerned = work.concerned();
    let starts = work.steps.iter().any(|step| matches!(step, Step::Start { .. }));
    let written = context.db.write(move |tx| {
        let work = work.clone();
        Box::pin(async move { work.write(tx).await })
    });
    match written.await {
        Ok(()) => {}
        Err(NotWritten::Outdated) => return Ok(Applied::Outdated),
        Err(NotWritten::Db(error)) => return Err(error),
    }
    if starts {
        failpoint::hit("task-row-written");
    }
    for instance in &concerned {
        context.agents.wake(instance);
    }
    Ok(Applied::Written)
}

impl Work {
    /// Instances whose agents have something new to do.
    fn concerned(&self) -> BTreeSet<InstanceId> {
        let instance = |step: &Step| match step {
            Step::Start { instance } => Some(instance.clone()),
            Step::Stop { task, .. } => self.task(task).and_then(|task| task.instance_id.clone()),
            _ => None,
        };
        self.steps.iter().filter_map(instance).collect()
    }

    fn task(&self, id: &TaskId) -> Option<&ServiceTask> {
        self.observed.tasks.iter().find(|task| task.id == *id)
    }

    async fn write(&self, tx: &mut Tx) -> Result<(), NotWritten> {
        self.guard(tx).await?;
        let (mut started, mut stopped) = (Vec::new(), Vec::new());
        // Tasks in which people see a change.
        let mut seen: Vec<Task> = Vec::new();
        for (step, id) in self.steps.iter().zip(&self.ids) {
            match step {
                Step::Start { instance } => {
                    let task = self.new_task(id, Some(instance));
                    store::tasks::insert(tx, &task).await?;
                    started.push(id.clone());
                    seen.push(task);
                }
                Step::Refuse { reason } => {
                    let task = self.refused_task(id, reason);
                    store::tasks::insert(tx, &task).await?;
                    seen.push(task);
                    failures::count(tx, &self.primary.id, End::Itself, Ending::Failed, self.now).await?;
                }
                Step::Stop { task, code, reason } => {
                    if let Some(task) = self.stop(tx, task, *code, reason).await? {
                        stopped.push(task.id.clone());
                        seen.push(task);
                    }
                }
                Step::Healthy { task } => {
                    if let Some(task) = store::tasks::mark_healthy(tx, task, self.now).await? {
                        failures::proven(tx, &task, self.now).await?;
                        seen.push(task);
                    }
                }
                Step::ResetFailures => self.change(tx, &self.primary.id, |primary| primary.consecutive_failures = 0).await?,
                Step::Say { .. } => {}
                outcome => self.end(tx, outcome).await?,
            }
        }
        task_events::append(tx, self.now, &seen).await?;
        self.say(tx, &started, &stopped).await
    }

    /// Service and instances are as they were observed, and are claimed for this plan.
    async fn guard(&self, tx: &mut Tx) -> Result<(), NotWritten> {
        let mut claimed = store::services::update(tx, &self.service()).await?;
        let chosen: BTreeSet<&InstanceId> =
            self.steps.iter().filter_map(|step| if let Step::Start { instance } = step { Some(instance) } else { None }).collect();
        for candidate in chosen.into_iter().filter_map(|instance| self.observed.candidate(instance)) {
            claimed &= store::instances::claim(tx, &candidate.instance.id, candidate.instance.version).await?;
        }
        if claimed { Ok(()) } else { Err(NotWritten::Outdated) }
    }

    fn new_task(&self, id: &TaskId, instance: Option<&InstanceId>) -> Task {
        let (service, primary) = (&self.observed.service, &self.primary);
        let profile = self.observed.profiles.get(&primary.task_definition).cloned().unwrap_or_default();
        Task {
            id: id.clone(),
            cluster: service.cluster.clone(),
            service_id: Some(service.id.clone()),
            deployment_id: Some(primary.id.clone()),
            task_definition: primary.task_definition.clone(),
            group: format!("service:{}", service.name),
            started_by: Some(primary.id.to_string()),
            instance_id: instance.cloned(),
            reserved: profile.need,
            overrides: Vec::new(),
            images: primary.images.clone(),
            principal: service.principal.clone(),
            client_token: None,
            tags: Vec::new(),
            desired_status: DesiredStatus::Running,
            stop_code: None,
            stopped_reason: None,
            last_status: TaskStatus::Pending,
            health_status: HealthStatus::Unknown,
            containers: primary.images.keys().map(|name| pending_container(name)).collect(),
            report_sequence: 0,
            connected: true,
            version: 1,
            created_at: self.now,
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            stopping_at: None,
            stopped_at: None,
            healthy_at: None,
        }
    }

    /// A task that was never sent to an agent, to show why.
    fn refused_task(&self, id: &TaskId, reason: &str) -> Task {
        let mut task = self.new_task(id, None);
        let reason = format!("CannotPullContainerError: {reason}");
        for container in &mut task.containers {
            container.last_status = TaskStatus::Stopped;
            container.reason = Some(reason.clone());
        }
        Task {
            desired_status: DesiredStatus::Stopped,
            last_status: TaskStatus::Stopped,
            stop_code: Some(StopCode::TaskFailedToStart),
            stopped_reason: Some(reason),
            stopping_at: Some(self.now),
            stopped_at: Some(self.now),
            reserved: model::instance::Resources::default(),
            ..task
        }
    }

    async fn stop(&self, tx: &mut Tx, id: &TaskId, code: StopCode, reason: &str) -> Result<Option<Task>, DbError> {
        let ordered = store::tasks::order_stop(tx, id, code, reason.to_owned(), self.now).await?;
        if let Some(task) = ordered.as_ref().filter(|_| reason == words::UNHEALTHY) {
            failures::record(tx, task, End::Unhealthy, self.now, self.healthy_after).await?;
        }
        Ok(ordered)
    }

    async fn change(&self, tx: &mut Tx, id: &DeploymentId, change: impl Fn(&mut Deployment)) -> Result<(), DbError> {
        let Some(mut deployment) = store::deployments::get(tx, id).await? else { return Ok(()) };
        change(&mut deployment);
        deployment.updated_at = self.now;
        store::deployments::update(tx, &deployment).await
    }

    async fn say(&self, tx: &mut Tx, started: &[TaskId], stopped: &[TaskId]) -> Result<(), NotWritten> {
        let mut messages = Vec::new();
        if !started.is_empty() {
            messages.push(words::started(started));
        }
        if !stopped.is_empty() {
            messages.push(words::stopped(stopped));
        }
        messages.extend(self.steps.iter().filter_map(|step| if let Step::Say { message } = step { Some(message.clone()) } else { None }));
        for message in messages {
            let event = NewEvent {
                kind: SERVICE_EVENT,
                principal: None,
                subject: subject(&self.observed.service),
                message: words::of_service(&self.observed.service.name, &message),
                detail: serde_json::json!({ "deployment": self.primary.id.to_string() }),
            };
            events::append(tx, self.now, event).await?;
        }
        Ok(())
    }
}

/// A container before its agent has said anything.
pub(super) fn pending_container(name: &str) -> ContainerState {
    ContainerState {
        name: name.to_owned(),
        runtime_id: None,
        last_status: TaskStatus::Pending,
        health_status: HealthStatus::Unknown,
        exit_code: None,
        reason: None,
        network_bindings: Vec::new(),
    }
}
