//! `/v2`: from a request to an operation and back. A hot manifest is answered before anything is parsed; everything else is parsed,
//! authenticated, authorised, and handed to one operation.

mod lists;
mod manifests;
mod uploads;

use crate::audit;
use crate::auth::{self, Access, Verdict};
use crate::context::Context;
use crate::error::RegistryError;
use crate::manifest::{self, Served};
use crate::route::{self, Route, RouteError};
use crate::store::Sight;
use crate::{blob, query, repository, upload};
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use identity::AuthError;
use identity::audit::{Action, Record};
use model::access::{Resource, Role};
use model::{Digest, RepositoryName};
use std::borrow::Cow;
use std::sync::Arc;

/// One request, its caller known.
struct Call<'a> {
    ctx: &'a Arc<Context>,
    access: Access,
    parts: Parts,
}

/// Answers a request below `/v2`.
pub async fn handle(ctx: &Arc<Context>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(response) = hot(ctx, &parts).await {
        return response;
    }
    let is_head = parts.method == Method::HEAD;
    let dispatched = if is_head || parts.method == Method::GET {
        dispatch(ctx, parts, body).await
    } else {
        // Runs to its end even if the client goes away: whoever does not wait for a refusal is on record all the same.
        let ctx = ctx.clone();
        let task = tokio::spawn(async move { dispatch(&ctx, parts, body).await });
        task.await.unwrap_or_else(|_| Err(RegistryError::Internal("a request did not end".into())))
    };
    let mut response = dispatched.unwrap_or_else(IntoResponse::into_response);
    if is_head && response.status().is_client_error() {
        *response.body_mut() = Body::empty();
    }
    response
}

/// A manifest that is in memory, for a caller who may pull it. Everything else takes the long way, which also says why not.
async fn hot(ctx: &Context, parts: &Parts) -> Option<Response> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    let path = parts.uri.path().strip_prefix("/v2/")?;
    let (name, _) = path.rsplit_once("/manifests/")?;
    let served = ctx.cached_manifest(name, path)?;
    let access = match ctx.gate.authenticate(parts).await {
        Ok(access) => Some(access).filter(|access| access.verdict(Role::Pull, &served.resource) == Verdict::Allowed)?,
        Err(AuthError::Missing) if served.public => ctx.gate.nobody(parts).await.ok()?,
        Err(_) => return None,
    };
    Some(send_manifest(ctx, &access, &served, parts).await)
}

/// Sends a manifest to somebody who may have it. Only what is sent is a pull: not a HEAD, not what the client has already.
async fn send_manifest(ctx: &Context, access: &Access, served: &Served, parts: &Parts) -> Response {
    let response = respond_manifest(ctx, served, &parts.method, &parts.headers);
    if parts.method == Method::GET && response.status() == StatusCode::OK {
        audit::done(ctx, access, Action::Pull, &served.content).await;
    }
    response
}

/// Sends a manifest exactly as it was pushed (PULL-1, PULL-2).
pub fn respond_manifest(ctx: &Context, served: &Served, method: &Method, asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = served.headers.clone();
    ctx.metrics.manifests_served.inc();
    if asked.contains_key(header::IF_NONE_MATCH) && blob::is_fresh(asked, &served.headers) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if *method == Method::GET {
        *response.body_mut() = Body::from(served.body.clone());
    }
    response
}

async fn dispatch(ctx: &Arc<Context>, parts: Parts, body: Body) -> Result<Response, RegistryError> {
    let waits = waits(&parts);
    match admit(ctx, parts).await {
        Ok((call, route)) => call.answer(&route, body).await,
        Err(error) => {
            if !waits {
                upload::drain(body).await;
            }
            Err(error)
        }
    }
}

/// Whether the client waits for a word before it sends its body.
fn waits(parts: &Parts) -> bool {
    parts.headers.contains_key(header::EXPECT)
}

/// Who asks for what; or why they may not.
async fn admit(ctx: &Arc<Context>, parts: Parts) -> Result<(Call<'_>, Route), RegistryError> {
    let route = route::parse(parts.uri.path());
    let scope = match &route {
        Ok(route) => auth::scope_of_request(&parts.method, route),
        Err(error) => error.repository().map(|repository| auth::scope_of(repository, Role::Pull)),
    };
    let access = match ctx.gate.authenticate(&parts).await {
        Ok(access) => access,
        // Only who shows nothing is nobody. Whoever shows something that is not right is refused, also where nobody would be served.
        Err(AuthError::Missing) if is_public_read(ctx, &parts.method, &route).await? => ctx.gate.nobody(&parts).await?,
        Err(error) => return Err(ctx.gate.refusal(error, &parts.headers, scope.as_deref())),
    };
    // Somebody who may not pull learns nothing from how the rest of a path is refused that a missing repository would not say.
    let route = route.map_err(|error| RegistryError::from_route(error, &parts.method))?;
    Ok((Call { ctx, access, parts }, route))
}

/// Whether this reads from a repository from which everybody may pull.
async fn is_public_read(ctx: &Context, method: &Method, route: &Result<Route, RouteError>) -> Result<bool, RegistryError> {
    match route {
        Ok(route) if auth::role_of(method, route) == Role::Pull => match route.repository() {
            Some(name) => repository::is_public(ctx, name).await,
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

impl Call<'_> {
    /// Whether the caller may do this here at all. A read that is not granted goes on, and sees what everybody may see: so it is
    /// answered as a read of what does not exist is, by the same statements.
    fn authorise(&self, route: &Route) -> Result<Sight, RegistryError> {
        let Some(repository) = route.repository() else { return Ok(Sight::Granted) };
        let role = auth::role_of(&self.parts.method, route);
        match self.require(role, repository) {
            Ok(()) => Ok(Sight::Granted),
            Err(RegistryError::Denied { .. }) if role == Role::Pull => Ok(Sight::PublicOnly),
            Err(error) => Err(error),
        }
    }

    /// Does it, or says no and why; what was refused by right or rule is written down.
    async fn answer(&self, route: &Route, body: Body) -> Result<Response, RegistryError> {
        let mut body = Some(body);
        let answer = match self.authorise(route) {
            Ok(sight) => self.serve(route, sight, body.take().unwrap_or_default()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &answer
            && let Some(record) = self.refusal(route, error)
        {
            self.ctx.gate.audit().record(record).await;
        }
        if let Some(unread) = body.filter(|_| !waits(&self.parts)) {
            upload::drain(unread).await;
        }
        answer
    }

    /// What the audit says when this came to `error`. Whoever asks with a token that is too narrow is not denied: it asks again with
    /// another. A read that is not granted found nothing that everybody may see.
    fn refusal(&self, route: &Route, error: &RegistryError) -> Option<Record> {
        let (repository, method) = (route.repository()?, &self.parts.method);
        let denied = self.access.verdict(auth::role_of(method, route), &Resource::repository(repository.as_str())) == Verdict::Denied;
        let what = audit::refused(method, route, self.digest_named().as_deref(), error, denied)?;
        Some(what.by(self.ctx, &self.access))
    }

    fn require(&self, role: Role, repository: &RepositoryName) -> Result<(), RegistryError> {
        self.ctx.gate.require(&self.access, role, repository, &self.parts.headers)
    }

    async fn serve(&self, route: &Route, sight: Sight, body: Body) -> Result<Response, RegistryError> {
        let method = self.parts.method.clone();
        let is_read = matches!(method, Method::GET | Method::HEAD);
        match route {
            Route::Base if is_read => Ok(base()),
            Route::Catalog if is_read => self.catalog().await,
            Route::Tags(repository) if is_read => self.tags(repository, sight).await,
            Route::Referrers(repository, digest) if is_read => self.referrers(repository, sight, digest).await,
            Route::Manifest(repository, reference) => match method {
                Method::GET | Method::HEAD => {
                    let served = manifest::get(self.ctx, repository, reference, sight).await?;
                    Ok(send_manifest(self.ctx, &self.access, &served, &self.parts).await)
                }
                Method::PUT => self.put_manifest(repository, reference, body).await,
                Method::DELETE => manifest::delete(self.ctx, &self.access, repository, reference).await.map(|()| accepted()),
                _ => Err(unsupported(method, "GET, HEAD, PUT, DELETE")),
            },
            Route::Blob(repository, digest) => match method {
                Method::GET | Method::HEAD => {
                    let served = match method {
                        Method::HEAD => blob::look(self.ctx, &self.access, repository, digest, sight).await?,
                        _ => blob::get(self.ctx, repository, digest, sight).await?,
                    };
                    let asked = &self.parts.headers;
                    let response = blob::answer(self.ctx, &served, repository, digest, sight, &method, asked).await?;
                    if method == Method::GET && response.status().is_success() {
                        audit::done(self.ctx, &self.access, Action::PullBlob, &served.content).await;
                    }
                    Ok(response)
                }
                Method::DELETE => blob::delete(self.ctx, &self.access, repository, digest).await.map(|()| accepted()),
                _ => Err(unsupported(method, "GET, HEAD, DELETE")),
            },
            Route::Uploads(repository) => match method {
                Method::POST => self.start_upload(repository, body).await,
                _ => Err(unsupported(method, "POST")),
            },
            Route::Upload(repository, id) => match method {
                Method::GET | Method::HEAD => self.upload_status(repository, id).await,
                Method::PATCH => self.upload_chunk(repository, id, body).await,
                Method::PUT => self.upload_finish(repository, id, body).await,
                Method::DELETE => self.upload_cancel(repository, id).await,
                _ => Err(unsupported(method, "GET, HEAD, PATCH, PUT, DELETE")),
            },
            _ => Err(unsupported(method, "GET, HEAD")),
        }
    }

    /// The digest that the query of an upload names: what is to become of it, or what is to be mounted.
    fn digest_named(&self) -> Option<Cow<'_, str>> {
        self.query("digest").or_else(|| self.query("mount")).filter(|text| text.parse::<Digest>().is_ok())
    }

    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query::get(self.parts.uri.query(), name)
    }

    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn unsupported(method: Method, allow: &'static str) -> RegistryError {
    RegistryError::Unsupported { method, allow }
}

/// GEN-4: the protocol is spoken here, and the credentials are good.
fn base() -> Response {
    let mut response = Response::new(Body::from("{}"));
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response.headers_mut().insert("docker-distribution-api-version", http::HeaderValue::from_static("registry/2.0"));
    response
}

fn accepted() -> Response {
    empty(StatusCode::ACCEPTED)
}

/// An answer without a body.
fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_LENGTH, http::HeaderValue::from_static("0"));
    }
    response
}
