//! What requests about services share: their names and their pages. Pure.

use api::v1::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use identity::http::ApiError;
use model::ids::{ClusterName, IdError, ServiceName};

/// Longest text that is looked for, in characters.
const SOUGHT_CHARS_MAX: usize = 300;

/// A service as people write it: `CLUSTER/NAME`, or `NAME` in the cluster `default`.
pub(super) fn parse(text: &str) -> Result<(ClusterName, ServiceName), ApiError> {
    let refuse = |error: IdError| ApiError::invalid(format!("a service is named CLUSTER/NAME: {error}"));
    match text.split_once('/') {
        Some((cluster, name)) => Ok((cluster.parse().map_err(refuse)?, name.parse().map_err(refuse)?)),
        None => Ok((ClusterName::default_cluster(), text.parse().map_err(refuse)?)),
    }
}

/// Items of a page.
pub(super) fn limit(limit: Option<usize>) -> Result<i64, ApiError> {
    let limit = limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    let refuse = || ApiError::invalid(format!("limit is 1 to {PAGE_ITEMS_MAX}"));
    if (1..=PAGE_ITEMS_MAX).contains(&limit) { i64::try_from(limit).map_err(|_| refuse()) } else { Err(refuse()) }
}

/// The item after which the next page begins, when there may be one.
pub(super) fn next<T>(found: &[T], limit: i64) -> Option<&T> {
    found.last().filter(|_| i64::try_from(found.len()).is_ok_and(|length| length >= limit))
}

/// What is looked for, no longer than anything that can be found.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(SOUGHT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_with_or_without_their_cluster() {
        let named = |text: &str| parse(text).map(|(cluster, name)| format!("{cluster}/{name}")).ok();
        assert_eq!(named("web").as_deref(), Some("default/web"));
        assert_eq!(named("prod/web").as_deref(), Some("prod/web"));
        for bad in ["", "/", "a/", "/a", "a/b/c", "ä"] {
            assert_eq!(named(bad), None, "{bad}");
        }
    }

    #[test]
    fn there_may_be_a_next_page_after_a_full_one() {
        assert_eq!(next(&[1, 2], 2), Some(&2));
        assert_eq!(next(&[1], 2), None);
        assert!(limit(Some(0)).is_err() && limit(Some(1001)).is_err() && limit(None).is_ok());
    }
}
