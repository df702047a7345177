//! Teams: made and removed by server admins, who also say who is in them. Granting something to a team is a grant like any other.
//!
//! A team is a principal that never acts: it has no credentials. Teams do not nest.

use super::{Change, Removal, append, is_server_admin, keep_a_server_admin, principals, require_exists, require_server_admin};
use crate::Identity;
use crate::caller::Caller;
use crate::error::Refusal;
use crate::snapshot::{PrincipalEntry, Snapshot};
use crate::store;
use model::access::{Membership, Principal, PrincipalKind};

/// Most members of one team.
const MEMBERS_PER_TEAM_MAX: usize = 10_000;
/// Most teams of one principal: each costs time in every decision about it.
const TEAMS_PER_PRINCIPAL_MAX: usize = 100;

/// By name: all for server admins, the caller's own for everybody else.
pub async fn list(identity: &Identity, caller: &Caller) -> Result<Vec<PrincipalEntry>, Refusal> {
    let snapshot = identity.snapshot().await?;
    let teams = snapshot.principals().filter(|entry| entry.principal.kind == PrincipalKind::Team);
    let mut list: Vec<_> = teams.filter(|team| may_see(&snapshot, caller, team)).cloned().collect();
    list.sort_by(|a, b| a.principal.cmp(&b.principal));
    Ok(list)
}

/// A team, for server admins and for who is in it.
pub async fn get(identity: &Identity, caller: &Caller, team: &Principal) -> Result<PrincipalEntry, Refusal> {
    let snapshot = identity.snapshot().await?;
    let found = snapshot.principal(team).filter(|entry| may_see(&snapshot, caller, entry));
    found.cloned().ok_or_else(|| Refusal::not_found("team", &team.name))
}

pub async fn create(identity: &Identity, caller: &Caller, team: &Principal) -> Result<PrincipalEntry, Refusal> {
    principals::create(identity, caller, team, None).await
}

/// Removes it with its grants; its members lose what they had through it.
pub async fn delete(identity: &Identity, caller: &Caller, team: &Principal) -> Result<(), Refusal> {
    principals::delete(identity, caller, team).await
}

/// Puts somebody into a team; true when that is new.
pub async fn add(identity: &Identity, caller: &Caller, membership: Membership) -> Result<bool, Refusal> {
    let snapshot = identity.snapshot().await?;
    require_server_admin(&snapshot, caller)?;
    check(&snapshot, &membership)?;
    let (caller, now) = (caller.clone(), identity.now());
    identity
        .change(move |tx| {
            let (caller, membership) = (caller.clone(), membership.clone());
            Box::pin(async move {
                require_exists(tx, &membership.team).await?;
                require_exists(tx, &membership.member).await?;
                let is_new = store::team_members::insert(tx, &membership, now, &caller.principal.to_string()).await?;
                if is_new {
                    append(tx, now, &caller, change("team.member-added", &membership, "put into")).await?;
                }
                Ok(is_new)
            })
        })
        .await
}

/// Takes somebody out of a team, from the next request on.
pub async fn remove(identity: &Identity, caller: &Caller, membership: Membership) -> Result<(), Refusal> {
    require_server_admin(&*identity.snapshot().await?, caller)?;
    let (caller, now) = (caller.clone(), identity.now());
    identity
        .change(move |tx| {
            let (caller, membership) = (caller.clone(), membership.clone());
            Box::pin(async move {
                require_exists(tx, &membership.team).await?;
                keep_a_server_admin(tx, Removal::Member(&membership)).await?;
                if !store::team_members::delete(tx, &membership).await? {
                    return Err(Refusal::not_found("member", membership.member.to_string()));
                }
                append(tx, now, &caller, change("team.member-removed", &membership, "taken out of")).await?;
                Ok(())
            })
        })
        .await
}

/// Whether such a membership can be.
pub(super) fn check(snapshot: &Snapshot, membership: &Membership) -> Result<(), Refusal> {
    let Membership { team, member } = membership;
    let is_team = |principal: &Principal| principal.kind == PrincipalKind::Team;
    if !is_team(team) || is_team(member) {
        return Err(Refusal::Invalid("users and robots are put into teams; teams do not nest".into()));
    }
    if snapshot.principal(team).is_some_and(|entry| entry.members().len() >= MEMBERS_PER_TEAM_MAX) {
        return Err(Refusal::TooMany { what: "members of this team", max: MEMBERS_PER_TEAM_MAX });
    }
    if snapshot.principal(member).is_some_and(|entry| entry.teams().count() >= TEAMS_PER_PRINCIPAL_MAX) {
        return Err(Refusal::TooMany { what: "teams of this principal", max: TEAMS_PER_PRINCIPAL_MAX });
    }
    Ok(())
}

fn may_see(snapshot: &Snapshot, caller: &Caller, team: &PrincipalEntry) -> bool {
    team.members().contains(&caller.principal) || is_server_admin(snapshot, caller)
}

fn change(kind: &'static str, membership: &Membership, verb: &str) -> Change {
    Change { kind, subject: membership.team.to_string(), message: format!("{} {verb} {}", membership.member, membership.team) }
}
