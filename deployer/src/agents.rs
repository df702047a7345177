//! The protocol with the agents: join, register, poll, report, logs, relay of images; and the lease that says who is lost.
//!
//! The agents dial in. `state` holds in memory what is known of each (when it was last heard, its wake, log requests for it); the
//! database holds what must outlive the process. Shapes are in `api::agent`.

mod certificate;
mod error;
mod join;
pub mod lease;
pub mod logs;
mod merge;
mod orders;
mod poll;
mod progress;
mod register;
mod relay;
mod report;
mod state;

pub use merge::merge;
pub use state::Agents;

use crate::context::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, post};
use platform::lifecycle::Lifecycle;
use std::sync::Arc;

/// `/agent/v1/…`. Every route but `join` wants a client certificate of ours that is not revoked.
pub fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/agent/v1/join", post(join::join))
        .route("/agent/v1/renew", post(join::renew))
        .route("/agent/v1/register", post(register::register))
        .route("/agent/v1/poll", post(poll::poll))
        .route("/agent/v1/report", post(report::report))
        .route("/agent/v1/progress", post(progress::progress))
        .layer(DefaultBodyLimit::max(api::agent::BODY_BYTES_MAX))
        // The body is the output of a container, of any length; it flows through and is never held.
        .route("/agent/v1/logs/{request_id}", post(logs::answer).layer(DefaultBodyLimit::disable()))
        .route("/agent/v1/images/{*path}", any(relay::image))
        .with_state(context)
}

/// Starts the lease sweep, and ties what is held open to the life of the process.
pub fn start(context: &Arc<Context>, lifecycle: &Lifecycle) {
    context.agents.stop_with(lifecycle.stopping.clone());
    lease::start(context, lifecycle);
}
