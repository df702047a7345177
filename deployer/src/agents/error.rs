//! Refusals of the agent protocol. What is unexpected is logged here and leaves without words of its own.

use api::agent::{AgentError, AgentErrorCode};
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use platform::db::{DbError, WriteError};

#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    #[error("{1}")]
    Said(AgentErrorCode, String),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    #[error(transparent)]
    Authority(#[from] identity::authority::AuthorityError),
}

impl Refusal {
    pub fn new(code: AgentErrorCode, message: impl Into<String>) -> Self {
        Self::Said(code, message.into())
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(AgentErrorCode::Invalid, message)
    }
}

impl WriteError for Refusal {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_conflict())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        use identity::authority::AuthorityError;
        let (code, message) = match self {
            Self::Said(code, message) => (code, message),
            Self::Authority(AuthorityError::Request(message)) => (AgentErrorCode::Invalid, message),
            fault @ (Self::Db(_) | Self::Identity(_) | Self::Authority(_)) => {
                tracing::error!(error = %fault, "a request of an agent failed");
                (AgentErrorCode::Internal, "the server's log says why".to_owned())
            }
        };
        let status = match code {
            AgentErrorCode::Register => StatusCode::CONFLICT,
            AgentErrorCode::Revoked | AgentErrorCode::JoinToken => StatusCode::UNAUTHORIZED,
            AgentErrorCode::NotAssigned => StatusCode::FORBIDDEN,
            AgentErrorCode::NotFound => StatusCode::NOT_FOUND,
            AgentErrorCode::Invalid => StatusCode::BAD_REQUEST,
            AgentErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(AgentError { code, message })).into_response()
    }
}
