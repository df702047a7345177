//! Renews the agent's certificate when two thirds of its life are over, with a new key, while the old one still opens the door.

use crate::client::{ClientError, HttpServer};
use crate::config::AgentConfig;
use crate::membership::{self, Membership};
use crate::tls::{self, TlsError};
use api::agent::RenewRequest;
use model::{Clock, Timestamp, clock::SystemClock};
use std::time::Duration;

/// How often the age of the certificate is looked at; also the pause after a renewal that failed.
const LOOK: Duration = Duration::from_mins(10);

#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot keep the new certificate: {0}")]
    Store(#[from] std::io::Error),
}

/// Returns once a newer certificate is on disk.
pub(crate) async fn keep_fresh(config: &AgentConfig, membership: &Membership, server: &HttpServer) {
    let due = renewal_due(&membership.certificate);
    loop {
        if due.is_some_and(|due| SystemClock.now() >= due) {
            match renew(config, membership, server).await {
                Ok(()) => return,
                Err(error) => tracing::warn!("the certificate could not be renewed yet: {error}"),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn renew(config: &AgentConfig, membership: &Membership, server: &HttpServer) -> Result<(), RenewError> {
    let key = rcgen::KeyPair::generate()?;
    let certificate_request = rcgen::CertificateParams::new(Vec::<String>::new())?.serialize_request(&key)?.pem()?;
    let answer = server.renew(&RenewRequest { certificate_request }).await?;
    let renewed = Membership {
        key: key.serialize_pem(),
        fingerprint: tls::fingerprint_of_pem(&answer.authority)?,
        certificate: answer.certificate,
        authority: answer.authority,
        ..membership.clone()
    };
    tls::mutual(&renewed.authority, &renewed.certificate, &renewed.key)?;
    membership::store(&config.data_dir, renewed)?;
    tracing::info!("renewed the certificate of this agent");
    Ok(())
}

/// When two thirds of a certificate's life are over; nothing when it cannot be read.
fn renewal_due(certificate: &str) -> Option<Timestamp> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
    let validity = pem.parse_x509().ok()?.validity().clone();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Some(Timestamp::from_secs(from + (until - from) / 3 * 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2026, 1, 31));
        let certificate = params.self_signed(&key).unwrap().pem();
        let due = renewal_due(&certificate).unwrap();
        assert_eq!(due.to_rfc3339(), "2026-01-21T00:00:00Z");
        assert_eq!(renewal_due("nonsense"), None);
    }
}
