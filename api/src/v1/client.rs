//! A small typed client of the Berth API. The command line is built on it.

mod stream;

pub use stream::{EventStream, Heard};

use super::Problem;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest time one call takes, in seconds; streams have no such limit.
pub const CALL_SECS_MAX: u64 = 60;
/// Longest answer taken, in bytes.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The server cannot be reached, or the connection broke.
    #[error("cannot reach {url}: {message}")]
    Unreachable { url: String, message: String },
    /// What came back is not an answer of this API.
    #[error("{url} answered with what is not an answer of this API: {message}")]
    NotAnAnswer { url: String, message: String },
}

/// With what the caller shows who it is.
#[derive(Clone)]
pub enum Credentials {
    Token(String),
    Password { user: String, password: String },
}

/// A client of one server; cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    credentials: Option<Credentials>,
}

impl Client {
    /// A client of the server at `url` (`http://127.0.0.1:5000`). `http` carries the settings of TLS.
    pub fn new(http: reqwest::Client, url: &str, credentials: Option<Credentials>) -> Self {
        Self { http, url: url.trim_end_matches('/').to_owned(), credentials }
    }

    /// `GET` of `path` (`/api/v1/users`) with `query`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, path).query(query)).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.json(self.request(Method::PATCH, path).json(body)).await
    }

    /// `PUT` that is answered without content.
    pub async fn put(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.accepted(self.send(self.request(Method::PUT, path).json(body).timeout(call_limit())).await?).await.map(drop)
    }

    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.accepted(self.send(self.request(Method::DELETE, path).timeout(call_limit())).await?).await.map(drop)
    }

    /// `GET` of something without an end: the answer's body is read by the caller, for as long as it likes.
    pub async fn stream(&self, path: &str, query: &impl Serialize) -> Result<Response, ClientError> {
        self.accepted(self.send(self.request(Method::GET, path).query(query)).await?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.credentials {
            None => request,
            Some(Credentials::Token(token)) => request.bearer_auth(token),
            Some(Credentials::Password { user, password }) => request.basic_auth(user, Some(password)),
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.accepted(self.send(request.timeout(call_limit())).await?).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.not_an_answer(&error))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    /// The response, or the problem that it says.
    async fn accepted(&self, response: Response) -> Result<Response, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.body(response).await?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(_) => Err(self.not_an_answer(&format_args!("HTTP status {status}"))),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
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

fn call_limit() -> Duration {
    Duration::from_secs(CALL_SECS_MAX)
}
