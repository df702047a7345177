//! Who is asking: the principal, the credential it showed, and the rules that narrow it.

use model::access::{Pattern, Principal, Resource, ResourceKind, Role};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// An authenticated caller. Its rights are decided against the snapshot on every request, never kept in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    pub credential: Credential,
    /// Rules of a narrowed token: the caller may do what its principal may *and* some rule allows.
    pub scope: Option<Vec<ScopeRule>>,
    /// Where the request came from, for the audit; absent inside of the process.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// A caller that nothing narrows.
    pub fn new(principal: Principal, credential: Credential) -> Self {
        Self { principal, credential, scope: None, address: None }
    }

    /// What the `detail` of an event says of who did it. Holds no secret.
    pub fn detail(&self) -> serde_json::Value {
        let mut detail = serde_json::json!({ "credential": self.credential.to_string() });
        if let Some(address) = self.address {
            detail["address"] = address.to_string().into();
        }
        detail
    }
}

/// What the caller showed. Displayed in the audit; holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    Password,
    Token { id: String },
    AccessKey { id: String },
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password => f.write_str("password"),
            Self::Token { id } => write!(f, "token:{id}"),
            Self::AccessKey { id } => write!(f, "access-key:{id}"),
        }
    }
}

/// One rule of a token's scope; stored as JSON with the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeRule {
    pub role: Role,
    pub kind: ResourceKind,
    pub pattern: Pattern,
}

impl ScopeRule {
    pub fn allows(&self, role: Role, resource: &Resource) -> bool {
        self.kind == resource.kind && self.role.includes(role) && self.pattern.matches(&resource.name)
    }
}
