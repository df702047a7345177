//! Shapes of teams, of what somebody can, and of looking at a change before it is made.
//!
//! | request | body or query | answer |
//! |---|---|---|
//! | `GET`, `POST /api/v1/teams` | [`super::PageQuery`], [`NewTeam`] | page of [`Team`]; 201 [`Team`] |
//! | `GET`, `DELETE /api/v1/teams/{name}` | | [`Team`]; 204 |
//! | `GET /api/v1/teams/{name}/members` | [`super::PageQuery`] | page of [`Member`] |
//! | `PUT`, `DELETE /api/v1/teams/{name}/members/{principal}` | | 204 |
//! | `GET /api/v1/access/what-can` | [`WhatCanQuery`] | [`WhatCan`] |
//! | `POST /api/v1/access/preview` | [`PreviewQuestion`] | [`Preview`] |

use super::access::{Grant, NewGrant};
use model::access::{Principal, Role};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Users and robots that share what the team is granted. A team never acts itself, and teams do not nest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Team {
    pub name: String,
    /// How many are in it.
    pub members: usize,
    pub created_at: String,
    pub created_by: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTeam {
    /// Letters, digits, `.`, `_`, `+`, `-`; at most 64.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    #[schema(value_type = String, example = "user:alice")]
    pub principal: Principal,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WhatCanQuery {
    /// The caller itself when absent; others are for server admins, a team for who is in it.
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
}

/// Everything a principal may do: each grant that reaches it, its own and those of its teams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatCan {
    #[schema(value_type = String, example = "user:alice")]
    pub principal: Principal,
    /// A disabled one may nothing of this until it is enabled.
    pub disabled: bool,
    #[schema(value_type = Vec<String>, example = json!(["team:backend"]))]
    pub teams: Vec<Principal>,
    /// By kind and pattern; the principal of a grant is the one asked about or a team of its.
    pub grants: Vec<Grant>,
}

/// Changes to look at together before they are made. Takes what the changes themselves take.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewQuestion {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant: Vec<NewGrant>,
    /// Ids of grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoke: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub join: Vec<MembershipChange>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leave: Vec<MembershipChange>,
    /// Users, robots and teams that go.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Principal>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MembershipChange {
    #[schema(value_type = String, example = "team:backend")]
    pub team: Principal,
    #[schema(value_type = String, example = "user:alice")]
    pub member: Principal,
}

/// Who would gain and who would lose what. Nobody who does is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    pub gains: Vec<PreviewLine>,
    pub loses: Vec<PreviewLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewLine {
    #[schema(value_type = String, example = "user:alice")]
    pub principal: Principal,
    /// The grant that would give it, or gave it: its role on its pattern. Its principal may be a team.
    pub via: Grant,
    /// The strongest role on all these names that the principal has without it.
    #[schema(value_type = Option<String>, example = "pull")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Role>,
}
