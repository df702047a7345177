//! Refusals of the ECS and ECR API: a code clients branch on, and a sentence for people.
//!
//! Anything unexpected is logged where it is turned into an answer (`aws`) and leaves as a bare `ServerException`.

use platform::db::{DbError, WriteError};
use std::fmt;

/// Error codes as botocore knows them; the wire's `__type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    AccessDeniedException,
    ClientException,
    ClusterContainsContainerInstancesException,
    ClusterContainsServicesException,
    ClusterContainsTasksException,
    ClusterNotFoundException,
    ConflictException,
    InvalidParameterException,
    LimitExceededException,
    RepositoryAlreadyExistsException,
    RepositoryNotFoundException,
    SerializationException,
    ServiceDeploymentNotFoundException,
    ServiceNotActiveException,
    ServiceNotFoundException,
    UnknownOperationException,
    UnsupportedFeatureException,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl From<Code> for String {
    fn from(code: Code) -> String {
        code.to_string()
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum EcsError {
    #[error("{code}: {message}")]
    Refused { code: Code, message: String },
    #[error(transparent)]
    Db(#[from] DbError),
    /// Identity or registry could not answer.
    #[error("{0}")]
    Internal(String),
}

impl EcsError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into() }
    }

    /// A parameter that is not what ECS or Berth takes.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterException, message)
    }

    /// ECS's code for what is wrong with a task definition, or with the state of what is asked for.
    pub fn client(message: impl Into<String>) -> Self {
        Self::new(Code::ClientException, message)
    }

    pub fn cluster_not_found() -> Self {
        Self::new(Code::ClusterNotFoundException, "Cluster not found.")
    }

    pub fn service_not_found() -> Self {
        Self::new(Code::ServiceNotFoundException, "Service not found.")
    }

    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Db(_) | Self::Internal(_) => None,
        }
    }
}

impl WriteError for EcsError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_conflict())
    }
}

impl From<identity::IdentityError> for EcsError {
    fn from(error: identity::IdentityError) -> Self {
        Self::Internal(error.to_string())
    }
}
