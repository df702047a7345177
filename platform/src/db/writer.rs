//! The one writer of SQLite: takes waiting closures in batches, runs each in a savepoint, commits once, then answers them all.
//!
//! One fsync per batch instead of one per write is what makes many small durable pushes fast.

use super::{DbError, Tx, WriteError};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::AnyPool;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Writes folded into one commit at most.
const BATCH_MAX: usize = 64;
/// Writes that may wait; further callers wait for room.
const QUEUE_MAX: usize = 1024;
/// Longest wait for a batch to fill, in milliseconds, and the shortest commit after which that is worth it.
const GATHER_MS_MAX: u64 = 1;
const COMMIT_MS_SLOW: u64 = 2;

pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    pool: AnyPool,
}

/// A closure and the caller who waits for it.
trait Job: Send {
    /// Runs the closure; true when its changes should stay.
    fn run<'c>(&'c mut self, tx: &'c mut Tx) -> BoxFuture<'c, bool>;
    /// Answers the caller: with the closure's result, or with `failed` when the commit did not happen.
    fn finish(self: Box<Self>, failed: Option<DbError>);
}

struct Write<F, T, E> {
    change: F,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Job for Write<F, T, E>
where
    F: for<'c> Fn(&'c mut Tx) -> BoxFuture<'c, Result<T, E>> + Send + Sync,
    T: Send,
    E: WriteError,
{
    fn run<'c>(&'c mut self, tx: &'c mut Tx) -> BoxFuture<'c, bool> {
        Box::pin(async move {
            // A closure that panics spoils its own savepoint and nothing else: without the writer no write would ever end.
            let run = AssertUnwindSafe(async { (self.change)(tx).await }).catch_unwind().await;
            let result = run.unwrap_or_else(|_| Err(DbError::Other("a write panicked".into()).into()));
            let keep = result.is_ok();
            self.result = Some(result);
            keep
        })
    }

    fn finish(self: Box<Self>, failed: Option<DbError>) {
        let answer = match (self.result, failed) {
            (Some(Err(error)), _) => Err(error),
            (_, Some(error)) => Err(error.into()),
            (Some(done), None) => done,
            (None, None) => Err(DbError::Other("a write was not run".into()).into()),
        };
        // The caller may have gone away; the write stands all the same.
        let _ = self.reply.send(answer);
    }
}

impl Writer {
    pub(super) fn start(pool: AnyPool, commits: watch::Sender<u64>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(pool.clone(), waiting, commits));
        Self { queue, pool }
    }

    pub(super) async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Tx) -> BoxFuture<'c, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: WriteError,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write { change, result: None, reply });
        let closed = || DbError::Unavailable("the database is closed".into());
        self.queue.send(job).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Returns once every write queued before has been answered.
    pub(super) async fn drain(&self) {
        let _ = self.write(|_| Box::pin(async { Ok::<_, DbError>(()) })).await;
    }

    /// Closes the connection; writes from here on are refused.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

async fn run(pool: AnyPool, mut waiting: mpsc::Receiver<Box<dyn Job>>, commits: watch::Sender<u64>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut expected = 1;
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        gather(&mut waiting, &mut batch, expected).await;
        let began = Instant::now();
        let failed = commit_batch(&pool, &mut batch).await.err();
        if let Some(error) = &failed {
            tracing::error!(%error, writes = batch.len(), "commit failed");
        }
        // On a disk that is quick there is nothing to gain by waiting.
        expected = if began.elapsed() < Duration::from_millis(COMMIT_MS_SLOW) { 1 } else { batch.len() + waiting.len() };
        for job in batch.drain(..) {
            job.finish(failed.clone());
        }
        super::raise(&commits);
    }
}

/// Waits a moment for those whose writes were in the last commit, and come again now that it is answered: without it the one half of
/// them would always wait for the commit of the other.
async fn gather(waiting: &mut mpsc::Receiver<Box<dyn Job>>, batch: &mut Vec<Box<dyn Job>>, expected: usize) {
    let expected = expected.min(BATCH_MAX);
    let coming = async { while batch.len() < expected && waiting.recv_many(batch, BATCH_MAX - batch.len()).await > 0 {} };
    // Cancel-safe per docs of `recv_many`.
    let _ = tokio::time::timeout(Duration::from_millis(GATHER_MS_MAX), coming).await;
}

async fn commit_batch(pool: &AnyPool, batch: &mut [Box<dyn Job>]) -> Result<(), DbError> {
    let mut tx = pool.acquire().await?;
    let done = run_batch(&mut tx, batch).await;
    if done.is_err() {
        // Leave the connection usable for the next batch, whatever SQLite did by itself.
        let _ = sqlx::query("rollback").execute(&mut *tx).await;
    }
    done
}

/// Between two closures stands one text of several statements: each text is a turn of two threads.
async fn run_batch(tx: &mut Tx, batch: &mut [Box<dyn Job>]) -> Result<(), DbError> {
    let alone = batch.len() == 1;
    let mut any_kept = false;
    let mut before = if alone { "begin immediate" } else { "begin immediate; savepoint write" };
    let mut keep = false;
    for job in batch.iter_mut() {
        sqlx::query(before).execute(&mut *tx).await?;
        keep = job.run(tx).await;
        any_kept |= keep;
        before = if keep { "release write; savepoint write" } else { "rollback to write; release write; savepoint write" };
    }
    let end = match (alone, keep, any_kept) {
        (_, _, false) => "rollback",
        (true, ..) => "commit",
        (false, true, _) => "release write; commit",
        (false, false, _) => "rollback to write; release write; commit",
    };
    sqlx::query(end).execute(tx).await?;
    Ok(())
}
