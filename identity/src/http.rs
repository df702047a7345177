//! The HTTP face of identity: `/api/v1` for permissions and `/token` for the registry's token protocol.
//!
//! Handlers extract, call one operation and convert. The extractors and [`ApiError`] serve the other parts of `/api/v1` too.

mod access;
mod access_keys;
mod audit;
mod convert;
mod error;
mod extract;
mod grants;
mod join_tokens;
mod robots;
mod scope;
mod teams;
mod token;
mod tokens;
mod users;

pub use error::ApiError;
pub use extract::{ApiJson, ApiPath, ApiQuery, Authenticated, ClientAddress, page};
#[cfg(any(test, fuzzing))]
pub(crate) use scope::fuzzing as fuzzing_scopes;

use crate::Identity;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApiBuilder, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// `/api/v1` (in the OpenAPI document) and `/token` (not in it: its form is the registry's).
pub fn router(identity: Identity) -> OpenApiRouter {
    OpenApiRouter::with_openapi(document())
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::change, users::delete))
        .routes(routes!(users::set_password))
        .routes(routes!(robots::list, robots::create))
        .routes(routes!(robots::get, robots::change, robots::delete))
        .routes(routes!(teams::list, teams::create))
        .routes(routes!(teams::get, teams::delete))
        .routes(routes!(teams::members))
        .routes(routes!(teams::add, teams::remove))
        .routes(routes!(grants::list, grants::create))
        .routes(routes!(grants::get, grants::revoke))
        .routes(routes!(access::whoami))
        .routes(routes!(access::check))
        .routes(routes!(access::who_can))
        .routes(routes!(access::what_can))
        .routes(routes!(access::preview))
        .routes(routes!(audit::list))
        .routes(routes!(audit::last_pulls))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(access_keys::list, access_keys::create))
        .routes(routes!(access_keys::revoke))
        .routes(routes!(join_tokens::list, join_tokens::create))
        .routes(routes!(join_tokens::delete))
        .route("/token", get(token::by_query).post(token::by_form))
        .layer(DefaultBodyLimit::max(api::v1::BODY_BYTES_MAX))
        .with_state(identity)
}

fn document() -> utoipa::openapi::OpenApi {
    let scheme = |scheme| SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build());
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", scheme(HttpAuthScheme::Bearer))
        .security_scheme("basic", scheme(HttpAuthScheme::Basic))
        .build();
    let none: [&str; 0] = [];
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Berth API").version(env!("CARGO_PKG_VERSION")).build())
        .components(Some(components))
        .security(Some([SecurityRequirement::new("bearer", none), SecurityRequirement::new("basic", none)]))
        .build()
}
