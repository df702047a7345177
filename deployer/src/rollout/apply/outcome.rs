//! How deployments end, written: completed, failed, rolled back, retired; and with them the service deployment that is under way.

use super::Work;
use crate::rollout::observed::{FailedBy, Step};
use crate::rollout::{announce, breaker};
use crate::store;
use model::ids::DeploymentId;
use model::service::{
    BreakerStatus, Deployment, DeploymentStatus, Rollback, RolloutState, Service, ServiceDeployment, ServiceDeploymentStatus, ServiceStatus,
};
use platform::db::{DbError, Tx};

impl Work {
    /// The service as the plan leaves it.
    pub(super) fn service(&self) -> Service {
        let mut service = self.observed.service.clone();
        for step in &self.steps {
            match step {
                Step::Deactivate => service.status = ServiceStatus::Inactive,
                Step::RollBack { to, .. } => {
                    if let Some(back) = self.observed.way_back.as_ref().filter(|back| back.id == *to) {
                        service.task_definition = back.task_definition.clone();
                        service.principal = back.principal.clone().unwrap_or(service.principal);
                    }
                }
                _ => {}
            }
        }
        service
    }

    /// Writes a step that is about deployments and not about tasks.
    pub(super) async fn end(&self, tx: &mut Tx, step: &Step) -> Result<(), DbError> {
        match step {
            Step::Begin => self.begin(tx).await,
            Step::Complete => self.complete(tx).await,
            Step::Fail { reason, by } => self.fail(tx, reason, *by).await,
            Step::RollBack { to, reason, by } => self.roll_back(tx, to, reason, *by).await,
            Step::Retire { deployment } => self.change(tx, deployment, |of| of.status = DeploymentStatus::Inactive).await,
            Step::Deactivate => self.retire(tx, |_| true).await,
            _ => Ok(()),
        }
    }

    async fn begin(&self, tx: &mut Tx) -> Result<(), DbError> {
        let Some(mut of) = self.observed.under_way.clone() else { return Ok(()) };
        of.status = ServiceDeploymentStatus::InProgress;
        of.started_at = Some(self.now);
        self.save(tx, of).await.map(|_| ())
    }

    /// The PRIMARY is what runs, whole and healthy; the others are history.
    async fn complete(&self, tx: &mut Tx) -> Result<(), DbError> {
        self.change(tx, &self.primary.id, |primary| {
            primary.rollout_state = RolloutState::Completed;
            primary.rollout_state_reason = format!("ECS deployment {} completed.", primary.id);
        })
        .await?;
        self.retire(tx, |deployment| deployment.status != DeploymentStatus::Primary).await?;
        let Some(mut of) = self.observed.under_way.clone() else { return Ok(()) };
        let back = of.status == ServiceDeploymentStatus::RollbackInProgress;
        (of.status, of.finished_at) = if back {
            (ServiceDeploymentStatus::RollbackSuccessful, Some(self.now))
        } else {
            (ServiceDeploymentStatus::Successful, Some(self.now))
        };
        of.started_at = of.started_at.or(Some(self.now));
        if of.breaker_status == BreakerStatus::Monitoring {
            of.breaker_status = BreakerStatus::MonitoringComplete;
        }
        let (kind, what) = if back {
            (announce::ROLLED_BACK, format!("was rolled back to deployment {} of {}", self.primary.id, self.primary.task_definition))
        } else {
            self.count(&mut of);
            (announce::COMPLETED, "completed".to_owned())
        };
        self.announce(tx, of, kind, &what).await
    }

    async fn fail(&self, tx: &mut Tx, reason: &str, by: FailedBy) -> Result<(), DbError> {
        self.mark_failed(tx, reason, by, DeploymentStatus::Primary).await?;
        let Some(mut of) = self.observed.under_way.clone() else { return Ok(()) };
        let back = of.status == ServiceDeploymentStatus::RollbackInProgress;
        of.status = if back { ServiceDeploymentStatus::RollbackFailed } else { ServiceDeploymentStatus::Stopped };
        of.status_reason = of.because(&self.said(reason, by));
        of.stopped_at = Some(self.now);
        of.finished_at = Some(self.now);
        if !back {
            self.count(&mut of);
        }
        triggered(&mut of, by);
        let what = if back { format!("could not be rolled back: {reason}") } else { format!("failed: {reason}") };
        self.announce(tx, of, announce::FAILED, &what).await
    }

    async fn roll_back(&self, tx: &mut Tx, to: &DeploymentId, reason: &str, by: FailedBy) -> Result<(), DbError> {
        self.mark_failed(tx, reason, by, DeploymentStatus::Active).await?;
        let said = match by {
            FailedBy::CircuitBreaker => format!("ECS deployment circuit breaker: rolling back to deploymentId {to}."),
            FailedBy::Request => format!("ECS deployment {} was stopped: rolling back to deploymentId {to}.", self.primary.id),
        };
        self.change(tx, to, |back| {
            back.status = DeploymentStatus::Primary;
            back.rollout_state = RolloutState::InProgress;
            back.rollout_state_reason.clone_from(&said);
            (back.failed_tasks, back.breaker_failures, back.breaker_consecutive, back.consecutive_failures) = (0, 0, 0, 0);
            back.not_before = self.now;
        })
        .await?;
        let Some(mut of) = self.observed.under_way.clone() else { return Ok(()) };
        let asked = of.rollback.take().map(|asked| asked.reason);
        of.status = ServiceDeploymentStatus::RollbackInProgress;
        of.status_reason = of.because(&asked.clone().unwrap_or_else(|| self.said(reason, by)));
        of.started_at = of.started_at.or(Some(self.now));
        of.rollback = Some(Rollback { reason: asked.unwrap_or(said), started_at: self.now, target: Some(to.clone()) });
        self.count(&mut of);
        triggered(&mut of, by);
        self.announce(tx, of, announce::FAILED, &format!("failed: {reason} Rolling back to deployment {to}")).await
    }

    async fn mark_failed(&self, tx: &mut Tx, reason: &str, by: FailedBy, status: DeploymentStatus) -> Result<(), DbError> {
        self.change(tx, &self.primary.id, |primary| {
            primary.status = status;
            primary.rollout_state = RolloutState::Failed;
            primary.rollout_state_reason = self.said(reason, by);
        })
        .await
    }

    fn said(&self, reason: &str, by: FailedBy) -> String {
        match by {
            FailedBy::CircuitBreaker => format!("ECS deployment circuit breaker: {reason}"),
            FailedBy::Request => format!("ECS deployment {}: {reason}", self.primary.id),
        }
    }

    /// What the circuit breaker had counted of the PRIMARY.
    fn count(&self, of: &mut ServiceDeployment) {
        let service = &self.observed.service;
        of.breaker_failures = breaker::failures(&service.circuit_breaker, &self.primary);
        of.breaker_threshold = breaker::threshold(&service.circuit_breaker, service.desired_count);
    }

    async fn retire(&self, tx: &mut Tx, which: impl Fn(&Deployment) -> bool) -> Result<(), DbError> {
        for deployment in self.observed.deployments.iter().filter(|deployment| which(deployment)) {
            self.change(tx, &deployment.id, |deployment| deployment.status = DeploymentStatus::Inactive).await?;
        }
        Ok(())
    }

    async fn announce(&self, tx: &mut Tx, of: ServiceDeployment, kind: &'static str, what: &str) -> Result<(), DbError> {
        let of = self.save(tx, of).await?;
        announce::announce(tx, kind, &self.observed.service, &of, what, self.now).await
    }

    async fn save(&self, tx: &mut Tx, mut of: ServiceDeployment) -> Result<ServiceDeployment, DbError> {
        of.updated_at = self.now;
        store::service_deployments::update(tx, &of).await?;
        Ok(of)
    }
}

fn triggered(of: &mut ServiceDeployment, by: FailedBy) {
    of.breaker_status = match by {
        FailedBy::CircuitBreaker => BreakerStatus::Triggered,
        FailedBy::Request if of.breaker_status == BreakerStatus::Monitoring => BreakerStatus::MonitoringComplete,
        FailedBy::Request => of.breaker_status,
    };
}
