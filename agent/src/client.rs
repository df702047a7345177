//! HTTP to the server: reqwest over rustls, a timeout on every call. The long poll and the streams have their own.

use crate::tls::TlsError;
use api::agent::{
    AgentError, AgentErrorCode, BODY_BYTES_MAX, JoinRequest, JoinResponse, LOG_PROBLEM_HEADER, POLL_SECS_MAX, PollRequest, PollResponse,
    ProgressRequest, RegisterRequest, RegisterResponse, RenewRequest, RenewResponse, ReportRequest, ReportResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// A connection that idled longer is not used again: the server closes it after 30 s.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// A connection on which nothing is acknowledged for this long is dead. Else a host that was cut off would wait for it, and for ever
/// longer retransmissions, long after the link is back.
const DEAD_AFTER: Duration = Duration::from_secs(5);
/// A silent connection is probed after this long, and then again and again.
const PROBE_AFTER: Duration = Duration::from_secs(3);
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBES: u32 = 3;
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A poll stays open for [`POLL_SECS_MAX`]; one that is still silent after this sits on a dead connection.
const POLL_TIMEOUT: Duration = Duration::from_secs(POLL_SECS_MAX + 5);
/// Longest silence while an image or its headers stream.
const STREAM_READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the server refused ({}): {}", .0.code.as_str(), .0.message)]
    Refused(Refusal),
    #[error("the server answered {status}")]
    Status { status: u16 },
    #[error("the server cannot be reached: {}", chain(.0))]
    Unreachable(#[from] reqwest::Error),
    #[error("the server's answer makes no sense: {0}")]
    Malformed(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A refusal in the protocol's own words.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

/// [`AgentErrorCode`], printable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub AgentErrorCode);

impl Code {
    fn as_str(self) -> &'static str {
        match self.0 {
            AgentErrorCode::Register => "REGISTER",
            AgentErrorCode::Revoked => "REVOKED",
            AgentErrorCode::JoinToken => "JOIN_TOKEN",
            AgentErrorCode::NotAssigned => "NOT_ASSIGNED",
            AgentErrorCode::NotFound => "NOT_FOUND",
            AgentErrorCode::Invalid => "INVALID",
            AgentErrorCode::Internal => "INTERNAL",
        }
    }
}

impl ClientError {
    /// The code of the server's refusal, if it was one.
    pub fn code(&self) -> Option<AgentErrorCode> {
        if let Self::Refused(refusal) = self { Some(refusal.code.0) } else { None }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.code.0 == AgentErrorCode::Internal,
            Self::Status { status } => *status >= 500,
            Self::Unreachable(_) => true,
            Self::Malformed(_) | Self::Tls(_) => false,
        }
    }
}

/// The causes of an error on one line: reqwest's own text says only that it failed.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The calls that the sync loop and the reporter make: the seam where tests put a server that loses messages.
pub trait Server: Clone + Send + Sync + 'static {
    fn register(&self, request: &RegisterRequest) -> impl Future<Output = Result<RegisterResponse, ClientError>> + Send;
    fn poll(&self, request: &PollRequest) -> impl Future<Output = Result<PollResponse, ClientError>> + Send;
    fn report(&self, request: &ReportRequest) -> impl Future<Output = Result<ReportResponse, ClientError>> + Send;
}

/// The server behind mTLS.
#[derive(Clone)]
pub struct HttpServer {
    base: String,
    /// For calls that answer soon.
    calls: reqwest::Client,
    /// For bodies that stream for as long as they like, as long as they flow.
    streams: reqwest::Client,
}

impl HttpServer {
    pub fn new(server: &str, config: rustls::ClientConfig) -> Result<Self, ClientError> {
        let base = server.trim_end_matches('/').to_owned();
        let calls = builder(config.clone()).build()?;
        let streams = builder(config).read_timeout(STREAM_READ_TIMEOUT).build()?;
        Ok(Self { base, calls, streams })
    }

    /// A request for an image of the registry; the caller adds headers and streams the answer.
    pub fn image(&self, method: http::Method, path: &str) -> reqwest::RequestBuilder {
        self.streams.request(method, format!("{}/agent/v1/images/{path}", self.base))
    }

    /// Sends log bytes until the stream ends or the receiver goes away; or why there are none.
    pub async fn send_logs(&self, id: &str, body: reqwest::Body, problem: Option<String>, at_most: Duration) -> Result<(), ClientError> {
        let mut request = self.calls.post(format!("{}/agent/v1/logs/{id}", self.base)).body(body).timeout(at_most);
        if let Some(problem) = problem {
            request = request.header(LOG_PROBLEM_HEADER, problem);
        }
        let response = request.send().await?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(response).await) }
    }

    /// Says how far pulls are; nobody waits for it.
    pub async fn progress(&self, request: &ProgressRequest) -> Result<(), ClientError> {
        let request = self.calls.post(format!("{}/agent/v1/progress", self.base)).json(request).timeout(CALL_TIMEOUT);
        let response = request.send().await?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(response).await) }
    }

    /// Exchanges the certificate of this connection for a newer one.
    pub async fn renew(&self, request: &RenewRequest) -> Result<RenewResponse, ClientError> {
        self.post("renew", request, CALL_TIMEOUT).await
    }

    async fn post<T: DeserializeOwned>(&self, call: &str, body: &impl Serialize, timeout: Duration) -> Result<T, ClientError> {
        let request = self.calls.post(format!("{}/agent/v1/{call}", self.base)).json(body).timeout(timeout);
        answer(request.send().await?).await
    }
}

impl Server for HttpServer {
    async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, ClientError> {
        self.post("register", request, CALL_TIMEOUT).await
    }

    async fn poll(&self, request: &PollRequest) -> Result<PollResponse, ClientError> {
        self.post("poll", request, POLL_TIMEOUT).await
    }

    async fn report(&self, request: &ReportRequest) -> Result<ReportResponse, ClientError> {
        self.post("report", request, CALL_TIMEOUT).await
    }
}

/// The one call without a client certificate.
pub async fn join(server: &str, config: rustls::ClientConfig, request: &JoinRequest) -> Result<JoinResponse, ClientError> {
    let url = format!("{}/agent/v1/join", server.trim_end_matches('/'));
    answer(builder(config).build()?.post(url).json(request).timeout(CALL_TIMEOUT).send().await?).await
}

fn builder(config: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_MAX)
        .tcp_nodelay(true)
        .tcp_user_timeout(DEAD_AFTER)
        .tcp_keepalive(PROBE_AFTER)
        .tcp_keepalive_interval(PROBE_EVERY)
        .tcp_keepalive_retries(PROBES)
        .user_agent(concat!("berth-agent/", env!("CARGO_PKG_VERSION")))
}

async fn answer<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, ClientError> {
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let body = bounded(response).await?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Malformed(error.to_string()))
}

/// The body, as long as it stays under the protocol's limit.
async fn bounded(mut response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(ClientError::Malformed(format!("it is longer than {BODY_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn refusal(response: reqwest::Response) -> ClientError {
    let status = response.status().as_u16();
    let body = bounded(response).await.unwrap_or_default();
    match serde_json::from_slice::<AgentError>(&body) {
        Ok(error) => ClientError::Refused(Refusal { code: Code(error.code), message: error.message }),
        Err(_) => ClientError::Status { status },
    }
}
