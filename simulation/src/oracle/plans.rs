//! What one look of the planner may do, from the picture that it saw.

use super::census::{healthy, occupying};
use super::{Oracle, maximum, minimum};
use crate::picture::Picture;
use model::Timestamp;
use model::ids::DeploymentId;
use model::service::{Deployment, DeploymentStatus, RolloutState, Service, ServiceStatus};
use model::task::{DesiredStatus, StopCode, Task, TaskStatus};
use std::sync::Arc;

impl Oracle {
    pub(super) fn judge_plan(&mut self, before: &Picture, after: &Picture, now: Timestamp) {
        self.counts.plans += 1;
        self.judge_rollbacks(before, after);
        for (id, service) in &before.services {
            self.judge_starts(before, after, service, now);
            self.judge_stops(before, after, service, now);
            for deployment in after.deployments.values().filter(|deployment| deployment.service_id == *id) {
                self.judge_end(before, deployment, service, now);
            }
        }
    }

    /// New tasks: of the PRIMARY, within the maximum, not before their time, on an instance that can be heard.
    fn judge_starts(&mut self, before: &Picture, after: &Picture, service: &Service, now: Timestamp) {
        let is_new = |task: &&Arc<Task>| !before.tasks.contains_key(&task.id) && task.instance_id.is_some();
        let new: Vec<_> = after.of_service(&service.id).filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        self.counts.started += new.len() as u64;
        let was = before.of_service(&service.id).filter(|task| occupying(task)).count();
        if was + new.len() > maximum(service) {
            self.object(format!("service {}: {} tasks started beside {was}, its maximum is {}", service.name, new.len(), maximum(service)));
        }
        if service.status != ServiceStatus::Active {
            self.object(format!("service {} is {} and starts tasks", service.name, service.status.as_str()));
        }
        for task in new {
            let deployment = task.deployment_id.as_ref().and_then(|id| after.deployments.get(id));
            let Some(deployment) = deployment else {
                self.object(format!("task {} is of no deployment", task.id));
                continue;
            };
            if deployment.status != DeploymentStatus::Primary || task.images != deployment.images {
                self.object(format!("task {} of a superseded deployment {} is started", task.id, deployment.id));
            }
            let not_before = before.deployments.get(&deployment.id).map_or(deployment.not_before, |was| was.not_before);
            if not_before > now {
                self.object(format!("task {} is started {:?} too early", task.id, not_before.since(now)));
            }
            if deployment.rollout_state == RolloutState::Failed {
                self.object(format!("task {} is started for a deployment that has failed", task.id));
            }
            let connected = task.instance_id.as_ref().and_then(|id| before.instances.get(id)).is_some_and(|host| host.agent_connected);
            if !connected {
                self.object(format!("task {} is started on an instance that is not heard of", task.id));
            }
        }
    }

    /// Stops that the planner orders never take what is healthy below the minimum.
    fn judge_stops(&mut self, before: &Picture, after: &Picture, service: &Service, now: Timestamp) {
        let ordered = |task: &&Arc<Task>| {
            let is = after.tasks.get(&task.id);
            task.desired_status == DesiredStatus::Running
                && task.last_status < TaskStatus::Stopped
                && is.is_some_and(|is| is.desired_status == DesiredStatus::Stopped && is.stop_code != Some(StopCode::UserInitiated))
        };
        let stopped: Vec<_> = before.of_service(&service.id).filter(ordered).collect();
        self.counts.stopped += stopped.len() as u64;
        let taken = stopped.iter().filter(|task| healthy(task, now)).count();
        let had = before.of_service(&service.id).filter(|task| healthy(task, now)).count();
        if taken > 0 && had - taken < minimum(service) {
            let sentence =
                format!("service {}: {taken} of {had} healthy tasks are stopped, its minimum is {}", service.name, minimum(service));
            self.object(sentence);
        }
    }

    /// The planner makes no deployments. One that it makes PRIMARY again is a rollback: to what was COMPLETED, from one that failed
    /// now and was no rollback itself.
    fn judge_rollbacks(&mut self, before: &Picture, after: &Picture) {
        for id in after.deployments.keys().filter(|id| !before.deployments.contains_key(*id)) {
            self.object(format!("deployment {id} is made by the planner"));
        }
        let again = |id: &DeploymentId| before.deployments.get(id).is_some_and(|was| was.status != DeploymentStatus::Primary);
        let primaries = after.deployments.values().filter(|deployment| deployment.status == DeploymentStatus::Primary);
        for back in primaries.filter(|deployment| again(&deployment.id)) {
            self.counts.rolled_back += 1;
            let from = before.primary(&back.service_id);
            let failed = from.and_then(|from| after.deployments.get(&from.id)).is_some_and(|was| was.rollout_state == RolloutState::Failed);
            if !failed {
                self.object(format!("the planner goes back to deployment {} though none has failed", back.id));
            }
            if from.is_some_and(|from| self.rollbacks.contains(&from.id)) {
                self.object(format!("going back to deployment {} rolls a rollback back", back.id));
            }
            if before.deployments[&back.id].rollout_state != RolloutState::Completed {
                self.object(format!("the planner goes back to deployment {}, which was never COMPLETED", back.id));
            }
            self.rollbacks.insert(back.id.clone());
        }
    }

    /// COMPLETED is said only of what runs, whole and healthy.
    fn judge_end(&mut self, before: &Picture, deployment: &Deployment, service: &Service, now: Timestamp) {
        let was = before.deployments.get(&deployment.id).map(|was| was.rollout_state);
        if was == Some(deployment.rollout_state) || was.is_none() {
            return;
        }
        if deployment.rollout_state == RolloutState::Failed {
            self.counts.failed += 1;
        }
        if deployment.rollout_state != RolloutState::Completed {
            return;
        }
        self.counts.completed += 1;
        self.rollbacks.remove(&deployment.id);
        let desired = usize::try_from(service.desired_count).unwrap_or(0);
        let (mut whole, mut older) = (0, 0);
        for task in before.of_service(&service.id).filter(|task| healthy(task, now)) {
            if task.deployment_id.as_ref() == Some(&deployment.id) { whole += 1 } else { older += 1 }
        }
        if whole != desired || older > 0 {
            self.object(format!(
                "deployment {} is COMPLETED with {whole} of {desired} healthy tasks, and {older} older ones",
                deployment.id
            ));
        }
    }
}
