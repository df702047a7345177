//! The decision: may this principal act in this role on this resource? Pure; asked on every request.
//!
//! Grants only allow and add up; nothing is allowed by default; a grant of one kind says nothing about another; what a team is
//! granted, its members have. Also here, from the same data: who can, through which grant, and which grants come close. Nothing in here authenticates.

use crate::caller::Caller;
use crate::snapshot::Snapshot;
use model::access::{Grant, Principal, PrincipalKind, Resource, Role};

/// Near misses named in an explanation at most.
const NEAREST_MAX: usize = 3;

/// The answer, with the grant that allows when one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Id of the grant.
    pub via: Option<String>,
}

impl Decision {
    const DENIED: Self = Self { allowed: false, via: None };
}

/// Why a grant does not allow what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NearMiss {
    RoleTooLow,
    PatternDoesNotMatch,
}

/// A principal that may, and every grant that says so.
#[derive(Debug, Clone)]
pub struct WhoCan<'a> {
    pub principal: &'a Principal,
    pub disabled: bool,
    pub via: Vec<&'a Grant>,
}

/// Decides for a caller: its principal must be allowed, and so must the scope of its token.
pub fn decide(snapshot: &Snapshot, caller: &Caller, role: Role, resource: &Resource) -> Decision {
    match &caller.scope {
        Some(scope) if !scope.iter().any(|rule| rule.allows(role, resource)) => Decision::DENIED,
        _ => may(snapshot, &caller.principal, role, resource),
    }
}

/// Decides for a principal on record, such as the owner of a service.
pub fn may(snapshot: &Snapshot, principal: &Principal, role: Role, resource: &Resource) -> Decision {
    let Some(entry) = snapshot.principal(principal) else { return Decision::DENIED };
    if entry.disabled || !role.applies_to(resource.kind) {
        return Decision::DENIED;
    }
    let grant = entry.grants_on(resource.kind).find(|grant| allows(grant, role, resource));
    grant.map_or(Decision::DENIED, |grant| Decision { allowed: true, via: Some(grant.id.clone()) })
}

/// Everybody who has a grant that allows, or is in a team that has one, by name. Disabled principals are in the list and marked.
pub fn who_can<'a>(snapshot: &'a Snapshot, role: Role, resource: &Resource) -> Vec<WhoCan<'a>> {
    if !role.applies_to(resource.kind) {
        return Vec::new();
    }
    let mut list: Vec<_> = snapshot
        .principals()
        .filter(|entry| entry.principal.kind != PrincipalKind::Team)
        .map(|entry| WhoCan {
            principal: &entry.principal,
            disabled: entry.disabled,
            via: entry.grants_on(resource.kind).filter(|grant| allows(grant, role, resource)).collect(),
        })
        .filter(|entry| !entry.via.is_empty())
        .collect();
    list.sort_by_key(|entry| entry.principal);
    list
}

/// Grants of `principal` that come close to allowing: the right name with too low a role first, then the right role on names that
/// share the most leading components.
pub fn nearest<'a>(snapshot: &'a Snapshot, principal: &Principal, role: Role, resource: &Resource) -> Vec<(&'a Grant, NearMiss)> {
    let Some(entry) = snapshot.principal(principal) else { return Vec::new() };
    let mut near: Vec<_> = entry
        .grants_on(resource.kind)
        .filter_map(|grant| {
            if grant.pattern.matches(&resource.name) {
                (!grant.role.includes(role)).then_some((NearMiss::RoleTooLow, 0, grant))
            } else {
                let shared = shared_components(grant.pattern.as_str(), &resource.name);
                grant.role.includes(role).then_some((NearMiss::PatternDoesNotMatch, usize::MAX - shared, grant))
            }
        })
        .collect();
    near.sort_by(|a, b| (a.0, a.1, &a.2.id).cmp(&(b.0, b.1, &b.2.id)));
    near.into_iter().take(NEAREST_MAX).map(|(why, _, grant)| (grant, why)).collect()
}

/// Whether the caller may change grants with `pattern` on `kind`: it needs `admin` on a pattern of the same kind that covers it.
pub fn may_change_grant(snapshot: &Snapshot, caller: &Caller, grant: &GrantSubject<'_>) -> bool {
    let covers =
        |role: Role, kind, pattern: &model::access::Pattern| role == Role::Admin && kind == grant.kind && pattern.covers(grant.pattern);
    let in_scope = caller.scope.as_ref().is_none_or(|scope| scope.iter().any(|rule| covers(rule.role, rule.kind, &rule.pattern)));
    let entry = snapshot.principal(&caller.principal).filter(|entry| !entry.disabled);
    in_scope && entry.is_some_and(|entry| entry.grants_on(grant.kind).any(|held| covers(held.role, held.kind, &held.pattern)))
}

/// What a change of grants is about.
#[derive(Debug, Clone, Copy)]
pub struct GrantSubject<'a> {
    pub kind: model::access::ResourceKind,
    pub pattern: &'a model::access::Pattern,
}

fn allows(grant: &Grant, role: Role, resource: &Resource) -> bool {
    grant.role.includes(role) && grant.pattern.matches(&resource.name)
}

fn shared_components(pattern: &str, name: &str) -> usize {
    pattern.split('/').zip(name.split('/')).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
pub(crate) mod tests;
