//! Starting and stopping a process: one token everybody watches, and a tracker of every task that was spawned.
//!
//! SIGTERM or SIGINT ends the process softly: listeners stop accepting, background tasks end at their next step, requests in
//! flight get [`SHUTDOWN_SECS_MAX`]; then, or at a second signal, the process ends as it is.

use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest time a soft stop takes, in seconds.
pub const SHUTDOWN_SECS_MAX: u64 = 10;

#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    pub stopping: CancellationToken,
    tracker: TaskTracker,
}

impl Lifecycle {
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends by itself; it is expected to watch `stopping`.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(task);
    }

    /// Runs `step` again and again: at once, then at each wake or period, until the process stops. A step takes no input and does
    /// one bounded batch; its errors are logged by the step itself.
    pub fn every<S, F>(&self, wake: crate::wake::Wake, period: Duration, mut step: S)
    where
        S: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.spawn(async move {
            while !stopping.is_cancelled() {
                step().await;
                tokio::select! {
                    // Cancel-safe per docs of CancellationToken.
                    () = stopping.cancelled() => {}
                    // Cancel-safe: see Wake::wait.
                    () = wake.wait(period) => {}
                }
            }
        });
    }

    /// Waits for SIGTERM or SIGINT, then stops softly.
    pub async fn run_until_signal(self) {
        wait_for_signal().await;
        tracing::info!("stopping");
        self.stop().await;
    }

    /// Stops softly: cancels, then waits for every task, at most [`SHUTDOWN_SECS_MAX`] or until a second signal.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => {}
            () = tokio::time::sleep(Duration::from_secs(SHUTDOWN_SECS_MAX)) => tracing::warn!("some tasks did not end in time"),
            () = wait_for_signal() => tracing::warn!("second signal, stopping at once"),
        }
    }
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
