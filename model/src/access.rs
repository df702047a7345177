//! Who may do what on which names: principals, roles, resources, patterns and grants.
//!
//! A grant is `principal × role × pattern` on one kind of resource. Grants only allow; they add up; nothing is allowed by default;
//! there is no order and no precedence. What a team is granted, its members have. The decision itself is `identity::decide`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name of a user, robot or team, in bytes.
pub const PRINCIPAL_NAME_BYTES_MAX: usize = 64;
/// Longest grant pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 255;

/// Why a principal, role, resource or pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    #[error(
        "`{0}` is not a principal: write user:NAME, robot:NAME or team:NAME (letters, digits, `.`, `_`, `+`, `-`; at most {PRINCIPAL_NAME_BYTES_MAX})"
    )]
    Principal(String),
    #[error(
        "`{0}` is not a role: repositories have pull, push, maintain, admin; services, clusters and families have view, deploy, operate, admin"
    )]
    Role(String),
    #[error("role `{role}` does not exist on a {kind}")]
    RoleOnKind { role: Role, kind: ResourceKind },
    #[error("`{0}` is not a kind of resource: repository, service, cluster, family or server")]
    Kind(String),
    #[error("`{0}` is not a resource: write KIND:NAME, for example repository:acme/web or service:default/web")]
    Resource(String),
    #[error(
        "`{0}` is not a pattern: names joined by `/`, where `*` stands for one component (or a part of one) and a last `**` for the rest"
    )]
    Pattern(String),
}

/// Somebody who can be granted something. Written `user:alice`, `robot:ci` or `team:backend`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Principal {
    pub kind: PrincipalKind,
    pub name: String,
}

/// A person, a machine, or a team of them. Teams are granted things and never act themselves; they do not nest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalKind {
    User,
    Robot,
    Team,
}

impl PrincipalKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Robot => "robot",
            Self::Team => "team",
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

impl FromStr for Principal {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let refuse = || AccessError::Principal(text.chars().take(100).collect());
        let (kind, name) = text.split_once(':').ok_or_else(refuse)?;
        let kind = match kind {
            "user" => PrincipalKind::User,
            "robot" => PrincipalKind::Robot,
            "team" => PrincipalKind::Team,
            _ => return Err(refuse()),
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
        let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !starts_well || name.len() > PRINCIPAL_NAME_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(refuse());
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl TryFrom<String> for Principal {
    type Error = AccessError;
    fn try_from(text: String) -> Result<Self, AccessError> {
        text.parse()
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.to_string()
    }
}

/// What a grant is on. Names: repository `acme/web`; service `CLUSTER/NAME`; cluster `NAME`; family `NAME`; the server itself is `berth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceKind {
    Repository,
    Service,
    Cluster,
    Family,
    /// The server: `admin` on it manages users, robots, their credentials and join tokens.
    Server,
}

impl ResourceKind {
    pub const ALL: [Self; 5] = [Self::Repository, Self::Service, Self::Cluster, Self::Family, Self::Server];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Service => "service",
            Self::Cluster => "cluster",
            Self::Family => "family",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ResourceKind {
    type Err = AccessError;
    fn from_str(text: &str) -> Result<Self, AccessError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| AccessError::Kind(text.chars().take(100).collect()))
    }
}

/// A named power. Each role includes the ones before it on the same ladder:
/// pull < push < maintain < admin on repositories; view < deploy < operate < admin elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Pull,
    Push,
    Maintain,
    View,
    Deploy,
    Operate,
    Admin,
}

impl Role {
    pub const ALL: [Self; 7] = [Self::Pull, Self::Push, Self::Maintain, Self::View, Self::Deploy, Self::Operate, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Maintain => "maintain",
            Self::View => "view",
            Self::Deploy => "deploy",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    /// Whether this role exists on resources of `kind`.
    pub const fn applies_to(self, kind: ResourceKind) -> bool {
        match self {
            Self::Pull | Self::Push | Self::Maintain => matches!(kind, ResourceKind::Repository),
            Self::View | Self::Deploy | Self::Operate => {
                matches!(kind, ResourceKind::Service | ResourceKind::Cluster | ResourceKind::Family)
            }
            Self::Admin => true,
        }
    }

    /// Whether holding this role is enough where `wanted` is asked for (both on the same kind).
    pub fn includes(self, wanted: Self) -> bool {
        self >= wanted
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = AccessError;
    fn from_str(text: &str) -> Result<Self, AccessError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| AccessError::Role(text.chars().take(100).collect()))
    }
}

/// One thing that can be acted on, written `repository:acme/web`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    pub kind: ResourceKind,
    pub name: String,
}

impl Resource {
    pub fn repository(name: impl Into<String>) -> Self {
        Self { kind: ResourceKind::Repository, name: name.into() }
    }

    pub fn cluster(name: impl Into<String>) -> Self {
        Self { kind: ResourceKind::Cluster, name: name.into() }
    }

    pub fn service(cluster: &str, name: &str) -> Self {
        Self { kind: ResourceKind::Service, name: format!("{cluster}/{name}") }
    }

    pub fn family(name: impl Into<String>) -> Self {
        Self { kind: ResourceKind::Family, name: name.into() }
    }

    pub fn server() -> Self {
        Self { kind: ResourceKind::Server, name: "berth".into() }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl FromStr for Resource {
    type Err = AccessError;
    fn from_str(text: &str) -> Result<Self, AccessError> {
        let (kind, name) = text.split_once(':').ok_or_else(|| AccessError::Resource(text.chars().take(100).collect()))?;
        if name.is_empty() || name.len() > PATTERN_BYTES_MAX {
            return Err(AccessError::Resource(text.chars().take(100).collect()));
        }
        Ok(Self { kind: kind.parse()?, name: name.to_owned() })
    }
}

/// Which names a grant covers: `acme/web`, `acme/*` (one component), `acme/web-*` (part of one), `acme/**` (any depth below), `**`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);
crate::name::string_newtype!(Pattern);

impl FromStr for Pattern {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-+*".contains(&b);
        let parts: Vec<&str> = text.split('/').collect();
        let ok = !text.is_empty()
            && text.len() <= PATTERN_BYTES_MAX
            && parts.iter().enumerate().all(|(at, part)| {
                let last = at + 1 == parts.len();
                !part.is_empty() && part.bytes().all(allowed) && ((*part == "**" && last) || !part.contains("**"))
            });
        if ok { Ok(Self(text.to_owned())) } else { Err(AccessError::Pattern(text.chars().take(100).collect())) }
    }
}

impl Pattern {
    /// Whether the pattern covers `name`. `a/**` covers everything below `a`, not `a` itself; `**` covers all.
    pub fn matches(&self, name: &str) -> bool {
        let mut names = name.split('/');
        for part in self.0.split('/') {
            if part == "**" {
                return names.next().is_some();
            }
            match names.next() {
                Some(component) if glob_component(part.as_bytes(), component.as_bytes()) => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether every name that `other` covers is covered by `self`. Errs on the side of no: a `*` inside `other` is only
    /// covered by the very same component, by `*`, or by `**`.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.0.split('/');
        for part in self.0.split('/') {
            if part == "**" {
                return others.next().is_some();
            }
            match others.next() {
                Some("**") | None => return false,
                Some(component) if part == component || part == "*" => {}
                Some(component) if !component.contains('*') && glob_component(part.as_bytes(), component.as_bytes()) => {}
                Some(_) => return false,
            }
        }
        others.next().is_none()
    }
}

/// Matches one component against a pattern in which `*` stands for any run of characters. Linear with one backtrack point.
pub(crate) fn glob_component(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            p = star_p + 1;
            t = star_t + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

/// One sentence of permission. The id is what explanations, audit and revocation name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: String,
    pub principal: Principal,
    pub role: Role,
    pub kind: ResourceKind,
    pub pattern: Pattern,
    pub created_at: crate::Timestamp,
    pub created_by: String,
}

/// Somebody in a team.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Membership {
    pub team: Principal,
    pub member: Principal,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} has {} on {}:{})", self.id, self.principal, self.role, self.kind, self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_match_by_component() {
        for (text, name, expected) in [
            ("acme/web", "acme/web", true),
            ("acme/web", "acme/web2", false),
            ("acme/*", "acme/web", true),
            ("acme/*", "acme/web/api", false),
            ("acme/*", "acme", false),
            ("acme/web-*", "acme/web-1", true),
            ("acme/**", "acme/web/api", true),
            ("acme/**", "acme", false),
            ("acme/**", "acmex/web", false),
            ("**", "anything/at/all", true),
            ("*", "one", true),
            ("*", "one/two", false),
        ] {
            assert_eq!(pattern(text).matches(name), expected, "{text} on {name}");
        }
    }

    #[test]
    fn a_pattern_never_covers_more_than_it_matches() {
        assert!(pattern("acme/**").covers(&pattern("acme/*")));
        assert!(pattern("**").covers(&pattern("acme/**")));
        assert!(!pattern("acme/**").covers(&pattern("**")));
        assert!(!pattern("acme/*").covers(&pattern("acme/**")));
        assert!(pattern("acme/w*").covers(&pattern("acme/web")));
        assert!(!pattern("acme/w*").covers(&pattern("acme/*")));
    }

    #[test]
    fn bad_patterns_and_principals_are_refused() {
        for bad in ["", "/", "a//b", "**/a", "a/***", "a b", "a/**x"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        for bad in ["alice", "user:", "group:x", "user:a b", "user:-x", "user:a:b"] {
            assert!(bad.parse::<Principal>().is_err(), "{bad}");
        }
        assert!("robot:acme+ci".parse::<Principal>().is_ok());
    }
}
