//! The database: SQLite (embedded) or PostgreSQL, behind one handle and one SQL text.
//!
//! Reads take a connection with [`Db::read`]. Writes are closures given to [`Db::write`], each all or nothing, acknowledged after
//! the commit is on disk. On SQLite one writer folds the closures that wait into one commit, with a savepoint each; on PostgreSQL
//! each is a serializable transaction, run again on conflict, at last with all others held back: a closure may run more than once
//! and must have no other effects.
//! Both ways a closure sees the world as if it ran alone.
//!
//! Called by every `store/`; SQL text is theirs.

#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod writer;

use futures_util::future::BoxFuture;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// What statements run on: a connection inside or outside a transaction. Execute with `&mut *tx`.
pub type Tx = AnyConnection;

/// Longest wait for a connection, in seconds.
const ACQUIRE_SECS_MAX: u64 = 10;
/// Reading connections to SQLite.
const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 16;
/// Runs of a write on PostgreSQL before its conflict is reported.
const CONFLICT_RUNS_MAX: u32 = 12;
/// Of them, those beside other writes: where many quick ones touch the same rows, a slow one would lose to them every time.
const CONFLICT_RUNS_BESIDE_OTHERS: u32 = 6;
// Locking a table takes no snapshot, unlike an advisory lock: the transaction begins to look after it was let in.
const BEGIN_BESIDE_OTHERS: &str = "begin isolation level serializable; lock table turns in row share mode";
const BEGIN_ALONE: &str = "begin isolation level serializable; lock table turns in exclusive mode";

/// Where the data is.
#[derive(Debug, Clone)]
pub enum DatabaseUrl {
    /// A file; a second server on it refuses to start.
    Sqlite(PathBuf),
    /// `postgres://…`
    Postgres(String),
}

/// What can go wrong between a store and its database. Constraint violations carry the constraint's name.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    #[error("another server is running on {0}")]
    Locked(PathBuf),
    #[error("cannot open the database: {0}")]
    Open(String),
    #[error("unique constraint violated: {0}")]
    Unique(String),
    #[error("database conflict")]
    Conflict,
    #[error("database unavailable: {0}")]
    Unavailable(String),
    #[error("{table}.{column} holds what it must not: {value}")]
    Inconsistent { table: &'static str, column: &'static str, value: String },
    #[error("database: {0}")]
    Other(String),
}

/// The error of a write's closure: it can hold a [`DbError`], and says when that is a conflict, so that the write runs again.
pub trait WriteError: From<DbError> + Send + 'static {
    fn is_conflict(&self) -> bool;
}

impl WriteError for DbError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict)
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => {
                Self::Unique(database.constraint().map_or_else(|| database.message().to_owned(), str::to_owned))
            }
            // SQLSTATE serialization_failure and deadlock_detected.
            sqlx::Error::Database(database) if matches!(database.code().as_deref(), Some("40001" | "40P01")) => Self::Conflict,
            // SQLITE_FULL, SQLITE_IOERR, SQLITE_READONLY and their extended codes; PostgreSQL disk_full and shutdown classes.
            sqlx::Error::Database(database) if database.code().is_some_and(|code| is_unavailable(&code)) => {
                Self::Unavailable(database.message().to_owned())
            }
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

fn is_unavailable(code: &str) -> bool {
    matches!(code, "53100" | "57P01" | "57P02" | "57P03" | "08006" | "08003" | "13" | "8")
        || code.parse::<u32>().is_ok_and(|code| code & 0xff == 10 && code < 10_000)
}

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    readers: AnyPool,
    backend: Backend,
    /// Write transactions asked for, for the metrics.
    writes: AtomicU64,
    /// Raised after each commit of this process.
    commits: watch::Sender<u64>,
}

enum Backend {
    Sqlite {
        writer: writer::Writer,
        /// Held for the life of the process: the fence against a second server.
        _lock: File,
    },
    Postgres,
}

impl Db {
    /// Opens, migrates and returns the database. SQLite: WAL, `synchronous=FULL`, locked against a second server.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, DbError> {
        install_default_drivers();
        match url {
            DatabaseUrl::Sqlite(path) => Self::open_sqlite(path).await,
            DatabaseUrl::Postgres(url) => Self::open_postgres(url).await,
        }
    }

    async fn open_sqlite(path: &Path) -> Result<Self, DbError> {
        let lock = lock_file(path)?;
        let url = format!("sqlite://{}?mode=rwc", path.display());
        try_sqlite(&url).await.map_err(open_error)?;
        let one = pool_options(1).connect(&url).await.map_err(open_error)?;
        sqlx::migrate!("../migrations/sqlite").run(&one).await.map_err(|e| DbError::Open(e.to_string()))?;
        let readers = pool_options(SQLITE_READERS).connect(&url).await.map_err(open_error)?;
        let commits = watch::Sender::new(0);
        let writer = writer::Writer::start(one, commits.clone());
        Ok(Self(Arc::new(Inner { readers, backend: Backend::Sqlite { writer, _lock: lock }, writes: AtomicU64::new(0), commits })))
    }

    async fn open_postgres(url: &str) -> Result<Self, DbError> {
        let readers = AnyPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(Duration::from_secs(ACQUIRE_SECS_MAX))
            .connect(url)
            .await
            .map_err(open_error)?;
        sqlx::migrate!("../migrations/postgres").run(&readers).await.map_err(|e| DbError::Open(e.to_string()))?;
        let commits = watch::Sender::new(0);
        Ok(Self(Arc::new(Inner { readers, backend: Backend::Postgres, writes: AtomicU64::new(0), commits })))
    }

    /// Whether this process is the only one that writes (SQLite): then what it holds in memory and keeps true itself is current.
    pub fn is_exclusive(&self) -> bool {
        matches!(self.0.backend, Backend::Sqlite { .. })
    }

    /// Write transactions asked for since the start.
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    /// Changes after each commit of this process; other processes' commits do not show (see [`Db::is_exclusive`]).
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// A connection for reading.
    pub async fn read(&self) -> Result<PoolConnection<Any>, DbError> {
        Ok(self.0.readers.acquire().await?)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        sqlx::query("select 1").execute(&mut *self.read().await?).await?;
        Ok(())
    }

    /// Runs `change` in a transaction of its own and returns after the commit is on disk. When `change` fails nothing of it
    /// stays. It may run again after a conflict, and runs to its end even if the caller goes away.
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Tx) -> BoxFuture<'c, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: WriteError,
    {
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        match &self.0.backend {
            Backend::Sqlite { writer, .. } => writer.write(change).await,
            Backend::Postgres => {
                let (pool, commits) = (self.0.readers.clone(), self.0.commits.clone());
                let write = async move {
                    let done = write_postgres(&pool, change).await;
                    if done.is_ok() {
                        raise(&commits);
                    }
                    done
                };
                // Spawned, so that a caller that goes away does not cut a transaction in the middle.
                tokio::spawn(write).await.unwrap_or_else(|_| Err(DbError::Other("a write did not end".into()).into()))
            }
        }
    }

    /// Closes all connections, after the writes that wait. SQLite's file alone is then the whole database: its last connection
    /// takes the write-ahead log in.
    pub async fn close(&self) {
        if let Backend::Sqlite { writer, .. } = &self.0.backend {
            writer.drain().await;
        }
        self.0.readers.close().await;
        if let Backend::Sqlite { writer, .. } = &self.0.backend {
            writer.close().await;
        }
    }
}

/// One more commit.
fn raise(commits: &watch::Sender<u64>) {
    commits.send_modify(|count| *count = count.wrapping_add(1));
}

async fn write_postgres<T, E, F>(pool: &AnyPool, change: F) -> Result<T, E>
where
    F: for<'c> Fn(&'c mut Tx) -> BoxFuture<'c, Result<T, E>> + Send + Sync + 'static,
    E: WriteError,
{
    for run in 1..=CONFLICT_RUNS_MAX {
        let begin = if run <= CONFLICT_RUNS_BESIDE_OTHERS { BEGIN_BESIDE_OTHERS } else { BEGIN_ALONE };
        let mut tx = pool.begin_with(begin).await.map_err(DbError::from)?;
        match change(&mut tx).await {
            Ok(done) => match tx.commit().await.map_err(DbError::from) {
                Ok(()) => return Ok(done),
                Err(DbError::Conflict) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => {
                tx.rollback().await.map_err(DbError::from)?;
                if !error.is_conflict() {
                    return Err(error);
                }
            }
        }
        let jitter = crate::random::bits64() % (u64::from(run) * 4 + 1);
        tokio::time::sleep(Duration::from_millis(jitter)).await;
    }
    Err(DbError::Conflict.into())
}

/// One connection outside of a pool: a pool would try a damaged file again and again, and then speak of a timeout.
async fn try_sqlite(url: &str) -> Result<(), sqlx::Error> {
    let mut connection = AnyConnection::connect(url).await?;
    set_pragmas(&mut connection).await?;
    connection.close().await
}

fn pool_options(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(ACQUIRE_SECS_MAX))
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(set_pragmas(connection)))
}

async fn set_pragmas(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    for pragma in [
        "pragma journal_mode = wal",
        "pragma synchronous = full",
        "pragma foreign_keys = on",
        "pragma busy_timeout = 10000",
        "pragma cache_size = -2000",
        "pragma temp_store = memory",
    ] {
        sqlx::query(pragma).execute(&mut *connection).await?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "used as the argument of map_err")]
fn open_error(error: sqlx::Error) -> DbError {
    DbError::Open(error.to_string())
}

fn lock_file(path: &Path) -> Result<File, DbError> {
    let lock_path = path.with_extension("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|e| DbError::Open(format!("{}: {e}", lock_path.display())))?;
    lock.try_lock().map_err(|_| DbError::Locked(path.to_owned()))?;
    Ok(lock)
}
