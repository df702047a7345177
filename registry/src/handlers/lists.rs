//! `_catalog`, `tags/list` and `referrers`.

use super::Call;
use crate::error::{self, RegistryError};
use crate::listing::{self, Listed};
use crate::query::{self, Page};
use crate::route::Route;
use crate::store::Sight;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, header};
use model::{Digest, RepositoryName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What stands for itself in a query value.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'/').remove(b':');
/// Longest artifact type filter, in bytes, and how many of them.
const FILTER_BYTES_MAX: usize = 255;
const FILTERS_MAX: usize = 20;

impl Call<'_> {
    pub(super) async fn catalog(&self) -> Result<Response, RegistryError> {
        if !self.access.token_allows_catalog() {
            return Err(self.ctx.gate.too_narrow(&self.parts.headers, "registry:catalog:*"));
        }
        let page = self.page()?;
        let listed = listing::catalog(self.ctx, &self.access, &page).await?;
        let body = json!({ "repositories": listed.entries });
        Ok(self.listed(&Route::Catalog, &page, &listed, "application/json", &body))
    }

    pub(super) async fn tags(&self, repository: &RepositoryName, sight: Sight) -> Result<Response, RegistryError> {
        let page = self.page()?;
        let listed = listing::tags(self.ctx, repository, sight, &page).await?;
        let body = json!({ "name": repository, "tags": listed.entries });
        Ok(self.listed(&Route::Tags(repository.clone()), &page, &listed, "application/json", &body))
    }

    pub(super) async fn referrers(&self, repository: &RepositoryName, sight: Sight, digest: &Digest) -> Result<Response, RegistryError> {
        let page = self.page()?;
        let wanted: Vec<String> = query::all(self.parts.uri.query(), "artifactType")
            .filter(|text| !text.is_empty() && text.len() <= FILTER_BYTES_MAX)
            .take(FILTERS_MAX)
            .map(std::borrow::Cow::into_owned)
            .collect();
        let listed = listing::referrers(self.ctx, repository, sight, digest, &wanted, &page).await?;
        let body = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed.entries });
        let mut response = self.listed(&Route::Referrers(repository.clone(), digest.clone()), &page, &listed, INDEX, &body);
        if !wanted.is_empty() {
            response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }

    fn page(&self) -> Result<Page, RegistryError> {
        query::page(self.parts.uri.query()).map_err(|e| RegistryError::PageInvalid(e.to_string()))
    }

    /// A list, with a `Link` to where it goes on (RFC 8288, `rel="next"`).
    fn listed<T>(&self, route: &Route, page: &Page, listed: &Listed<T>, content_type: &'static str, body: &serde_json::Value) -> Response {
        let mut response = Response::new(Body::from(body.to_string()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(next) = &listed.next {
            let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
            let mut link = format!("<{route}?n={}&last={}", page.entries, escaped(next));
            for artifact_type in query::all(self.parts.uri.query(), "artifactType").take(FILTERS_MAX) {
                link.extend(["&artifactType=", &escaped(&artifact_type)]);
            }
            link.push_str(">; rel=\"next\"");
            error::insert(headers, header::LINK, &link);
        }
        response
    }
}
