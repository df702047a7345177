//! New secrets and their recognisable forms: tokens, access keys, join tokens, first passwords.
//!
//! Tokens carry 256 random bits, so that a plain SHA-256 of them may be stored and looked up.

use crate::snapshot::SecretHash;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// What every personal token begins with; scanners for leaked secrets find it by that.
pub(crate) const TOKEN_PREFIX: &str = "berth_";
/// What every token of the registry's token protocol begins with.
pub(crate) const REGISTRY_TOKEN_PREFIX: &str = "brt_";
/// What clients that want some token are given when they show no credentials. It is no secret and proves nothing: with it they are as
/// much nobody as without.
pub(crate) const NOBODYS_TOKEN: &str = "anonymous";
/// What every password from ECR's `GetAuthorizationToken` begins with.
pub(crate) const ECR_PASSWORD_PREFIX: &str = "bep_";
const JOIN_TOKEN_PREFIX: &str = "bjt_";
const TOKEN_BYTES: usize = 32;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub(crate) fn new_token() -> String {
    random_text::<TOKEN_BYTES>(TOKEN_PREFIX)
}

pub(crate) fn new_join_token() -> String {
    random_text::<TOKEN_BYTES>(JOIN_TOKEN_PREFIX)
}

pub(crate) fn new_password() -> String {
    random_text::<18>("")
}

/// `AKIA` and sixteen base32 characters, as AWS's are.
pub(crate) fn new_access_key_id() -> String {
    let tail = platform::random::bytes::<16>().map(|byte| char::from(BASE32[usize::from(byte % 32)]));
    format!("AKIA{}", tail.iter().collect::<String>())
}

/// Forty characters, as AWS's are.
pub(crate) fn new_secret_access_key() -> String {
    STANDARD.encode(platform::random::bytes::<30>())
}

pub(crate) fn hash(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

fn random_text<const N: usize>(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(platform::random::bytes::<N>()))
}
