//! All the registry's dealings with identity: who asks, what they may, and the challenge that tells clients how to log in.
//!
//! Rights are decided on the name alone, before anything is looked up, so that a refusal says nothing about what exists. Every request
//! is decided against the grants of now: a registry token from `/token` can only narrow.

use crate::context::RegistryConfig;
use crate::error::RegistryError;
use crate::route::Route;
use crate::store::Sight;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use identity::audit::{Audit, Who};
use identity::{AuthError, Identity, RegistryAction, RegistryCaller, Snapshot, decide};
use model::RepositoryName;
use model::access::{Resource, Role};
use platform::events::NewEvent;
use platform::exchange::Pusher;
use platform::http::client_address;
use std::net::IpAddr;
use std::sync::Arc;

/// `service` of the token protocol.
pub const SERVICE: &str = "berth";
/// Longest `Host` header believed, in bytes.
const HOST_BYTES_MAX: usize = 260;

/// Where callers are known.
pub struct Gate {
    identity: Identity,
    external_url: Option<String>,
    scheme: &'static str,
}

/// Who asks, and the grants of the moment.
pub struct Access {
    /// None: nobody, who may pull what everybody may pull.
    caller: Option<Arc<RegistryCaller>>,
    snapshot: Arc<Snapshot>,
    address: Option<IpAddr>,
}

/// How nobody is called.
const NOBODY: &str = "anonymous";

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// The grants allow it, but the token was not asked to: the client should get another.
    TokenTooNarrow,
    Denied,
}

impl Gate {
    pub fn new(identity: Identity, config: &RegistryConfig) -> Self {
        let external_url = config.external_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        Self { identity, external_url, scheme: if config.tls { "https" } else { "http" } }
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who asks. Bad credentials are an error and never nobody.
    pub async fn authenticate(&self, parts: &Parts) -> Result<Access, AuthError> {
        let address = client_address(&parts.extensions);
        let caller = self.identity.authenticate_registry(&parts.headers, address).await?;
        let snapshot = self.identity.snapshot().await?;
        Ok(Access { caller: Some(caller), snapshot, address })
    }

    /// Somebody who showed no credentials at all.
    pub async fn nobody(&self, parts: &Parts) -> Result<Access, RegistryError> {
        let snapshot = self.identity.snapshot().await.map_err(|error| RegistryError::Unavailable(error.to_string()))?;
        Ok(Access { caller: None, snapshot, address: client_address(&parts.extensions) })
    }

    /// Where what was done is written down.
    pub fn audit(&self) -> &Audit {
        self.identity.audit()
    }

    /// The answer to somebody who is not known.
    pub fn refusal(&self, error: AuthError, headers: &HeaderMap, scope: Option<&str>) -> RegistryError {
        let reason = match error {
            AuthError::Missing => "authentication required",
            AuthError::Bad => "the credentials are not valid",
            AuthError::Expired => "the credentials have expired",
            error @ AuthError::Later { .. } => return RegistryError::TooMany(error.to_string()),
            AuthError::Unavailable(reason) => return RegistryError::Unavailable(reason),
        };
        let error = (reason != "authentication required").then_some("invalid_token");
        RegistryError::Unauthorized { challenge: self.challenge(headers, scope, error), reason }
    }

    /// Nothing, or why `access` may not act as `role` on `repository`.
    pub fn require(&self, access: &Access, role: Role, repository: &RepositoryName, headers: &HeaderMap) -> Result<(), RegistryError> {
        match access.verdict(role, &Resource::repository(repository.as_str())) {
            Verdict::Allowed => Ok(()),
            Verdict::TokenTooNarrow => Err(self.too_narrow(headers, &scope_of(repository, role))),
            Verdict::Denied => Err(RegistryError::Denied { principal: access.principal(), role, repository: repository.clone() }),
        }
    }

    /// The answer to a token that was not granted what its owner may do.
    pub fn too_narrow(&self, headers: &HeaderMap, scope: &str) -> RegistryError {
        let challenge = self.challenge(headers, Some(scope), Some("insufficient_scope"));
        RegistryError::Unauthorized { challenge, reason: "the token was not granted this: ask for one with the scope named" }
    }

    fn challenge(&self, headers: &HeaderMap, scope: Option<&str>, error: Option<&str>) -> HeaderValue {
        let mut text = format!("Bearer realm=\"{}/token\",service=\"{SERVICE}\"", self.base(headers));
        for (name, value) in [("scope", scope), ("error", error)] {
            if let Some(value) = value {
                text.extend([",", name, "=\"", value, "\""]);
            }
        }
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
    }

    /// Where the client reaches this server: as configured, or as it just did.
    fn base(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.external_url {
            return url.clone();
        }
        let harmless = |host: &&str| {
            host.len() <= HOST_BYTES_MAX
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-' | b'_' | b'[' | b']'))
        };
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).filter(harmless).unwrap_or("localhost");
        format!("{}://{host}", self.scheme)
    }
}

impl Access {
    pub fn verdict(&self, role: Role, resource: &Resource) -> Verdict {
        match &self.caller {
            Some(caller) if !decide(&self.snapshot, &caller.caller, role, resource).allowed => Verdict::Denied,
            Some(caller) if caller.token_allows(&resource.name, action(role)) => Verdict::Allowed,
            Some(_) => Verdict::TokenTooNarrow,
            None => Verdict::Denied,
        }
    }

    pub fn allows(&self, role: Role, repository: &RepositoryName) -> bool {
        self.verdict(role, &Resource::repository(repository.as_str())) == Verdict::Allowed
    }

    /// What a mount from `repository` may look at.
    pub fn sight(&self, repository: &RepositoryName) -> Sight {
        if self.holds(Role::Pull, repository) { Sight::Granted } else { Sight::PublicOnly }
    }

    /// Whether the caller holds `role` on `repository`, whatever a registry token was asked for: clients that push ask for `push` only.
    pub fn holds(&self, role: Role, repository: &RepositoryName) -> bool {
        let resource = Resource::repository(repository.as_str());
        self.caller.as_ref().is_some_and(|caller| decide(&self.snapshot, &caller.caller, role, &resource).allowed)
    }

    /// Whether the caller may see `repository` in a list. The token's scope is about the catalog then, not about each name.
    pub fn may_see(&self, repository: &RepositoryName) -> bool {
        self.holds(Role::Pull, repository)
    }

    pub fn token_allows_catalog(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.token_allows_catalog())
    }

    pub fn principal(&self) -> String {
        self.caller.as_ref().map_or_else(|| NOBODY.to_owned(), |caller| caller.caller.principal.to_string())
    }

    /// Who it was, for the audit.
    pub fn who(&self) -> Who {
        match &self.caller {
            Some(caller) => Who::Caller(caller.clone()),
            None => Who::Nobody { credential: "none" },
        }
    }

    /// Where the request came from.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// An event about what the caller does to `repository`, for the transaction that does it.
    pub fn event(&self, kind: &'static str, repository: &RepositoryName, message: String, detail: &serde_json::Value) -> NewEvent {
        let mut detail = detail.clone();
        detail["credential"] = self.caller.as_ref().map(|caller| caller.credential()).into();
        if let Some(address) = self.address {
            detail["address"] = address.to_string().into();
        }
        NewEvent { kind, principal: Some(self.principal()), subject: format!("repository:{repository}"), message, detail }
    }

    /// Who pushes, as push events record it.
    pub fn pusher(&self) -> Pusher {
        let scope = self.caller.as_ref().and_then(|caller| caller.caller.scope.as_ref());
        Pusher {
            principal: self.principal(),
            scope: scope.and_then(|rules| serde_json::to_string(rules).ok()),
            credential: self.caller.as_ref().map(|caller| caller.credential()),
            address: self.address.map(|address| address.to_string()),
        }
    }
}

fn action(role: Role) -> RegistryAction {
    match role {
        Role::Pull => RegistryAction::Pull,
        Role::Push => RegistryAction::Push,
        _ => RegistryAction::Delete,
    }
}

/// The role that a request takes.
pub fn role_of(method: &Method, route: &Route) -> Role {
    match (method, route) {
        (_, Route::Uploads(_) | Route::Upload(..)) | (&Method::PUT | &Method::POST | &Method::PATCH, _) => Role::Push,
        (&Method::DELETE, _) => Role::Maintain,
        _ => Role::Pull,
    }
}

/// The scope a client should ask a token for.
pub fn scope_of(repository: &RepositoryName, role: Role) -> String {
    let actions = match role {
        Role::Pull => "pull",
        Role::Push => "pull,push",
        _ => "delete",
    };
    format!("repository:{repository}:{actions}")
}

/// The scope of a whole request, for the challenge to somebody unknown.
pub fn scope_of_request(method: &Method, route: &Route) -> Option<String> {
    match route {
        Route::Catalog => Some("registry:catalog:*".to_owned()),
        route => route.repository().map(|repository| scope_of(repository, role_of(method, route))),
    }
}
