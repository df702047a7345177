//! Triggers: a push to a repository deploys the services that follow it.
//!
//! `filter` says which tags, `decide` what becomes of a push, both purely; `intake` is the background task that asks the tables which
//! pushes nobody has decided, and writes decisions with the deployment they make. `manage` makes and removes triggers, holds and resumes
//! them; `approval` takes or rejects a push that waits; `rollback` goes back and holds.
//!
//! A push deploys when who pushed could have asked for the same by hand (`authority`). Deliberately absent: any way in that bypasses it.

pub mod approval;
pub mod authority;
pub mod decide;
mod deploy;
pub mod error;
pub mod filter;
pub mod intake;
pub mod manage;
mod record;
pub mod revision;
pub mod rollback;
mod view;

pub use error::TriggerError;

use crate::context::Context;
use identity::{Caller, Refusal, Snapshot, decide as may};
use model::Timestamp;
use model::access::{Resource, Role};
use platform::events::NewEvent;
use platform::lifecycle::Lifecycle;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The intake looks at least this often.
const INTAKE_PERIOD: Duration = Duration::from_secs(1);

/// Starts the intake of pushes.
pub fn start(context: &Arc<Context>, lifecycle: &Lifecycle) {
    let (intake, memory) = (context.clone(), Arc::new(Mutex::new(intake::Memory::default())));
    lifecycle.every(context.intake_wake.clone(), INTAKE_PERIOD, move || {
        let (context, memory) = (intake.clone(), memory.clone());
        async move {
            if let Err(error) = intake::run(&context, &mut *memory.lock().await).await {
                tracing::error!(%error, "the intake of pushes failed");
            }
        }
    });
}

/// Somebody who asks for something, with the grants of the moment.
pub struct Actor {
    pub context: Arc<Context>,
    pub caller: Caller,
    pub snapshot: Arc<Snapshot>,
    pub now: Timestamp,
}

impl Actor {
    pub async fn new(context: Arc<Context>, caller: Caller) -> Result<Self, TriggerError> {
        let snapshot = context.identity.snapshot().await?;
        Ok(Self { now: context.clock.now(), context, caller, snapshot })
    }

    pub fn may(&self, role: Role, resource: &Resource) -> bool {
        may(&self.snapshot, &self.caller, role, resource).allowed
    }

    pub fn require(&self, role: Role, resource: &Resource) -> Result<(), TriggerError> {
        require(&self.snapshot, &self.caller, role, resource)
    }

    fn event(&self, kind: &'static str, subject: &Resource, message: String) -> NewEvent {
        NewEvent {
            kind,
            principal: Some(self.caller.principal.to_string()),
            subject: subject.to_string(),
            message,
            detail: serde_json::json!({ "credential": self.caller.credential.to_string() }),
        }
    }
}

fn require(snapshot: &Snapshot, caller: &Caller, role: Role, resource: &Resource) -> Result<(), TriggerError> {
    if may(snapshot, caller, role, resource).allowed {
        return Ok(());
    }
    Err(Refusal::Forbidden { principal: caller.principal.clone(), role, resource: resource.to_string() }.into())
}
