//! Who is asking? Basic and Bearer for the registry and `/api/v1`, SigV4 and Bearer for the AWS API.
//!
//! Bad credentials are an error and never become nobody. Successes are remembered by the hash of the header until identity changes
//! (`cache`), so that a hot password or token costs one hash; repeated wrong passwords are slowed down and then locked out (`throttle`).

pub(crate) mod cache;
pub(crate) mod throttle;

use crate::Identity;
use crate::audit::{Action, Content, Outcome, Record, Who};
use crate::caller::{Caller, Credential};
use crate::error::IdentityError;
use crate::passwords::PasswordError;
use crate::registry_token::{self, RegistryCaller};
use crate::secrets::{self, ECR_PASSWORD_PREFIX, NOBODYS_TOKEN, REGISTRY_TOKEN_PREFIX, TOKEN_PREFIX};
use crate::sigv4::{ALGORITHM, Authorization, AwsAuthError, SignedRequest};
use crate::snapshot::{Snapshot, Stale};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use model::Timestamp;
use model::access::{Principal, PrincipalKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use throttle::Verdict;

/// Longest `Authorization` header, in bytes.
pub const AUTHORIZATION_BYTES_MAX: usize = 16 * 1024;
/// User name that goes with ECR passwords.
const ECR_USER: &str = "AWS";

/// Why nobody was authenticated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("no credentials were given")]
    Missing,
    #[error("the credentials are not valid")]
    Bad,
    #[error("the credentials have expired")]
    Expired,
    /// Nothing was looked at.
    #[error("{reason}: try again in {} s", .wait.as_secs() + 1)]
    Later { reason: &'static str, wait: Duration },
    /// The text is for the log.
    #[error("credentials cannot be checked: {0}")]
    Unavailable(String),
}

impl From<IdentityError> for AuthError {
    fn from(error: IdentityError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<PasswordError> for AuthError {
    fn from(error: PasswordError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Stale> for AuthError {
    fn from(stale: Stale) -> Self {
        match stale {
            Stale::Gone => Self::Bad,
            Stale::Expired => Self::Expired,
        }
    }
}

impl From<AuthError> for AwsAuthError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => Self::Missing,
            AuthError::Bad => Self::Unrecognized,
            AuthError::Expired => Self::Expired,
            AuthError::Later { .. } => Self::Throttled(error.to_string()),
            AuthError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

/// What a caller is and until when, by itself, that holds.
pub(crate) type Found = (RegistryCaller, Option<Timestamp>);

impl Identity {
    /// Basic (password, personal token, or `AWS` and an ECR password) or Bearer (personal token). Registry tokens are refused.
    /// `address` is where the request comes from.
    pub async fn authenticate(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller, AuthError> {
        let found = self.authenticate_registry(headers, address).await?;
        if found.granted.is_some() { Err(AuthError::Bad) } else { Ok(Caller { address, ..found.caller.clone() }) }
    }

    /// As [`Identity::authenticate`], and registry tokens from `/token` as well, which carry what was granted. The caller is shared
    /// by all its requests and knows no address.
    pub async fn authenticate_registry(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Arc<RegistryCaller>, AuthError> {
        self.authenticate_header(authorization(headers)?, address).await
    }

    async fn authenticate_header(&self, header: &[u8], address: Option<IpAddr>) -> Result<Arc<RegistryCaller>, AuthError> {
        if header.len() > AUTHORIZATION_BYTES_MAX {
            return Err(AuthError::Bad);
        }
        let snapshot = self.snapshot().await?;
        let key = self.0.cache.key(header);
        let now = self.now();
        if let Some(found) = self.0.cache.get(snapshot.version(), &key, now) {
            self.within_rate(&found.caller.principal, now)?;
            return Ok(found);
        }
        let (found, ends) = self.check(&snapshot, header, address, now).await?;
        self.within_rate(&found.caller.principal, now)?;
        let found = Arc::new(found);
        self.0.cache.put(snapshot.version(), key, found.clone(), ends);
        Ok(found)
    }

    /// Whether the principal may ask once more now, where there is a limit.
    fn within_rate(&self, principal: &Principal, now: Timestamp) -> Result<(), AuthError> {
        let Some(rates) = self.0.rates.get() else { return Ok(()) };
        rates.take(principal, now).map_err(|wait| AuthError::Later { reason: "too many requests", wait })
    }

    /// User name and password or secret, as `/token` gets them in a form; remembered like the header that says the same.
    pub(crate) async fn authenticate_basic(&self, user: &str, password: &str, address: Option<IpAddr>) -> Result<Caller, AuthError> {
        if user.contains(':') {
            return Err(AuthError::Bad);
        }
        let header = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let found = self.authenticate_header(header.as_bytes(), address).await?;
        Ok(Caller { address, ..found.caller.clone() })
    }

    /// The secret of a personal token, as `/token` gets it in a form.
    pub(crate) async fn authenticate_token(&self, secret: &str, address: Option<IpAddr>) -> Result<Caller, AuthError> {
        let (snapshot, now) = (self.snapshot().await?, self.now());
        let caller = check_token(&snapshot, secret, None, now)?.0.caller;
        self.within_rate(&caller.principal, now)?;
        Ok(Caller { address, ..caller })
    }

    /// SigV4 or Bearer (personal token). `service` is `ecs` or `ecr`; any region is accepted.
    pub async fn authenticate_aws(
        &self,
        method: &http::Method,
        uri: &http::Uri,
        headers: &HeaderMap,
        body: &[u8],
        service: &str,
        address: Option<IpAddr>,
    ) -> Result<Caller, AwsAuthError> {
        let header = authorization(headers)?;
        if header.len() > AUTHORIZATION_BYTES_MAX {
            return Err(AwsAuthError::Incomplete("The Authorization header is too long.".into()));
        }
        let Some(header) = std::str::from_utf8(header).ok().filter(|text| text.starts_with(ALGORITHM)) else {
            return if scheme(header).is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
                Ok(self.authenticate(headers, address).await?)
            } else {
                Err(AwsAuthError::Incomplete(format!("Authorization must be {ALGORITHM} or Bearer.")))
            };
        };
        let signed = Authorization::parse(header)?;
        let snapshot = self.snapshot().await.map_err(|error| AwsAuthError::Unavailable(error.to_string()))?;
        // There are no temporary credentials here, so nothing can have issued a session token.
        let key = snapshot.access_key(&signed.access_key_id).filter(|_| !headers.contains_key("x-amz-security-token"));
        let key = key.ok_or(AwsAuthError::Unrecognized)?;
        let secret = self.open_access_key(key).ok_or_else(|| AwsAuthError::Unavailable("an access key does not open".into()))?;
        let request = SignedRequest { method: method.as_str(), uri, headers, body };
        let now = self.now();
        signed.verify(request, &secret, service, now)?;
        let caller = snapshot.caller_of_access_key(key).map_err(|_| AwsAuthError::Unrecognized)?;
        self.within_rate(&caller.principal, now)?;
        Ok(Caller { address, ..caller })
    }

    async fn check(&self, snapshot: &Snapshot, header: &[u8], address: Option<IpAddr>, now: Timestamp) -> Result<Found, AuthError> {
        let (scheme, rest) = scheme(header).ok_or(AuthError::Bad)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            if rest == NOBODYS_TOKEN {
                return Err(AuthError::Missing);
            }
            return if rest.starts_with(REGISTRY_TOKEN_PREFIX) {
                let (caller, ends) = registry_token::open_registry_token(self, snapshot, rest, now)?;
                Ok((caller, Some(ends)))
            } else {
                check_token(snapshot, rest, None, now)
            };
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(AuthError::Bad);
        }
        let text = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(AuthError::Bad)?;
        let (user, password) = text.split_once(':').ok_or(AuthError::Bad)?;
        if user == ECR_USER && password.starts_with(ECR_PASSWORD_PREFIX) {
            let (caller, ends) = registry_token::open_ecr_password(self, snapshot, password, now)?;
            return Ok((caller, Some(ends)));
        }
        if password.starts_with(TOKEN_PREFIX) {
            return check_token(snapshot, password, Some(user), now);
        }
        let caller = self.check_password(snapshot, user, password, address).await?;
        Ok((RegistryCaller::direct(caller), None))
    }

    /// Costs as long for an unknown user as for a wrong password, ever longer for repeated wrong ones, and then is not looked at.
    async fn check_password(&self, snapshot: &Snapshot, user: &str, password: &str, address: Option<IpAddr>) -> Result<Caller, AuthError> {
        let principal: Option<Principal> = format!("user:{user}").parse().ok();
        if password.len() > api::v1::access::PASSWORD_BYTES_MAX {
            return Err(AuthError::Bad);
        }
        // Names that nobody can have share one count.
        let throttled = principal.as_ref().map_or("", |principal| &principal.name);
        tokio::time::sleep(self.may_try(throttled, address)?).await;
        let stored = principal.as_ref().and_then(|principal| snapshot.password_hash(principal));
        // Looked at again with the turn held: of many guesses sent at once, those that wait see how the others ended.
        let mut turn = self.0.passwords.turn().await?;
        self.may_try(throttled, address)?;
        if !turn.verify(password, stored.as_deref()).await? {
            self.0.throttle.failed(throttled, address, self.now());
            drop(turn);
            tracing::info!(user.name = throttled, "a wrong password was given");
            self.record_failed_login(throttled, address).await;
            return Err(AuthError::Bad);
        }
        self.0.throttle.succeeded(throttled, address);
        let principal = principal.ok_or(AuthError::Bad)?;
        Ok(Caller::new(principal, Credential::Password))
    }

    /// How long a password for `name` has to wait, unless it is not looked at.
    fn may_try(&self, name: &str, address: Option<IpAddr>) -> Result<Duration, AuthError> {
        match self.0.throttle.verdict(name, address, self.now()) {
            Verdict::After(delay) => Ok(delay),
            Verdict::Locked(wait) => Err(AuthError::Later { reason: "too many wrong passwords", wait }),
        }
    }

    async fn record_failed_login(&self, name: &str, address: Option<IpAddr>) {
        let content = Content { target: format!("user:{name}"), reference: None, digest: None };
        let who = Who::Nobody { credential: "password" };
        let record = Record { at: self.now(), action: Action::LogIn, outcome: Outcome::Failed, who, address, content: content.into() };
        self.audit().record(record).await;
    }
}

/// A personal token, with the name of its owner when it is used as a password.
fn check_token(snapshot: &Snapshot, secret: &str, user: Option<&str>, now: Timestamp) -> Result<Found, AuthError> {
    let token = snapshot.token_by_secret(&secrets::hash(secret)).ok_or(AuthError::Bad)?;
    if user.is_some_and(|user| !names(user, &token.principal)) {
        return Err(AuthError::Bad);
    }
    let caller = snapshot.caller_of_token(token, now)?;
    Ok((RegistryCaller::direct(caller), token.expires_at))
}

/// `alice` for user:alice; `ci` or `robot+ci` for robot:ci, since Basic cannot carry a `:` in a user name.
fn names(user: &str, principal: &Principal) -> bool {
    user == principal.name || (principal.kind == PrincipalKind::Robot && user.strip_prefix("robot+") == Some(&principal.name))
}

/// The one `Authorization` header.
fn authorization(headers: &HeaderMap) -> Result<&[u8], AuthError> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (None, _) => Err(AuthError::Missing),
        (Some(header), None) => Ok(header.as_bytes()),
        (Some(_), Some(_)) => Err(AuthError::Bad),
    }
}

fn scheme(header: &[u8]) -> Option<(&str, &str)> {
    let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    Some((scheme, rest.trim()))
}
