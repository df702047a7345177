//! The HTTP face of identity: `/api/v1` for permissions and `/token` for the registry's token protocol.

use crate::Identity;
use utoipa_axum::router::OpenApiRouter;

pub fn router(_identity: Identity) -> OpenApiRouter {
    OpenApiRouter::new()
}
