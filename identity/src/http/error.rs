//! Refusals as problem documents (RFC 9457). The one place where an identity error gets a status and a code.
//!
//! | code | status | |
//! |---|---|---|
//! | `unauthenticated`, `credentials_expired` | 401 | no, bad or expired credentials |
//! | `forbidden` | 403 | `missing` names the grant |
//! | `token_is_narrowed` | 403 | a scoped token manages credentials |
//! | `wrong_password` | 403 | the current password is not right |
//! | `not_found` | 404 | absent, or not the caller's to see |
//! | `already_exists`, `last_server_admin`, `limit_reached` | 409 | |
//! | `invalid_request` | 400 | |
//! | `too_many_requests` | 429 | too many requests or wrong passwords; `Retry-After` says for how long |
//! | `busy` | 503 | too many logins at once |
//! | `unavailable` | 503 | what is needed does not answer, such as the database; `Retry-After` says when to try again |
//! | `internal` | 500 | logged here, nothing of it is told |

use crate::authenticate::AuthError;
use crate::error::{IdentityError, Refusal};
use api::v1::{MissingGrant, PROBLEM_CONTENT_TYPE, Problem};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use platform::db::DbError;

/// What a client is told to wait while something that is needed does not answer, in seconds.
pub(super) const RETRY_AFTER_SECS: u64 = 10;

/// What a handler of `/api/v1` returns instead of an answer. Boxed: it travels in every `Result`.
#[derive(Debug, Clone)]
pub struct ApiError {
    problem: Box<Problem>,
    retry_after_secs: Option<u64>,
}

impl ApiError {
    pub fn new(problem: Problem) -> Self {
        Self { problem: Box::new(problem), retry_after_secs: None }
    }

    /// 400 `invalid_request`
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Problem::new(400, "invalid_request", "The request is not valid", detail))
    }

    /// 404 `not_found`
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Problem::new(404, "not_found", "There is no such thing", detail))
    }

    /// 503 `unavailable`, and when to try again. Log the cause before.
    pub fn unavailable(title: &str) -> Self {
        let problem = Problem::new(503, "unavailable", title, "try again in a moment");
        Self { problem: Box::new(problem), retry_after_secs: Some(RETRY_AFTER_SECS) }
    }

    /// 500 `internal`. Log the cause before.
    pub fn internal() -> Self {
        Self::new(Problem::new(500, "internal", "The server failed", "the server's log says why"))
    }

    /// What the database did: 503 when it does not answer, else 500. Log the cause before.
    pub fn database(error: &DbError) -> Self {
        match error {
            DbError::Unavailable(_) | DbError::Conflict => Self::unavailable("The database does not answer now"),
            _ => Self::internal(),
        }
    }

    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&*self.problem).expect("a problem is plain values");
        let mut response = (status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"berth\""));
        }
        if let Some(secs) = self.retry_after_secs {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let unauthenticated = |detail: &str| Problem::new(401, "unauthenticated", "Who are you?", detail);
        let login = "log in with `berth login`, or give a token as `Authorization: Bearer`";
        Self::new(match error {
            AuthError::Missing => unauthenticated("no credentials were given").with_hint(login),
            AuthError::Bad => unauthenticated("the credentials are not valid").with_hint(login),
            AuthError::Expired => {
                Problem::new(401, "credentials_expired", "Who are you?", "the credentials have expired").with_hint("make a new token")
            }
            AuthError::Later { wait, .. } => {
                let problem = Problem::new(429, "too_many_requests", "Not now", error.to_string());
                return Self { problem: Box::new(problem), retry_after_secs: Some(wait.as_secs() + 1) };
            }
            AuthError::Unavailable(reason) => {
                tracing::error!(%reason, "credentials cannot be checked");
                return Self::unavailable("Credentials cannot be checked now");
            }
        })
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        tracing::error!(%error, "identity failed");
        match error {
            IdentityError::Db(error) => Self::database(&error),
            _ => Self::internal(),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let problem = |status, code, title| Problem::new(status, code, title, detail.clone());
        Self::new(match refusal {
            Refusal::NotFound { .. } => problem(404, "not_found", "There is no such thing"),
            Refusal::AlreadyExists { .. } => problem(409, "already_exists", "It exists already"),
            Refusal::Forbidden { principal, role, resource } => {
                let hint = format!("somebody with admin on it can run `berth access grant {principal} {role} {resource}`");
                let missing = MissingGrant { principal: principal.to_string(), role: role.to_string(), resource };
                Problem { missing: Some(missing), ..problem(403, "forbidden", "You may not do that").with_hint(hint) }
            }
            Refusal::NarrowedToken => problem(403, "token_is_narrowed", "This token may not do that")
                .with_hint("log in with the password, or use a token without a scope"),
            Refusal::LastServerAdmin => problem(409, "last_server_admin", "The server needs an administrator")
                .with_hint("give another user admin on server:berth first"),
            Refusal::WrongPassword => problem(403, "wrong_password", "The password is not right"),
            Refusal::TooMany { .. } => problem(409, "limit_reached", "There are too many").with_hint("remove some first"),
            Refusal::Invalid(_) => problem(400, "invalid_request", "The request is not valid"),
            Refusal::Busy => problem(503, "busy", "Too many logins at once"),
            Refusal::Fault(fault) => return fault.into(),
        })
    }
}
