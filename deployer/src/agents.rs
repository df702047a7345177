//! The protocol with the agents: join, register, poll, report, logs, relay of images.

use crate::context::Context;
use axum::Router;
use platform::lifecycle::Lifecycle;
use std::sync::Arc;

/// What is known of the connected agents; memory only.
#[derive(Debug, Default)]
pub struct Agents {}

pub fn router(_context: Arc<Context>) -> Router {
    Router::new()
}

pub fn start(_context: &Arc<Context>, _lifecycle: &Lifecycle) {}
