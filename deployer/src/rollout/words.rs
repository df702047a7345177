//! Service events, in ECS's words. Each follows `(service NAME) `.

use model::ids::{DeploymentId, ServiceName, TaskId};

pub const STEADY: &str = "has reached a steady state.";
pub const STUCK: &str = "was unable to stop or start tasks during a deployment because of the service deployment configuration. \
                         Update the minimumHealthyPercent or maximumPercent value and try again.";

/// The whole event.
pub fn of_service(service: &ServiceName, message: &str) -> String {
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

/// `stoppedReason` of a task that the service does not need any more.
pub fn scaling(deployment: &DeploymentId) -> String {
    format!("Scaling activity initiated by (deployment {deployment})")
}

pub const UNHEALTHY: &str = "Task failed container health checks";

fn list(tasks: &[TaskId]) -> String {
    let list: Vec<String> = tasks.iter().map(|task| format!(" (task {task})")).collect();
    format!("{}.", list.concat())
}
