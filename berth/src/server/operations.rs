//! `/healthz`, `/readyz`, `/metrics`: for machines that watch the server.
//!
//! `/metrics` is answered to loopback only: it carries no secrets, but it is nobody else's business. A request that a proxy on
//! this host passed on does not count as local.

use axum::Router;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use platform::db::Db;
use platform::lifecycle::Lifecycle;
use platform::metrics::Metrics;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest wait for the database in `/readyz`, in seconds.
const READY_SECS_MAX: u64 = 2;

#[derive(Clone)]
struct Operations {
    db: Db,
    lifecycle: Lifecycle,
    metrics: Metrics,
}

pub fn router(db: Db, lifecycle: Lifecycle, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Operations { db, lifecycle, metrics })
}

async fn ready(State(operations): State<Operations>) -> Response {
    let not_ready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response();
    if operations.lifecycle.stopping.is_cancelled() {
        return not_ready("stopping");
    }
    match tokio::time::timeout(Duration::from_secs(READY_SECS_MAX), operations.db.ping()).await {
        Ok(Ok(())) => "ready\n".into_response(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database does not answer");
            not_ready("the database does not answer")
        }
        Err(_) => not_ready("the database does not answer in time"),
    }
}

async fn metrics_text(
    State(operations): State<Operations>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
) -> Response {
    let local = peer.is_some_and(|Extension(ConnectInfo(address))| address.ip().to_canonical().is_loopback());
    if !local || headers.contains_key("x-forwarded-for") || headers.contains_key(header::FORWARDED) {
        return (StatusCode::FORBIDDEN, "metrics are answered on loopback only\n").into_response();
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], operations.metrics.render()).into_response()
}
