//! The wire of the ECS and ECR API: AWS JSON 1.1 on `POST /`.

use crate::context::Context;
use axum::Router;
use std::sync::Arc;

pub fn router(_context: Arc<Context>) -> Router {
    Router::new()
}
