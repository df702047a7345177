//! Query strings of `/v2`: percent-decoded once, a raw `+` kept as it is (media types have one), names known to the caller. Pure.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Entries looked at; further ones are ignored.
const PAIRS_MAX: usize = 512;
/// Entries of a page, and what `n` is cut to.
pub const PAGE_ENTRIES_MAX: usize = 1000;

/// `?n=` was not a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("n must be a number from 0 up")]
pub struct BadPage;

/// The value of the first `name` in `query`.
pub fn get<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, str>> {
    pairs(query).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The values of every `name` in `query`, in order.
pub fn all<'q>(query: Option<&'q str>, name: &'q str) -> impl Iterator<Item = Cow<'q, str>> {
    pairs(query).filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.unwrap_or_default().split('&').take(PAIRS_MAX).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode_str(name).decode_utf8_lossy(), percent_decode_str(value).decode_utf8_lossy())
    })
}

/// A keyset page: at most `entries` that sort after `last`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub entries: usize,
    pub last: Option<String>,
}

/// Reads `n` and `last` (TAG-3, TAG-6). More than [`PAGE_ENTRIES_MAX`] is cut, and the answer then says where to go on.
pub fn page(query: Option<&str>) -> Result<Page, BadPage> {
    let entries = match get(query, "n") {
        None => PAGE_ENTRIES_MAX,
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse::<usize>().unwrap_or(PAGE_ENTRIES_MAX).min(PAGE_ENTRIES_MAX)
        }
        Some(_) => return Err(BadPage),
    };
    let last = get(query, "last").map(Cow::into_owned).filter(|last| !last.is_empty());
    Ok(Page { entries, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_plus_stays() {
        let query = Some("artifactType=application/vnd.x+json&digest=sha256%3Aab&x&tag=a&tag=b&y=%2525");
        assert_eq!(get(query, "artifactType").as_deref(), Some("application/vnd.x+json"));
        assert_eq!(get(query, "digest").as_deref(), Some("sha256:ab"));
        assert_eq!(get(query, "x").as_deref(), Some(""));
        assert_eq!(get(query, "y").as_deref(), Some("%25"));
        assert_eq!(all(query, "tag").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(get(None, "x"), None);
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(page(Some("n=0")).map(|page| page.entries), Ok(0));
        assert_eq!(page(Some("n=5&last=v1")), Ok(Page { entries: 5, last: Some("v1".into()) }));
        assert_eq!(page(Some("n=99999999999999999999999")).map(|page| page.entries), Ok(PAGE_ENTRIES_MAX));
        assert_eq!(page(None), Ok(Page { entries: PAGE_ENTRIES_MAX, last: None }));
        for bad in ["n=-1", "n=NaN", "n=", "n=1.5", "n=+1"] {
            assert_eq!(page(Some(bad)), Err(BadPage), "{bad}");
        }
    }
}
