//! What a change of grants or memberships would do: who gains and who loses what. Pure, over the snapshot before and the one after.
//!
//! A difference is a role on a pattern that no single grant gave before (or gives after). Whatever anybody may do after and might
//! not before is inside one of the differences; one on a pattern without `*` says exactly that. One on a wider pattern may hold
//! names that several narrower grants allowed together.

use crate::snapshot::{PrincipalEntry, Snapshot};
use model::access::{Grant, Membership, Principal, PrincipalKind, Role};

/// A change that is thought of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Grant(Grant),
    /// By the grant's id.
    Revoke(String),
    Join(Membership),
    Leave(Membership),
    /// A user, robot or team goes, with its grants and memberships.
    Remove(Principal),
}

/// What somebody gains or loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub principal: Principal,
    pub effect: Effect,
    /// The grant that gives it after the change, or gave it before. Its principal may be a team.
    pub via: Grant,
    /// The strongest role on all of the same names that the principal had before (of a gain) or keeps (of a loss).
    pub otherwise: Option<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    Gains,
    Loses,
}

/// The state after `changes`; credentials are left out of it.
pub fn after(before: &Snapshot, changes: &[Change]) -> Snapshot {
    let mut principals: Vec<PrincipalEntry> = before.principals().cloned().collect();
    let mut grants: Vec<Grant> = before.grants().cloned().collect();
    let mut members: Vec<Membership> = before.memberships().collect();
    for change in changes {
        match change {
            Change::Grant(grant) => grants.push(grant.clone()),
            Change::Revoke(id) => grants.retain(|grant| grant.id != *id),
            Change::Join(membership) if !members.contains(membership) => members.push(membership.clone()),
            Change::Join(_) => {}
            Change::Leave(membership) => members.retain(|other| other != membership),
            Change::Remove(gone) => {
                principals.retain(|entry| entry.principal != *gone);
                grants.retain(|grant| grant.principal != *gone);
                members.retain(|membership| membership.team != *gone && membership.member != *gone);
            }
        }
    }
    let bare = principals.into_iter().map(PrincipalEntry::without_access).collect();
    Snapshot::new(before.version(), bare, grants, members, Vec::new(), Vec::new())
}

/// Who gains and who loses, by name; users and robots only, since teams do not act.
pub fn differences(before: &Snapshot, after: &Snapshot) -> Vec<Difference> {
    let mut all = Vec::new();
    for was in before.principals().filter(|entry| entry.principal.kind != PrincipalKind::Team) {
        let had = held(Some(was));
        let has = held(after.principal(&was.principal));
        all.extend(new_in(&was.principal, Effect::Gains, &has, &had));
        all.extend(new_in(&was.principal, Effect::Loses, &had, &has));
    }
    all.sort_by(|a, b| (&a.principal, a.effect, &a.via.id).cmp(&(&b.principal, b.effect, &b.via.id)));
    all
}

/// What a principal may by its grants; a disabled one may nothing.
fn held(entry: Option<&PrincipalEntry>) -> Vec<&Grant> {
    entry.filter(|entry| !entry.disabled).into_iter().flat_map(PrincipalEntry::grants).collect()
}

/// Those of `these` that no single one of `others` covers, each only when nothing else among `these` covers it either.
fn new_in(principal: &Principal, effect: Effect, these: &[&Grant], others: &[&Grant]) -> Vec<Difference> {
    let mut kept: Vec<&Grant> = Vec::new();
    // What covers much comes first, so that what it covers is not named beside it.
    let mut candidates: Vec<&Grant> = these.iter().copied().filter(|grant| !others.iter().any(|other| covers(other, grant))).collect();
    candidates.sort_by(|a, b| {
        b.role.cmp(&a.role).then_with(|| a.pattern.as_str().len().cmp(&b.pattern.as_str().len())).then_with(|| a.id.cmp(&b.id))
    });
    for candidate in &candidates {
        let covered = |other: &&Grant| other.id != candidate.id && covers(other, candidate) && !covers(candidate, other);
        if !kept.iter().any(|other| covers(other, candidate)) && !candidates.iter().any(covered) {
            kept.push(candidate);
        }
    }
    let otherwise = |grant: &Grant| {
        let same_names = others.iter().filter(|other| other.kind == grant.kind && other.pattern.covers(&grant.pattern));
        same_names.map(|other| other.role).max()
    };
    kept.into_iter()
        .map(|grant| Difference { principal: principal.clone(), effect, via: grant.clone(), otherwise: otherwise(grant) })
        .collect()
}

/// Whether `wide` allows all that `narrow` allows.
fn covers(wide: &Grant, narrow: &Grant) -> bool {
    wide.kind == narrow.kind && wide.role.includes(narrow.role) && wide.pattern.covers(&narrow.pattern)
}

#[cfg(test)]
mod tests;
