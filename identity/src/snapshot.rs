//! All principals, grants and live credentials in memory, as of one version: what every decision and authentication reads.
//!
//! Immutable; a change of identity makes a new one. Loaded by `store::load`, indexed here.

use crate::caller::{Caller, Credential, ScopeRule};
use model::Timestamp;
use model::access::{Grant, Principal, ResourceKind, Role};
use std::collections::HashMap;
use std::sync::Arc;

/// SHA-256 of a token's secret.
pub type SecretHash = [u8; 32];

/// The state of identity at one version.
#[derive(Debug, Default)]
pub struct Snapshot {
    version: i64,
    principals: HashMap<Principal, PrincipalEntry>,
    tokens: HashMap<SecretHash, Arc<TokenEntry>>,
    tokens_by_id: HashMap<String, Arc<TokenEntry>>,
    access_keys: HashMap<String, AccessKeyEntry>,
}

/// A principal with its grants.
#[derive(Debug, Clone)]
pub struct PrincipalEntry {
    pub principal: Principal,
    pub disabled: bool,
    pub(crate) password_hash: Option<Arc<str>>,
    pub created_at: Timestamp,
    pub created_by: String,
    grants: [Vec<Grant>; ResourceKind::ALL.len()],
}

/// A token that is not revoked.
#[derive(Debug, Clone)]
pub struct TokenEntry {
    pub id: String,
    pub principal: Principal,
    pub label: String,
    pub scope: Option<Vec<ScopeRule>>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub(crate) secret_hash: SecretHash,
}

/// An access key that is not revoked.
#[derive(Debug, Clone)]
pub struct AccessKeyEntry {
    pub id: String,
    pub principal: Principal,
    pub created_at: Timestamp,
    pub(crate) secret_sealed: Vec<u8>,
}

/// Why a credential that was once good is so no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stale {
    Gone,
    Expired,
}

impl PrincipalEntry {
    pub(crate) fn new(
        principal: Principal,
        disabled: bool,
        password_hash: Option<String>,
        created_at: Timestamp,
        created_by: String,
    ) -> Self {
        let password_hash = password_hash.map(Arc::from);
        Self { principal, disabled, password_hash, created_at, created_by, grants: Default::default() }
    }

    /// Its grants on resources of `kind`.
    pub fn grants_on(&self, kind: ResourceKind) -> &[Grant] {
        &self.grants[kind as usize]
    }

    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().flatten()
    }

    pub fn has_password(&self) -> bool {
        self.password_hash.is_some()
    }
}

impl Snapshot {
    pub(crate) fn new(
        version: i64,
        principals: Vec<PrincipalEntry>,
        grants: Vec<Grant>,
        tokens: Vec<TokenEntry>,
        access_keys: Vec<AccessKeyEntry>,
    ) -> Self {
        let mut principals: HashMap<_, _> = principals.into_iter().map(|entry| (entry.principal.clone(), entry)).collect();
        for grant in grants {
            if let Some(entry) = principals.get_mut(&grant.principal) {
                entry.grants[grant.kind as usize].push(grant);
            }
        }
        // The strongest role first: one grant more often decides for many questions.
        for list in principals.values_mut().flat_map(|entry| &mut entry.grants) {
            list.sort_by(|a, b| b.role.cmp(&a.role).then_with(|| a.id.cmp(&b.id)));
        }
        let tokens: Vec<_> = tokens.into_iter().map(Arc::new).collect();
        Self {
            version,
            principals,
            tokens_by_id: tokens.iter().map(|token| (token.id.clone(), token.clone())).collect(),
            tokens: tokens.into_iter().map(|token| (token.secret_hash, token)).collect(),
            access_keys: access_keys.into_iter().map(|key| (key.id.clone(), key)).collect(),
        }
    }

    /// Raised by every change of identity.
    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn principal(&self, principal: &Principal) -> Option<&PrincipalEntry> {
        self.principals.get(principal)
    }

    /// In no order.
    pub fn principals(&self) -> impl Iterator<Item = &PrincipalEntry> {
        self.principals.values()
    }

    /// In no order.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.principals.values().flat_map(PrincipalEntry::grants)
    }

    pub fn grant(&self, id: &str) -> Option<&Grant> {
        self.grants().find(|grant| grant.id == id)
    }

    /// In no order.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenEntry> {
        self.tokens.values().map(AsRef::as_ref)
    }

    pub fn token(&self, id: &str) -> Option<&TokenEntry> {
        self.tokens_by_id.get(id).map(AsRef::as_ref)
    }

    /// In no order.
    pub fn access_keys(&self) -> impl Iterator<Item = &AccessKeyEntry> {
        self.access_keys.values()
    }

    pub fn access_key(&self, id: &str) -> Option<&AccessKeyEntry> {
        self.access_keys.get(id)
    }

    /// Enabled users who hold `admin` on the server.
    pub fn server_admins(&self) -> impl Iterator<Item = &Principal> {
        self.principals.values().filter(|entry| !entry.disabled && entry.holds_server_admin()).map(|entry| &entry.principal)
    }

    pub(crate) fn token_by_secret(&self, hash: &SecretHash) -> Option<&TokenEntry> {
        self.tokens.get(hash).map(AsRef::as_ref)
    }

    fn enabled(&self, principal: &Principal) -> Result<&PrincipalEntry, Stale> {
        self.principals.get(principal).filter(|entry| !entry.disabled).ok_or(Stale::Gone)
    }

    /// The caller that `token` stands for, when it still stands.
    pub(crate) fn caller_of_token(&self, token: &TokenEntry, now: Timestamp) -> Result<Caller, Stale> {
        self.enabled(&token.principal)?;
        if token.expires_at.is_some_and(|at| at <= now) {
            return Err(Stale::Expired);
        }
        let credential = Credential::Token { id: token.id.clone() };
        Ok(Caller { principal: token.principal.clone(), credential, scope: token.scope.clone() })
    }

    pub(crate) fn caller_of_access_key(&self, key: &AccessKeyEntry) -> Result<Caller, Stale> {
        self.enabled(&key.principal)?;
        let credential = Credential::AccessKey { id: key.id.clone() };
        Ok(Caller { principal: key.principal.clone(), credential, scope: None })
    }

    /// The stored hash of an enabled principal that has a password.
    pub(crate) fn password_hash(&self, principal: &Principal) -> Option<Arc<str>> {
        self.enabled(principal).ok().and_then(|entry| entry.password_hash.clone())
    }
}

impl PrincipalEntry {
    fn holds_server_admin(&self) -> bool {
        self.principal.kind == model::access::PrincipalKind::User
            && self.grants_on(ResourceKind::Server).iter().any(|grant| grant.role == Role::Admin && grant.pattern.matches("berth"))
    }
}
