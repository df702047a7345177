//! Marks of files that no row names yet. An upload's file is made long before the database hears of it, and most uploads end before they
//! get a row of their own: a server that is killed in between would leave a file that nothing refers to and nobody looks for.
//!
//! So such a file has a mark, made before it ([`crate::storage::Storage::begin`]) and taken away after a row names it. What is marked
//! when a server starts was cut off: it is looked up, and goes unless a row knows it. No walk of storage: the folder of marks holds as
//! many names as uploads were begun in the last moment.

use super::file::hash_of;
use super::{blocking, commit};
use crate::context::Context;
use crate::error::{RegistryError, io};
use crate::route::UploadId;
use crate::storage::{Marked, Storage, StorageKey};
use crate::store::{blobs, uploads};
use model::Digest;
use model::name::Algorithm;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Age of a mark that is no upload of another server's any more, in seconds. An upload has its row after a fraction of one.
const OTHERS_SECS_MAX: u64 = 60 * 60;
/// Marks looked at in one go.
const BATCH: usize = 200;

/// Marks that are to go: taken away behind the requests, many at a time.
#[derive(Default)]
pub struct Marks(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    keys: Vec<StorageKey>,
    /// Whether somebody is at it.
    busy: bool,
    /// Of this server's predecessor, which is gone.
    left: Vec<UploadId>,
}

impl Marks {
    /// `left` are the marks of a server that ended, where no other one can be running.
    pub fn new(left: Vec<UploadId>) -> Self {
        Self(Mutex::new(Waiting { left, ..Waiting::default() }))
    }

    /// Takes the mark of `key` away, soon.
    pub fn take_away(self: &Arc<Self>, storage: &Storage, key: StorageKey) {
        let mut waiting = self.lock();
        waiting.keys.push(key);
        if std::mem::replace(&mut waiting.busy, true) {
            return;
        }
        let (marks, storage) = (self.clone(), storage.clone());
        tokio::task::spawn_blocking(move || {
            while let Some(keys) = marks.next() {
                for key in keys {
                    if let Err(error) = storage.unmark(&key) {
                        tracing::warn!(%error, storage.key = key.as_str(), "the mark of an upload stays until the next start");
                    }
                }
            }
        });
    }

    fn next(&self) -> Option<Vec<StorageKey>> {
        let mut waiting = self.lock();
        waiting.busy = !waiting.keys.is_empty();
        waiting.busy.then(|| std::mem::take(&mut waiting.keys))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One bounded batch of what was cut off; returns how many files went.
pub async fn clear(ctx: &Arc<Context>) -> Result<usize, RegistryError> {
    let mut gone = 0;
    for upload in cut_off(ctx).await? {
        let key = StorageKey::of_upload(&upload);
        let stays = is_known(ctx, &upload, &key).await?;
        if !stays {
            commit::remove_file(ctx, &key).await?;
            gone += 1;
        }
        let storage = ctx.storage.clone();
        blocking(move || storage.unmark(&key).map_err(io("taking a mark away"))).await?;
        ctx.marks.lock().left.retain(|left| *left != upload);
    }
    Ok(gone)
}

/// Uploads with a mark that nobody goes on with.
async fn cut_off(ctx: &Arc<Context>) -> Result<Vec<UploadId>, RegistryError> {
    if ctx.exclusive {
        return Ok(ctx.marks.lock().left.iter().take(BATCH).cloned().collect());
    }
    // Other servers may have uploads under way here.
    let storage = ctx.storage.clone();
    let marked = blocking(move || storage.marked().map_err(io("looking for marks"))).await?;
    let before = ctx.clock.now().minus(Duration::from_secs(OTHERS_SECS_MAX));
    let is_old = |marked: &Marked| marked.written_at < before && ctx.sessions.get(&marked.upload).is_none();
    Ok(marked.into_iter().filter(is_old).take(BATCH).map(|marked| marked.upload).collect())
}

/// Whether a row names the file: that of its upload, or that of the blob it has become. Of a file that is gone there is nothing to know.
async fn is_known(ctx: &Arc<Context>, upload: &UploadId, key: &StorageKey) -> Result<bool, RegistryError> {
    if uploads::get(&mut *ctx.db.read().await?, upload).await?.is_some() {
        return Ok(true);
    }
    let (storage, of) = (ctx.storage.clone(), key.clone());
    let digests = blocking(move || digests_of(&storage, &of).map_err(io("hashing a marked file"))).await?;
    let Some(digests) = digests else { return Ok(true) };
    for digest in digests {
        if blobs::place_of(&mut *ctx.db.read().await?, &digest).await?.as_ref() == Some(key) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every digest that the file could be a blob by; none when there is no file.
fn digests_of(storage: &Storage, key: &StorageKey) -> std::io::Result<Option<Vec<Digest>>> {
    let file = match storage.read(key) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let hashed = |algorithm| Ok(hash_of(&file, algorithm)?.finish());
    [Algorithm::Sha256, Algorithm::Sha512].into_iter().map(hashed).collect::<std::io::Result<_>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn every_mark_goes_however_many_come_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let marks = Arc::new(Marks::default());
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..200 {
            let (storage, marks) = (storage.clone(), marks.clone());
            tasks.spawn(async move {
                let key = StorageKey::of_upload(&UploadId::from_random((number << 100) | number));
                storage.begin(&key).unwrap();
                marks.take_away(&storage, key);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        while marks.lock().busy {
            tokio::task::yield_now().await;
        }
        assert!(storage.marked().unwrap().is_empty());
    }
}
