//! The pulls under way on this host, and how far each is.

use crate::runtime::Meter;
use api::agent::{PROGRESS_MAX, PullProgress};
use model::ids::TaskId;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

type Key = (TaskId, String);

/// Meters of the pulls under way, by task and container.
#[derive(Default)]
pub struct Progress {
    pulls: Mutex<BTreeMap<Key, Arc<Meter>>>,
    begun: Notify,
}

/// One pull; it is under way until this is dropped.
pub(super) struct Pull<'a> {
    progress: &'a Progress,
    key: Key,
    meter: Arc<Meter>,
}

impl Progress {
    pub(super) fn begin(&self, task: &TaskId, container: &str) -> Pull<'_> {
        let (key, meter) = ((task.clone(), container.to_owned()), Arc::<Meter>::default());
        self.lock().insert(key.clone(), Arc::clone(&meter));
        self.begun.notify_one();
        Pull { progress: self, key, meter }
    }

    /// Returns once a pull is under way.
    pub async fn any(&self) {
        while self.lock().is_empty() {
            self.begun.notified().await;
        }
    }

    /// How far each pull is.
    pub fn levels(&self) -> Vec<PullProgress> {
        let pulls = self.lock();
        let levels = pulls.iter().take(PROGRESS_MAX).map(|((task, container), meter)| {
            let level = meter.level();
            PullProgress {
                task_id: task.clone(),
                container: container.clone(),
                layers_done: level.layers_done,
                layers: level.layers,
                bytes_done: level.bytes_done,
                bytes: level.bytes,
            }
        });
        levels.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Meter>>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Pull<'_> {
    type Target = Meter;

    fn deref(&self) -> &Meter {
        &self.meter
    }
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        self.progress.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pull_is_under_way_until_it_is_dropped() {
        let progress = Progress::default();
        let pull = progress.begin(&TaskId::from_random(1), "app");
        progress.any().await;
        pull.note("a", "Downloading", Some(3), Some(9));
        let levels = progress.levels();
        assert_eq!((levels.len(), levels[0].container.as_str(), levels[0].bytes_done, levels[0].bytes), (1, "app", 3, 9));
        drop(pull);
        assert!(progress.levels().is_empty());
    }
}
