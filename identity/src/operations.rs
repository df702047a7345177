//! The operations of the permission API, one file per noun: free functions that authorise, decide and write in one transaction.
//!
//! Each change appends an event in the same transaction and acts on the next request anywhere.

pub mod access_keys;
pub mod audit;
pub mod grants;
pub mod preview;
pub mod principals;
pub mod questions;
pub mod teams;
pub mod tokens;

use crate::caller::Caller;
use crate::decide::decide;
use crate::error::Refusal;
use crate::snapshot::Snapshot;
use crate::store;
use model::access::{Membership, Principal, PrincipalKind, Resource, Role};
use platform::db::{DbError, Tx};
use platform::events::NewEvent;

/// The caller must be a server admin.
pub(crate) fn require_server_admin(snapshot: &Snapshot, caller: &Caller) -> Result<(), Refusal> {
    require(snapshot, caller, Role::Admin, &Resource::server())
}

pub(crate) fn is_server_admin(snapshot: &Snapshot, caller: &Caller) -> bool {
    decide(snapshot, caller, Role::Admin, &Resource::server()).allowed
}

fn require(snapshot: &Snapshot, caller: &Caller, role: Role, resource: &Resource) -> Result<(), Refusal> {
    if decide(snapshot, caller, role, resource).allowed { Ok(()) } else { Err(Refusal::forbidden(&caller.principal, role, resource)) }
}

/// People and robots manage their own credentials, server admins everybody's. A narrowed token must not make itself a wider one.
fn require_credentials_of(snapshot: &Snapshot, caller: &Caller, owner: &Principal) -> Result<(), Refusal> {
    if owner.kind == PrincipalKind::Team {
        require_server_admin(snapshot, caller)?;
        Err(Refusal::Invalid("a team has no password, tokens or access keys: its members have".into()))
    } else if caller.principal != *owner {
        require_server_admin(snapshot, caller)
    } else if caller.scope.is_some() {
        Err(Refusal::NarrowedToken)
    } else {
        Ok(())
    }
}

/// The owner must exist when the transaction runs.
async fn require_exists(tx: &mut Tx, principal: &Principal) -> Result<(), Refusal> {
    match store::principals::is_disabled(tx, principal).await? {
        Some(_) => Ok(()),
        None => Err(Refusal::not_found(word(principal), &principal.name)),
    }
}

/// What is about to go away.
#[derive(Debug, Clone, Copy)]
enum Removal<'a> {
    /// A user, or a team.
    Principal(&'a Principal),
    Grant(&'a str),
    Member(&'a Membership),
}

/// Refuses a removal that would leave nobody to manage the server.
async fn keep_a_server_admin(tx: &mut Tx, removal: Removal<'_>) -> Result<(), Refusal> {
    let admins = store::grants::server_admins(tx).await?;
    let users: Vec<_> =
        admins.iter().filter(|admin| admin.principal.kind == PrincipalKind::User && admin.pattern.matches("berth")).collect();
    let stays = users.iter().any(|admin| match removal {
        Removal::Principal(principal) => admin.principal != *principal && admin.holder != *principal,
        Removal::Grant(id) => admin.grant_id != id,
        Removal::Member(membership) => admin.principal != membership.member || admin.holder != membership.team,
    });
    if users.is_empty() || stays { Ok(()) } else { Err(Refusal::LastServerAdmin) }
}

fn word(principal: &Principal) -> &'static str {
    principal.kind.as_str()
}

async fn append(tx: &mut Tx, now: model::Timestamp, caller: &Caller, change: Change) -> Result<(), DbError> {
    let Change { kind, subject, message } = change;
    let event = NewEvent { kind, principal: Some(caller.principal.to_string()), subject, message, detail: caller.detail() };
    platform::events::append(tx, now, event).await?;
    Ok(())
}

/// What the audit says of a change.
struct Change {
    kind: &'static str,
    subject: String,
    message: String,
}
