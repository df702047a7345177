//! Which instance is asking: the client certificate says it, and must not be revoked.

use super::error::Refusal;
use crate::context::Context;
use crate::store;
use api::agent::AgentErrorCode;
use axum::extract::FromRequestParts;
use http::request::Parts;
use identity::Authority;
use identity::authority::{AuthorityError, peer_of};
use model::instance::{Instance, InstanceStatus};
use platform::http::PeerCertificate;
use std::sync::Arc;

/// The instance that is asking. Its row is there and not INACTIVE.
pub struct Peer(pub Instance);

impl FromRequestParts<Arc<Context>> for Peer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Refusal> {
        let revoked = |message: &str| Refusal::new(AgentErrorCode::Revoked, message);
        let certificate = parts.extensions.get::<PeerCertificate>().ok_or_else(|| revoked("a client certificate is needed"))?;
        let peer = match peer_of(&certificate.0) {
            Ok(peer) => peer,
            Err(AuthorityError::Request(message)) => return Err(revoked(&message)),
            Err(fault) => return Err(fault.into()),
        };
        if Authority::open(&context.identity).await?.is_revoked(&peer.serial).await? {
            return Err(revoked("the certificate was revoked"));
        }
        let mut connection = context.db.read().await?;
        let instance = store::instances::get(&mut connection, &peer.instance).await?;
        match instance.filter(|instance| instance.status != InstanceStatus::Inactive) {
            Some(instance) => Ok(Self(instance)),
            None => Err(revoked("the instance is not known here: join again")),
        }
    }
}
