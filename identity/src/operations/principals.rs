//! Users and robots (and what teams share with them): made, enabled, disabled and deleted by server admins; users change their own password.

use super::{Change, Removal, append, keep_a_server_admin, require_exists, require_server_admin, word};
use crate::Identity;
use crate::authenticate::AuthError;
use crate::caller::{Caller, Credential};
use crate::error::{IdentityError, Refusal};
use crate::secrets::{ECR_PASSWORD_PREFIX, REGISTRY_TOKEN_PREFIX, TOKEN_PREFIX};
use crate::snapshot::PrincipalEntry;
use crate::store;
use api::v1::access::{PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN};
use model::access::{Principal, PrincipalKind};

/// Most users, robots and teams together.
const PRINCIPALS_MAX: usize = 100_000;

/// Those of `kind`, by name.
pub async fn list(identity: &Identity, caller: &Caller, kind: PrincipalKind) -> Result<Vec<PrincipalEntry>, Refusal> {
    let snapshot = identity.snapshot().await?;
    require_server_admin(&snapshot, caller)?;
    let mut list: Vec<_> = snapshot.principals().filter(|entry| entry.principal.kind == kind).cloned().collect();
    list.sort_by(|a, b| a.principal.cmp(&b.principal));
    Ok(list)
}

/// Oneself, or anybody for server admins.
pub async fn get(identity: &Identity, caller: &Caller, principal: &Principal) -> Result<PrincipalEntry, Refusal> {
    let snapshot = identity.snapshot().await?;
    if caller.principal != *principal {
        require_server_admin(&snapshot, caller)?;
    }
    snapshot.principal(principal).cloned().ok_or_else(|| Refusal::not_found(word(principal), &principal.name))
}

pub async fn create(
    identity: &Identity,
    caller: &Caller,
    principal: &Principal,
    password: Option<&str>,
) -> Result<PrincipalEntry, Refusal> {
    let snapshot = identity.snapshot().await?;
    require_server_admin(&snapshot, caller)?;
    if snapshot.principals().count() >= PRINCIPALS_MAX {
        return Err(Refusal::TooMany { what: "users, robots and teams", max: PRINCIPALS_MAX });
    }
    let hash = match password {
        Some(password) => Some(new_password_hash(identity, password).await?),
        None => None,
    };
    let (caller, created, now) = (caller.clone(), principal.clone(), identity.now());
    identity
        .change(move |tx| {
            let (caller, principal, hash) = (caller.clone(), created.clone(), hash.clone());
            Box::pin(async move {
                if store::principals::is_disabled(tx, &principal).await?.is_some() {
                    return Err(Refusal::AlreadyExists { what: word(&principal), name: principal.name });
                }
                store::principals::insert(tx, &principal, hash, now, &caller.principal.to_string()).await?;
                append(tx, now, &caller, change("principal.created", &principal, "created")).await?;
                Ok(())
            })
        })
        .await?;
    stored(identity, principal).await
}

/// Disabled ones are refused everywhere from the next request on. Grants and credentials stay.
pub async fn set_disabled(identity: &Identity, caller: &Caller, principal: &Principal, disabled: bool) -> Result<PrincipalEntry, Refusal> {
    require_server_admin(&*identity.snapshot().await?, caller)?;
    let (caller, changed, now) = (caller.clone(), principal.clone(), identity.now());
    identity
        .change(move |tx| {
            let (caller, principal) = (caller.clone(), changed.clone());
            Box::pin(async move {
                require_exists(tx, &principal).await?;
                if disabled {
                    keep_a_server_admin(tx, Removal::Principal(&principal)).await?;
                }
                store::principals::set_disabled(tx, &principal, disabled).await?;
                let (kind, verb) = if disabled { ("principal.disabled", "disabled") } else { ("principal.enabled", "enabled") };
                append(tx, now, &caller, change(kind, &principal, verb)).await?;
                Ok::<_, Refusal>(())
            })
        })
        .await?;
    stored(identity, principal).await
}

/// Removes it with its grants, tokens, access keys and memberships.
pub async fn delete(identity: &Identity, caller: &Caller, principal: &Principal) -> Result<(), Refusal> {
    require_server_admin(&*identity.snapshot().await?, caller)?;
    let (caller, principal, now) = (caller.clone(), principal.clone(), identity.now());
    identity
        .change(move |tx| {
            let (caller, principal) = (caller.clone(), principal.clone());
            Box::pin(async move {
                require_exists(tx, &principal).await?;
                keep_a_server_admin(tx, Removal::Principal(&principal)).await?;
                store::grants::delete_of(tx, &principal).await?;
                store::tokens::delete_of(tx, &principal).await?;
                store::access_keys::delete_of(tx, &principal).await?;
                store::team_members::delete_of(tx, &principal).await?;
                store::principals::delete(tx, &principal).await?;
                append(tx, now, &caller, change("principal.deleted", &principal, "deleted")).await?;
                Ok(())
            })
        })
        .await
}

/// Users change their own password by showing the current one; server admins set anybody else's.
pub async fn set_password(
    identity: &Identity,
    caller: &Caller,
    principal: &Principal,
    password: &str,
    current: Option<&str>,
) -> Result<(), Refusal> {
    let snapshot = identity.snapshot().await?;
    super::require_credentials_of(&snapshot, caller, principal)?;
    if principal.kind != PrincipalKind::User {
        return Err(Refusal::Invalid("robots have no password: make a token".into()));
    }
    if caller.principal == *principal {
        check_current(identity, caller, current).await?;
    }
    let hash = new_password_hash(identity, password).await?;
    let (caller, principal, now) = (caller.clone(), principal.clone(), identity.now());
    identity
        .change(move |tx| {
            let (caller, principal, hash) = (caller.clone(), principal.clone(), hash.clone());
            Box::pin(async move {
                require_exists(tx, &principal).await?;
                store::principals::set_password(tx, &principal, hash).await?;
                append(tx, now, &caller, change("principal.password-changed", &principal, "got a new password")).await?;
                Ok(())
            })
        })
        .await
}

async fn check_current(identity: &Identity, caller: &Caller, current: Option<&str>) -> Result<(), Refusal> {
    let current = current.ok_or_else(|| Refusal::Invalid("give the current password as `current_password`".into()))?;
    match identity.authenticate_basic(&caller.principal.name, current, caller.address).await {
        // A token in the place of the password is good for much, but not for this.
        Ok(found) if found.credential == Credential::Password && found.principal == caller.principal => Ok(()),
        Err(AuthError::Unavailable(reason)) => Err(IdentityError::Password(reason).into()),
        Ok(_) | Err(_) => Err(Refusal::WrongPassword),
    }
}

/// Checks a new password and hashes it.
pub(crate) async fn new_password_hash(identity: &Identity, password: &str) -> Result<String, Refusal> {
    if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        return Err(Refusal::Invalid(format!("a password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes")));
    }
    if password.chars().any(char::is_control) {
        return Err(Refusal::Invalid("a password has no control characters".into()));
    }
    if [TOKEN_PREFIX, REGISTRY_TOKEN_PREFIX, ECR_PASSWORD_PREFIX].iter().any(|prefix| password.starts_with(prefix)) {
        return Err(Refusal::Invalid(format!("a password does not begin like a token (`{TOKEN_PREFIX}`)")));
    }
    Ok(identity.0.passwords.hash(password).await?)
}

async fn stored(identity: &Identity, principal: &Principal) -> Result<PrincipalEntry, Refusal> {
    let snapshot = identity.snapshot().await?;
    snapshot.principal(principal).cloned().ok_or_else(|| Refusal::not_found(word(principal), &principal.name))
}

fn change(kind: &'static str, principal: &Principal, verb: &str) -> Change {
    Change { kind, subject: principal.to_string(), message: format!("{principal} {verb}") }
}
