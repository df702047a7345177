//! Extractors whose refusals are problem documents, and paging.

use super::ApiError;
use crate::Identity;
use crate::caller::Caller;
use api::v1::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Page};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Query, Request};
use http::request::Parts;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::net::IpAddr;

/// The caller of a request, by Basic or Bearer. Put it before the body, so that nobody's body is read.
pub struct Authenticated(pub Caller);

impl<S> FromRequestParts<S> for Authenticated
where
    Identity: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let address = platform::http::client_address(&parts.extensions);
        Ok(Self(Identity::from_ref(state).authenticate(&parts.headers, address).await?))
    }
}

/// Where the request comes from, as far as its connection tells.
pub struct ClientAddress(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(platform::http::client_address(&parts.extensions)))
    }
}

/// A JSON body.
pub struct ApiJson<T>(pub T);

impl<S, T> FromRequest<S> for ApiJson<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = axum::Json::from_request(request, state).await;
        body.map(|axum::Json(body)| Self(body)).map_err(|rejection| ApiError::invalid(rejection.body_text()))
    }
}

/// Query parameters; unknown ones are refused when `T` says so.
pub struct ApiQuery<T>(pub T);

impl<S, T> FromRequestParts<S> for ApiQuery<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|rejection| ApiError::invalid(rejection.body_text()))
    }
}

/// Parameters in the path.
pub struct ApiPath<T>(pub T);

impl<S, T> FromRequestParts<S> for ApiPath<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path)).map_err(|rejection| ApiError::invalid(rejection.body_text()))
    }
}

/// How many items a page holds.
pub(crate) fn page_limit(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(PAGE_ITEMS_DEFAULT) {
        0 => Err(ApiError::invalid("limit must be at least 1")),
        limit if limit > PAGE_ITEMS_MAX => Err(ApiError::invalid(format!("limit must be at most {PAGE_ITEMS_MAX}"))),
        limit => Ok(limit),
    }
}

/// Cuts one page out of `items`, which are in the order of their `key`.
pub fn page<T>(items: Vec<T>, key: impl Fn(&T) -> &str, after: Option<&str>, limit: Option<usize>) -> Result<Page<T>, ApiError> {
    let limit = page_limit(limit)?;
    let start = after.map_or(0, |after| items.partition_point(|item| key(item) <= after));
    let more = items.len().saturating_sub(start) > limit;
    let items: Vec<T> = items.into_iter().skip(start).take(limit).collect();
    let next = items.last().filter(|_| more).map(|last| key(last).to_owned());
    Ok(Page { items, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let all = || vec!["a".to_owned(), "b".into(), "c".into()];
        let cut = |after, limit| page(all(), |item: &String| item.as_str(), after, limit).unwrap();
        assert_eq!(cut(None, Some(2)), Page { items: vec!["a".into(), "b".into()], next: Some("b".into()) });
        assert_eq!(cut(Some("b"), Some(2)), Page { items: vec!["c".into()], next: None });
        assert_eq!(cut(Some("bb"), None).items, ["c"]);
        assert_eq!(cut(None, Some(3)).next, None);
        assert!(page(all(), |item: &String| item.as_str(), None, Some(0)).is_err());
        assert!(page(all(), |item: &String| item.as_str(), None, Some(1001)).is_err());
    }
}
