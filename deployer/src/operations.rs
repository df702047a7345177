//! The operations of the ECS and ECR API: one function each, from request to response. Called by `aws`.

pub mod clusters;
