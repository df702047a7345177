//! The part of `/api/v1` that is about the registry: its garbage.

mod garbage;

use crate::context::Context;
use crate::error::RegistryError;
use axum::extract::FromRef;
use identity::http::ApiError;
use identity::{Caller, Identity, Refusal, decide};
use model::access::{Resource, Role};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What handlers get: the context, and from it identity for the extractor of the caller.
#[derive(Clone)]
struct Api(Arc<Context>);

impl FromRef<Api> for Identity {
    fn from_ref(api: &Api) -> Self {
        api.0.gate.identity().clone()
    }
}

pub fn router(context: Arc<Context>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(garbage::plan)).routes(routes!(garbage::collect)).with_state(Api(context))
}

/// What goes wrong inside is logged here and told as no more than that.
#[expect(clippy::needless_pass_by_value, reason = "used as the argument of map_err")]
fn fault(error: RegistryError) -> ApiError {
    tracing::error!(%error, "a request of the Berth API failed");
    ApiError::internal()
}

async fn require_server_admin(api: &Api, caller: &Caller) -> Result<(), ApiError> {
    let snapshot = api.0.gate.identity().snapshot().await?;
    let (role, resource) = (Role::Admin, Resource::server());
    if decide(&snapshot, caller, role, &resource).allowed {
        return Ok(());
    }
    Err(Refusal::Forbidden { principal: caller.principal.clone(), role, resource: resource.to_string() }.into())
}
