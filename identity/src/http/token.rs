//! `/token`: the registry's token protocol. GET with Basic, or POST with an `OAuth2` form (grant types `password` and
//! `refresh_token`, the latter a personal token).
//!
//! Grants the intersection of what is asked and what is allowed, never an error for asking too much. Bad credentials are 401 and
//! never become nobody. Nobody gets a token only to pull what everybody may pull; it says no more than that.

use super::ClientAddress;
use super::error::RETRY_AFTER_SECS;
use super::scope::{self, Asked, SCOPES_MAX};
use crate::Identity;
use crate::authenticate::AuthError;
use crate::caller::Caller;
use crate::decide::decide;
use crate::error::IdentityError;
use crate::registry_token::{self, Granted, REGISTRY_TOKEN_LIFE, RegistryAction};
use crate::secrets::NOBODYS_TOKEN;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use model::Timestamp;
use model::access::{Resource, Role};
use serde_json::json;
use std::net::IpAddr;

/// Name of this registry in the token protocol.
const SERVICE: &str = "berth";

/// Parameters of either form, repeated ones kept.
struct Parameters(Vec<(String, String)>);

/// Why there is no token.
#[derive(Debug)]
enum Refused {
    Auth(AuthError),
    /// `OAuth2` error code and text.
    Request(&'static str, String),
}

pub(super) async fn by_query(
    State(identity): State<Identity>,
    ClientAddress(address): ClientAddress,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let parameters = Parameters::parse(query.unwrap_or_default().as_bytes());
    let answer = async {
        match caller_of_headers(&identity, &headers, address).await {
            Ok(caller) => issue(&identity, &caller, &parameters).await,
            Err(Refused::Auth(AuthError::Missing)) => issue_to_nobody(&identity, &parameters).await,
            Err(refused) => Err(refused),
        }
    };
    answer.await.unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn by_form(
    State(identity): State<Identity>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let parameters = Parameters::parse(&body);
    let answer = async {
        let caller = if headers.contains_key(AUTHORIZATION) {
            caller_of_headers(&identity, &headers, address).await
        } else {
            caller_of_form(&identity, &parameters, address).await
        }?;
        issue(&identity, &caller, &parameters).await
    };
    answer.await.unwrap_or_else(IntoResponse::into_response)
}

async fn caller_of_headers(identity: &Identity, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller, Refused> {
    // A registry token cannot be exchanged for another: `authenticate` refuses it.
    identity.authenticate(headers, address).await.map_err(Refused::Auth)
}

async fn caller_of_form(identity: &Identity, parameters: &Parameters, address: Option<IpAddr>) -> Result<Caller, Refused> {
    let want = |name: &str| parameters.one(name).ok_or_else(|| Refused::Request("invalid_request", format!("`{name}` is missing")));
    let found = match want("grant_type")? {
        "password" => identity.authenticate_basic(want("username")?, want("password")?, address).await,
        "refresh_token" => identity.authenticate_token(want("refresh_token")?, address).await,
        other => {
            let text =
                format!("grant type `{}` is not supported: use password or refresh_token", other.chars().take(40).collect::<String>());
            return Err(Refused::Request("unsupported_grant_type", text));
        }
    };
    found.map_err(Refused::Auth)
}

async fn issue(identity: &Identity, caller: &Caller, parameters: &Parameters) -> Result<Response, Refused> {
    let asked = asked(parameters)?;
    let snapshot = identity.snapshot().await.map_err(unavailable)?;
    let may = |role: Role, resource: &Resource| decide(&snapshot, caller, role, resource).allowed;
    let granted =
        asked.intersect(|name, action| may(action.role(), &Resource::repository(name.as_str())), may(Role::Admin, &Resource::server()));
    let scope = scope::text(&granted);
    let now = identity.now();
    let (token, expires_at) = registry_token::issue(identity, &snapshot, caller, granted, now);
    Ok(answer(&token, &scope, expires_at.since(now).as_secs(), now))
}

/// Clients that have no credentials want a token all the same. The registry decides on each request what everybody may pull.
async fn issue_to_nobody(identity: &Identity, parameters: &Parameters) -> Result<Response, Refused> {
    let mut public = Vec::new();
    for (name, actions) in asked(parameters)?.repositories {
        if actions.contains(&RegistryAction::Pull) && identity.is_public(&name).await {
            public.push((name, vec![RegistryAction::Pull]));
        }
    }
    if public.is_empty() {
        return Err(Refused::Auth(AuthError::Missing));
    }
    let scope = scope::text(&Granted { access: public, catalog: false });
    Ok(answer(NOBODYS_TOKEN, &scope, REGISTRY_TOKEN_LIFE.as_secs(), identity.now()))
}

fn asked(parameters: &Parameters) -> Result<Asked, Refused> {
    if let Some(other) = parameters.one("service").filter(|service| *service != SERVICE) {
        let text = format!("service `{}` is not here: this one is `{SERVICE}`", other.chars().take(100).collect::<String>());
        return Err(Refused::Request("invalid_request", text));
    }
    let too_many = |_| Refused::Request("invalid_scope", format!("at most {SCOPES_MAX} scopes in one request"));
    scope::parse(parameters.all("scope")).map_err(too_many)
}

fn answer(token: &str, scope: &str, expires_in_secs: u64, now: Timestamp) -> Response {
    let body = json!({
        "token": token,
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": expires_in_secs,
        "issued_at": now.to_rfc3339(),
        "scope": scope,
    });
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[expect(clippy::needless_pass_by_value, reason = "used as the argument of map_err")]
fn unavailable(error: IdentityError) -> Refused {
    Refused::Auth(AuthError::Unavailable(error.to_string()))
}

impl Parameters {
    fn parse(form: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(form).into_owned().collect())
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

impl IntoResponse for Refused {
    /// The registry's error body, which docker shows, and `OAuth2`'s `error` beside it.
    fn into_response(self) -> Response {
        let mut retry_after_secs = None;
        let (status, code, oauth, message) = match self {
            Self::Auth(AuthError::Unavailable(reason)) => {
                tracing::error!(%reason, "credentials cannot be checked");
                let text = "credentials cannot be checked at the moment".to_owned();
                retry_after_secs = Some(RETRY_AFTER_SECS);
                (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "temporarily_unavailable", text)
            }
            Self::Auth(ref error @ AuthError::Later { wait, .. }) => {
                retry_after_secs = Some(wait.as_secs() + 1);
                (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "temporarily_unavailable", error.to_string())
            }
            Self::Auth(error) => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "invalid_grant", error.to_string()),
            Self::Request(oauth, message) => (StatusCode::BAD_REQUEST, "UNSUPPORTED", oauth, message),
        };
        let body =
            json!({ "errors": [{ "code": code, "message": message, "detail": null }], "error": oauth, "error_description": message });
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"berth\""));
        }
        if let Some(secs) = retry_after_secs {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
