//! Aborts the process once at a named point, for the tests that kill the agent between two steps.

use std::path::PathBuf;

/// Off unless the configuration names a point.
#[derive(Clone, Default)]
pub struct Failpoint {
    armed: Option<(String, PathBuf)>,
}

impl Failpoint {
    /// Armed for `name`, unless its marker in `data_dir` says that it was hit before.
    pub fn new(name: Option<&str>, data_dir: &std::path::Path) -> Self {
        let armed = name.map(|name| (name.to_owned(), data_dir.join(format!("failpoint-hit-{name}"))));
        Self { armed: armed.filter(|(_, marker)| !marker.exists()) }
    }

    /// Ends the process here, as `kill -9` would, when this is the armed point.
    pub fn hit(&self, point: &str) {
        if let Some((name, marker)) = &self.armed
            && name == point
            && !marker.exists()
            && crate::files::write_private(marker, b"hit\n").is_ok()
        {
            tracing::warn!(failpoint = point, "aborting at failpoint {point}");
            std::process::abort();
        }
    }
}
