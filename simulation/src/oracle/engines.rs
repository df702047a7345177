//! What may be done to containers.

use super::Oracle;
use agent::runtime::fake::Deed;
use model::Timestamp;
use model::ids::TaskId;
use model::task::TaskStatus;
use std::time::Duration;

/// Prefix of the containers that nobody here made.
pub const STRANGER: &str = "stranger-";
/// A call can still be on its way to the engine for so long after its agent was told that the task is settled.
const LATE_MAX: Duration = Duration::from_secs(40);

impl Oracle {
    pub(super) fn judge_deed(&mut self, host: usize, deed: &Deed, failed: &impl Fn(&TaskId) -> bool, now: Timestamp) {
        match deed {
            Deed::Pulled(_) => {}
            Deed::Created(name) => self.judge_made(host, name, now),
            Deed::Started(name) => {
                let _ = self.task_of(host, name);
            }
            Deed::Stopped(name) => self.judge_stopped(host, name, failed),
            Deed::Removed(name) => self.judge_removed(host, name),
            Deed::Ended(name) => {
                if let Some(task) = self.task_of(host, name) {
                    self.disturb(&task);
                }
            }
        }
    }

    /// A container of a task ended though nobody ordered it.
    fn disturb(&mut self, task: &TaskId) {
        self.disturbed.insert(task.clone());
        if let Some(service) = self.picture.tasks.get(task).and_then(|task| task.service_id.clone()) {
            self.armed.remove(&service);
        }
    }

    /// The task of a container, which has to be on this host.
    fn task_of(&mut self, host: usize, name: &str) -> Option<TaskId> {
        if name.starts_with(STRANGER) {
            return None;
        }
        let task = name.rsplit('-').next().and_then(|part| self.by_name.get(part)).cloned();
        let Some(task) = task else {
            self.object(format!("container {name} on host-{host} is of no task that was ever there"));
            return None;
        };
        let there = self.picture.tasks.get(&task).and_then(|task| task.instance_id.as_ref());
        if there.is_some_and(|instance| *instance != self.hosts[host]) {
            self.object(format!("container {name} is on host-{host}, where its task was never placed"));
        }
        Some(task)
    }

    fn judge_made(&mut self, host: usize, name: &str, now: Timestamp) {
        let Some(task) = self.task_of(host, name) else { return };
        let made = self.made.entry((host, name.to_owned())).or_default();
        *made += 1;
        if *made > 1 {
            self.object(format!("container {name} was made twice on host-{host}"));
        }
        if self.settled.get(&task).is_some_and(|at| now.since(*at) > LATE_MAX) {
            self.object(format!("container {name} was made on host-{host} long after its task was settled"));
        }
    }

    fn judge_stopped(&mut self, host: usize, name: &str, failed: &impl Fn(&TaskId) -> bool) {
        if name.starts_with(STRANGER) {
            self.object(format!("{name} was stopped, which is no container of ours"));
            return;
        }
        let Some(task) = self.task_of(host, name) else { return };
        let caused = self.stop_sent.contains(&task) || self.disturbed.contains(&task) || failed(&task);
        if !caused {
            self.object(format!("{name} was stopped on host-{host} without an order"));
        }
    }

    fn judge_removed(&mut self, host: usize, name: &str) {
        if name.starts_with(STRANGER) {
            self.object(format!("{name} was removed, which is no container of ours"));
            return;
        }
        let Some(task) = self.task_of(host, name) else { return };
        if self.picture.tasks.get(&task).is_some_and(|task| task.last_status != TaskStatus::Stopped) {
            self.object(format!("{name} was removed on host-{host} before its task was STOPPED"));
        }
    }
}
