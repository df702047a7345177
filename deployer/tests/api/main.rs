//! The ECS and ECR API through its router, on real databases, with real identity and a registry in memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests: what is not there fails the test")]

mod approvals;
mod clusters;
mod ecr;
mod events;
mod every_operation;
mod images;
mod pins;
mod rollbacks;
mod service_deployments;
mod services;
mod support;
mod task_definitions;
mod tasks;
mod triggers;
mod wire;
