//! Counts the tasks of a service the way ECS counts them: what is healthy, what takes room, what is on its way out. Pure.

use super::observed::Observed;
use model::Timestamp;
use model::ids::DeploymentId;
use model::service::ServiceStatus;
use model::task::{DesiredStatus, HealthStatus, ServiceTask, TaskStatus};
use std::time::Duration;

/// Where a task that is not STOPPED stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// To be stopped, or stopping by itself.
    Leaving,
    /// To run, but its instance is not heard of.
    Lost,
    /// To run, but its health check says no.
    Unhealthy,
    /// To run, not healthy yet.
    Starting,
    Healthy,
}

#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    pub task: &'a ServiceTask,
    /// Of the PRIMARY, where it may stay. On a DRAINING instance a task is on its way out like those of older deployments: it serves
    /// until it is made up for.
    pub primary: bool,
    pub standing: Standing,
}

/// All tasks of a service with their standing, and the bounds of its deployment configuration.
#[derive(Debug)]
pub struct Census<'a> {
    pub tasks: Vec<Counted<'a>>,
    pub desired: usize,
    /// Most tasks that may be RUNNING or before it: `floor(desired × maximumPercent / 100)`.
    pub max_tasks: usize,
    /// Fewest healthy tasks that stops may leave: `ceil(desired × minimumHealthyPercent / 100)`.
    pub min_healthy: usize,
    /// Lost tasks of the PRIMARY that are waited for, since the cluster lost many instances at once.
    pub awaited: usize,
}

impl<'a> Census<'a> {
    pub fn of(observed: &'a Observed, primary: &DeploymentId, now: Timestamp) -> Self {
        let service = &observed.service;
        let desired = if service.status == ServiceStatus::Active { service.desired_count } else { 0 };
        let count = |task: &'a ServiceTask| Counted {
            task,
            primary: task.deployment_id.as_ref() == Some(primary) && !drains(observed, task),
            standing: standing(observed, task, now),
        };
        let tasks: Vec<_> = observed.tasks.iter().filter(|task| task.last_status < TaskStatus::Stopped).map(count).collect();
        let braked = observed.braked_until.is_some_and(|until| until > now);
        let is_awaited = |counted: &&Counted<'_>| braked && counted.primary && counted.standing == Standing::Lost;
        Self {
            awaited: tasks.iter().filter(is_awaited).count(),
            tasks,
            desired: usize::try_from(desired).unwrap_or(0),
            max_tasks: max_tasks(desired, service.maximum_percent),
            min_healthy: min_healthy(desired, service.minimum_healthy_percent),
        }
    }

    pub fn count(&self, wanted: impl Fn(&Counted<'_>) -> bool) -> usize {
        self.tasks.iter().filter(|counted| wanted(counted)).count()
    }

    /// Healthy tasks of all deployments: what `min_healthy` bounds.
    pub fn healthy(&self) -> usize {
        self.count(|counted| counted.standing == Standing::Healthy)
    }

    /// Healthy tasks of the PRIMARY.
    pub fn primary_healthy(&self) -> usize {
        self.count(|counted| counted.primary && counted.standing == Standing::Healthy)
    }

    /// Tasks of the PRIMARY that are healthy or may still become it.
    pub fn primary_good(&self) -> usize {
        self.count(|counted| counted.primary && matches!(counted.standing, Standing::Healthy | Standing::Starting))
    }

    /// Tasks of the PRIMARY that are wanting and to be started.
    pub fn missing(&self) -> usize {
        self.desired.saturating_sub(self.primary_good() + self.awaited)
    }

    /// RUNNING and PENDING tasks, what `max_tasks` bounds; those on lost instances are taken for gone.
    pub fn occupying(&self) -> usize {
        self.count(|counted| counted.task.last_status <= TaskStatus::Running && !is_gone(counted))
    }

    /// Tasks that may be started now.
    pub fn room(&self) -> usize {
        self.max_tasks.saturating_sub(self.occupying())
    }

    /// Tasks of older deployments, and on DRAINING instances, that are not known to be gone.
    pub fn older(&self) -> usize {
        self.count(|counted| !counted.primary && !is_gone(counted))
    }

    /// Tasks that will free what they hold without another order.
    pub fn leaving(&self) -> usize {
        self.count(|counted| counted.standing == Standing::Leaving && counted.task.connected)
    }
}

fn drains(observed: &Observed, task: &ServiceTask) -> bool {
    task.instance_id.as_ref().is_some_and(|instance| observed.draining.contains(instance))
}

/// On an instance that is not heard of: it may run on there, but nobody can count on it.
fn is_gone(counted: &Counted<'_>) -> bool {
    !counted.task.connected
}

/// `floor(desired × percent / 100)`
pub fn max_tasks(desired: i64, percent: i64) -> usize {
    usize::try_from(desired.saturating_mul(percent) / 100).unwrap_or(0)
}

/// `ceil(desired × percent / 100)`
pub fn min_healthy(desired: i64, percent: i64) -> usize {
    usize::try_from((desired.saturating_mul(percent) + 99) / 100).unwrap_or(0)
}

/// Whether no deployment could move: with all `desired` tasks healthy, none may be started beside them and none may be stopped.
pub fn is_stuck(desired: i64, minimum_percent: i64, maximum_percent: i64) -> bool {
    let tasks = usize::try_from(desired).unwrap_or(0);
    tasks > 0 && max_tasks(desired, maximum_percent) <= tasks && min_healthy(desired, minimum_percent) >= tasks
}

/// When a task without health check counts as healthy, once it runs.
pub fn settles_at(task: &ServiceTask, healthy_after: Duration) -> Timestamp {
    task.started_at.unwrap_or(task.created_at).plus(healthy_after)
}

/// Until when an unhealthy verdict is ignored.
pub fn grace_ends_at(observed: &Observed, task: &ServiceTask) -> Timestamp {
    let grace = u64::try_from(observed.service.health_check_grace_period_secs).unwrap_or(0);
    task.started_at.unwrap_or(task.created_at).plus(Duration::from_secs(grace))
}

fn standing(observed: &Observed, task: &ServiceTask, now: Timestamp) -> Standing {
    let checked = observed.profiles.get(&task.task_definition).is_some_and(|profile| profile.has_health_check);
    if task.desired_status == DesiredStatus::Stopped || task.last_status > TaskStatus::Running {
        return Standing::Leaving;
    }
    if !task.connected {
        return Standing::Lost;
    }
    if task.last_status < TaskStatus::Running {
        return Standing::Starting;
    }
    match task.health_status {
        HealthStatus::Healthy => Standing::Healthy,
        HealthStatus::Unhealthy if now >= grace_ends_at(observed, task) => Standing::Unhealthy,
        HealthStatus::Unknown if task.healthy_at.is_some() => Standing::Healthy,
        HealthStatus::Unknown if !checked && now >= settles_at(task, observed.healthy_after) => Standing::Healthy,
        HealthStatus::Unhealthy | HealthStatus::Unknown => Standing::Starting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_round_as_ecs_rounds_them() {
        for (desired, percent, expected) in [(4, 50, 2), (2, 75, 2), (3, 100, 3), (3, 0, 0), (1, 1, 1)] {
            assert_eq!(min_healthy(desired, percent), expected, "{desired} at {percent} %");
        }
        for (desired, percent, expected) in [(4, 200, 8), (3, 125, 3), (1, 150, 1), (0, 200, 0)] {
            assert_eq!(max_tasks(desired, percent), expected, "{desired} at {percent} %");
        }
    }

    #[test]
    fn settings_that_let_nothing_move_depend_on_the_count() {
        for (desired, minimum, maximum, expected) in [
            (1, 100, 100, true),
            (1, 100, 199, true),
            (1, 100, 200, false),
            (1, 50, 150, true),
            (1, 0, 100, false),
            (2, 75, 100, true),
            (2, 75, 150, false),
            (3, 100, 125, true),
            (4, 100, 125, false),
            (4, 50, 100, false),
            (0, 100, 100, false),
        ] {
            assert_eq!(is_stuck(desired, minimum, maximum), expected, "{desired} {minimum} {maximum}");
        }
    }
}
