//! `/v2`: from a request to an operation and back. A hot manifest is answered before anything is parsed; everything else is parsed,
//! authenticated, authorised, and handed to one operation.

mod lists;
mod manifests;
mod uploads;

use crate::auth::{self, Access, Verdict};
use crate::context::Context;
use crate::error::{self, RegistryError};
use crate::manifest::{self, Served};
use crate::route::{self, Route};
use crate::{blob, query};
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use model::RepositoryName;
use model::access::Role;
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
    let mut response = dispatch(ctx, parts, body).await.unwrap_or_else(IntoResponse::into_response);
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
    let access = ctx.gate.authenticate(&parts.headers).await.ok()?;
    if access.verdict(Role::Pull, &served.resource) != Verdict::Allowed {
        return None;
    }
    Some(respond_manifest(ctx, &served, &parts.method, &parts.headers))
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
    let route = route::parse(parts.uri.path());
    let scope = match &route {
        Ok(route) => auth::scope_of_request(&parts.method, route),
        Err(error) => error.repository().map(|repository| auth::scope_of(repository, Role::Pull)),
    };
    let access = match ctx.gate.authenticate(&parts.headers).await {
        Ok(access) => access,
        Err(error) => return Err(ctx.gate.refusal(error, &parts.headers, scope.as_deref())),
    };
    let route = match route {
        Ok(route) => route,
        // Somebody who may not pull learns nothing from how the rest of a path is refused that a missing repository would not say.
        Err(error) => return Err(RegistryError::from_route(error, &parts.method)),
    };
    let call = Call { ctx, access, parts };
    call.authorise(&route)?;
    call.serve(route, body).await
}

impl Call<'_> {
    /// Whether the caller may do this here at all. A read that is not granted looks like a read of what does not exist.
    fn authorise(&self, route: &Route) -> Result<(), RegistryError> {
        let Some(repository) = route.repository() else { return Ok(()) };
        let role = auth::role_of(&self.parts.method, route);
        let allowed = self.require(role, repository);
        match allowed {
            Err(RegistryError::Denied { .. }) if role == Role::Pull => {
                Err(error::unknown(route).unwrap_or_else(|| denied(&self.access, role, repository)))
            }
            other => other,
        }
    }

    fn require(&self, role: Role, repository: &RepositoryName) -> Result<(), RegistryError> {
        self.ctx.gate.require(&self.access, role, repository, &self.parts.headers)
    }

    async fn serve(self, route: Route, body: Body) -> Result<Response, RegistryError> {
        let method = self.parts.method.clone();
        let is_read = matches!(method, Method::GET | Method::HEAD);
        match route {
            Route::Base if is_read => Ok(base()),
            Route::Catalog if is_read => self.catalog().await,
            Route::Tags(repository) if is_read => self.tags(&repository).await,
            Route::Referrers(repository, digest) if is_read => self.referrers(&repository, &digest).await,
            Route::Manifest(repository, reference) => match method {
                Method::GET | Method::HEAD => {
                    let served = manifest::get(self.ctx, &repository, &reference).await?;
                    Ok(respond_manifest(self.ctx, &served, &method, &self.parts.headers))
                }
                Method::PUT => self.put_manifest(repository, reference, body).await,
                Method::DELETE => manifest::delete(self.ctx, &repository, &reference).await.map(|()| accepted()),
                _ => Err(unsupported(method, "GET, HEAD, PUT, DELETE")),
            },
            Route::Blob(repository, digest) => match method {
                Method::GET | Method::HEAD => {
                    let served = match method {
                        Method::HEAD => blob::look(self.ctx, &self.access, &repository, &digest).await?,
                        _ => blob::get(self.ctx, &repository, &digest).await?,
                    };
                    blob::answer(self.ctx, served, &repository, &digest, &method, &self.parts.headers).await
                }
                Method::DELETE => blob::delete(self.ctx, &repository, &digest).await.map(|()| accepted()),
                _ => Err(unsupported(method, "GET, HEAD, DELETE")),
            },
            Route::Uploads(repository) => match method {
                Method::POST => self.start_upload(repository, body).await,
                _ => Err(unsupported(method, "POST")),
            },
            Route::Upload(repository, id) => match method {
                Method::GET | Method::HEAD => self.upload_status(&repository, &id).await,
                Method::PATCH => self.upload_chunk(&repository, &id, body).await,
                Method::PUT => self.upload_finish(&repository, &id, body).await,
                Method::DELETE => self.upload_cancel(&repository, &id).await,
                _ => Err(unsupported(method, "GET, HEAD, PATCH, PUT, DELETE")),
            },
            _ => Err(unsupported(method, "GET, HEAD")),
        }
    }

    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query::get(self.parts.uri.query(), name)
    }

    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn denied(access: &Access, role: Role, repository: &RepositoryName) -> RegistryError {
    RegistryError::Denied { principal: access.principal(), role, repository: repository.clone() }
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
