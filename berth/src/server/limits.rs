//! How often one address may ask, where that is limited. Refused before anything else is looked at, in the words of the face asked.
//!
//! Behind a proxy all requests come from its address, unless it is named as trusted (`proxies`).

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use model::Clock;
use platform::http::client_address;
use platform::metrics::Face;
use platform::rate::{Rate, Rates};
use serde_json::json;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

struct Limits {
    rates: Rates<IpAddr>,
    clock: Arc<dyn Clock>,
}

/// Limits the requests of each address; without a limit the routes stay as they are.
pub fn wrap(router: Router, per_second: Option<NonZeroU32>, clock: Arc<dyn Clock>) -> Router {
    let Some(per_second) = per_second else { return router };
    let limits = Arc::new(Limits { rates: Rates::new(Rate::per_second(per_second.get())), clock });
    router.layer(middleware::from_fn_with_state(limits, within))
}

async fn within(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let face = Face::of_path(request.uri().path());
    // What watches the server has to be answered, above all when it is busy.
    let Some(address) = client_address(request.extensions()).filter(|_| face != Face::Operations) else { return next.run(request).await };
    match limits.rates.take(&address, limits.clock.now()) {
        Ok(()) => next.run(request).await,
        Err(wait) => refusal(face, wait.as_secs() + 1),
    }
}

fn refusal(face: Face, retry_after_secs: u64) -> Response {
    let message = format!("too many requests from this address: try again in {retry_after_secs} s");
    let (status, content_type, body) = match face {
        Face::Registry => {
            let errors = json!({ "errors": [{ "code": "TOOMANYREQUESTS", "message": message, "detail": null }] });
            (StatusCode::TOO_MANY_REQUESTS, "application/json", errors)
        }
        Face::Control => (StatusCode::BAD_REQUEST, api::aws::CONTENT_TYPE, json!({ "__type": "ThrottlingException", "message": message })),
        _ => {
            let problem = api::v1::Problem::new(429, "too_many_requests", "Not now", message);
            (StatusCode::TOO_MANY_REQUESTS, api::v1::PROBLEM_CONTENT_TYPE, json!(problem))
        }
    };
    let mut response = (status, body.to_string()).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_secs));
    response
}
