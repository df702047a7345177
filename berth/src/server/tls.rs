//! TLS of both listeners: the public one from files or from the private authority, the agents' one always from the authority.

use crate::failure::{Failure, Result};
use rustls::RootCertStore;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// Makes ring the process's cryptography. Once, before any TLS.
pub fn install_provider() {
    // An error means that it stands already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A listener without client certificates, from a chain and a key in PEM.
pub fn public(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>> {
    let (chain, key) = identity_of(chain_pem, key_pem)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    Ok(finish(config.map_err(broken)?))
}

/// The same from files.
pub fn public_from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| Failure::error(format!("cannot read {}", path.display())).why(error));
    public(&read(certificate)?, &read(key)?)
}

/// The agents' listener. A client certificate is asked for and checked against the authority, but only `join` does without one,
/// which is for the routes to decide.
pub fn agents(chain_pem: &[u8], key_pem: &[u8], authority_pem: &[u8]) -> Result<Arc<ServerConfig>> {
    let (chain, key) = identity_of(chain_pem, key_pem)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority_pem)? {
        roots.add(certificate).map_err(broken)?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().map_err(broken)?;
    let config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key);
    Ok(finish(config.map_err(broken)?))
}

fn identity_of(chain_pem: &[u8], key_pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(broken)?;
    Ok((certificates(chain_pem)?, key))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(Failure::error("there is no certificate in the PEM file")),
        other => other.map_err(broken),
    }
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::error("cannot use the TLS certificate or key").why(error).next("both must be PEM and belong together")
}

fn finish(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}
