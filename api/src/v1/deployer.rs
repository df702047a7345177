//! Shapes of the part of `/api/v1` that is about running things.
//!
//! | request | query | answer |
//! |---|---|---|
//! | `GET /api/v1/tasks/{id}/logs` | [`LogQuery`] | `text/plain`, streamed |
//! | `GET /api/v1/unknown-containers` | [`super::PageQuery`] | page of [`UnknownContainer`]; server admins |
//! | `GET /api/v1/agent-listener` | | [`AgentListener`] |
//! | `POST /api/v1/clusters/{cluster}/replace-lost` | | [`BrakeReleased`] |
//! | `GET /api/v1/events` | [`EventQuery`] | [`EventPage`]: what the caller may see |

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
}

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

/// Where agents reach their listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentListener {
    /// `https://10.0.0.5:5001`
    pub url: String,
}

/// Whether tasks of lost instances were waited for; they are replaced from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrakeReleased {
    pub released: bool,
}

/// Which events, in the order in which they happened.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Events after this sequence; from the first on when 0. When absent: the newest ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Only those about this resource, `service:default/web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Events looked at, at most 1000; 200 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Oldest first. Events that the caller may not see are left out, so a page may be shorter than its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    pub items: Vec<Event>,
    /// Give it as `after` to go on from here, now or later.
    pub next: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    pub sequence: i64,
    pub at: String,
    /// `service.event`, `grant.created`, …
    pub kind: String,
    /// Who did it; absent for what the control plane does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// `service:default/web`
    pub subject: String,
    pub message: String,
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}
