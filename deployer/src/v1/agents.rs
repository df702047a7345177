//! `GET /api/v1/agent-listener`: where agents join.

use super::Api;
use api::v1::Problem;
use api::v1::deployer::AgentListener;
use axum::Json;
use axum::extract::State;
use identity::http::{ApiError, Authenticated};

/// The address that `berth agent join` wants. For everybody who is logged in.
#[utoipa::path(get, path = "/api/v1/agent-listener", tag = "instances",
    responses((status = 200, description = "Its URL", body = AgentListener), (status = "default", description = "Refused", body = Problem)))]
pub(super) async fn listener(State(api): State<Api>, _caller: Authenticated) -> Result<Json<AgentListener>, ApiError> {
    Ok(Json(AgentListener { url: api.0.config.agent_url.clone() }))
}
