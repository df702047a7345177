//! Shapes of the part of `/api/v1` about triggers: what a push deploys, what waits for approval, and the way back.
//!
//! | request | body or query | answer |
//! |---|---|---|
//! | `POST /api/v1/triggers` | [`NewTrigger`] | 201 [`Trigger`] |
//! | `GET /api/v1/triggers` | [`TriggerQuery`] | page of [`Trigger`] |
//! | `GET`, `DELETE /api/v1/triggers/{id}` | | [`Trigger`]; 204 |
//! | `GET /api/v1/triggers/{id}/test` | [`TestQuery`] | [`TagTest`] |
//! | `POST /api/v1/triggers/hold`, `…/resume` | [`HoldTriggers`], [`ResumeTriggers`] | [`TriggerList`]: those that changed |
//! | `GET /api/v1/trigger-decisions` | [`DecisionQuery`] | page of [`Decision`], the newest pushes first |
//! | `POST /api/v1/trigger-decisions/{id}/approve`, `…/reject` | nothing, [`Reject`] | [`Decision`] |
//! | `GET /api/v1/pushes/last` | [`PushQuery`] | [`PushStatus`] |
//! | `POST /api/v1/rollbacks` | [`NewRollback`] | 201 [`Rollback`] |
//!
//! Services are named `CLUSTER/NAME`, or `NAME` in the cluster `default`. Seeing takes `view` on the service, changing `deploy`.

pub use model::trigger::{DecisionStatus, TagKind};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Container C of service S follows repository R by a tag filter.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTrigger {
    /// `default/web`
    pub service: String,
    /// May be absent when the service's definition has one container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// `acme/web`
    pub repository: String,
    /// `v1`, `v*`, `^1.2` or `/v[0-9]+/`
    pub tag: String,
    /// How `tag` is read: `exact`, `glob`, `semver` or `regex`. What it looks like, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<TagKind>,
    /// Tags that are left out: a tag, a glob, or a regular expression between slashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trigger {
    pub id: String,
    /// `default/web`
    pub service: String,
    pub container: String,
    pub repository: String,
    pub tag: String,
    #[schema(value_type = String)]
    pub kind: TagKind,
    pub exclude: Vec<String>,
    /// Absent while the trigger deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    pub created_by: String,
    pub created_at: String,
}

/// Why a trigger does not deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Held {
    pub reason: String,
    pub by: String,
    pub at: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriggerList {
    pub items: Vec<Trigger>,
}

/// Which triggers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TriggerQuery {
    /// `default/web`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Items wanted, at most 1000; 200 when absent. A page may be shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TestQuery {
    pub tag: String,
}

/// Whether a trigger follows a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TagTest {
    pub matches: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Keeps all triggers of a service, or one, from deploying until they are resumed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldTriggers {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    pub reason: String,
}

/// Lets all triggers of a service, or one, deploy again. Of what was pushed meanwhile, the newest that matches is deployed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeTriggers {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
}

/// A tag that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Push {
    /// The order in which tags moved.
    pub sequence: i64,
    pub repository: String,
    pub tag: String,
    pub digest: String,
    /// Who pushed.
    pub principal: String,
    pub at: String,
}

/// What became of a push for a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    pub id: String,
    pub trigger: String,
    pub service: String,
    pub container: String,
    pub push: Push,
    /// `taken`, `skipped`, `waiting` (for approval), `held`, `superseded`, `approved` or `rejected`
    #[schema(value_type = String)]
    pub status: DecisionStatus,
    /// Why; empty when the status says it.
    pub reason: String,
    /// The push that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<i64>,
    /// Who approved or rejected it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    pub decided_at: String,
    /// What it made, or what ran already: `ecs-svc/…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// ARN of the attempt to bring the service there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_deployment: Option<String>,
    /// `web:7`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_definition: Option<String>,
}

/// Which decisions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DecisionQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// `default/web`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `waiting`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub status: Option<DecisionStatus>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Items wanted, at most 1000; 200 when absent. A page may be shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    #[serde(default)]
    pub reason: String,
}

/// Which push: the last one of a tag, or of what the tag names now.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PushQuery {
    pub repository: String,
    /// `latest` when neither tag nor digest is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A push, and what became of it for each trigger that the caller may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PushStatus {
    pub push: Push,
    /// Decisions; none of tags that a trigger does not follow.
    pub decisions: Vec<Decision>,
    /// Ids of triggers that follow the tag and have not decided yet.
    pub undecided: Vec<String>,
}

/// Goes back to an earlier revision of a service, and holds its triggers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRollback {
    /// `default/web`
    pub service: String,
    /// `web:7`, or `7` of the family that runs. When absent: what was completed before what runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why, for the others: it is shown with the triggers that are held.
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rollback {
    pub service: String,
    /// `web:8`
    pub from: String,
    pub to: String,
    /// `ecs-svc/…`
    pub deployment: String,
    /// ARN of the attempt to bring the service there.
    pub service_deployment: String,
    /// Ids of the triggers that were held by it.
    pub held: Vec<String>,
}
