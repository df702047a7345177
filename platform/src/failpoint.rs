//! Crash points for tests: with `BERTH_FAILPOINT=NAME` in the environment the process aborts at [`hit`]`("NAME")`, as if killed there.
//!
//! Always compiled in, so that what is tested is what runs; costs one atomic load when unset. `BERTH_FAILPOINT=NAME:3` aborts at the
//! third hit. Called at the steps of a push, `upload-made`, `upload-received`, `upload-recorded`, `blob-written`, `blob-committed`,
//! `manifest-stored`, `manifest-committed`; of a collection, `gc-expired`, `gc-unlinked`, `gc-condemned`, `gc-files-removed`; of a
//! deployment, `task-row-written`, `order-sent`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

struct Armed {
    name: String,
    hits_left: AtomicU32,
}

/// Aborts the process when the environment names this point.
pub fn hit(name: &str) {
    if let Some(armed) = ARMED.get_or_init(armed)
        && armed.name == name
        && armed.hits_left.fetch_sub(1, Ordering::Relaxed) <= 1
    {
        tracing::error!(failpoint = name, "failpoint `{name}` reached, aborting");
        std::process::abort();
    }
}

fn armed() -> Option<Armed> {
    std::env::var("BERTH_FAILPOINT").ok().and_then(|text| parse(&text))
}

fn parse(text: &str) -> Option<Armed> {
    let (name, hits) = match text.split_once(':') {
        Some((name, hits)) => (name, hits.parse().ok()?),
        None => (text, 1),
    };
    (!name.is_empty()).then(|| Armed { name: name.to_owned(), hits_left: AtomicU32::new(hits) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_is_a_name_and_a_count() {
        let armed = parse("blob-written").expect("a name alone");
        assert_eq!((armed.name.as_str(), armed.hits_left.into_inner()), ("blob-written", 1));
        assert_eq!(parse("order-sent:3").map(|armed| armed.hits_left.into_inner()), Some(3));
        assert!(parse("").is_none());
        assert!(parse("x:y").is_none());
    }
}
