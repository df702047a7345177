//! Keeps services at what they should be: observe, plan purely, apply. Also the start of tasks without a service (`run`).
//!
//! `plan` decides from an `Observed` (read by `observe`) and knows no database; `apply` writes a plan, guarded by what it was made
//! from; `pass` does this for every service that needs it, on a wake and on a period. `failures` keeps the count behind the back-off.

pub mod announce;
pub mod apply;
pub mod backoff;
pub mod brake;
pub mod breaker;
pub mod census;
mod cleanup;
pub mod failures;
pub mod fleet;
pub mod observe;
pub mod observed;
pub mod pace;
pub mod pass;
pub mod plan;
pub mod run;
pub mod verdict;
mod words;

pub use cleanup::{run as cleanup, task_events as cleanup_events};

use crate::context::Context;
use platform::db::{DbError, WriteError};
use platform::lifecycle::Lifecycle;
use platform::wake::Wake;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The planner looks at least this often.
const PASS_PERIOD: Duration = Duration::from_secs(1);
/// Stopped tasks are looked through this often.
const CLEANUP_PERIOD: Duration = Duration::from_mins(1);

/// Why a plan, or a placement, was not written.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    #[error("what it was made from has changed")]
    Outdated,
    #[error(transparent)]
    Db(#[from] DbError),
}

impl WriteError for NotWritten {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_conflict())
    }
}

/// Starts the planner and the cleanup of stopped tasks.
pub fn start(context: &Arc<Context>, lifecycle: &Lifecycle) {
    let (planner, memory) = (context.clone(), Arc::new(Mutex::new(pass::Memory::default())));
    lifecycle.every(context.rollout_wake.clone(), PASS_PERIOD, move || {
        let (context, memory) = (planner.clone(), memory.clone());
        async move {
            if let Err(error) = pass::run(&context, &mut *memory.lock().await).await {
                tracing::error!(%error, "planning the services failed");
            }
        }
    });
    let cleaner = context.clone();
    lifecycle.every(Wake::default(), CLEANUP_PERIOD, move || {
        let context = cleaner.clone();
        async move {
            if let Err(error) = cleanup::run(&context).await {
                tracing::error!(%error, "removing stopped tasks failed");
            }
            if let Err(error) = cleanup::task_events(&context).await {
                tracing::error!(%error, "removing old events failed");
            }
        }
    });
}
