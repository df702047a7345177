//! Join tokens: single-use secrets with which an agent that has no certificate yet gets its first one.
//!
//! What people carry is `SECRET.FINGERPRINT`: the fingerprint of the authority's certificate lets the agent know the server.

use crate::Identity;
use crate::error::{IdentityError, Refusal};
use crate::secrets;
use crate::store::join_tokens::{self as store, StoredJoinToken};
use model::Timestamp;
use model::ids::ClusterName;
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use serde_json::json;
use std::time::Duration;

/// Tokens that ended this long ago are forgotten.
const KEEP_AFTER_END: Duration = Duration::from_hours(30 * 24);

/// A join token on record.
#[derive(Debug, Clone)]
pub struct JoinToken {
    pub id: String,
    pub cluster: ClusterName,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

/// Makes a join token for `cluster`; the second value is what the agent is given, shown this once.
pub async fn create(
    identity: &Identity,
    cluster: &ClusterName,
    life: Duration,
    created_by: &str,
) -> Result<(JoinToken, String), IdentityError> {
    let now = identity.now();
    let secret = secrets::new_join_token();
    let hash = secrets::hash(&secret).to_vec();
    let token = StoredJoinToken {
        id: platform::random::short_id("jt"),
        cluster: cluster.clone(),
        created_at: now,
        created_by: created_by.to_owned(),
        expires_at: now.plus(life),
        used_at: None,
    };
    let (stored, by) = (token.clone(), created_by.to_owned());
    identity
        .0
        .db
        .write(move |tx| {
            let (token, hash, by) = (stored.clone(), hash.clone(), by.clone());
            Box::pin(async move {
                store::delete_expired(tx, now.minus(KEEP_AFTER_END)).await?;
                store::insert(tx, &token, hash).await?;
                let message = format!("join token {} for cluster {} created", token.id, token.cluster);
                events::append(tx, now, event("join-token.created", by, &token.id, message)).await?;
                Ok::<_, DbError>(())
            })
        })
        .await?;
    let text = format!("{secret}.{}", identity.0.authority.fingerprint());
    Ok((token.into(), text))
}

/// Uses up the token and returns its cluster; nothing when it is wrong, used or expired. `text` is the secret, with or without the
/// fingerprint behind it.
pub async fn consume(tx: &mut Tx, text: &str, now: Timestamp) -> Result<Option<ClusterName>, DbError> {
    let secret = text.split_once('.').map_or(text, |(secret, _)| secret);
    let token = store::consume(tx, secrets::hash(secret).to_vec(), now).await?;
    Ok(token.map(|token| token.cluster))
}

/// By id, after `after`, at most `limit`.
pub async fn list(identity: &Identity, after: &str, limit: i64) -> Result<Vec<JoinToken>, IdentityError> {
    let mut connection = identity.0.db.read().await?;
    Ok(store::list(&mut connection, after, limit).await?.into_iter().map(Into::into).collect())
}

/// Removes a token, used or not.
pub async fn delete(identity: &Identity, id: &str, by: &str) -> Result<(), Refusal> {
    let (id, by, now) = (id.to_owned(), by.to_owned(), identity.now());
    identity
        .0
        .db
        .write(move |tx| {
            let (id, by) = (id.clone(), by.clone());
            Box::pin(async move {
                if !store::delete(tx, &id).await? {
                    return Err(Refusal::not_found("join token", id));
                }
                events::append(tx, now, event("join-token.deleted", by, &id, format!("join token {id} deleted"))).await?;
                Ok(())
            })
        })
        .await
}

fn event(kind: &'static str, by: String, id: &str, message: String) -> NewEvent {
    NewEvent { kind, principal: Some(by), subject: format!("join-token:{id}"), message, detail: json!({}) }
}

impl From<StoredJoinToken> for JoinToken {
    fn from(token: StoredJoinToken) -> Self {
        let StoredJoinToken { id, cluster, created_at, created_by, expires_at, used_at } = token;
        Self { id, cluster, created_at, created_by, expires_at, used_at }
    }
}
