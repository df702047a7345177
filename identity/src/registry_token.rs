//! Registry tokens and ECR passwords: sealed claims that name the credential they were made with.
//!
//! They live for minutes or hours, yet removal acts at once: that credential must still stand in the snapshot on every request, and
//! `decide` is asked on every request as well. What is granted in a registry token can only narrow.

use crate::Identity;
use crate::authenticate::AuthError;
use crate::caller::{Caller, Credential};
use crate::error::IdentityError;
use crate::seal::Seal;
use crate::secrets::{self, ECR_PASSWORD_PREFIX, REGISTRY_TOKEN_PREFIX};
use crate::snapshot::{Snapshot, Stale};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::access::{Principal, Role};
use model::{RepositoryName, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Life of a registry token.
pub const REGISTRY_TOKEN_LIFE: Duration = Duration::from_mins(10);
/// Life of a password from ECR's `GetAuthorizationToken`.
pub const ECR_PASSWORD_LIFE: Duration = Duration::from_hours(12);

/// What the registry's token protocol can grant on a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryAction {
    Pull,
    Push,
    Delete,
}

impl RegistryAction {
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    /// The role that it takes.
    pub const fn role(self) -> Role {
        match self {
            Self::Pull => Role::Pull,
            Self::Push => Role::Push,
            Self::Delete => Role::Maintain,
        }
    }
}

/// A caller of the registry. With a registry token only what it was granted may be done, and that only while `decide` agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryCaller {
    pub caller: Caller,
    /// Absent for callers who showed a password or a personal token on the request itself.
    pub granted: Option<Vec<(RepositoryName, Vec<RegistryAction>)>>,
    /// Whether the registry token was granted the catalog.
    pub catalog: bool,
}

impl RegistryCaller {
    pub(crate) fn direct(caller: Caller) -> Self {
        Self { caller, granted: None, catalog: false }
    }

    /// What was shown, for the audit.
    pub fn credential(&self) -> String {
        let through = if self.granted.is_some() { "registry-token of " } else { "" };
        format!("{through}{}", self.caller.credential)
    }

    /// Whether the token, if there is one, was granted `action`. Not a decision: ask `decide` too.
    pub fn token_allows(&self, repository: &str, action: RegistryAction) -> bool {
        self.granted
            .as_ref()
            .is_none_or(|granted| granted.iter().any(|(name, actions)| name.as_str() == repository && actions.contains(&action)))
    }

    /// Whether the token, if there is one, was granted the catalog. Not a decision: ask `decide` too.
    pub fn token_allows_catalog(&self) -> bool {
        self.granted.is_none() || self.catalog
    }
}

/// The credential behind a sealed token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Proof {
    /// A mark of the stored hash: another password, another mark.
    Password(String),
    Token(String),
    Key(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "sub")]
    principal: Principal,
    proof: Proof,
    #[serde(rename = "exp")]
    expires_at: Timestamp,
    #[serde(default)]
    access: Vec<(RepositoryName, Vec<RegistryAction>)>,
    #[serde(default)]
    catalog: bool,
}

/// What a registry token is to grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub access: Vec<(RepositoryName, Vec<RegistryAction>)>,
    pub catalog: bool,
}

/// A registry token for `caller`; the caller has just been authenticated against `snapshot`.
pub(crate) fn issue(identity: &Identity, snapshot: &Snapshot, caller: &Caller, granted: Granted, now: Timestamp) -> (String, Timestamp) {
    let claims = claims(snapshot, caller, granted, now.plus(REGISTRY_TOKEN_LIFE));
    (seal(&identity.0.seals.registry_tokens, REGISTRY_TOKEN_PREFIX, &claims), claims.expires_at)
}

/// A password that logs `caller` in to the registry as user `AWS`, and when it ends. Holds no `:`.
pub async fn ecr_password(identity: &Identity, caller: &Caller) -> Result<(String, Timestamp), IdentityError> {
    let snapshot = identity.snapshot().await?;
    let claims = claims(&snapshot, caller, Granted::default(), identity.now().plus(ECR_PASSWORD_LIFE));
    Ok((seal(&identity.0.seals.ecr_passwords, ECR_PASSWORD_PREFIX, &claims), claims.expires_at))
}

/// The caller behind a registry token and when it ends.
pub(crate) fn open_registry_token(
    identity: &Identity,
    snapshot: &Snapshot,
    text: &str,
    now: Timestamp,
) -> Result<(RegistryCaller, Timestamp), AuthError> {
    let claims = open(&identity.0.seals.registry_tokens, REGISTRY_TOKEN_PREFIX, text, now)?;
    let caller = caller_of(snapshot, &claims, now)?;
    Ok((RegistryCaller { caller, granted: Some(claims.access), catalog: claims.catalog }, claims.expires_at))
}

/// The caller behind an ECR password and when it ends.
pub(crate) fn open_ecr_password(
    identity: &Identity,
    snapshot: &Snapshot,
    text: &str,
    now: Timestamp,
) -> Result<(RegistryCaller, Timestamp), AuthError> {
    let claims = open(&identity.0.seals.ecr_passwords, ECR_PASSWORD_PREFIX, text, now)?;
    Ok((RegistryCaller::direct(caller_of(snapshot, &claims, now)?), claims.expires_at))
}

fn claims(snapshot: &Snapshot, caller: &Caller, granted: Granted, expires_at: Timestamp) -> Claims {
    let (proof, ends) = match &caller.credential {
        Credential::Password => (Proof::Password(password_mark(snapshot, &caller.principal).unwrap_or_default()), None),
        Credential::Token { id } => (Proof::Token(id.clone()), snapshot.token(id).and_then(|token| token.expires_at)),
        Credential::AccessKey { id } => (Proof::Key(id.clone()), None),
    };
    let expires_at = ends.map_or(expires_at, |ends| ends.min(expires_at));
    Claims { principal: caller.principal.clone(), proof, expires_at, access: granted.access, catalog: granted.catalog }
}

fn seal(seal: &Seal, prefix: &str, claims: &Claims) -> String {
    let json = serde_json::to_vec(claims).expect("claims are plain values");
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(seal.seal(prefix, &json)))
}

fn open(seal: &Seal, prefix: &str, text: &str, now: Timestamp) -> Result<Claims, AuthError> {
    let sealed = text.strip_prefix(prefix).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(AuthError::Bad)?;
    let json = seal.open(prefix, &sealed).ok_or(AuthError::Bad)?;
    let claims: Claims = serde_json::from_slice(&json).map_err(|_| AuthError::Bad)?;
    if claims.expires_at <= now { Err(AuthError::Expired) } else { Ok(claims) }
}

/// The caller, when the credential behind the claims still stands.
fn caller_of(snapshot: &Snapshot, claims: &Claims, now: Timestamp) -> Result<Caller, AuthError> {
    let found = match &claims.proof {
        Proof::Password(mark) => match password_mark(snapshot, &claims.principal) {
            Some(current) if current == *mark => Ok(Caller::new(claims.principal.clone(), Credential::Password)),
            _ => Err(Stale::Gone),
        },
        Proof::Token(id) => snapshot.token(id).ok_or(Stale::Gone).and_then(|token| snapshot.caller_of_token(token, now)),
        Proof::Key(id) => snapshot.access_key(id).ok_or(Stale::Gone).and_then(|key| snapshot.caller_of_access_key(key)),
    };
    match found {
        Ok(caller) if caller.principal == claims.principal => Ok(caller),
        Err(Stale::Expired) => Err(AuthError::Expired),
        _ => Err(AuthError::Bad),
    }
}

fn password_mark(snapshot: &Snapshot, principal: &Principal) -> Option<String> {
    snapshot.password_hash(principal).map(|hash| hex::encode(&secrets::hash(&hash)[..16]))
}
