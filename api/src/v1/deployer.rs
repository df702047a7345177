//! Shapes of the part of `/api/v1` that is about running things.
//!
//! | request | query | answer |
//! |---|---|---|
//! | `GET /api/v1/tasks/{id}/logs` | [`LogQuery`] | `text/plain`, streamed |
//! | `GET /api/v1/unknown-containers` | [`super::PageQuery`] | page of [`UnknownContainer`]; server admins |
//! | `GET /api/v1/events` | [`EventQuery`](super::events::EventQuery) | [`EventPage`](super::events::EventPage): what the caller may see |
//! | the same with `Accept: text/event-stream` | [`EventQuery`](super::events::EventQuery), header `Last-Event-ID` | the same as it happens, as server-sent events |

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Longest wait for the agent to begin with the output, in seconds.
pub const LOG_WAIT_SECS_MAX: u64 = 10;
/// Most last lines that can be asked for.
pub const LOG_TAIL_MAX: u32 = 100_000;

/// Which output of a task.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// One container; all of the task when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Stay and send what comes.
    #[serde(default)]
    pub follow: bool,
    /// Last lines to begin with, at most 100000; everything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Each line begins with its time.
    #[serde(default)]
    pub timestamps: bool,
    /// Only what was written in this second or later, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Only what this server keeps: the last lines of a stopped task. Answers at once, whatever its host does.
    #[serde(default)]
    pub kept: bool,
}

/// Header of the answer with output: `kept` when these are the last lines that the server keeps, not the whole of it.
pub const LOG_SOURCE_HEADER: &str = "x-berth-output";

/// A labelled container that an agent found and no task here explains, as after the loss of a database. It is kept until a person decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnknownContainer {
    pub instance_id: String,
    /// Docker's id of the container.
    pub runtime_id: String,
    pub name: String,
    /// The task its label names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    pub image: String,
    /// As Docker says it.
    pub status: String,
    pub seen_at: String,
}
