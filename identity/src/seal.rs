//! The master key, and what is sealed with it: access key secrets, the authority's key, registry tokens, ECR passwords.
//!
//! One 32-byte key lives outside the database; a key per purpose is derived from it. Sealed: a random 24-byte nonce and then
//! XChaCha20-Poly1305 over the text, bound to a context, so that a sealed value cannot be moved to another row.

use crate::error::IdentityError;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Seals for one purpose.
pub(crate) struct Seal(XChaCha20Poly1305);

/// The seals, one per purpose.
pub(crate) struct Seals {
    pub access_keys: Seal,
    pub authority: Seal,
    pub registry_tokens: Seal,
    pub ecr_passwords: Seal,
}

impl Seals {
    /// Reads the master key from `path`; makes it, readable by its owner only, when there is none.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        let refuse = |reason: String| IdentityError::MasterKey { path: path.to_owned(), reason };
        let key = match read_key(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => make_key(path),
            other => other,
        };
        let key = key.map_err(|error| refuse(error.to_string()))?;
        Ok(Self::from_key(&key))
    }

    fn from_key(key: &[u8; KEY_BYTES]) -> Self {
        Self {
            access_keys: Seal::derive(key, b"berth access keys"),
            authority: Seal::derive(key, b"berth authority"),
            registry_tokens: Seal::derive(key, b"berth registry tokens"),
            ecr_passwords: Seal::derive(key, b"berth ecr passwords"),
        }
    }
}

impl Seal {
    fn derive(master: &[u8; KEY_BYTES], purpose: &[u8]) -> Self {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(master).expect("HMAC takes keys of any length");
        mac.update(purpose);
        Self(XChaCha20Poly1305::new(&mac.finalize().into_bytes()))
    }

    pub fn seal(&self, context: &str, text: &[u8]) -> Vec<u8> {
        let nonce = platform::random::bytes::<NONCE_BYTES>();
        let payload = Payload { msg: text, aad: context.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).expect("texts are far below the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    /// The text, or nothing when `sealed` was not sealed by this key for this context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        self.0.decrypt(&XNonce::from(*nonce), Payload { msg: body, aad: context.as_bytes() }).ok()
    }
}

fn read_key(path: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    let mut file = OpenOptions::new().read(true).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(std::io::Error::other("others than its owner may read it: run `chmod 600` on it"));
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES);
    (&mut file).take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    bytes.try_into().map_err(|_| std::io::Error::other(format!("it must hold exactly {KEY_BYTES} bytes")))
}

/// Writes a new key under another name and links it into place: a crash leaves no half key, and of two servers that start together
/// both read the one that was first.
fn make_key(path: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{:016x}.new", platform::random::bits64()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(&platform::random::bytes::<KEY_BYTES>())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::File::open(folder)?.sync_all()?;
    }
    read_key(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_context() {
        let seals = Seals::from_key(&[7; KEY_BYTES]);
        let sealed = seals.access_keys.seal("access-key:A", b"secret");
        assert_eq!(seals.access_keys.open("access-key:A", &sealed).unwrap(), b"secret");
        assert!(seals.access_keys.open("access-key:B", &sealed).is_none());
        assert!(seals.authority.open("access-key:A", &sealed).is_none());
        assert!(Seals::from_key(&[8; KEY_BYTES]).access_keys.open("access-key:A", &sealed).is_none());
        for short in [&[][..], &sealed[..NONCE_BYTES], &sealed[..sealed.len() - 1]] {
            assert!(seals.access_keys.open("access-key:A", short).is_none());
        }
    }

    #[test]
    fn the_key_file_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/master.key");
        let first = Seals::open(&path).unwrap().access_keys.seal("x", b"text");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path().join("sub")).unwrap().count(), 1);
        assert_eq!(Seals::open(&path).unwrap().access_keys.open("x", &first).unwrap(), b"text");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Seals::open(&path), Err(IdentityError::MasterKey { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(Seals::open(&path), Err(IdentityError::MasterKey { .. })));
    }
}
