//! Grants: who may see them, and who may make and revoke them.
//!
//! Changing a grant takes `admin` on a pattern of the same kind that covers the grant's: `admin` on `acme/**` cannot grant on `**`.

use super::{Change, Removal, append, is_server_admin, keep_a_server_admin, require_exists};
use crate::Identity;
use crate::caller::Caller;
use crate::decide::{GrantSubject, may_change_grant};
use crate::error::Refusal;
use crate::snapshot::{PrincipalEntry, Snapshot};
use crate::store;
use model::access::{AccessError, Grant, Pattern, Principal, ResourceKind, Role};

/// Most grants of one principal.
const GRANTS_PER_PRINCIPAL_MAX: usize = 1000;

/// What a new grant says.
#[derive(Debug, Clone)]
pub struct Wish {
    pub principal: Principal,
    pub role: Role,
    pub kind: ResourceKind,
    pub pattern: Pattern,
}

/// Whether a grant is new or stood already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    New(Grant),
    Stood(Grant),
}

/// Which grants; empty fields match all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub principal: Option<Principal>,
    pub role: Option<Role>,
    pub kind: Option<ResourceKind>,
    pub pattern: Option<Pattern>,
}

impl Filter {
    fn matches(&self, grant: &Grant) -> bool {
        self.principal.as_ref().is_none_or(|wanted| *wanted == grant.principal)
            && self.role.is_none_or(|wanted| wanted == grant.role)
            && self.kind.is_none_or(|wanted| wanted == grant.kind)
            && self.pattern.as_ref().is_none_or(|wanted| *wanted == grant.pattern)
    }
}

/// By id: the caller's own, those of its teams and those it could change; all for server admins.
pub async fn list(identity: &Identity, caller: &Caller, filter: &Filter) -> Result<Vec<Grant>, Refusal> {
    let snapshot = identity.snapshot().await?;
    let mut list: Vec<_> = snapshot.grants().filter(|grant| filter.matches(grant) && may_see(&snapshot, caller, grant)).cloned().collect();
    list.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(list)
}

pub async fn get(identity: &Identity, caller: &Caller, id: &str) -> Result<Grant, Refusal> {
    visible(&*identity.snapshot().await?, caller, id).cloned()
}

/// The grant, when the caller may see it.
pub(super) fn visible<'a>(snapshot: &'a Snapshot, caller: &Caller, id: &str) -> Result<&'a Grant, Refusal> {
    let grant = snapshot.grant(id).filter(|grant| may_see(snapshot, caller, grant));
    grant.ok_or_else(|| Refusal::not_found("grant", id))
}

/// Idempotent: the same sentence twice is one grant.
pub async fn create(identity: &Identity, caller: &Caller, wish: Wish) -> Result<Made, Refusal> {
    check(&wish)?;
    let snapshot = identity.snapshot().await?;
    require_change(&snapshot, caller, wish.kind, &wish.pattern)?;
    let held = snapshot.principal(&wish.principal).map_or(0, |entry| entry.own_grants().count());
    if held >= GRANTS_PER_PRINCIPAL_MAX {
        return Err(Refusal::TooMany { what: "grants of this principal", max: GRANTS_PER_PRINCIPAL_MAX });
    }
    let now = identity.now();
    let Wish { principal, role, kind, pattern } = wish;
    let created_by = caller.principal.to_string();
    let grant = Grant { id: platform::random::short_id("g"), principal, role, kind, pattern, created_at: now, created_by };
    let caller = caller.clone();
    identity
        .change(move |tx| {
            let (caller, grant) = (caller.clone(), grant.clone());
            Box::pin(async move {
                require_exists(tx, &grant.principal).await?;
                if let Some(stood) = store::grants::find(tx, &grant.principal, grant.role, grant.kind, &grant.pattern).await? {
                    return Ok(Made::Stood(stood));
                }
                store::grants::insert(tx, &grant).await?;
                append(tx, now, &caller, change("grant.created", &grant, "created")).await?;
                Ok(Made::New(grant))
            })
        })
        .await
}

pub async fn revoke(identity: &Identity, caller: &Caller, id: &str) -> Result<(), Refusal> {
    let grant = get(identity, caller, id).await?;
    require_change(&*identity.snapshot().await?, caller, grant.kind, &grant.pattern)?;
    let (caller, now) = (caller.clone(), identity.now());
    identity
        .change(move |tx| {
            let (caller, grant) = (caller.clone(), grant.clone());
            Box::pin(async move {
                if store::grants::get(tx, &grant.id).await?.is_none() {
                    return Err(Refusal::not_found("grant", grant.id));
                }
                keep_a_server_admin(tx, Removal::Grant(&grant.id)).await?;
                store::grants::delete(tx, &grant.id).await?;
                append(tx, now, &caller, change("grant.revoked", &grant, "revoked")).await?;
                Ok(())
            })
        })
        .await
}

pub(super) fn check(wish: &Wish) -> Result<(), Refusal> {
    if !wish.role.applies_to(wish.kind) {
        return Err(AccessError::RoleOnKind { role: wish.role, kind: wish.kind }.into());
    }
    if wish.kind == ResourceKind::Server && !wish.pattern.matches("berth") {
        return Err(Refusal::Invalid("the only server is `berth`".into()));
    }
    Ok(())
}

pub(super) fn require_change(snapshot: &Snapshot, caller: &Caller, kind: ResourceKind, pattern: &Pattern) -> Result<(), Refusal> {
    if may_change_grant(snapshot, caller, &GrantSubject { kind, pattern }) {
        return Ok(());
    }
    Err(Refusal::Forbidden { principal: caller.principal.clone(), role: Role::Admin, resource: format!("{kind}:{pattern}") })
}

fn may_see(snapshot: &Snapshot, caller: &Caller, grant: &Grant) -> bool {
    let own = |entry: &PrincipalEntry| entry.teams().any(|team| *team == grant.principal);
    grant.principal == caller.principal
        || snapshot.principal(&caller.principal).is_some_and(own)
        || may_change_grant(snapshot, caller, &GrantSubject { kind: grant.kind, pattern: &grant.pattern })
        || is_server_admin(snapshot, caller)
}

fn change(kind: &'static str, grant: &Grant, verb: &str) -> Change {
    Change { kind, subject: format!("{}:{}", grant.kind, grant.pattern), message: format!("grant {grant} {verb}") }
}
