//! All principals, grants and live credentials in memory, as of one version: what every decision and authentication reads.
//!
//! Immutable; a change of identity makes a new one. Loaded by `store::load`, indexed here.

use crate::caller::{Caller, Credential, ScopeRule};
use model::Timestamp;
use model::access::{Grant, Membership, Principal, PrincipalKind, ResourceKind, Role};
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

/// Grants of one principal by the kind of resource they are on, the strongest role first: one grant more often decides for many
/// questions.
#[derive(Debug, Clone, Default)]
struct GrantSet([Vec<Grant>; ResourceKind::ALL.len()]);

/// A principal with its grants and those of its teams.
#[derive(Debug, Clone)]
pub struct PrincipalEntry {
    pub principal: Principal,
    pub disabled: bool,
    pub(crate) password_hash: Option<Arc<str>>,
    pub created_at: Timestamp,
    pub created_by: String,
    grants: Arc<GrantSet>,
    /// By name.
    teams: Vec<(Principal, Arc<GrantSet>)>,
    /// Of a team, by name.
    members: Vec<Principal>,
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
        Self { principal, disabled, password_hash, created_at, created_by, grants: Arc::default(), teams: Vec::new(), members: Vec::new() }
    }

    /// The same without grants and memberships.
    pub(crate) fn without_access(self) -> Self {
        Self { grants: Arc::default(), teams: Vec::new(), members: Vec::new(), ..self }
    }

    /// What it may on resources of `kind`: its own grants, then those of its teams. A grant names whose it is.
    pub fn grants_on(&self, kind: ResourceKind) -> impl Iterator<Item = &Grant> {
        let of_teams = self.teams.iter().flat_map(move |(_, grants)| &grants.0[kind as usize]);
        self.grants.0[kind as usize].iter().chain(of_teams)
    }

    /// Its own, without those of its teams.
    pub fn own_grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.0.iter().flatten()
    }

    /// Its own and those of its teams.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        ResourceKind::ALL.into_iter().flat_map(|kind| self.grants_on(kind))
    }

    /// The teams it is in, by name.
    pub fn teams(&self) -> impl Iterator<Item = &Principal> {
        self.teams.iter().map(|(team, _)| team)
    }

    /// Who is in this team, by name; nobody when it is none.
    pub fn members(&self) -> &[Principal] {
        &self.members
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
        members: Vec<Membership>,
        tokens: Vec<TokenEntry>,
        access_keys: Vec<AccessKeyEntry>,
    ) -> Self {
        let principals = index(principals, grants, members);
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
        self.principals.values().flat_map(PrincipalEntry::own_grants)
    }

    /// In no order.
    pub fn memberships(&self) -> impl Iterator<Item = Membership> {
        let of_team = |team: &PrincipalEntry| {
            let team_of = team.principal.clone();
            team.members.clone().into_iter().map(move |member| Membership { team: team_of.clone(), member })
        };
        self.principals.values().flat_map(of_team)
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

    /// Teams have no credentials, so that none of them can ever be a caller.
    fn enabled(&self, principal: &Principal) -> Result<&PrincipalEntry, Stale> {
        let entry = self.principals.get(principal).filter(|entry| !entry.disabled);
        entry.filter(|entry| entry.principal.kind != PrincipalKind::Team).ok_or(Stale::Gone)
    }

    /// The caller that `token` stands for, when it still stands.
    pub(crate) fn caller_of_token(&self, token: &TokenEntry, now: Timestamp) -> Result<Caller, Stale> {
        self.enabled(&token.principal)?;
        if token.expires_at.is_some_and(|at| at <= now) {
            return Err(Stale::Expired);
        }
        let credential = Credential::Token { id: token.id.clone() };
        Ok(Caller { principal: token.principal.clone(), credential, scope: token.scope.clone(), address: None })
    }

    pub(crate) fn caller_of_access_key(&self, key: &AccessKeyEntry) -> Result<Caller, Stale> {
        self.enabled(&key.principal)?;
        let credential = Credential::AccessKey { id: key.id.clone() };
        Ok(Caller::new(key.principal.clone(), credential))
    }

    /// The stored hash of an enabled principal that has a password.
    pub(crate) fn password_hash(&self, principal: &Principal) -> Option<Arc<str>> {
        self.enabled(principal).ok().and_then(|entry| entry.password_hash.clone())
    }
}

impl PrincipalEntry {
    fn holds_server_admin(&self) -> bool {
        self.principal.kind == PrincipalKind::User
            && self.grants_on(ResourceKind::Server).any(|grant| grant.role == Role::Admin && grant.pattern.matches("berth"))
    }
}

/// Principals by name, each with its grants, its teams and their grants.
fn index(principals: Vec<PrincipalEntry>, grants: Vec<Grant>, members: Vec<Membership>) -> HashMap<Principal, PrincipalEntry> {
    let mut sets: HashMap<Principal, GrantSet> = HashMap::new();
    for grant in grants {
        sets.entry(grant.principal.clone()).or_default().0[grant.kind as usize].push(grant);
    }
    for list in sets.values_mut().flat_map(|set| &mut set.0) {
        list.sort_by(|a, b| b.role.cmp(&a.role).then_with(|| a.id.cmp(&b.id)));
    }
    let sets: HashMap<_, _> = sets.into_iter().map(|(principal, set)| (principal, Arc::new(set))).collect();
    let set_of = |principal: &Principal| sets.get(principal).cloned().unwrap_or_default();
    let mut entries: HashMap<_, _> = principals
        .into_iter()
        .map(|entry| (entry.principal.clone(), PrincipalEntry { grants: set_of(&entry.principal), ..entry }))
        .collect();
    for Membership { team, member } in members {
        if !entries.contains_key(&team) || !entries.contains_key(&member) {
            continue;
        }
        let of_team = set_of(&team);
        entries.entry(member.clone()).and_modify(|entry| entry.teams.push((team.clone(), of_team)));
        entries.entry(team).and_modify(|entry| entry.members.push(member));
    }
    for entry in entries.values_mut() {
        entry.teams.sort_by(|a, b| a.0.cmp(&b.0));
        entry.members.sort();
    }
    entries
}
