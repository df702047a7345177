//! Aborts the process once at a named point, for the tests that kill the agent between two steps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Off unless the configuration names a point. `NAME:3` aborts at the third hit.
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
    /// Armed for `point`, unless its marker in `data_dir` says that it was hit before.
    pub fn new(point: Option<&str>, data_dir: &Path) -> Self {
        let armed = point.and_then(|point| armed(point, data_dir)).filter(|armed| !armed.marker.exists());
        Self { armed: armed.map(Arc::new) }
    }

    /// Ends the process here, as `kill -9` would, when this is the armed point.
    pub fn hit(&self, point: &str) {
        if let Some(armed) = &self.armed
            && armed.name == point
            && armed.hits_left.fetch_sub(1, Ordering::Relaxed) == 1
            && crate::files::write_private(&armed.marker, b"hit\n").is_ok()
        {
            tracing::warn!(failpoint = point, "aborting at failpoint {point}");
            std::process::abort();
        }
    }
}

fn armed(point: &str, data_dir: &Path) -> Option<Armed> {
    let (name, hits) = match point.split_once(':') {
        Some((name, hits)) => (name, hits.parse().ok()?),
        None => (point, 1),
    };
    let marker = data_dir.join(format!("failpoint-hit-{name}"));
    Some(Armed { name: name.to_owned(), hits_left: AtomicU32::new(hits), marker })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_name_and_a_count_and_is_hit_once_per_folder() {
        let folder = tempfile::tempdir().unwrap();
        let found = armed("created:3", folder.path()).unwrap();
        assert_eq!((found.name.as_str(), found.hits_left.into_inner()), ("created", 3));
        assert!(armed("created:x", folder.path()).is_none());
        assert!(Failpoint::new(Some("created"), folder.path()).armed.is_some());
        std::fs::write(folder.path().join("failpoint-hit-created"), b"").unwrap();
        assert!(Failpoint::new(Some("created"), folder.path()).armed.is_none());
    }
}
