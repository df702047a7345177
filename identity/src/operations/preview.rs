//! What a change would do, asked by who may make it. Nothing is written.

use super::{grants, require_server_admin, teams};
use crate::Identity;
use crate::caller::Caller;
use crate::error::Refusal;
use crate::preview::{Change, Difference, after, differences};
use crate::snapshot::Snapshot;
use model::Timestamp;
use model::access::{Grant, Membership, Principal};

/// Most changes in one question.
pub const CHANGES_MAX: usize = 100;
/// Id of grants that are not made yet.
const NOT_YET: &str = "new";

/// A change as it is asked about.
#[derive(Debug, Clone)]
pub enum Wish {
    Grant(grants::Wish),
    Revoke(String),
    Join(Membership),
    Leave(Membership),
    Remove(Principal),
}

/// Who would gain and who would lose; refused like the changes themselves would be.
pub async fn preview(identity: &Identity, caller: &Caller, wishes: Vec<Wish>) -> Result<Vec<Difference>, Refusal> {
    if wishes.is_empty() || wishes.len() > CHANGES_MAX {
        return Err(Refusal::Invalid(format!("1 to {CHANGES_MAX} changes can be looked at together")));
    }
    let snapshot = identity.snapshot().await?;
    let change = |wish| change(&snapshot, caller, wish, identity.now());
    let changes: Vec<Change> = wishes.into_iter().map(change).collect::<Result<_, _>>()?;
    let after = after(&snapshot, &changes);
    if snapshot.server_admins().next().is_some() && after.server_admins().next().is_none() {
        return Err(Refusal::LastServerAdmin);
    }
    Ok(differences(&snapshot, &after))
}

/// The change, when the caller may make it and it can be made.
fn change(snapshot: &Snapshot, caller: &Caller, wish: Wish, now: Timestamp) -> Result<Change, Refusal> {
    Ok(match wish {
        Wish::Grant(wish) => {
            grants::check(&wish)?;
            grants::require_change(snapshot, caller, wish.kind, &wish.pattern)?;
            exists(snapshot, &wish.principal)?;
            let grants::Wish { principal, role, kind, pattern } = wish;
            Change::Grant(Grant {
                id: NOT_YET.into(),
                principal,
                role,
                kind,
                pattern,
                created_at: now,
                created_by: caller.principal.to_string(),
            })
        }
        Wish::Revoke(id) => {
            let grant = grants::visible(snapshot, caller, &id)?;
            grants::require_change(snapshot, caller, grant.kind, &grant.pattern)?;
            Change::Revoke(id)
        }
        Wish::Join(membership) => {
            require_server_admin(snapshot, caller)?;
            teams::check(snapshot, &membership)?;
            exists(snapshot, &membership.team)?;
            exists(snapshot, &membership.member)?;
            Change::Join(membership)
        }
        Wish::Leave(membership) => {
            require_server_admin(snapshot, caller)?;
            exists(snapshot, &membership.team)?;
            Change::Leave(membership)
        }
        Wish::Remove(principal) => {
            require_server_admin(snapshot, caller)?;
            exists(snapshot, &principal)?;
            Change::Remove(principal)
        }
    })
}

fn exists(snapshot: &Snapshot, principal: &Principal) -> Result<(), Refusal> {
    match snapshot.principal(principal) {
        Some(_) => Ok(()),
        None => Err(Refusal::not_found(principal.kind.as_str(), &principal.name)),
    }
}
