//! A wake: "something changed, look again". Carries nothing; many wakes before a look are one.
//!
//! Writers call [`Wake::wake`] after commit; a background task waits with [`Wake::wait`] or its period, whichever is first.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Wakes the one waiting task, now or at its next wait.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Returns at the next wake, or after `period`. Cancel-safe: a wake that arrives meanwhile is kept for the next wait.
    pub async fn wait(&self, period: Duration) {
        let _ = tokio::time::timeout(period, self.0.notified()).await;
    }
}
