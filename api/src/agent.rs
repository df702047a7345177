//! The protocol between server and agent: JSON over HTTPS on the agents' own listener, always with mTLS except for `join`.
//!
//! The agent dials in and the server never does. One long poll brings orders; reports go back as they happen. Every answer that
//! carries orders names the server's epoch: an agent refuses one lower than it has seen. Absence never means stop: the only order
//! that stops a task is that task listed with `desired_status: STOPPED`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /agent/v1/join` | [`JoinRequest`] | [`JoinResponse`] |
//! | `POST /agent/v1/register` | [`RegisterRequest`] | [`RegisterResponse`] |
//! | `POST /agent/v1/poll` | [`PollRequest`] | [`PollResponse`], after at most [`POLL_SECS_MAX`] |
//! | `POST /agent/v1/report` | [`ReportRequest`] | [`ReportResponse`] |
//! | `POST /agent/v1/progress` | [`ProgressRequest`] | 204; nothing of it is kept |
//! | `POST /agent/v1/renew` | [`RenewRequest`] | [`RenewResponse`] |
//! | `POST /agent/v1/logs/{request_id}` | raw log bytes, chunked; or nothing and [`LOG_PROBLEM_HEADER`] | 204 |
//! | `GET`/`HEAD /agent/v1/images/{repository}/manifests/{digest}`, `…/blobs/{digest}` | | the content, as the registry serves it |
//!
//! Errors are [`AgentError`] with a 4xx or 5xx status.

use model::ids::{InstanceId, TaskId};
use model::name::Digest;
use model::task::{ContainerOverride, ContainerState, DesiredStatus, HealthStatus, ResolvedImage, StopCode, TaskStatus};
use model::task_definition::TaskDefinition;
use model::{Timestamp, clock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest time a poll stays open, in seconds.
pub const POLL_SECS_MAX: u64 = 20;
/// Longest JSON body either side accepts, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most task reports in one request.
pub const REPORTS_MAX: usize = 500;

/// Lines of output that a stopped task leaves behind, of each container.
pub const LOG_TAIL_LINES: u32 = 50;
/// Most bytes of them, of all containers of a task.
pub const LOG_TAIL_BYTES_MAX: usize = 16 * 1024;
/// Least time between two words about the progress of pulls, in milliseconds.
pub const PROGRESS_MILLIS_MIN: u64 = 500;
/// Most pulls in one request.
pub const PROGRESS_MAX: usize = 200;

/// Exchange of a single-use join token for a certificate. The key never leaves the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    pub token: String,
    /// PKCS#10 request, PEM.
    pub certificate_request: String,
    /// Host name, shown to people.
    pub name: String,
    pub zone: Option<String>,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinResponse {
    pub instance_id: InstanceId,
    pub cluster: String,
    /// The agent's certificate and the authority it must trust, PEM.
    pub certificate: String,
    pub authority: String,
    /// Identity of the control plane; labels every container it orders.
    pub control_plane_id: String,
}

/// A new certificate before the old one ends, with which this request is made. The key may be the same or a new one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenewRequest {
    /// PKCS#10 request, PEM.
    pub certificate_request: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenewResponse {
    /// The agent's certificate and the authority it must trust, PEM.
    pub certificate: String,
    pub authority: String,
}

/// Sent at each start of the agent and whenever the server asks for it (error code `REGISTER`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegisterRequest {
    pub agent_version: String,
    pub docker_version: String,
    /// Units of 1024 per CPU.
    pub cpu: i64,
    /// MiB.
    pub memory: i64,
    /// Host ports that something else on the host already listens on, besides ECS's reserved ones.
    pub reserved_ports: Vec<u16>,
    pub attributes: BTreeMap<String, String>,
    /// Address at which ports published on this host are reached, as far as the agent knows.
    pub address: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegisterResponse {
    pub epoch: i64,
    pub control_plane_id: String,
    pub instance_arn: String,
    pub cluster: String,
    /// Prefixes under which people name images of this registry (`127.0.0.1:5000`, the external host): the agent tags pulled
    /// images `{image_host}/{repository}:{tag}`.
    pub image_host: String,
}

/// What the agent already knows, so that the answer holds only what changed.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct PollRequest {
    /// Epoch of the last answer taken; 0 after a start: the server then answers at once with the complete set.
    pub epoch: i64,
    /// Task id to the version held.
    pub known: BTreeMap<TaskId, i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PollResponse {
    pub epoch: i64,
    /// The server counts the agent as lost when it hears nothing for this long.
    pub lease_ms: u64,
    /// How long the agent waits before the next poll when this one failed, or between heartbeats.
    pub heartbeat_ms: u64,
    /// Whether `tasks` is every task of the instance that is not settled (true after an epoch change).
    pub complete: bool,
    /// New or changed tasks. A task not listed is unchanged, or unknown; neither is an order.
    pub tasks: Vec<TaskOrder>,
    /// Tasks the agent listed in `known` whose STOPPED report is on record: it may forget them and remove their containers.
    pub settled: Vec<TaskId>,
    /// Tasks the agent listed in `known` that the server has no row for: to be kept and reported, never stopped.
    pub unknown: Vec<TaskId>,
    /// People waiting for logs.
    pub log_requests: Vec<LogRequest>,
}

/// One task with everything needed to run it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskOrder {
    pub task_id: TaskId,
    pub version: i64,
    pub desired_status: DesiredStatus,
    /// Why it is to be stopped, when it is.
    pub stop_code: Option<StopCode>,
    pub stopped_reason: Option<String>,
    pub cluster: String,
    pub task_arn: String,
    /// `family:revision`, for labels and people.
    pub task_definition: String,
    pub group: String,
    pub definition: TaskDefinition,
    pub overrides: Vec<ContainerOverride>,
    /// Container name to image; own images by repository and digest.
    pub images: BTreeMap<String, ResolvedImage>,
}

/// Header of `POST /agent/v1/logs/{id}` with which the agent says in one line why there is no output to send.
pub const LOG_PROBLEM_HEADER: &str = "x-berth-problem";

/// Somebody wants the output of a container. The agent answers by `POST /agent/v1/logs/{id}`. The same request may come twice;
/// the second answer is refused with `NOT_FOUND`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogRequest {
    pub id: String,
    pub task_id: TaskId,
    /// All containers of the task when absent.
    pub container: Option<String>,
    pub follow: bool,
    /// Last lines to begin with; all when absent.
    pub tail: Option<u32>,
    pub timestamps: bool,
    /// Only what was written in this second or later, in seconds since 1970.
    #[serde(default)]
    pub since: Option<i64>,
}

/// Observed state, latest wins. Never refused because a task is unknown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportRequest {
    pub epoch: i64,
    pub tasks: Vec<TaskReport>,
    /// All labelled containers of this control plane that belong to no task the agent has an order for, and those of tasks that
    /// the server listed as unknown. Each report replaces the set of the one before.
    pub unknown: Vec<UnknownContainer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    pub task_id: TaskId,
    /// Raised by the agent with each new observation of this task: max(previous + 1, its clock in microseconds). The server
    /// ignores a report that is not newer than the one it holds, so that late and repeated ones do no harm.
    #[serde(default)]
    pub sequence: i64,
    pub last_status: TaskStatus,
    pub health_status: HealthStatus,
    pub containers: Vec<ContainerState>,
    /// Set with STOPPED when the agent knows the cause (not when it was ordered).
    pub stop_code: Option<StopCode>,
    pub stopped_reason: Option<String>,
    pub pull_started_at: Option<clock::Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    /// With STOPPED: the last lines of its containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tails: Vec<LogTail>,
}

/// The last lines of one container, at most [`LOG_TAIL_LINES`]; those of a task together at most [`LOG_TAIL_BYTES_MAX`]. Each line
/// begins with its time (RFC 3339) and a space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTail {
    pub container: String,
    pub text: String,
}

/// How far the pulls of this host are. For people who watch: shown, never acted on, and not repeated when it is lost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProgressRequest {
    pub pulls: Vec<PullProgress>,
}

/// How far one pull is, in what is known of it: layers show up while it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    pub task_id: TaskId,
    pub container: String,
    pub layers_done: u32,
    pub layers: u32,
    pub bytes_done: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownContainer {
    pub runtime_id: String,
    pub name: String,
    pub task_id: Option<TaskId>,
    pub image: String,
    pub status: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportResponse {
    pub epoch: i64,
}

/// Body of every refusal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentError {
    pub code: AgentErrorCode,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AgentErrorCode {
    /// Register first: the server does not know this instance in this epoch.
    Register,
    /// Certificate revoked or instance removed: stop asking, keep the containers.
    Revoked,
    /// Join token wrong, used or expired.
    JoinToken,
    /// The image is not assigned to this instance.
    NotAssigned,
    NotFound,
    Invalid,
    Internal,
}

/// A digest of this registry a task may pull; used between the relay and the server's gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedImage {
    pub repository: String,
    pub digest: Digest,
}
