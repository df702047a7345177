//! What is left when everything is quiet: exactly what was asked for.

use super::Oracle;
use super::census::healthy;
use super::engines::STRANGER;
use crate::kinds::Kind;
use agent::runtime::fake::FakeDocker;
use model::Timestamp;
use model::ids::TaskId;
use model::service::{DeploymentStatus, RolloutState, ServiceStatus};
use model::task::{DesiredStatus, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

impl Oracle {
    /// What is not yet as it was asked for; nothing when everything is.
    pub fn unfinished(&self, dockers: &[FakeDocker], now: Timestamp) -> Vec<String> {
        let mut left = Vec::new();
        self.unfinished_services(now, &mut left);
        self.unfinished_tasks(&mut left);
        self.unfinished_engines(dockers, &mut left);
        left
    }

    fn unfinished_services(&self, now: Timestamp, left: &mut Vec<String>) {
        let picture = &self.picture;
        for (id, service) in &picture.services {
            let tasks: Vec<_> = picture.of_service(id).filter(|task| task.last_status != TaskStatus::Stopped).collect();
            let listed = picture.deployments.values().filter(|d| d.service_id == *id && d.status != DeploymentStatus::Inactive).count();
            match service.status {
                ServiceStatus::Inactive if tasks.is_empty() && listed == 0 => {}
                ServiceStatus::Active => {
                    let Some(primary) = picture.primary(id) else {
                        left.push(format!("service {} has no PRIMARY", service.name));
                        continue;
                    };
                    let of_primary = tasks.iter().filter(|task| task.deployment_id.as_ref() == Some(&primary.id) && healthy(task, now));
                    let whole = of_primary.count();
                    let completed = primary.rollout_state == RolloutState::Completed;
                    let desired = usize::try_from(service.desired_count).unwrap_or(0);
                    if whole != desired || tasks.len() != desired || listed != 1 || !completed {
                        left.push(format!(
                            "service {}: {whole} healthy of {} tasks, {desired} desired, {listed} deployments, PRIMARY {} of {}",
                            service.name,
                            tasks.len(),
                            primary.rollout_state.as_str(),
                            primary.task_definition
                        ));
                    }
                }
                status => left.push(format!("service {} is {} with {} tasks", service.name, status.as_str(), tasks.len())),
            }
        }
    }

    /// Every task either runs as it is wanted, or is over with all that belongs to that.
    fn unfinished_tasks(&self, left: &mut Vec<String>) {
        for (id, task) in &self.picture.tasks {
            let batch = task.service_id.is_none() || Kind::of_revision(task.task_definition.revision).batch;
            let over = task.last_status == TaskStatus::Stopped;
            let whole = task.stop_code.is_some() && task.stopped_reason.is_some() && task.stopped_at.is_some();
            if over && (!whole || task.desired_status != DesiredStatus::Stopped) {
                left.push(format!("task {id} is STOPPED without saying why: {task:?}"));
            }
            if !over && (batch || task.last_status != TaskStatus::Running || task.desired_status != DesiredStatus::Running) {
                left.push(format!("task {id} is {}, desired {}", task.last_status.as_str(), task.desired_status.as_str()));
            }
        }
    }

    /// What runs is what is on record as running, each once, where it belongs.
    fn unfinished_engines(&self, dockers: &[FakeDocker], left: &mut Vec<String>) {
        let mut running: BTreeMap<TaskId, BTreeSet<(usize, String)>> = BTreeMap::new();
        for (host, docker) in dockers.iter().enumerate() {
            for container in docker.look().into_iter().filter(|container| container.running) {
                if container.name.starts_with(STRANGER) {
                    continue;
                }
                match container.owner.and_then(|owner| owner.task_id) {
                    Some(task) => {
                        running.entry(task).or_default().insert((host, container.name));
                    }
                    None => left.push(format!("{} runs and is nobody's", container.name)),
                }
            }
        }
        for (id, task) in self.picture.tasks.iter().filter(|(_, task)| task.last_status == TaskStatus::Running) {
            let expected = 1 + usize::from(Kind::of_revision(task.task_definition.revision).pair);
            let found = running.remove(id).unwrap_or_default();
            let here = found.iter().all(|(host, _)| task.instance_id.as_ref() == Some(&self.hosts[*host]));
            // A helper that was killed is not started again: its task runs on without it.
            let whole = found.len() == expected || (found.len() == 1 && self.disturbed.contains(id));
            if !whole || !here {
                left.push(format!("task {id} is RUNNING with {found:?}"));
            }
        }
        for (task, containers) in running {
            left.push(format!("{containers:?} run on for task {task}"));
        }
    }

    /// Containers of tasks that are over and long settled are gone; strangers are where they were.
    pub fn leftovers(dockers: &[FakeDocker], strangers: &BTreeSet<(usize, String)>) -> Vec<String> {
        let mut left = Vec::new();
        for (host, docker) in dockers.iter().enumerate() {
            let containers = docker.look();
            left.extend(containers.iter().filter(|c| !c.running && !c.name.starts_with(STRANGER)).map(|c| format!("{} is left", c.name)));
            let gone = |name: &String| !containers.iter().any(|c| c.name == *name);
            left.extend(strangers.iter().filter(|(on, name)| *on == host && gone(name)).map(|(_, name)| format!("{name} is gone")));
        }
        left
    }
}
