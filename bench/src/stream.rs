//! The bytes of a connection: TCP, or TLS over it, in one version and with one cipher suite, so that all servers do the same work.

use crate::options::{Drain, Side};
use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, recv};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Longest silence of a server, in seconds.
const READ_SECS_MAX: u64 = 120;

#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub fn open(side: &Side) -> Result<Self> {
        let tcp = TcpStream::connect(&side.url).with_context(|| format!("connecting to {}", side.url))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(READ_SECS_MAX)))?;
        let Some(authority) = &side.authority else { return Ok(Self::Plain(tcp)) };
        let host = side.url.split(':').next().unwrap_or_default().to_owned();
        let mut stream = StreamOwned::new(ClientConnection::new(config(authority)?, ServerName::try_from(host)?)?, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).with_context(|| format!("TLS with {}", side.url))?;
        }
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Takes bytes off, as many as there are and fit; 0 at the end. On TCP they may be dropped in the kernel instead of copied.
    pub fn take(&mut self, into: &mut [u8], drain: Drain) -> Result<usize> {
        Ok(match self {
            Self::Plain(tcp) => {
                let flags = if drain == Drain::Discard { MsgFlags::MSG_TRUNC } else { MsgFlags::empty() };
                recv(tcp.as_raw_fd(), into, flags)?
            }
            Self::Tls(tls) => tls.read(into)?,
        })
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(into),
            Self::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

fn config(authority: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).with_context(|| format!("reading {}", authority.display()))? {
        roots.add(certificate?)?;
    }
    let suites = vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384];
    let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..ring::default_provider() });
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
