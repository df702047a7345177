//! Triggers: a container of a service follows a repository by a tag filter. And pushes, and what became of them.

use crate::access::Principal;
use crate::clock::Timestamp;
use crate::ids::{ClusterName, DeploymentId, ServiceDeploymentId, ServiceName, TaskDefinitionId};
use crate::name::{Digest, RepositoryName, Tag};
use serde::{Deserialize, Serialize};

/// How a pattern is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagKind {
    /// The tag itself.
    Exact,
    /// `*` stands for any characters, `?` for one.
    Glob,
    /// A range of versions, `^1.2`; a tag may begin with `v`.
    Semver,
    /// A regular expression for the whole tag.
    Regex,
}

impl TagKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Glob => "glob",
            Self::Semver => "semver",
            Self::Regex => "regex",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Exact, Self::Glob, Self::Semver, Self::Regex].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One pattern for tags.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TagRule {
    pub kind: TagKind,
    pub pattern: String,
}

/// Service S, container C follows repository R by a tag filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub id: String,
    /// Of the service's row: a trigger ends with its service, and does not pass to another one of the same name.
    pub service_id: String,
    pub cluster: ClusterName,
    pub service: ServiceName,
    pub container: String,
    pub repository: RepositoryName,
    pub tag: TagRule,
    pub exclude: Vec<TagRule>,
    pub held: Option<Hold>,
    pub created_by: Principal,
    pub created_at: Timestamp,
    /// Only pushes after this one count.
    pub after_push: i64,
}

/// Why a trigger does not deploy until it is resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub reason: String,
    pub by: Principal,
    pub at: Timestamp,
    /// The last push before: what was pushed until then is not deployed when the trigger is resumed.
    pub push: i64,
}

/// A tag that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The order in which tags moved.
    pub sequence: i64,
    pub repository: RepositoryName,
    pub tag: Tag,
    pub digest: Digest,
    pub principal: Principal,
    /// JSON of what the token that pushed was narrowed to; absent when it was not.
    pub scope: Option<String>,
    pub at: Timestamp,
}

/// What became of a push for a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecisionStatus {
    /// Deployed.
    Taken,
    /// Not deployed, for good.
    Skipped,
    /// Who pushed may not deploy: somebody who may has to approve it.
    Waiting,
    /// Looked at again when the trigger is resumed.
    Held,
    /// Another push took its place.
    Superseded,
    /// Deployed after it had waited.
    Approved,
    Rejected,
}

impl DecisionStatus {
    pub const ALL: [Self; 7] = [Self::Taken, Self::Skipped, Self::Waiting, Self::Held, Self::Superseded, Self::Approved, Self::Rejected];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Skipped => "skipped",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Superseded => "superseded",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// The decision about one push for one trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerDecision {
    pub id: String,
    pub trigger_id: String,
    pub service_id: String,
    pub cluster: ClusterName,
    pub service: ServiceName,
    pub container: String,
    pub push: Push,
    pub status: DecisionStatus,
    /// Why, for people; empty when the status says it.
    pub reason: String,
    /// The push that took its place.
    pub superseded_by: Option<i64>,
    /// Who approved or rejected it.
    pub decided_by: Option<Principal>,
    pub decided_at: Timestamp,
    /// What it made, or what ran already.
    pub deployment: Option<DeploymentId>,
    /// The attempt to bring the service there.
    pub service_deployment: Option<ServiceDeploymentId>,
    pub task_definition: Option<TaskDefinitionId>,
}
