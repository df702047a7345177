//! Joining: the key is made here and never leaves; the server signs a certificate for it in exchange for a single-use token.

use crate::client::{self, ClientError};
use crate::config::{AgentConfig, JoinToken};
use crate::membership::Membership;
use crate::tls;
use api::agent::{JoinRequest, JoinResponse};

/// Why joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the server's answer names another authority than the join token")]
    OtherAuthority,
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

impl JoinError {
    /// Whether trying again later may help: the server was not there, rather than said no.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_transient())
    }
}

/// One attempt. The token is spent when the server answers.
pub async fn join(config: &AgentConfig, token: &JoinToken) -> Result<Membership, JoinError> {
    let key = rcgen::KeyPair::generate()?;
    let request = rcgen::CertificateParams::new(Vec::<String>::new())?.serialize_request(&key)?.pem()?;
    let body = JoinRequest {
        token: token.secret.clone(),
        certificate_request: request,
        name: crate::facts::host_name(config),
        zone: config.zone.clone(),
        attributes: config.attributes.clone(),
        cluster: config.cluster.clone(),
    };
    let answer: JoinResponse = client::join(&config.server, tls::pinned(&token.fingerprint)?, &body).await?;
    if tls::fingerprint_of_pem(&answer.authority)? != token.fingerprint {
        return Err(JoinError::OtherAuthority);
    }
    // A certificate that does not fit the key is found out now, not at the first request.
    tls::mutual(&answer.authority, &answer.certificate, &key.serialize_pem())?;
    Ok(Membership {
        instance_id: answer.instance_id,
        cluster: answer.cluster,
        control_plane_id: answer.control_plane_id,
        fingerprint: token.fingerprint.clone(),
        key: key.serialize_pem(),
        certificate: answer.certificate,
        authority: answer.authority,
        former_control_planes: Vec::new(),
        host: config.host(),
    })
}
