//! What the planner sees of one service, read in one go, and what it decides.

use crate::placement::Candidate;
use model::Timestamp;
use model::ids::{DeploymentId, InstanceId, TaskDefinitionId, TaskId};
use model::instance::Resources;
use model::service::{Deployment, DeploymentStatus, Service, ServiceDeployment};
use model::task::{ServiceTask, StopCode};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One consistent picture of a service.
#[derive(Debug, Clone)]
pub struct Observed {
    pub service: Service,
    /// PRIMARY and ACTIVE ones, newest first.
    pub deployments: Vec<Deployment>,
    /// The service deployment that is under way.
    pub under_way: Option<ServiceDeployment>,
    /// The newest COMPLETED deployment other than the PRIMARY. Only read when [`super::verdict::wants_way_back`].
    pub way_back: Option<Deployment>,
    /// Tasks of the service that are not STOPPED.
    pub tasks: Vec<ServiceTask>,
    /// By definition, for the PRIMARY and for every task.
    pub profiles: BTreeMap<TaskDefinitionId, Profile>,
    /// Instances of the cluster, by id; `of_group` counts tasks of the PRIMARY. Only read when [`super::plan::wants_instances`].
    pub instances: Vec<Candidate>,
    /// Instances of the cluster that are DRAINING: nothing of the service is to stay there.
    pub draining: BTreeSet<InstanceId>,
    /// Many instances of the cluster were lost at once: what ran on them is not replaced before.
    pub braked_until: Option<Timestamp>,
    /// Why the service's principal may not pull an image of the PRIMARY, in words that name the grant.
    pub missing_grant: Option<String>,
    /// Messages of service events, newest first.
    pub recent_events: Vec<String>,
    /// How long a task without health check stays RUNNING before it counts as healthy.
    pub healthy_after: Duration,
    /// For placement left to chance.
    pub random: u64,
}

/// What planning needs to know of a task definition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    pub need: Resources,
    pub has_health_check: bool,
}

impl Observed {
    /// The deployment that the service is to run.
    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.status == DeploymentStatus::Primary)
    }

    /// One of the instances.
    pub fn candidate(&self, id: &InstanceId) -> Option<&Candidate> {
        let at = self.instances.binary_search_by(|candidate| candidate.instance.id.cmp(id)).ok()?;
        self.instances.get(at)
    }
}

/// One change to make. All steps of a plan are written together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A new task of the PRIMARY on this instance.
    Start {
        instance: InstanceId,
    },
    /// The PRIMARY's task that would start is recorded as failed, since its image may not be pulled.
    Refuse {
        reason: String,
    },
    Stop {
        task: TaskId,
        code: StopCode,
        reason: String,
    },
    /// The task counts as healthy from now on.
    Healthy {
        task: TaskId,
    },
    /// The PRIMARY has been healthy for a while: its back-off starts anew.
    ResetFailures,
    /// The planner has begun with the service deployment.
    Begin,
    /// The PRIMARY is COMPLETED, the older deployments are INACTIVE.
    Complete,
    /// The PRIMARY is FAILED and starts nothing any more.
    Fail {
        reason: String,
        by: FailedBy,
    },
    /// The PRIMARY is FAILED and being replaced, by what ran before.
    RollBack {
        to: DeploymentId,
        reason: String,
        by: FailedBy,
    },
    /// An older deployment has nothing left, and nobody would go back to it.
    Retire {
        deployment: DeploymentId,
    },
    /// The last task of a deleted service is gone.
    Deactivate,
    /// A service event, in ECS's words after `(service X) `.
    Say {
        message: String,
    },
}

/// What ended a deployment before it was COMPLETED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedBy {
    CircuitBreaker,
    Request,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// When to look again though nothing was written: time alone will have changed something.
    pub again_at: Option<Timestamp>,
}

impl Plan {
    pub(super) fn look_again(&mut self, at: Timestamp) {
        self.again_at = Some(self.again_at.map_or(at, |before| before.min(at)));
    }

    pub(super) fn moves_tasks(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Start { .. } | Step::Stop { .. } | Step::Refuse { .. }))
    }
}
