//! Around every request: its id, its count, its time limit. The faces themselves know nothing of this.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use platform::metrics::{Face, Metrics};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time until an answer begins, in seconds; uploads to the registry have their own limits.
pub const ANSWER_SECS_MAX: u64 = 60;
/// Carries the id of the request in every answer, for people who report a problem.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps all routes of a listener.
pub fn wrap(router: Router, metrics: Metrics) -> Router {
    router.layer(middleware::from_fn_with_state(metrics, around))
}

async fn around(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let face = Face::of_path(request.uri().path());
    let guard = metrics.request(face);
    let id = format!("{:016x}", platform::random::bits64());
    let started = Instant::now();
    let about = tracing::enabled!(tracing::Level::DEBUG).then(|| format!("{} {}", request.method(), request.uri().path()));
    let mut response = if face == Face::Registry {
        next.run(request).await
    } else {
        let answer = tokio::time::timeout(Duration::from_secs(ANSWER_SECS_MAX), next.run(request)).await;
        answer.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
    };
    let status = response.status();
    guard.finish(status.as_u16());
    if let Some(about) = about {
        tracing::debug!(request.id = %id, status = status.as_u16(), duration_us = started.elapsed().as_micros(), "{about}");
    }
    if status.is_server_error() {
        tracing::warn!(request.id = %id, face = face.as_str(), status = status.as_u16(), "request failed");
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;

    #[tokio::test]
    async fn every_answer_has_an_id_and_is_counted() {
        let dir = std::env::temp_dir().join(format!("berth-observe-{}", platform::random::bits64()));
        std::fs::create_dir_all(&dir).unwrap();
        let db = platform::db::Db::open(&platform::db::DatabaseUrl::Sqlite(dir.join("berth.db"))).await.unwrap();
        let metrics = Metrics::new("0", db, |_| {});
        let router = wrap(Router::new().route("/healthz", get(async || "ok")), metrics.clone());
        let request = http::Request::get("/healthz").body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        assert_eq!(response.headers()[REQUEST_ID].len(), 16);
        assert!(metrics.render().contains(r#"face="operations",status="200"} 1"#));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
