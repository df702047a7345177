//! The part of `/api/v1` that is about the registry: its repositories and its garbage.

mod garbage;
mod repositories;

use crate::context::Context;
use crate::error::RegistryError;
use axum::extract::{DefaultBodyLimit, FromRef};
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
    OpenApiRouter::new()
        .routes(routes!(repositories::list))
        .routes(routes!(repositories::get, repositories::change))
        .routes(routes!(garbage::plan))
        .routes(routes!(garbage::collect))
        .layer(DefaultBodyLimit::max(api::v1::BODY_BYTES_MAX))
        .with_state(Api(context))
}

/// What goes wrong inside is logged here and told as no more than that.
fn fault(error: RegistryError) -> ApiError {
    if let RegistryError::SettingsInvalid(reason) = error {
        return ApiError::invalid(reason);
    }
    tracing::error!(%error, "a request of the Berth API failed");
    if let RegistryError::Db(error) = &error { ApiError::database(error) } else { ApiError::internal() }
}

/// Refuses who may not administer `resource`.
async fn require_admin(ctx: &Context, caller: &Caller, resource: &Resource) -> Result<(), ApiError> {
    let snapshot = ctx.gate.identity().snapshot().await?;
    if decide(&snapshot, caller, Role::Admin, resource).allowed {
        return Ok(());
    }
    Err(Refusal::Forbidden { principal: caller.principal.clone(), role: Role::Admin, resource: resource.to_string() }.into())
}
