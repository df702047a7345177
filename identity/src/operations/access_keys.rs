//! AWS access keys. SigV4 needs their secret in clear, so it is stored sealed; it is shown once.

use super::{Change, append, is_server_admin, require_credentials_of, require_exists};
use crate::Identity;
use crate::caller::Caller;
use crate::error::Refusal;
use crate::secrets;
use crate::snapshot::AccessKeyEntry;
use crate::store;
use model::access::Principal;

/// Most live access keys of one principal.
const ACCESS_KEYS_PER_PRINCIPAL_MAX: usize = 20;

/// By id, those not revoked.
pub async fn list(identity: &Identity, caller: &Caller, owner: &Principal) -> Result<Vec<AccessKeyEntry>, Refusal> {
    let snapshot = identity.snapshot().await?;
    if caller.principal != *owner {
        super::require_server_admin(&snapshot, caller)?;
    }
    let mut list: Vec<_> = snapshot.access_keys().filter(|key| key.principal == *owner).cloned().collect();
    list.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(list)
}

/// The key and its secret, which is nowhere else in clear.
pub async fn create(identity: &Identity, caller: &Caller, owner: &Principal) -> Result<(AccessKeyEntry, String), Refusal> {
    let snapshot = identity.snapshot().await?;
    require_credentials_of(&snapshot, caller, owner)?;
    if snapshot.access_keys().filter(|key| key.principal == *owner).count() >= ACCESS_KEYS_PER_PRINCIPAL_MAX {
        return Err(Refusal::TooMany { what: "access keys of this principal", max: ACCESS_KEYS_PER_PRINCIPAL_MAX });
    }
    let now = identity.now();
    let secret = secrets::new_secret_access_key();
    let key = sealed(identity, secrets::new_access_key_id(), owner.clone(), &secret);
    let (caller, stored) = (caller.clone(), key.clone());
    identity
        .change(move |tx| {
            let (caller, key) = (caller.clone(), stored.clone());
            Box::pin(async move {
                require_exists(tx, &key.principal).await?;
                store::access_keys::insert(tx, &key).await?;
                append(tx, now, &caller, change("access-key.created", &key, "created")).await?;
                Ok::<_, Refusal>(())
            })
        })
        .await?;
    Ok((key, secret))
}

/// One's own, or anybody's for server admins.
pub async fn revoke(identity: &Identity, caller: &Caller, id: &str) -> Result<(), Refusal> {
    let snapshot = identity.snapshot().await?;
    let own = |key: &&AccessKeyEntry| key.principal == caller.principal || is_server_admin(&snapshot, caller);
    let key = snapshot.access_key(id).filter(own).ok_or_else(|| Refusal::not_found("access key", id))?.clone();
    require_credentials_of(&snapshot, caller, &key.principal)?;
    let (caller, now) = (caller.clone(), identity.now());
    identity
        .change(move |tx| {
            let (caller, key) = (caller.clone(), key.clone());
            Box::pin(async move {
                if !store::access_keys::revoke(tx, &key.id, now).await? {
                    return Err(Refusal::not_found("access key", key.id));
                }
                append(tx, now, &caller, change("access-key.revoked", &key, "revoked")).await?;
                Ok(())
            })
        })
        .await
}

/// A key with its secret sealed, ready to be stored.
pub(crate) fn sealed(identity: &Identity, id: String, principal: Principal, secret: &str) -> AccessKeyEntry {
    let secret_sealed = identity.0.seals.access_keys.seal(&seal_context(&id), secret.as_bytes());
    AccessKeyEntry { id, principal, created_at: identity.now(), secret_sealed }
}

/// Binds a sealed secret to its row.
pub(crate) fn seal_context(id: &str) -> String {
    format!("access-key:{id}")
}

fn change(kind: &'static str, key: &AccessKeyEntry, verb: &str) -> Change {
    Change { kind, subject: key.principal.to_string(), message: format!("access key {} of {} {verb}", key.id, key.principal) }
}
