//! Databases for one test each: a SQLite file in a temporary folder, and a PostgreSQL database on the server that
//! `BERTH_TEST_POSTGRES` names, when it is set.

use platform::db::{DatabaseUrl, Db, DbError};
use sqlx::{AnyConnection, Connection};
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest wait for something that must happen, in seconds.
const WAIT_SECS_MAX: u64 = 20;

pub struct Database {
    url: DatabaseUrl,
    folder: Option<tempfile::TempDir>,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.folder.is_some() { "sqlite" } else { "postgres" })
    }
}

impl Database {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: DatabaseUrl::Sqlite(folder.path().join("berth.db")), folder: Some(folder) }
    }

    /// `None` where no server is given.
    pub async fn postgres() -> Option<Self> {
        let server = std::env::var("BERTH_TEST_POSTGRES").ok()?;
        sqlx::any::install_default_drivers();
        let name = format!("test_{:032x}", platform::random::bits128());
        let create: &'static str = Box::leak(format!("create database {name}").into_boxed_str());
        let mut connection = AnyConnection::connect(&server).await.unwrap();
        sqlx::query(create).execute(&mut connection).await.unwrap();
        let (host, _) = server.rsplit_once('/').unwrap();
        Some(Self { url: DatabaseUrl::Postgres(format!("{host}/{name}")), folder: None })
    }

    pub async fn open(&self) -> Db {
        self.try_open().await.unwrap()
    }

    /// Opens it once more: another server on PostgreSQL; on SQLite the first must have ended.
    pub async fn reopen(&self) -> Db {
        wait_for("the database to be free", || async { self.try_open().await.ok() }).await
    }

    pub async fn try_open(&self) -> Result<Db, DbError> {
        Db::open(&self.url).await
    }

    pub fn file(&self) -> &Path {
        let DatabaseUrl::Sqlite(path) = &self.url else { panic!("only SQLite has a file") };
        path
    }

    /// Commits in the write-ahead log, counted by its frames that carry a commit mark.
    pub fn wal_commits(&self) -> usize {
        let wal = std::fs::read(self.file().with_extension("db-wal")).unwrap_or_default();
        if wal.len() < 32 {
            return 0;
        }
        let number = |at: usize| u32::from_be_bytes(wal[at..at + 4].try_into().unwrap());
        let (page, salt) = (number(8) as usize, &wal[16..24]);
        // SQLite file format, "WAL File Format": a frame is a 24-byte header and a page; bytes 4 to 8 are non-zero on a commit.
        (32..wal.len())
            .step_by(24 + page)
            .filter(|&at| at + 24 <= wal.len() && wal[at + 8..at + 16] == *salt && number(at + 4) != 0)
            .count()
    }
}

/// Every kind of database there is to test on.
pub async fn databases() -> Vec<Database> {
    let mut all = vec![Database::sqlite()];
    all.extend(Database::postgres().await);
    all
}

pub async fn wait_until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    wait_for(what, || {
        let holds = check();
        async move { holds.await.then_some(()) }
    })
    .await;
}

pub async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(started.elapsed() < Duration::from_secs(WAIT_SECS_MAX), "waited {WAIT_SECS_MAX} s for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
