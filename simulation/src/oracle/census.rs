//! Who counts as what, by the words of ECS.

use crate::kinds::Kind;
use crate::server::HEALTHY_AFTER;
use model::Timestamp;
use model::task::{DesiredStatus, HealthStatus, Task, TaskStatus};

/// Wanted, RUNNING where it can be heard, and found healthy; without a check, RUNNING for a while.
pub fn healthy(task: &Task, now: Timestamp) -> bool {
    let wanted = task.desired_status == DesiredStatus::Running && task.last_status == TaskStatus::Running && task.connected;
    let checked = Kind::of_revision(task.task_definition.revision).checked;
    wanted
        && match task.health_status {
            HealthStatus::Healthy => true,
            HealthStatus::Unhealthy => false,
            HealthStatus::Unknown => {
                let since = task.started_at.unwrap_or(task.created_at);
                task.healthy_at.is_some() || (!checked && now >= since.plus(HEALTHY_AFTER))
            }
        }
}

/// RUNNING or before it, on an instance that is heard of: what `maximumPercent` bounds.
pub fn occupying(task: &Task) -> bool {
    task.last_status <= TaskStatus::Running && task.connected
}
