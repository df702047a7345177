//! The operations of the ECS and ECR API: one function each, from request to response. Called by `aws`.

pub mod call;
pub mod clusters;
pub mod ecr;
pub mod images;
pub mod instances;
pub mod paging;
pub mod placement;
pub mod references;
pub mod services;
pub mod tags;
pub mod task_definitions;
pub mod tasks;

/// What a batch answers for one that is not there, or that the caller may not see: waiters depend on the word.
fn missing(arn: String) -> api::aws::Failure {
    api::aws::Failure { arn: Some(arn), reason: Some("MISSING".into()), detail: None }
}
