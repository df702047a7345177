//! The part of `/api/v1` that is about running things: output of tasks, events, containers that nobody knows, lost hosts, triggers and
//! approvals.

mod agents;
mod brakes;
mod decisions;
mod events;
mod logs;
mod rollbacks;
mod services;
mod triggers;
mod unknown;

use crate::context::Context;
use axum::extract::FromRef;
use identity::http::ApiError;
use identity::{Caller, Identity, Refusal, Snapshot, decide};
use model::access::{Resource, Role};
use platform::db::DbError;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What handlers get: the context, and from it identity for the extractor of the caller.
#[derive(Clone)]
struct Api(Arc<Context>);

impl FromRef<Api> for Identity {
    fn from_ref(api: &Api) -> Self {
        api.0.identity.clone()
    }
}

pub fn router(context: Arc<Context>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(logs::logs))
        .routes(routes!(events::list))
        .routes(routes!(unknown::list))
        .routes(routes!(brakes::release))
        .routes(routes!(agents::listener))
        .routes(routes!(triggers::list, triggers::create))
        .routes(routes!(triggers::hold))
        .routes(routes!(triggers::resume))
        .routes(routes!(triggers::get, triggers::remove))
        .routes(routes!(triggers::test))
        .routes(routes!(decisions::list))
        .routes(routes!(decisions::approve))
        .routes(routes!(decisions::reject))
        .routes(routes!(decisions::last_push))
        .routes(routes!(rollbacks::create))
        .with_state(Api(context))
}

/// A database that does not answer is logged here and told as no more than that.
#[expect(clippy::needless_pass_by_value, reason = "used as the argument of map_err")]
fn fault(error: DbError) -> ApiError {
    tracing::error!(%error, "a request of the Berth API failed");
    ApiError::database(&error)
}

fn require(snapshot: &Snapshot, caller: &Caller, role: Role, resource: &Resource) -> Result<(), ApiError> {
    if decide(snapshot, caller, role, resource).allowed {
        return Ok(());
    }
    Err(Refusal::Forbidden { principal: caller.principal.clone(), role, resource: resource.to_string() }.into())
}
