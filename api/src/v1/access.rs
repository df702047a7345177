//! Shapes of the permission API: users, robots, grants, questions about access, tokens, access keys, join tokens.
//!
//! | request | body or query | answer |
//! |---|---|---|
//! | `GET /api/v1/whoami` | | [`WhoAmI`] |
//! | `GET /api/v1/users`, `/robots` | [`super::PageQuery`] | page of [`User`], [`Robot`] |
//! | `POST /api/v1/users`, `/robots` | [`NewUser`], [`NewRobot`] | 201 [`User`], [`Robot`] |
//! | `GET`, `PATCH`, `DELETE /api/v1/users/{name}`, `/robots/{name}` | [`PrincipalChange`] | [`User`], [`Robot`]; 204 |
//! | `PUT /api/v1/users/{name}/password` | [`PasswordChange`] | 204 |
//! | `GET /api/v1/grants` | [`GrantQuery`] | page of [`Grant`] |
//! | `POST /api/v1/grants` | [`NewGrant`] | 201 [`Grant`], or 200 when it stands already |
//! | `GET`, `DELETE /api/v1/grants/{id}` | | [`Grant`]; 204 |
//! | `POST /api/v1/access/check` | [`AccessQuestion`] | [`AccessAnswer`] |
//! | `GET /api/v1/access/who-can` | [`WhoCanQuery`] | [`WhoCan`] |
//! | `GET /api/v1/tokens`, `/access-keys` | [`OwnerQuery`] | page of [`Token`], [`AccessKey`] |
//! | `POST /api/v1/tokens`, `/access-keys` | [`NewToken`], [`NewAccessKey`] | 201 [`CreatedToken`], [`CreatedAccessKey`] |
//! | `DELETE /api/v1/tokens/{id}`, `/access-keys/{id}` | | 204 |
//! | `GET`, `POST /api/v1/join-tokens` | [`NewJoinToken`] | page of [`JoinToken`]; 201 [`CreatedJoinToken`] |
//! | `DELETE /api/v1/join-tokens/{id}` | | 204 |
//!
//! Secrets appear once, in the answer that creates them.

use model::access::{Pattern, Principal, ResourceKind, Role};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Life of a token when its maker does not say, in seconds: 90 days.
pub const TOKEN_SECS_DEFAULT: u64 = 90 * 24 * 3600;
/// Longest life of a token that expires, in seconds: ten years.
pub const TOKEN_SECS_MAX: u64 = 3650 * 24 * 3600;
/// Life of a join token when its maker does not say, in seconds.
pub const JOIN_TOKEN_SECS_DEFAULT: u64 = 15 * 60;
/// Longest life of a join token, in seconds: seven days.
pub const JOIN_TOKEN_SECS_MAX: u64 = 7 * 24 * 3600;
/// Longest label of a token, in bytes.
pub const LABEL_BYTES_MAX: usize = 100;
/// Most rules in the scope of one token.
pub const SCOPE_RULES_MAX: usize = 64;
/// Shortest and longest password, in bytes.
pub const PASSWORD_BYTES_MIN: usize = 8;
pub const PASSWORD_BYTES_MAX: usize = 256;

/// Who the server thinks the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    #[schema(value_type = String, example = "user:alice")]
    pub principal: Principal,
    /// What the caller showed: `password`, `token:ID` or `access-key:ID`.
    pub credential: String,
    /// Rules that narrow the caller, when the credential is a narrowed token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<ScopeRule>>,
    /// Whether the caller may manage users, robots and everybody's credentials.
    pub server_admin: bool,
    pub grants: Vec<Grant>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    pub name: String,
    pub disabled: bool,
    pub has_password: bool,
    pub created_at: String,
    pub created_by: String,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Letters, digits, `.`, `_`, `+`, `-`; at most 64.
    pub name: String,
    /// 8 to 256 bytes. Without one the user can only use tokens and access keys that a server admin makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// A machine: has tokens and access keys, no password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Robot {
    pub name: String,
    pub disabled: bool,
    pub created_at: String,
    pub created_by: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRobot {
    /// Letters, digits, `.`, `_`, `+`, `-`; at most 64.
    pub name: String,
}

/// What can be changed on a user or robot.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalChange {
    /// A disabled one is refused everywhere, from the next request on; grants and credentials stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    pub password: String,
    /// Wanted from users who change their own; server admins set anybody else's without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_password: Option<String>,
}

/// One sentence of permission: principal, role, pattern on one kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    #[schema(example = "g-3f9a0c1d2e4b")]
    pub id: String,
    #[schema(value_type = String, example = "user:alice")]
    pub principal: Principal,
    #[schema(value_type = String, example = "pull")]
    pub role: Role,
    #[schema(value_type = String, example = "repository")]
    pub kind: ResourceKind,
    #[schema(value_type = String, example = "acme/**")]
    pub pattern: Pattern,
    pub created_at: String,
    pub created_by: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    #[schema(value_type = String, example = "user:alice")]
    pub principal: Principal,
    /// pull, push, maintain, admin on repositories; view, deploy, operate, admin on services, clusters, families; admin on the server.
    #[schema(value_type = String, example = "pull")]
    pub role: Role,
    #[schema(value_type = String, example = "repository")]
    pub kind: ResourceKind,
    #[schema(value_type = String, example = "acme/**")]
    pub pattern: Pattern,
}

/// Which grants, and which page of them. The caller sees its own and those it could change; server admins see all.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct GrantQuery {
    /// `user:alice`
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ResourceKind>,
    /// Exactly this pattern.
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Items wanted, at most 1000; 200 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// May this principal act in that role on that resource?
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessQuestion {
    /// The caller itself when absent; asking about others needs `admin` on the resource or on the server.
    #[schema(value_type = Option<String>, example = "user:alice")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    #[schema(value_type = String, example = "pull")]
    pub role: Role,
    /// `repository:acme/web`, `service:default/web`, `cluster:default`, `family:web`, `server:berth`
    pub resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessAnswer {
    pub allowed: bool,
    /// The grant that allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Grant>,
    /// One sentence for people.
    pub reason: String,
    /// When refused: grants of the principal that come close, best first.
    pub nearest: Vec<NearGrant>,
}

/// A grant that does not allow what was asked, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NearGrant {
    pub grant: Grant,
    /// `role_too_low` or `pattern_does_not_match`
    pub why: NearReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NearReason {
    RoleTooLow,
    PatternDoesNotMatch,
}

#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WhoCanQuery {
    #[param(value_type = String)]
    pub role: Role,
    /// `repository:acme/web`
    pub resource: String,
}

/// Everybody who may, each with every grant that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoCan {
    pub role: String,
    pub resource: String,
    pub principals: Vec<WhoCanEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoCanEntry {
    #[schema(value_type = String, example = "user:alice")]
    pub principal: Principal,
    /// Disabled principals are listed, since enabling them would bring the access back, but may not now.
    pub disabled: bool,
    pub via: Vec<Grant>,
}

/// Whose tokens or access keys, and which page. The caller's own when `principal` is absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct OwnerQuery {
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Items wanted, at most 1000; 200 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A rule of a token's scope. The token may do what its owner may *and* some rule allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopeRule {
    #[schema(value_type = String, example = "pull")]
    pub role: Role,
    #[schema(value_type = String, example = "repository")]
    pub kind: ResourceKind,
    #[schema(value_type = String, example = "acme/**")]
    pub pattern: Pattern,
}

/// A bearer secret, also good as the password of its owner in `docker login`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    pub id: String,
    #[schema(value_type = String, example = "robot:ci")]
    pub principal: Principal,
    pub label: String,
    /// Everything the owner may, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<ScopeRule>>,
    pub created_at: String,
    /// Never, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The caller itself when absent; server admins make tokens for anybody.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    pub label: String,
    /// Narrows the token; everything the owner may, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<ScopeRule>>,
    /// Seconds; 90 days when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_secs: Option<u64>,
    /// Must be said for a token without an end; not together with `expires_in_secs`.
    #[serde(default)]
    pub never_expires: bool,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    pub token: Token,
    /// Shown this once.
    pub secret: String,
}

/// An AWS access key for SigV4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessKey {
    pub id: String,
    #[schema(value_type = String, example = "user:alice")]
    pub principal: Principal,
    pub created_at: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccessKey {
    /// The caller itself when absent; server admins make keys for anybody.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedAccessKey {
    pub access_key: AccessKey,
    /// Shown this once.
    pub secret_access_key: String,
}

/// A single-use secret with which an agent joins a cluster. Server admins only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinToken {
    pub id: String,
    pub cluster: String,
    pub created_at: String,
    pub created_by: String,
    pub expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_at: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJoinToken {
    /// `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Seconds; 15 minutes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_secs: Option<u64>,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedJoinToken {
    pub join_token: JoinToken,
    /// `SECRET.FINGERPRINT`: the secret and the sha256 of the authority's certificate, by which the agent knows the server. Shown this once.
    pub secret: String,
}

/// Prints the name of a type and nothing that is in it.
macro_rules! debug_without_secrets {
    ($($name:ident),+) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        })+
    };
}

debug_without_secrets!(NewUser, PasswordChange, CreatedToken, CreatedAccessKey, CreatedJoinToken);
