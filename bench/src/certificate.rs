//! An authority and a server certificate for 127.0.0.1, made anew for each run: what our server and its peer show on their TLS listeners.

use anyhow::Result;
use clap::Args;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CertificateOptions {
    /// Gets `authority.pem`, `certificate.pem` and `key.pem`
    #[arg(long)]
    folder: PathBuf,
}

pub fn make(options: &CertificateOptions) -> Result<()> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "authority of a benchmark");
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key))?;
    std::fs::create_dir_all(&options.folder)?;
    let files = [("authority.pem", authority_pem), ("certificate.pem", certificate.pem()), ("key.pem", key.serialize_pem())];
    for (name, text) in files {
        std::fs::write(options.folder.join(name), text)?;
    }
    Ok(())
}
