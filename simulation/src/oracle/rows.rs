//! How rows may change: forward only, and within what the instances have.

use super::Oracle;
use crate::kinds::Kind;
use crate::picture::Picture;
use model::instance::Resources;
use model::service::{Deployment, DeploymentStatus, RolloutState, ServiceStatus};
use model::task::{Task, TaskStatus};
use std::collections::BTreeMap;

impl Oracle {
    pub(super) fn judge_rows(&mut self, before: &Picture, after: &Picture, planned: bool) -> Vec<String> {
        let mut lines = Vec::new();
        for (id, task) in &after.tasks {
            match before.tasks.get(id) {
                None => {
                    let kind = Kind::of_revision(task.task_definition.revision).name;
                    lines.push(format!("task {} of {} ({kind}) {}", short(task), task.task_definition, told(task)));
                }
                Some(was) if was.version != task.version => {
                    if told(was) != told(task) {
                        lines.push(format!("task {} {}", short(task), told(task)));
                    }
                    if let Some(wrong) = goes_back(was, task) {
                        self.object(format!("task {id}: {wrong}: {was:?} became {task:?}"));
                    }
                }
                Some(_) => {}
            }
        }
        for (id, was) in &before.tasks {
            if !after.tasks.contains_key(id) && was.last_status != TaskStatus::Stopped {
                self.object(format!("task {id} is gone and was {}", was.last_status.as_str()));
            }
        }
        for (id, deployment) in &after.deployments {
            let said = |d: &Deployment| format!("{} {} failed {}", d.status.as_str(), d.rollout_state.as_str(), d.failed_tasks);
            match before.deployments.get(id) {
                Some(was) if said(was) == said(deployment) => {}
                Some(was) if deployment_goes_back(was, deployment) && !(planned && is_rollback(was, deployment)) => {
                    self.object(format!("deployment {id} goes back: {} became {}", said(was), said(deployment)));
                }
                _ => lines.push(format!("deployment {id} of {} {}", deployment.task_definition, said(deployment))),
            }
        }
        self.judge_primaries(after);
        lines
    }

    /// A service that is not gone has one PRIMARY, always.
    fn judge_primaries(&mut self, after: &Picture) {
        for (id, service) in &after.services {
            let is_primary = |d: &&std::sync::Arc<Deployment>| d.service_id == *id && d.status == DeploymentStatus::Primary;
            let count = after.deployments.values().filter(is_primary).count();
            let expected = usize::from(service.status != ServiceStatus::Inactive);
            if count != expected {
                self.object(format!("service {} ({}) has {count} PRIMARY deployments", service.name, service.status.as_str()));
            }
        }
    }

    /// What tasks hold that are not STOPPED fits into what the instance has, ports one each.
    pub(super) fn judge_resources(&mut self, after: &Picture) {
        let mut held: BTreeMap<_, Resources> = BTreeMap::new();
        for task in after.tasks.values().filter(|task| task.last_status != TaskStatus::Stopped) {
            let Some(instance) = &task.instance_id else { continue };
            let of = held.entry(instance.clone()).or_default();
            of.cpu += task.reserved.cpu;
            of.memory += task.reserved.memory;
            for port in &task.reserved.ports {
                if !of.ports.insert(*port) {
                    self.object(format!("port {port:?} of instance {instance} is given twice, also to task {}", task.id));
                }
            }
        }
        for (id, held) in held {
            let Some(instance) = after.instances.get(&id) else { continue };
            let has = &instance.registered;
            if held.cpu > has.cpu || held.memory > has.memory || held.ports.iter().any(|port| has.ports.contains(port)) {
                self.object(format!("instance {id} is overcommitted: {held:?} of {has:?}"));
            }
        }
    }
}

fn short(task: &Task) -> String {
    task.id.as_str().chars().take(12).collect()
}

/// A task as a line tells it.
fn told(task: &Task) -> String {
    format!(
        "{} desired {} health {}{}{}",
        task.last_status.as_str(),
        task.desired_status.as_str(),
        task.health_status.as_str(),
        if task.connected { "" } else { " lost" },
        task.stopped_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
    )
}

/// What of a task went back that only goes forward.
fn goes_back(was: &Task, is: &Task) -> Option<&'static str> {
    let kept = |was: Option<model::Timestamp>, is: Option<model::Timestamp>| was.is_none() || was == is;
    if is.last_status < was.last_status {
        Some("its status goes back")
    } else if is.desired_status < was.desired_status {
        Some("it is wanted again")
    } else if is.version <= was.version {
        Some("its version goes back")
    } else if !kept(was.started_at, is.started_at) || !kept(was.healthy_at, is.healthy_at) || !kept(was.stopped_at, is.stopped_at) {
        Some("a time changes that was set")
    } else if was.stop_code.is_some() && was.stop_code != is.stop_code {
        Some("its stop code changes")
    } else if was.instance_id != is.instance_id || was.images != is.images || was.deployment_id != is.deployment_id {
        Some("what is fixed changes")
    } else if was.last_status == TaskStatus::Stopped && (was.containers != is.containers || was.stopped_reason != is.stopped_reason) {
        Some("it was final")
    } else {
        None
    }
}

/// What was COMPLETED before is the PRIMARY again, counted anew. Only the planner does that; `plans` judges whether it should.
fn is_rollback(was: &Deployment, is: &Deployment) -> bool {
    (was.status, was.rollout_state) == (DeploymentStatus::Active, RolloutState::Completed)
        && (is.status, is.rollout_state, is.failed_tasks) == (DeploymentStatus::Primary, RolloutState::InProgress, 0)
}

fn deployment_goes_back(was: &Deployment, is: &Deployment) -> bool {
    let rank = |status: DeploymentStatus| match status {
        DeploymentStatus::Primary => 0,
        DeploymentStatus::Active => 1,
        DeploymentStatus::Inactive => 2,
    };
    let over = was.rollout_state != RolloutState::InProgress && is.rollout_state == RolloutState::InProgress;
    let became = was.rollout_state == RolloutState::Failed && is.rollout_state == RolloutState::Completed;
    rank(is.status) < rank(was.status) || over || became || is.failed_tasks < was.failed_tasks
}
