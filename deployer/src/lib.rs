//! The control plane: turns what people ask for (the ECS and ECR API) into tasks on container instances.
//!
//! `aws` is the wire, `operations` one function per operation, `task_definition` the pure checks of a document, `store` all SQL.
//! `triggers` turns pushes into deployments, `rollout` keeps services at what they should be, `placement` chooses instances, `agents`
//! is the protocol with the hosts, `v1` the part of the Berth API that is about running things; `task_events` writes what people see
//! of tasks, `live` hands events on to those who watch. The composition root builds a [`Deployer`] and mounts its routers.
//!
//! Deliberately absent: registry code. What is needed of the registry comes in as [`RegistryFunctions`].

pub mod agents;
pub mod aws;
pub mod context;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod live;
mod metrics;
pub mod operations;
mod pins;
pub mod placement;
pub mod rollout;
pub mod store;
pub mod task_definition;
pub mod task_events;
pub mod triggers;
pub mod v1;

pub use context::{AssignedRequest, Context, DeployerConfig, OrdersWake, RegistryFunctions, RepositoryEntry};
pub use error::{Code, EcsError};

use axum::Router;
use platform::lifecycle::Lifecycle;
use std::sync::Arc;

/// The control plane of one process; cheap to clone.
#[derive(Clone)]
pub struct Deployer(Arc<Context>);

impl Deployer {
    /// Makes sure that the cluster `default` exists.
    pub async fn open(context: Context) -> Result<Self, platform::db::DbError> {
        operations::clusters::ensure_default(&context).await?;
        Ok(Self(Arc::new(context)))
    }

    pub fn context(&self) -> &Arc<Context> {
        &self.0
    }

    /// `POST /`: ECS and ECR, told apart by `X-Amz-Target`. For the public listener.
    pub fn aws_router(&self) -> Router {
        aws::router(self.0.clone())
    }

    /// The part of `/api/v1` that is about running things.
    pub fn v1_router(&self) -> utoipa_axum::router::OpenApiRouter {
        v1::router(self.0.clone())
    }

    /// `/agent/v1/…`, for the agents' own listener only.
    pub fn agent_router(&self) -> Router {
        agents::router(self.0.clone())
    }

    /// Adds what the control plane counts to the metrics of the process.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.0.metrics.register(registry);
    }

    /// Starts the background tasks.
    pub fn start(&self, lifecycle: &Lifecycle) {
        rollout::start(&self.0, lifecycle);
        agents::start(&self.0, lifecycle);
        live::start(&self.0, lifecycle);
        triggers::start(&self.0, lifecycle);
    }
}
