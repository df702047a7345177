//! Events about tasks (`task.changed`): one for each change that people see, written in the transaction that makes the change.
//!
//! The changes of one transaction to tasks of one service are one row, so that a service of fifty tasks costs its planner one row more,
//! not fifty. Old ones are removed (`cleanup`); what the audit needs is in other kinds.

use api::v1::events::{ContainerEnd, TASK_CHANGED, TaskChanges, TaskGlance, TaskState};
use model::Timestamp;
use model::access::Resource;
use model::task::{Task, TaskStatus};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use std::collections::BTreeMap;

/// Tasks of one event.
const TASKS_MAX: usize = 50;
/// Characters of a task's id that people are shown.
const ID_SHOWN: usize = 12;

/// Whether people see a difference between the two: in how the task stands, whatever of its statuses that comes from.
pub fn differ(before: &Task, after: &Task) -> bool {
    let seen = |task: &Task| {
        let glance = glance(task);
        (glance.state(), TaskGlance { last_status: String::new(), desired_status: String::new(), ..glance })
    };
    seen(before) != seen(after)
}

/// Says how `tasks` are now, to those who watch their service, or their cluster when they have none.
pub async fn append<'a>(tx: &mut Tx, now: Timestamp, tasks: impl IntoIterator<Item = &'a Task>) -> Result<(), DbError> {
    let mut by_subject: BTreeMap<String, Vec<TaskGlance>> = BTreeMap::new();
    for task in tasks {
        by_subject.entry(subject(task).to_string()).or_default().push(glance(task));
    }
    for (subject, glances) in by_subject {
        for tasks in glances.chunks(TASKS_MAX) {
            let detail = serde_json::to_value(TaskChanges { tasks: tasks.to_vec() }).unwrap_or_default();
            let event = NewEvent { kind: TASK_CHANGED, principal: None, subject: subject.clone(), message: message(tasks), detail };
            events::append(tx, now, event).await?;
        }
    }
    Ok(())
}

/// The service of the task, or its cluster when it has none.
pub fn subject(task: &Task) -> Resource {
    match task.group.strip_prefix("service:").filter(|_| task.service_id.is_some()) {
        Some(name) => Resource::service(task.cluster.as_str(), name),
        None => Resource::cluster(task.cluster.as_str()),
    }
}

/// What people see of a task.
pub fn glance(task: &Task) -> TaskGlance {
    let pulls = task.last_status == TaskStatus::Pending && task.pull_started_at.is_some() && task.pull_stopped_at.is_none();
    let ended = task.containers.iter().filter(|container| container.exit_code.is_some() || container.reason.is_some());
    TaskGlance {
        task: task.id.to_string(),
        task_definition: task.task_definition.to_string(),
        deployment: task.deployment_id.as_ref().map(ToString::to_string),
        instance: task.instance_id.as_ref().map(ToString::to_string),
        last_status: task.last_status.as_str().to_owned(),
        desired_status: task.desired_status.as_str().to_owned(),
        health_status: task.health_status.as_str().to_owned(),
        healthy: task.healthy_at.is_some(),
        pulling: pulls,
        connected: task.connected,
        stop_code: task.stop_code.map(|code| code.as_str().to_owned()),
        reason: task.stopped_reason.clone(),
        containers: ended
            .map(|container| ContainerEnd {
                name: container.name.clone(),
                exit_code: container.exit_code,
                reason: container.reason.clone(),
            })
            .collect(),
    }
}

/// One sentence: `task 3f9a0c1d2e4b of web:7 is RUNNING`, `3 tasks of web:7 are PENDING`.
fn message(tasks: &[TaskGlance]) -> String {
    if let [task] = tasks {
        let why = task.reason.as_ref().filter(|_| task.state() >= TaskState::Stopping).map(|reason| format!(": {reason}"));
        let id = task.task.get(..ID_SHOWN).unwrap_or(&task.task);
        return format!("task {id} of {} is {}{}", task.task_definition, task.state().as_str(), why.unwrap_or_default());
    }
    let mut counts: BTreeMap<(&str, TaskState), usize> = BTreeMap::new();
    for task in tasks {
        *counts.entry((&task.task_definition, task.state())).or_default() += 1;
    }
    let parts = counts.iter().map(|((definition, state), count)| match count {
        1 => format!("1 task of {definition} is {}", state.as_str()),
        many => format!("{many} tasks of {definition} are {}", state.as_str()),
    });
    parts.collect::<Vec<_>>().join(", ")
}
