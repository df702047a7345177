//! Tells the server how far pulls are, while there are any: at most twice a second, and never again what is lost.

use crate::client::HttpServer;
use crate::engine::Engine;
use crate::runtime::Runtime;
use api::agent::{PROGRESS_MILLIS_MIN, ProgressRequest, PullProgress};
use std::sync::Arc;
use std::time::Duration;

/// Until aborted.
pub(crate) async fn run<R: Runtime>(server: HttpServer, engine: Arc<Engine<R>>) {
    let mut told: Vec<PullProgress> = Vec::new();
    loop {
        engine.progress().any().await;
        let levels = engine.progress().levels();
        let pulls: Vec<PullProgress> = levels.iter().filter(|level| !told.contains(level)).cloned().collect();
        if !pulls.is_empty()
            && let Err(error) = server.progress(&ProgressRequest { pulls }).await
        {
            tracing::debug!("the progress of pulls was not told: {error}");
        }
        told = levels;
        tokio::time::sleep(Duration::from_millis(PROGRESS_MILLIS_MIN)).await;
    }
}
