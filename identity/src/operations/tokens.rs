//! Personal and robot tokens. A token can only narrow its owner: what it may is decided as its owner's grants *and* its scope.

use super::{Change, append, is_server_admin, require_credentials_of, require_exists};
use crate::Identity;
use crate::caller::{Caller, Credential, ScopeRule};
use crate::error::Refusal;
use crate::secrets;
use crate::snapshot::TokenEntry;
use crate::store;
use api::v1::access::{LABEL_BYTES_MAX, SCOPE_RULES_MAX};
use model::access::{AccessError, Principal};
use std::time::Duration;

/// Most live tokens of one principal.
const TOKENS_PER_PRINCIPAL_MAX: usize = 1000;

/// A token to be made.
#[derive(Debug, Clone)]
pub struct Wish {
    pub owner: Principal,
    pub label: String,
    pub scope: Option<Vec<ScopeRule>>,
    /// Never ends when absent.
    pub life: Option<Duration>,
}

/// By id, those not revoked.
pub async fn list(identity: &Identity, caller: &Caller, owner: &Principal) -> Result<Vec<TokenEntry>, Refusal> {
    let snapshot = identity.snapshot().await?;
    if caller.principal != *owner {
        super::require_server_admin(&snapshot, caller)?;
    }
    let mut list: Vec<_> = snapshot.tokens().filter(|token| token.principal == *owner).cloned().collect();
    list.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(list)
}

/// The token and its secret, which is nowhere else.
pub async fn create(identity: &Identity, caller: &Caller, wish: Wish) -> Result<(TokenEntry, String), Refusal> {
    let snapshot = identity.snapshot().await?;
    require_credentials_of(&snapshot, caller, &wish.owner)?;
    check(&wish)?;
    if snapshot.tokens().filter(|token| token.principal == wish.owner).count() >= TOKENS_PER_PRINCIPAL_MAX {
        return Err(Refusal::TooMany { what: "tokens of this principal", max: TOKENS_PER_PRINCIPAL_MAX });
    }
    let now = identity.now();
    let secret = secrets::new_token();
    let token = TokenEntry {
        id: platform::random::short_id("t"),
        principal: wish.owner,
        label: wish.label,
        scope: wish.scope,
        created_at: now,
        expires_at: wish.life.map(|life| now.plus(life)),
        secret_hash: secrets::hash(&secret),
    };
    let (caller, stored) = (caller.clone(), token.clone());
    identity
        .change(move |tx| {
            let (caller, token) = (caller.clone(), stored.clone());
            Box::pin(async move {
                require_exists(tx, &token.principal).await?;
                store::tokens::insert(tx, &token).await?;
                append(tx, now, &caller, change("token.created", &token, "created")).await?;
                Ok::<_, Refusal>(())
            })
        })
        .await?;
    Ok((token, secret))
}

/// One's own, or anybody's for server admins. A narrowed token may revoke itself and nothing else.
pub async fn revoke(identity: &Identity, caller: &Caller, id: &str) -> Result<(), Refusal> {
    let snapshot = identity.snapshot().await?;
    let own = |token: &&TokenEntry| token.principal == caller.principal || is_server_admin(&snapshot, caller);
    let token = snapshot.token(id).filter(own).ok_or_else(|| Refusal::not_found("token", id))?.clone();
    if caller.credential != (Credential::Token { id: token.id.clone() }) {
        require_credentials_of(&snapshot, caller, &token.principal)?;
    }
    let (caller, now) = (caller.clone(), identity.now());
    identity
        .change(move |tx| {
            let (caller, token) = (caller.clone(), token.clone());
            Box::pin(async move {
                if !store::tokens::revoke(tx, &token.id, now).await? {
                    return Err(Refusal::not_found("token", token.id));
                }
                append(tx, now, &caller, change("token.revoked", &token, "revoked")).await?;
                Ok(())
            })
        })
        .await
}

fn check(wish: &Wish) -> Result<(), Refusal> {
    let label = wish.label.trim();
    if label.is_empty() || label.len() > LABEL_BYTES_MAX || label.chars().any(char::is_control) {
        return Err(Refusal::Invalid(format!("a label has 1 to {LABEL_BYTES_MAX} bytes, none of them control characters")));
    }
    let Some(scope) = &wish.scope else { return Ok(()) };
    if scope.is_empty() || scope.len() > SCOPE_RULES_MAX {
        return Err(Refusal::Invalid(format!("a scope has 1 to {SCOPE_RULES_MAX} rules; without a scope the token may all its owner may")));
    }
    match scope.iter().find(|rule| !rule.role.applies_to(rule.kind)) {
        Some(rule) => Err(AccessError::RoleOnKind { role: rule.role, kind: rule.kind }.into()),
        None => Ok(()),
    }
}

fn change(kind: &'static str, token: &TokenEntry, verb: &str) -> Change {
    let message = format!("token {} ({}) of {} {verb}", token.id, token.label, token.principal);
    Change { kind, subject: token.principal.to_string(), message }
}
