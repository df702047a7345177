//! RunTask: places tasks now. Where they go is chosen from the picture of the fleet; the transaction that writes them claims the
//! instances as they were seen, and does nothing when one of them has changed since.

use super::NotWritten;
use super::apply::pending_container;
use super::fleet::Fleet;
use crate::context::Context;
use crate::placement::{self, Explanation, Request};
use crate::store::task_definitions::Registered;
use crate::{pins, store, task_events};
use model::Timestamp;
use model::access::Principal;
use model::ids::{ClusterName, InstanceId, TaskId};
use model::instance::Resources;
use model::service::{PlacementConstraint, PlacementStrategy};
use model::task::{ContainerOverride, DesiredStatus, HealthStatus, ResolvedImage, Task, TaskStatus};
use platform::db::{DbError, Tx};
use std::collections::{BTreeMap, BTreeSet};

/// What RunTask was asked for, checked and resolved.
#[derive(Debug, Clone)]
pub struct RunRequest {
    pub cluster: ClusterName,
    pub definition: Registered,
    pub images: BTreeMap<String, ResolvedImage>,
    pub count: usize,
    pub group: String,
    pub started_by: Option<String>,
    pub overrides: Vec<ContainerOverride>,
    pub placement_strategy: Vec<PlacementStrategy>,
    pub placement_constraints: Vec<PlacementConstraint>,
    pub principal: Principal,
    pub client_token: Option<String>,
    pub tags: Vec<(String, String)>,
}

/// Tasks that were placed, and ECS's reason (`RESOURCE:CPU`, `RESOURCE:MEMORY`, `RESOURCE:PORTS`, `AGENT`, …) for each that was not.
#[derive(Debug, Clone, Default)]
pub struct Started {
    pub tasks: Vec<Task>,
    pub failures: Vec<RunFailure>,
}

#[derive(Debug, Clone)]
pub struct RunFailure {
    /// ARN of an instance that was looked at, when there is one.
    pub arn: Option<String>,
    pub reason: String,
    pub detail: Option<String>,
}

/// Where the tasks of a request go.
#[derive(Debug, Clone)]
pub struct Placement {
    need: Resources,
    instances: Vec<InstanceId>,
    /// Versions of those instances when they were looked at.
    seen: BTreeMap<InstanceId, i64>,
    failures: Vec<RunFailure>,
}

/// Chooses instances for `request.count` tasks, as the fleet is in `tx`.
pub async fn place(context: &Context, tx: &mut Tx, fleet: &mut Fleet, request: &RunRequest) -> Result<Placement, DbError> {
    fleet.refresh(tx).await?;
    let of_group = |_: &InstanceId, running: &[String]| running.iter().filter(|group| **group == request.group).count();
    let candidates = fleet.candidates(&request.cluster, of_group);
    let need = placement::need(&request.definition.definition, &request.overrides);
    let wanted = Request {
        need: &need,
        strategies: &request.placement_strategy,
        constraints: &request.placement_constraints,
        random: platform::random::bits64(),
    };
    let choice = placement::choose(&wanted, &candidates, request.count);
    let failures = match choice.refused {
        Some(explanation) => vec![failure(context, request, &explanation); request.count - choice.instances.len()],
        None => Vec::new(),
    };
    let chosen: BTreeSet<&InstanceId> = choice.instances.iter().collect();
    let seen = candidates.iter().map(|candidate| &candidate.instance).filter(|instance| chosen.contains(&instance.id));
    let seen = seen.map(|instance| (instance.id.clone(), instance.version)).collect();
    Ok(Placement { need, instances: choice.instances, seen, failures })
}

/// Writes the tasks, each with its row and its reservation, if the instances are as they were.
pub async fn start(tx: &mut Tx, request: &RunRequest, placement: &Placement, now: Timestamp) -> Result<Started, NotWritten> {
    for (instance, version) in &placement.seen {
        if !store::instances::claim(tx, instance, *version).await? {
            return Err(NotWritten::Outdated);
        }
    }
    let mut started = Started { tasks: Vec::new(), failures: placement.failures.clone() };
    for instance in &placement.instances {
        let task = new_task(request, placement.need.clone(), instance.clone(), now);
        store::tasks::insert(tx, &task).await?;
        pins::task(tx, now, &task.id, &task.images).await?;
        started.tasks.push(task);
    }
    task_events::append(tx, now, &started.tasks).await?;
    Ok(started)
}

fn failure(context: &Context, request: &RunRequest, explanation: &Explanation) -> RunFailure {
    match explanation.closest() {
        Some((instance, reason)) => RunFailure {
            arn: Some(context.partition.container_instance(&request.cluster, instance)),
            reason: reason.failure_code().to_owned(),
            detail: Some(format!("{}.", explanation.summary())),
        },
        None => RunFailure {
            arn: None,
            reason: "AGENT".to_owned(),
            detail: Some("No Container Instances were found in your cluster.".to_owned()),
        },
    }
}

fn new_task(request: &RunRequest, reserved: Resources, instance: InstanceId, now: Timestamp) -> Task {
    Task {
        id: TaskId::from_random(platform::random::bits128()),
        cluster: request.cluster.clone(),
        service_id: None,
        deployment_id: None,
        task_definition: request.definition.id.clone(),
        group: request.group.clone(),
        started_by: request.started_by.clone(),
        instance_id: Some(instance),
        reserved,
        overrides: request.overrides.clone(),
        images: request.images.clone(),
        principal: request.principal.clone(),
        client_token: request.client_token.clone(),
        tags: request.tags.clone(),
        desired_status: DesiredStatus::Running,
        stop_code: None,
        stopped_reason: None,
        last_status: TaskStatus::Pending,
        health_status: HealthStatus::Unknown,
        containers: request.images.keys().map(|name| pending_container(name)).collect(),
        report_sequence: 0,
        connected: true,
        version: 1,
        created_at: now,
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        stopped_at: None,
        healthy_at: None,
    }
}
