//! The Berth API under `/api/v1`: what AWS has no words for.
//!
//! Times are RFC 3339 in UTC, lists are pages, refusals are [`Problem`] documents (RFC 9457) with a stable `code`.

pub mod access;
pub mod audit;
pub mod client;
pub mod deployer;
pub mod events;
pub mod garbage;
pub mod repositories;
pub mod teams;
pub mod triggers;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Items of one page at most, whatever a client asks for.
pub const PAGE_ITEMS_MAX: usize = 1000;
/// Items of one page when a client does not say.
pub const PAGE_ITEMS_DEFAULT: usize = 200;
/// Longest JSON body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Content type of a [`Problem`].
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// One page of a list, in the order of the items' names or ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `after` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Items wanted, at most 1000; 200 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Body of every refusal (RFC 9457, `application/problem+json`). Programs branch on `code`, people read `detail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:berth:problem:CODE`
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Stable word: `unauthenticated`, `forbidden`, `not_found`, `already_exists`, `last_server_admin`, `invalid_request`, …
    pub code: String,
    /// What to do next, when the server knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// With `forbidden`: the grant that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<MissingGrant>,
}

/// The grant that would have allowed what was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingGrant {
    /// `user:alice`
    pub principal: String,
    pub role: String,
    /// `repository:acme/web`
    pub resource: String,
}

impl Problem {
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:berth:problem:{code}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            code: code.to_owned(),
            hint: None,
            missing: None,
        }
    }

    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}
