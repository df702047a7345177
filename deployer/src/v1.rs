//! The part of `/api/v1` that is about running things.

use crate::context::Context;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

pub fn router(_context: Arc<Context>) -> OpenApiRouter {
    OpenApiRouter::new()
}
