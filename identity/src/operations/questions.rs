//! Questions about access: may somebody, who can, what can somebody, through which grant and team, and what comes close.
//!
//! Everybody may ask about themselves. Asking about others takes `admin` on the resource or on the server.

use super::{is_server_admin, require_server_admin};
use crate::Identity;
use crate::caller::Caller;
use crate::decide::{Decision, NearMiss, decide, may, nearest, who_can};
use crate::error::Refusal;
use crate::snapshot::{PrincipalEntry, Snapshot};
use model::access::{AccessError, Grant, Principal, Resource, Role};

/// The answer to "may this principal?".
#[derive(Debug, Clone)]
pub struct Answer {
    pub principal: Principal,
    pub allowed: bool,
    pub via: Option<Grant>,
    /// When refused.
    pub nearest: Vec<(Grant, NearMiss)>,
    pub disabled: bool,
    /// Whether the grants allow and only the scope of the caller's own token does not.
    pub narrowed: bool,
}

/// Somebody who can.
#[derive(Debug, Clone)]
pub struct Able {
    pub principal: Principal,
    pub disabled: bool,
    pub via: Vec<Grant>,
}

/// About the caller when `principal` is absent; then with the scope of its token.
pub async fn check(
    identity: &Identity,
    caller: &Caller,
    principal: Option<&Principal>,
    role: Role,
    resource: &Resource,
) -> Result<Answer, Refusal> {
    check_role(role, resource)?;
    let snapshot = identity.snapshot().await?;
    let subject = principal.unwrap_or(&caller.principal);
    let own = may(&snapshot, subject, role, resource);
    let Decision { allowed, via } = if *subject == caller.principal {
        decide(&snapshot, caller, role, resource)
    } else {
        require_admin_of(&snapshot, caller, resource)?;
        own.clone()
    };
    let near = if allowed { Vec::new() } else { nearest(&snapshot, subject, role, resource) };
    Ok(Answer {
        principal: subject.clone(),
        allowed,
        via: via.and_then(|id| snapshot.grant(&id).cloned()),
        nearest: near.into_iter().map(|(grant, why)| (grant.clone(), why)).collect(),
        disabled: snapshot.principal(subject).is_some_and(|entry| entry.disabled),
        narrowed: own.allowed && !allowed,
    })
}

/// Everybody who can, by name.
pub async fn who(identity: &Identity, caller: &Caller, role: Role, resource: &Resource) -> Result<Vec<Able>, Refusal> {
    check_role(role, resource)?;
    let snapshot = identity.snapshot().await?;
    require_admin_of(&snapshot, caller, resource)?;
    let list = who_can(&snapshot, role, resource).into_iter();
    Ok(list
        .map(|entry| Able { principal: entry.principal.clone(), disabled: entry.disabled, via: entry.via.into_iter().cloned().collect() })
        .collect())
}

/// Everything somebody may, and through which teams.
#[derive(Debug, Clone)]
pub struct Access {
    pub principal: Principal,
    pub disabled: bool,
    pub teams: Vec<Principal>,
    /// By kind, then pattern, the strongest first; a grant of a team names the team.
    pub grants: Vec<Grant>,
}

/// What the caller can, or what `principal` can: for server admins, and for who is in it when it is a team.
pub async fn what(identity: &Identity, caller: &Caller, principal: Option<&Principal>) -> Result<Access, Refusal> {
    let snapshot = identity.snapshot().await?;
    let subject = principal.unwrap_or(&caller.principal);
    let own_team = |entry: &PrincipalEntry| entry.teams().any(|team| team == subject);
    if *subject != caller.principal && !snapshot.principal(&caller.principal).is_some_and(own_team) {
        require_server_admin(&snapshot, caller)?;
    }
    let entry = snapshot.principal(subject).ok_or_else(|| Refusal::not_found(subject.kind.as_str(), &subject.name))?;
    let mut grants: Vec<Grant> = entry.grants().cloned().collect();
    grants.sort_by(|a, b| (a.kind, &a.pattern, b.role, &a.id).cmp(&(b.kind, &b.pattern, a.role, &b.id)));
    Ok(Access { principal: subject.clone(), disabled: entry.disabled, teams: entry.teams().cloned().collect(), grants })
}

fn check_role(role: Role, resource: &Resource) -> Result<(), Refusal> {
    if role.applies_to(resource.kind) { Ok(()) } else { Err(AccessError::RoleOnKind { role, kind: resource.kind }.into()) }
}

fn require_admin_of(snapshot: &Snapshot, caller: &Caller, resource: &Resource) -> Result<(), Refusal> {
    if is_server_admin(snapshot, caller) || decide(snapshot, caller, Role::Admin, resource).allowed {
        Ok(())
    } else {
        Err(Refusal::forbidden(&caller.principal, Role::Admin, resource))
    }
}
