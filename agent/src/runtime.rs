//! The seam to Docker: what the agent asks of an engine, the real one in [`docker`] and a fake with faults in `fake`.
//!
//! Every call has its own timeout inside the implementation. [`RuntimeError::Timeout`] means that nobody knows whether it happened:
//! the caller inspects before it concludes anything.

pub mod docker;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod meter;

pub use meter::{Level, Meter};

use bollard::models::ContainerCreateBody;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use model::Timestamp;
use model::ids::TaskId;
use model::task::NetworkBinding;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

/// Label that carries the id of the control plane; every container with it is looked at.
pub const LABEL_CONTROL_PLANE: &str = "io.berth.control-plane";
pub const LABEL_TASK: &str = "io.berth.task";
pub const LABEL_TASK_ARN: &str = "io.berth.task-arn";
pub const LABEL_CONTAINER: &str = "io.berth.container";
pub const LABEL_TASK_DEFINITION: &str = "io.berth.task-definition";
pub const LABEL_CLUSTER: &str = "io.berth.cluster";
pub const LABEL_GROUP: &str = "io.berth.group";

/// Why Docker did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The engine said no, as a status or inside a stream that began with 200.
    #[error("{message}")]
    Refused { status: u16, message: String },
    /// No answer in time: it may have happened or not.
    #[error("Docker did not answer within {0:?}")]
    Timeout(Duration),
    /// Nobody listens: the engine is stopped or starting.
    #[error("the Docker Engine cannot be reached: {0}")]
    Unavailable(String),
}

impl RuntimeError {
    /// The named container or image does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// The name is taken, or the object is in a state that does not allow this.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

/// Whose container it is, read from its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub control_plane: String,
    pub task_id: Option<TaskId>,
    pub container: String,
}

impl Owner {
    /// From labels; nothing when they are not Berth's.
    pub fn from_labels(labels: &HashMap<String, String>) -> Option<Self> {
        Some(Self {
            control_plane: labels.get(LABEL_CONTROL_PLANE)?.clone(),
            task_id: labels.get(LABEL_TASK).and_then(|id| id.parse().ok()),
            container: labels.get(LABEL_CONTAINER).cloned().unwrap_or_default(),
        })
    }
}

/// A container as Docker shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// Made, never started.
    Created,
    Running {
        bindings: Vec<NetworkBinding>,
    },
    Exited {
        exit_code: Option<i64>,
        out_of_memory: bool,
    },
}

/// A labelled container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: String,
    pub name: String,
    pub owner: Owner,
    pub image: String,
    /// `Up 3 minutes`, for people.
    pub status: String,
    pub sighting: Sighting,
}

/// Something that happened to a labelled container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub owner: Owner,
    pub kind: EventKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Started,
    Died { exit_code: i64 },
    Removed,
}

/// A login for one pull.
#[derive(Clone, PartialEq, Eq)]
pub struct PullCredential {
    pub username: String,
    pub password: String,
    pub server: String,
}

/// What of a container's output is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub tail: Option<u32>,
    pub timestamps: bool,
    /// Only what was written in this second or later.
    pub since: Option<i64>,
}

/// The engine and its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    pub version: String,
    pub cpus: i64,
    pub memory_bytes: i64,
    pub architecture: String,
}

/// A Docker Engine.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// All containers that carry [`LABEL_CONTROL_PLANE`], running or not, in one call. Exit codes are read from Docker's text;
    /// whether memory ran out is not in a list.
    fn list(&self) -> impl Future<Output = Result<Vec<Found>, RuntimeError>> + Send;
    /// One container by name or id; nothing when there is none, or none of Berth's.
    fn inspect(&self, container: &str) -> impl Future<Output = Result<Option<Found>, RuntimeError>> + Send;
    fn image_exists(&self, image: &str) -> impl Future<Output = Result<bool, RuntimeError>> + Send;
    /// Pulls an image; what is heard of its layers meanwhile goes to `meter`.
    fn pull(&self, image: &str, credential: Option<PullCredential>, meter: &Meter)
    -> impl Future<Output = Result<(), RuntimeError>> + Send;
    fn tag(&self, image: &str, repository: &str, tag: &str) -> impl Future<Output = Result<(), RuntimeError>> + Send;
    /// Makes a container and returns its id.
    fn create(&self, name: &str, body: ContainerCreateBody) -> impl Future<Output = Result<String, RuntimeError>> + Send;
    /// Starts a container; no error when it runs already.
    fn start(&self, container: &str) -> impl Future<Output = Result<(), RuntimeError>> + Send;
    /// SIGTERM, then SIGKILL after `grace`; returns when it has ended. No error when it was not running.
    fn stop(&self, container: &str, grace: Duration) -> impl Future<Output = Result<(), RuntimeError>> + Send;
    /// Removes a container with its anonymous volumes; no error when it is gone.
    fn remove(&self, container: &str) -> impl Future<Output = Result<(), RuntimeError>> + Send;
    /// Runs a command inside and waits for its exit code, however long that takes: the caller sets the limit.
    fn exec(&self, container: &str, command: Vec<String>) -> impl Future<Output = Result<i64, RuntimeError>> + Send;
    fn logs(&self, container: &str, options: &LogOptions) -> BoxStream<'static, Result<Bytes, RuntimeError>>;
    /// Events of labelled containers since a moment (so that a new connection misses none). The stream ends with the connection.
    fn events(&self, since: Timestamp) -> BoxStream<'static, Result<Event, RuntimeError>>;
    fn info(&self) -> impl Future<Output = Result<EngineInfo, RuntimeError>> + Send;
}
