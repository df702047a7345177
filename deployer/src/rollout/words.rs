//! Service events, in ECS's words. Each follows `(service NAME) `.

use model::ids::{DeploymentId, TaskId};
use model::task::Task;
use std::fmt::Display;

pub const STEADY: &str = "has reached a steady state.";
pub const IMPAIRED: &str = "is unable to consistently start tasks successfully.";
pub const STUCK: &str = "was unable to stop or start tasks during a deployment because of the service deployment configuration. \
                         Update the minimumHealthyPercent or maximumPercent value and try again.";

pub const FAILED_TO_START: &str = "tasks failed to start.";
pub const STOP_REQUESTED: &str = "its stop was requested.";
pub const NO_WAY_BACK: &str = "has no completed deployment to roll back to; no further task starts until it is updated.";

/// The whole event.
pub fn of_service(service: &impl Display, message: &str) -> String {
    format!("(service {service}) {message}")
}

pub fn started(tasks: &[TaskId]) -> String {
    format!("has started {} tasks:{}", tasks.len(), list(tasks))
}

pub fn stopped(tasks: &[TaskId]) -> String {
    format!("has stopped {} running tasks:{}", tasks.len(), list(tasks))
}

pub fn completed(deployment: &DeploymentId) -> String {
    format!("(deployment {deployment}) deployment completed.")
}

pub fn failed(deployment: &DeploymentId) -> String {
    format!("(deployment {deployment}) deployment failed: {FAILED_TO_START}")
}

pub fn stopped_by_request(deployment: &DeploymentId) -> String {
    format!("(deployment {deployment}) deployment failed: {STOP_REQUESTED}")
}

pub fn rolling_back(deployment: &DeploymentId) -> String {
    format!("rolling back to deployment {deployment}.")
}

/// `stoppedReason` of a task that the service does not need any more.
pub fn scaling(deployment: &DeploymentId) -> String {
    format!("Scaling activity initiated by (deployment {deployment})")
}

pub const UNHEALTHY: &str = "Task failed container health checks";

/// A task that ended by itself: why, and how its containers exited.
pub fn ended(task: &Task) -> String {
    let exits: Vec<String> = task
        .containers
        .iter()
        .filter_map(|container| match (container.exit_code, &container.reason) {
            (Some(code), _) => Some(format!("{} exited with {code}", container.name)),
            (None, Some(reason)) if task.stopped_reason.as_ref() != Some(reason) => Some(format!("{}: {reason}", container.name)),
            (None, _) => None,
        })
        .collect();
    let exits = if exits.is_empty() { String::new() } else { format!(" ({})", exits.join(", ")) };
    format!("(task {}) stopped: {}{exits}.", task.id, task.stopped_reason.as_deref().unwrap_or("the agent gave no reason"))
}

fn list(tasks: &[TaskId]) -> String {
    let list: Vec<String> = tasks.iter().map(|task| format!(" (task {task})")).collect();
    format!("{}.", list.concat())
}
