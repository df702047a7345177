//! The first administrator: made once, when there is nobody yet, in one transaction.

use crate::Identity;
use crate::error::Refusal;
use crate::operations::{access_keys, principals};
use crate::secrets;
use crate::snapshot::{AccessKeyEntry, TokenEntry};
use crate::store;
use model::access::{Grant, Principal, ResourceKind, Role};
use platform::db::Tx;
use platform::events::{self, NewEvent};

/// Longest access key id and secret that may be given, in bytes.
const ACCESS_KEY_BYTES_MAX: usize = 128;
/// Shortest access key id and secret that may be given, in bytes.
const ACCESS_KEY_ID_BYTES_MIN: usize = 3;
const SECRET_BYTES_MIN: usize = 8;
const CREATED_BY: &str = "first start";

/// What is known of the first administrator; the rest is chosen at random. Not `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub struct BootstrapAdmin {
    /// `admin` when absent.
    pub user: Option<String>,
    pub password: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
}

/// The first administrator, with all its secrets in clear: to be shown once and written to a private file.
/// Not `Debug` for that reason.
#[derive(Clone)]
pub struct Bootstrapped {
    pub user: String,
    pub password: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// A token that never ends, for the local command line.
    pub token: String,
}

/// Makes the first administrator; nothing when there is anybody already.
pub async fn bootstrap(identity: &Identity, admin: BootstrapAdmin) -> Result<Option<Bootstrapped>, Refusal> {
    if identity.snapshot().await?.principals().next().is_some() {
        return Ok(None);
    }
    let made = complete(admin)?;
    let principal: Principal = format!("user:{}", made.user).parse()?;
    let hash = principals::new_password_hash(identity, &made.password).await?;
    let key = access_keys::sealed(identity, made.access_key_id.clone(), principal.clone(), &made.secret_access_key);
    let token = TokenEntry {
        id: platform::random::short_id("t"),
        principal: principal.clone(),
        label: "local command line".into(),
        scope: None,
        created_at: identity.now(),
        expires_at: None,
        secret_hash: secrets::hash(&made.token),
    };
    let first = First { principal, hash, key, token };
    let now = identity.now();
    let done = identity
        .change(move |tx| {
            let first = first.clone();
            Box::pin(async move {
                if store::principals::any_exists(tx).await? {
                    return Ok::<_, Refusal>(false);
                }
                insert(tx, first, now).await?;
                Ok(true)
            })
        })
        .await?;
    Ok(done.then_some(made))
}

#[derive(Clone)]
struct First {
    principal: Principal,
    hash: String,
    key: AccessKeyEntry,
    token: TokenEntry,
}

async fn insert(tx: &mut Tx, first: First, now: model::Timestamp) -> Result<(), Refusal> {
    let First { principal, hash, key, token } = first;
    store::principals::insert(tx, &principal, Some(hash), now, CREATED_BY).await?;
    for kind in ResourceKind::ALL {
        let grant = Grant {
            id: platform::random::short_id("g"),
            principal: principal.clone(),
            role: Role::Admin,
            kind,
            pattern: "**".parse()?,
            created_at: now,
            created_by: CREATED_BY.into(),
        };
        store::grants::insert(tx, &grant).await?;
    }
    store::access_keys::insert(tx, &key).await?;
    store::tokens::insert(tx, &token).await?;
    let event = NewEvent {
        kind: "principal.created",
        principal: None,
        subject: principal.to_string(),
        message: format!("{principal} created as the first administrator"),
        detail: serde_json::json!({}),
    };
    events::append(tx, now, event).await?;
    Ok(())
}

fn complete(admin: BootstrapAdmin) -> Result<Bootstrapped, Refusal> {
    let made = Bootstrapped {
        user: admin.user.unwrap_or_else(|| "admin".into()),
        password: admin.password.unwrap_or_else(secrets::new_password),
        access_key_id: admin.access_key_id.unwrap_or_else(secrets::new_access_key_id),
        secret_access_key: admin.secret_access_key.unwrap_or_else(secrets::new_secret_access_key),
        token: secrets::new_token(),
    };
    let id_ok = (ACCESS_KEY_ID_BYTES_MIN..=ACCESS_KEY_BYTES_MAX).contains(&made.access_key_id.len())
        && made.access_key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !id_ok {
        let limits = format!("{ACCESS_KEY_ID_BYTES_MIN} to {ACCESS_KEY_BYTES_MAX}");
        return Err(Refusal::Invalid(format!("an access key id has {limits} letters, digits, `_` and `-`")));
    }
    if !(SECRET_BYTES_MIN..=ACCESS_KEY_BYTES_MAX).contains(&made.secret_access_key.len()) {
        return Err(Refusal::Invalid(format!("a secret access key has {SECRET_BYTES_MIN} to {ACCESS_KEY_BYTES_MAX} bytes")));
    }
    Ok(made)
}
