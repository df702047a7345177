//! Aborts the process once at a named point, for the tests that kill the agent between two steps.
//!
//! `NAME` aborts at the first hit, `NAME:3` at the third. A marker file keeps the next life from aborting at the same point.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Off unless the configuration names a point.
#[derive(Clone, Default)]
pub struct Failpoint {
    armed: Option<Arc<Armed>>,
}

struct Armed {
    name: String,
    hits_left: AtomicU32,
    marker: PathBuf,
}

impl Failpoint {
    /// Armed as `point` says, unless its marker in `data_dir` says that it was hit before.
    pub fn new(point: Option<&str>, data_dir: &Path) -> Self {
        let armed = point.and_then(parse).map(|(name, hits)| {
            let marker = data_dir.join(format!("failpoint-hit-{name}"));
            Arc::new(Armed { name: name.to_owned(), hits_left: AtomicU32::new(hits), marker })
        });
        Self { armed: armed.filter(|armed| !armed.marker.exists()) }
    }

    /// Ends the process here, as `kill -9` would, when this is the armed point and its turn.
    pub fn hit(&self, point: &str) {
        if let Some(armed) = &self.armed
            && armed.name == point
            && armed.hits_left.fetch_sub(1, Ordering::Relaxed) == 1
            && crate::files::write_private(&armed.marker, b"hit\n").is_ok()
        {
            tracing::error!(failpoint = point, "failpoint `{point}` reached, aborting");
            std::process::abort();
        }
    }
}

fn parse(point: &str) -> Option<(&str, u32)> {
    let (name, hits) = match point.split_once(':') {
        Some((name, hits)) => (name, hits.parse().ok().filter(|hits| *hits > 0)?),
        None => (point, 1),
    };
    (!name.is_empty()).then_some((name, hits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_is_a_name_and_a_count_and_is_hit_once() {
        assert_eq!(parse("created"), Some(("created", 1)));
        assert_eq!(parse("before-report:2"), Some(("before-report", 2)));
        assert!(parse("x:0").is_none() && parse("").is_none());
        let dir = tempfile::tempdir().unwrap();
        assert!(Failpoint::new(Some("created:2"), dir.path()).armed.is_some());
        std::fs::write(dir.path().join("failpoint-hit-created"), b"hit\n").unwrap();
        assert!(Failpoint::new(Some("created:2"), dir.path()).armed.is_none(), "a second abort would keep the agent from ever starting");
    }
}
