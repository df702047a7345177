//! HTTP as the tests speak it: one client per caller, answers read whole, no error for a status.

use crate::sigv4::{CONTENT_TYPE, Signer};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// Longest time for one request, in seconds.
const REQUEST_SECS_MAX: u64 = 120;
/// A connection that idled longer is not used again: the server closes it after 30 s, and a body sent meanwhile would be lost.
const IDLE_SECS_MAX: u64 = 15;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Credentials {
    Anonymous,
    Basic { user: String, password: String },
    Bearer(String),
    AccessKey { id: String, secret: String, region: String },
}

/// One caller of one server.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    credentials: Credentials,
    http: reqwest::Client,
}

/// A status, headers and a body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The answer itself when its status is the expected one; else an error that shows it.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status.as_u16() == status, "expected {status}, got {}: {}", self.status, self.text());
        Ok(self)
    }

    /// The name of an AWS JSON error (`ClientException`), without its namespace; empty for a success.
    pub fn aws_error(&self) -> String {
        if self.status.is_success() {
            return String::new();
        }
        let kind = self.json()["__type"].as_str().unwrap_or_default().to_owned();
        kind.rsplit('#').next().unwrap_or_default().to_owned()
    }
}

impl Client {
    /// `base` is `http://host:port`.
    pub fn new(base: &str, credentials: Credentials) -> Result<Self> {
        // Another test of this process may have installed it already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(REQUEST_SECS_MAX))
            .pool_idle_timeout(Duration::from_secs(IDLE_SECS_MAX))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), credentials, http })
    }

    /// The same server, another caller.
    #[must_use]
    pub fn with(&self, credentials: Credentials) -> Self {
        Self { credentials, ..self.clone() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub fn host(&self) -> &str {
        self.base.rsplit('/').next().unwrap_or_default()
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    pub async fn head(&self, path: &str) -> Result<Answer> {
        self.send(Method::HEAD, path, &[], Bytes::new()).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, &[], Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.json(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.json(Method::PUT, path, body).await
    }

    /// Any method with a JSON body.
    pub async fn json(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        self.send(method, path, &[("content-type", "application/json")], serde_json::to_vec(body)?.into()).await
    }

    /// Any request. `path` may also be a whole URL, as `Location` headers give it.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(HeaderName::try_from(*name)?, HeaderValue::try_from(*value)?);
        }
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = self.http.request(method, &url).headers(all);
        request = match &self.credentials {
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password)),
            Credentials::Bearer(token) => request.bearer_auth(token),
            Credentials::Anonymous | Credentials::AccessKey { .. } => request,
        };
        if !body.is_empty() {
            request = request.body(body);
        }
        answer(request).await.with_context(|| format!("asking {url}"))
    }

    /// An ECS operation, signed when the caller has an access key.
    pub async fn ecs(&self, operation: &str, body: &Value) -> Result<Answer> {
        self.aws("ecs", &format!("AmazonEC2ContainerServiceV20141113.{operation}"), serde_json::to_vec(body)?).await
    }

    /// An ECR operation, signed when the caller has an access key.
    pub async fn ecr(&self, operation: &str, body: &Value) -> Result<Answer> {
        self.aws("ecr", &format!("AmazonEC2ContainerRegistry_V20150921.{operation}"), serde_json::to_vec(body)?).await
    }

    /// An AWS JSON 1.1 request with any target and body.
    pub async fn aws(&self, service: &str, target: &str, body: Vec<u8>) -> Result<Answer> {
        let mut headers = vec![("content-type", CONTENT_TYPE.to_owned()), ("x-amz-target", target.to_owned())];
        if let Credentials::AccessKey { id, secret, region } = &self.credentials {
            let signer = Signer {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
                region: region.clone(),
                service: service.to_owned(),
            };
            headers.extend(signer.sign_post(self.host(), target, &body, OffsetDateTime::now_utc()));
        }
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send(Method::POST, "/", &headers, body.into()).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await? })
}
