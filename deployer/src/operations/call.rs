//! One call of an operation: who calls, what they may, and when.

use crate::context::Context;
use crate::error::{Code, EcsError};
use identity::{Caller, Snapshot};
use model::Timestamp;
use model::access::{Resource, Role};
use platform::events::NewEvent;
use std::sync::Arc;

pub struct Call {
    pub context: Arc<Context>,
    pub caller: Caller,
    pub now: Timestamp,
    /// `ecs:CreateService`.
    action: String,
    snapshot: Arc<Snapshot>,
}

impl Call {
    pub async fn new(context: Arc<Context>, caller: Caller, action: String) -> Result<Self, EcsError> {
        let snapshot = context.identity.snapshot().await?;
        Ok(Self { now: context.clock.now(), context, caller, action, snapshot })
    }

    /// Whether the caller holds `role` on `resource`.
    pub fn may(&self, role: Role, resource: &Resource) -> bool {
        identity::decide(&self.snapshot, &self.caller, role, resource).allowed
    }

    /// Refuses in AWS's words, plus which grant is missing.
    pub fn require(&self, role: Role, resource: &Resource) -> Result<(), EcsError> {
        if self.may(role, resource) {
            return Ok(());
        }
        let message = format!(
            "User: {} is not authorized to perform: {} on resource: {resource} because no grant gives {role} on it",
            self.caller.principal, self.action
        );
        Err(EcsError::new(Code::AccessDeniedException, message))
    }

    /// An event of the audit about what this call changes.
    pub fn event(&self, kind: &'static str, subject: &Resource, message: String) -> NewEvent {
        let mut detail = self.caller.detail();
        detail["action"] = self.action.as_str().into();
        NewEvent { kind, principal: Some(self.caller.principal.to_string()), subject: subject.to_string(), message, detail }
    }
}
