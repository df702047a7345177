//! `nextToken` and `maxResults`: a token is the key of the last item of the page before. Pure.

use crate::error::EcsError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// One page, and the token of the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_token: Option<String>,
}

/// How many items a page may hold, and holds when nothing is asked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub default: i64,
    pub max: i64,
}

/// ECS's limits of most lists.
pub const ECS: Limits = Limits { default: 100, max: 100 };
/// ECS's limits of ListServices.
pub const SERVICES: Limits = Limits { default: 10, max: 100 };
/// ECS's limits of ListServiceDeployments.
pub const SERVICE_DEPLOYMENTS: Limits = Limits { default: 20, max: 100 };
/// ECR's limits.
pub const ECR: Limits = Limits { default: 100, max: 1000 };

/// The page after `token` of `items`, in the order of their keys.
pub fn page<T>(mut items: Vec<(String, T)>, token: Option<&str>, max_results: Option<i64>, limits: Limits) -> Result<Page<T>, EcsError> {
    let max = max_results.unwrap_or(limits.default);
    if !(1..=limits.max).contains(&max) {
        return Err(EcsError::invalid(format!("maxResults has to be between 1 and {}.", limits.max)));
    }
    // Here and not in SQL: the two databases do not sort text alike.
    items.sort_by(|(one, _), (other, _)| one.cmp(other));
    let after = token.filter(|token| !token.is_empty()).map(decode).transpose()?;
    let mut items = items.into_iter().skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after)).peekable();
    let mut page = Page { items: Vec::new(), next_token: None };
    let mut last = String::new();
    while page.items.len() < usize::try_from(max).unwrap_or(usize::MAX) {
        let Some((key, item)) = items.next() else { return Ok(page) };
        page.items.push(item);
        last = key;
    }
    page.next_token = items.peek().map(|_| URL_SAFE_NO_PAD.encode(last));
    Ok(page)
}

fn decode(token: &str) -> Result<String, EcsError> {
    let refuse = || EcsError::invalid("nextToken is not one that this list gave.");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refuse())?;
    String::from_utf8(bytes).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(names: &[&str]) -> Vec<(String, String)> {
        names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect()
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let names = ["a", "b", "c", "d", "e"];
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            let page = page(items(&names), token.as_deref(), Some(2), ECS).unwrap();
            seen.extend(page.items);
            match page.next_token {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, names);
        // An item that went away meanwhile does not matter.
        let first = page(items(&names), None, Some(2), ECS).unwrap();
        assert_eq!(page(items(&["a", "c"]), first.next_token.as_deref(), None, ECS).unwrap().items, ["c"]);
    }

    #[test]
    fn bad_tokens_and_sizes_are_refused() {
        assert!(page(items(&["a"]), Some("%"), None, ECS).is_err());
        for max in [0, -1, 101] {
            assert!(page(items(&["a"]), None, Some(max), ECS).is_err());
        }
    }
}
