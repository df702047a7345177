//! Why something about triggers is refused, and how `/api/v1` says it.

use super::filter::FilterError;
use super::revision::RevisionError;
use api::v1::Problem;
use identity::http::ApiError;
use identity::{IdentityError, Refusal};
use platform::db::{DbError, WriteError};

#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    /// What is asked for cannot be, as things stand; and what to do about it.
    #[error("{message}")]
    Conflict { code: &'static str, message: String, hint: String },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Db(#[from] DbError),
    /// The registry could not answer.
    #[error("{0}")]
    Registry(String),
}

impl TriggerError {
    pub fn conflict(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Conflict { code, message: message.into(), hint: hint.into() }
    }
}

impl WriteError for TriggerError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_conflict())
    }
}

impl From<FilterError> for TriggerError {
    fn from(error: FilterError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<RevisionError> for TriggerError {
    fn from(error: RevisionError) -> Self {
        let hint = "remove the trigger, or give the service's definition such a container";
        Self::conflict("no_such_container", error.to_string(), hint)
    }
}

impl From<TriggerError> for ApiError {
    fn from(error: TriggerError) -> Self {
        match error {
            TriggerError::Invalid(detail) => Self::invalid(detail),
            TriggerError::NotFound(detail) => Self::not_found(detail),
            TriggerError::Conflict { code, message, hint } => {
                Self::new(Problem::new(409, code, "It cannot be done as things stand", message).with_hint(hint))
            }
            TriggerError::Refused(refusal) => refusal.into(),
            TriggerError::Identity(error) => error.into(),
            TriggerError::Db(_) | TriggerError::Registry(_) => {
                tracing::error!(%error, "a request about triggers failed");
                Self::internal()
            }
        }
    }
}
