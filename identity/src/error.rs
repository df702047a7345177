//! What goes wrong inside identity (a database, a key, a certificate) and what an operation refuses.
//!
//! `IdentityError` never reaches a client in words; `Refusal` is made for people and mapped to a problem document in `http`.

use crate::passwords::PasswordError;
use model::access::{AccessError, Principal, Resource, Role};
use platform::db::{DbError, WriteError};
use std::path::PathBuf;

/// A fault of the server or of its configuration.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("master key file {path}: {reason}")]
    MasterKey { path: PathBuf, reason: String },
    #[error("the master key is not the one this database was sealed with")]
    WrongMasterKey,
    #[error("password hashing: {0}")]
    Password(String),
    #[error("certificate: {0}")]
    Certificate(String),
    #[error("a background thread did not end")]
    Interrupted,
}

/// Why an operation did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    #[error("{what} `{name}` does not exist")]
    NotFound { what: &'static str, name: String },
    #[error("{what} `{name}` exists already")]
    AlreadyExists { what: &'static str, name: String },
    #[error("no grant gives {principal} {role} on {resource}")]
    Forbidden { principal: Principal, role: Role, resource: String },
    #[error("a token with a scope may not make or remove credentials of its owner")]
    NarrowedToken,
    #[error("this would leave no enabled user with admin on the server")]
    LastServerAdmin,
    #[error("the current password is not right")]
    WrongPassword,
    #[error("there are {max} {what} already, which is the most")]
    TooMany { what: &'static str, max: usize },
    #[error("{0}")]
    Invalid(String),
    #[error("too many logins at once")]
    Busy,
    #[error(transparent)]
    Fault(#[from] IdentityError),
}

impl Refusal {
    pub(crate) fn forbidden(principal: &Principal, role: Role, resource: &Resource) -> Self {
        Self::Forbidden { principal: principal.clone(), role, resource: resource.to_string() }
    }

    pub(crate) fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound { what, name: name.into() }
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl WriteError for Refusal {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Fault(error) if error.is_conflict())
    }
}

impl WriteError for IdentityError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_conflict())
    }
}

impl From<PasswordError> for Refusal {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy,
            PasswordError::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl From<crate::authority::AuthorityError> for Refusal {
    fn from(error: crate::authority::AuthorityError) -> Self {
        match error {
            crate::authority::AuthorityError::Request(reason) => Self::Invalid(reason),
            crate::authority::AuthorityError::Fault(fault) => Self::Fault(fault),
        }
    }
}
