//! A small typed client of the ECS and ECR API with a Bearer token. The command line is built on it.

use super::{CONTENT_TYPE, ErrorBody, Request};
use std::time::Duration;

/// Longest time one call takes, in seconds.
pub const CALL_SECS_MAX: u64 = 60;
/// Longest answer taken, in bytes.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no: a code of ECS or ECR, and why.
    #[error("{message}")]
    Refused { code: String, message: String, status: u16 },
    /// The server cannot be reached, or the connection broke.
    #[error("cannot reach {url}: {message}")]
    Unreachable { url: String, message: String },
    /// What came back is not an answer of this API.
    #[error("{url} answered with what is not an answer of this API: {message}")]
    NotAnAnswer { url: String, message: String },
}

impl ClientError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Unreachable { .. } | Self::NotAnAnswer { .. } => None,
        }
    }
}

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// A client of the server at `url` (`http://127.0.0.1:5000`). `http` carries the settings of TLS.
    pub fn new(http: reqwest::Client, url: &str, token: impl Into<String>) -> Self {
        Self { http, url: format!("{}/", url.trim_end_matches('/')), token: token.into() }
    }

    /// Calls the operation that `request` is of.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.not_an_answer(&error))?;
        let response = self
            .http
            .post(&self.url)
            .bearer_auth(&self.token)
            .header("content-type", CONTENT_TYPE)
            .header("x-amz-target", format!("{}.{}", R::API.target(), R::NAME))
            .timeout(Duration::from_secs(CALL_SECS_MAX))
            .body(body)
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.not_an_answer(&error));
        }
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(error) if !error.kind.is_empty() => {
                let code = error.kind.rsplit('#').next().unwrap_or_default().to_owned();
                Err(ClientError::Refused { code, message: error.message, status: status.as_u16() })
            }
            _ => Err(self.not_an_answer(&format_args!("HTTP status {status}"))),
        }
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.not_an_answer(&format_args!("more than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn not_an_answer(&self, message: &dyn std::fmt::Display) -> ClientError {
        ClientError::NotAnAnswer { url: self.url.clone(), message: message.to_string() }
    }

    /// The innermost cause is what helps: "connection refused".
    fn unreachable(&self, error: &dyn std::error::Error) -> ClientError {
        let mut cause = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        ClientError::Unreachable { url: self.url.clone(), message: cause.to_string() }
    }
}
