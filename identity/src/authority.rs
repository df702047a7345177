//! The private certificate authority: made at first start, its key sealed in the database. Issues the agents' client certificates
//! and, when none is given, the server's own.
//!
//! An agent's certificate carries its instance as common name and as URI `berth:instance:ID`. Requests bring only a key: names and
//! uses are set here. Revocation is a row; a serial without a row (a database restored from yesterday) is not revoked.

use crate::Identity;
use crate::error::IdentityError;
use crate::store;
use model::Timestamp;
use model::ids::InstanceId;
use platform::db::{Db, DbError, Tx};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Life of an agent's certificate; it asks for the next one well before.
pub const AGENT_CERTIFICATE_LIFE: Duration = Duration::from_hours(30 * 24);
/// Life of a server certificate; a new one is made at each start.
pub const SERVER_CERTIFICATE_LIFE: Duration = Duration::from_hours(397 * 24);
/// Life of the authority.
const AUTHORITY_LIFE: Duration = Duration::from_hours(20 * 365 * 24);
/// Certificates begin this much earlier, for clocks that are behind.
const CLOCK_SKEW: Duration = Duration::from_hours(1);
/// Longest certificate request, in bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Most names of one server certificate.
const SERVER_NAMES_MAX: usize = 64;
const INSTANCE_URI_PREFIX: &str = "berth:instance:";
const SEAL_CONTEXT: &str = "authority:agents";

/// The authority; cheap to clone.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    db: Db,
    clock: Arc<dyn model::Clock>,
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    fingerprint: String,
}

/// Why no certificate was issued, or a certificate was not understood.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthorityError {
    /// The other side's fault.
    #[error("{0}")]
    Request(String),
    #[error(transparent)]
    Fault(#[from] IdentityError),
}

impl From<DbError> for AuthorityError {
    fn from(error: DbError) -> Self {
        Self::Fault(error.into())
    }
}

impl platform::db::WriteError for AuthorityError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Fault(fault) if platform::db::WriteError::is_conflict(fault))
    }
}

/// A certificate for an agent; counts as issued once it is recorded.
#[derive(Debug, Clone)]
pub struct AgentCertificate {
    pub pem: String,
    /// Hex.
    pub serial: String,
    pub instance: InstanceId,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A certificate and key for the server's own listeners.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// The certificate and then the authority's.
    pub chain_pem: String,
    pub key_pem: String,
}

/// Who a client certificate belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub instance: InstanceId,
    /// Hex.
    pub serial: String,
}

impl Authority {
    /// The authority of this control plane.
    #[expect(clippy::unused_async, reason = "may load from elsewhere than memory one day; callers are async already")]
    pub async fn open(identity: &Identity) -> Result<Self, IdentityError> {
        Ok(identity.0.authority.clone())
    }

    /// Loads the authority, or makes it on first start. Fails when the master key is not the one it was sealed with.
    pub(crate) async fn load(db: &Db, clock: Arc<dyn model::Clock>, seal: &crate::seal::Seal) -> Result<Self, IdentityError> {
        let mut connection = db.read().await?;
        let stored = match store::authorities::get(&mut connection).await? {
            Some(stored) => stored,
            None => make(db, clock.now(), seal).await?,
        };
        drop(connection);
        let key = seal.open(SEAL_CONTEXT, &stored.key_sealed).ok_or(IdentityError::WrongMasterKey)?;
        let key = KeyPair::try_from(key).map_err(fault)?;
        let issuer = Issuer::from_ca_cert_pem(&stored.certificate, key).map_err(fault)?;
        let der = CertificateDer::from_pem_slice(stored.certificate.as_bytes()).map_err(fault)?;
        let fingerprint = hex::encode(Sha256::digest(&der));
        Ok(Self(Arc::new(Inner { db: db.clone(), clock, issuer, certificate_pem: stored.certificate, fingerprint })))
    }

    /// The authority's certificate, PEM.
    pub fn authority_pem(&self) -> &str {
        &self.0.certificate_pem
    }

    /// SHA-256 of the authority's certificate, hex: what join tokens carry.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// Signs a certificate for `instance` with the key of the request; the rest of the request is not looked at. To be recorded with
    /// [`record`] before it is handed out.
    pub fn sign_agent(&self, request_pem: &str, instance: &InstanceId) -> Result<AgentCertificate, AuthorityError> {
        let refuse = |reason: &str| AuthorityError::Request(format!("certificate request: {reason}"));
        if request_pem.len() > REQUEST_BYTES_MAX {
            return Err(refuse("too long"));
        }
        let request = CertificateSigningRequestParams::from_pem(request_pem).map_err(|error| refuse(&error.to_string()))?;
        let now = self.0.clock.now();
        let expires_at = now.plus(AGENT_CERTIFICATE_LIFE);
        let mut params = leaf(instance.as_str(), now, expires_at);
        let uri = format!("{INSTANCE_URI_PREFIX}{instance}").try_into().map_err(fault)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let serial = params.serial_number.as_ref().map(|serial| hex::encode(serial.as_ref())).unwrap_or_default();
        let pem = params.signed_by(&request.public_key, &self.0.issuer).map_err(|error| refuse(&error.to_string()))?.pem();
        Ok(AgentCertificate { pem, serial, instance: instance.clone(), issued_at: now, expires_at })
    }

    /// Signs and records a certificate for `instance`: how an agent renews.
    pub async fn issue_agent(&self, request_pem: &str, instance: &InstanceId) -> Result<AgentCertificate, AuthorityError> {
        let certificate = self.sign_agent(request_pem, instance)?;
        let issued = certificate.clone();
        self.0
            .db
            .write(move |tx| {
                let issued = issued.clone();
                Box::pin(async move { record(tx, &issued).await })
            })
            .await?;
        Ok(certificate)
    }

    /// A new key and certificate for a server that is reached as `names` (DNS names and IP addresses).
    pub fn issue_server(&self, names: &[String]) -> Result<ServerCertificate, AuthorityError> {
        let first = names.first().ok_or_else(|| AuthorityError::Request("a server certificate needs a name".into()))?;
        if names.len() > SERVER_NAMES_MAX {
            return Err(AuthorityError::Request(format!("at most {SERVER_NAMES_MAX} names")));
        }
        let now = self.0.clock.now();
        let mut params = leaf(first, now, now.plus(SERVER_CERTIFICATE_LIFE));
        params.subject_alt_names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(fault)?;
        let certificate = params.signed_by(&key, &self.0.issuer).map_err(fault)?;
        Ok(ServerCertificate { chain_pem: format!("{}{}", certificate.pem(), self.0.certificate_pem), key_pem: key.serialize_pem() })
    }

    /// Whether the certificate with this serial was revoked.
    pub async fn is_revoked(&self, serial: &str) -> Result<bool, IdentityError> {
        let mut connection = self.0.db.read().await?;
        Ok(store::certificates::is_revoked(&mut connection, serial).await?)
    }
}

/// Records a certificate, in the transaction that makes its instance known.
pub async fn record(tx: &mut Tx, certificate: &AgentCertificate) -> Result<(), DbError> {
    store::certificates::insert(tx, &certificate.serial, &certificate.instance, certificate.issued_at, certificate.expires_at).await
}

/// Revokes every certificate of `instance`, from its next request on.
pub async fn revoke(tx: &mut Tx, instance: &InstanceId, now: Timestamp) -> Result<u64, DbError> {
    store::certificates::revoke_of(tx, instance, now).await
}

/// The instance a client certificate was issued to. That the authority signed it was checked by the TLS listener.
pub fn peer_of(certificate_der: &[u8]) -> Result<Peer, AuthorityError> {
    let refuse = |reason: &str| AuthorityError::Request(format!("client certificate: {reason}"));
    let (_, certificate) = X509Certificate::from_der(certificate_der).map_err(|_| refuse("it cannot be parsed"))?;
    let names = certificate.subject_alternative_name().map_err(|_| refuse("its names cannot be parsed"))?;
    let instance = names.iter().flat_map(|names| &names.value.general_names).find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(INSTANCE_URI_PREFIX),
        _ => None,
    });
    let instance = instance.ok_or_else(|| refuse("it names no instance"))?;
    let instance = instance.parse().map_err(|_| refuse("its instance id is not one"))?;
    Ok(Peer { instance, serial: hex::encode(certificate.raw_serial()) })
}

async fn make(db: &Db, now: Timestamp, seal: &crate::seal::Seal) -> Result<store::authorities::StoredAuthority, IdentityError> {
    let key = KeyPair::generate().map_err(fault)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("Berth authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(new_serial());
    params.not_before = at(now.minus(CLOCK_SKEW));
    params.not_after = at(now.plus(AUTHORITY_LIFE));
    let certificate = params.self_signed(&key).map_err(fault)?.pem();
    let sealed = seal.seal(SEAL_CONTEXT, &key.serialize_der());
    db.write(move |tx| {
        let (certificate, sealed) = (certificate.clone(), sealed.clone());
        Box::pin(async move {
            store::authorities::insert_if_absent(tx, certificate, sealed, now).await?;
            let stored = store::authorities::get(tx).await?;
            stored.ok_or_else(|| IdentityError::Db(DbError::Other("the authority was not stored".into())))
        })
    })
    .await
}

fn leaf(name: &str, now: Timestamp, expires_at: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&name.chars().take(64).collect::<String>());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(new_serial());
    params.not_before = at(now.minus(CLOCK_SKEW));
    params.not_after = at(expires_at);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn server_name(name: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let ok = !name.is_empty() && name.len() <= 253 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._*".contains(&b));
    let name = name.to_owned().try_into().ok().filter(|_| ok);
    name.map(SanType::DnsName).ok_or_else(|| AuthorityError::Request("a server name is a DNS name or an IP address".into()))
}

/// 127 random bits, the highest of them set: positive and always sixteen bytes, so that its hex is the same wherever it is read.
fn new_serial() -> SerialNumber {
    let mut bytes = platform::random::bytes::<16>();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn at(timestamp: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(timestamp.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn fault(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Certificate(error.to_string())
}
