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
