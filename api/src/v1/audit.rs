//! Shapes of the audit: who did what, from where, with which credential.
//!
//! | request | query | answer |
//! |---|---|---|
//! | `GET /api/v1/audit` | [`AuditQuery`] | [`AuditPage`] |
//! | `GET /api/v1/audit/last-pulls` | [`LastPullQuery`] | page of [`LastPull`] |

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which records. Without `after`: the newest ones, or those before `before`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Go on after this record: its id, or `next` of the page before. `0` begins with the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Go back from this record: its id, or `previous` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// From this time on, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Up to this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// `user:alice`, `robot:ci`, `instance:<id>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The beginning of the action: `pull`, `push`, `grant.`, `tag.deleted`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Exactly this: `repository:acme/web`, `user:alice`, `service:default/web`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Exactly this tag or digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Where the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AuditOutcome>,
    /// Records wanted, at most 1000; 200 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What kind of caller it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// A user.
    Person,
    Robot,
    /// The agent of a container instance, for a task.
    Agent,
    /// Nobody that is known.
    Nobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    Done,
    /// Not granted.
    Denied,
    /// Granted, and a setting of the repository forbids it: `reason` says which.
    Refused,
    /// The credentials were not right.
    Failed,
}

/// Something that somebody did, or tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    /// Orders all records; good as `after` and `before`.
    pub id: String,
    pub at: String,
    /// Of something that was done again within a second: when it was done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How often it was done from `at` to `until`.
    pub times: u64,
    /// `pull` (a manifest), `pull.blob`, `push` (a tag moved), `push.manifest`, `push.blob`, `tag.deleted`, `grant.created`, `login`, …
    pub action: String,
    pub outcome: AuditOutcome,
    /// Of what was refused: `tag_immutable`, `quota_exceeded`, `content_missing`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// `password`, `token:ID`, `access-key:ID`, `registry-token of` one of them, `certificate`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    pub target: String,
    /// Tag or digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Of changes: one sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    pub items: Vec<AuditRecord>,
    /// Give it as `after` to go on from here, now or later.
    pub next: String,
    /// Give it as `before` to go further back; absent where the audit begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Whether there may be more in the direction that was asked for. A page may be short of its limit all the same.
    pub more: bool,
}

/// Whose last pulls, or of what. One of the two.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LastPullQuery {
    /// `acme/web`: by tag, then by principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// `user:alice`: the newest first, at most `limit` and no further page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Items wanted, at most 1000; 200 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// When somebody last pulled a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastPull {
    pub repository: String,
    /// Absent for pulls by digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    pub principal: String,
    pub at: String,
    pub digest: String,
    pub credential: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}
