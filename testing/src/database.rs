//! A fresh database per test: SQLite in a temporary folder, or PostgreSQL in the server that `BERTH_TEST_POSTGRES` names
//! (`scripts/postgres-test-server` starts one; `make test` does so).

use anyhow::{Context, Result};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

/// Names the PostgreSQL server for tests, by URL.
pub const POSTGRES_VARIABLE: &str = "BERTH_TEST_POSTGRES";
/// Which database the servers of the black-box tests run on: `sqlite` (default) or `postgres`.
pub const KIND_VARIABLE: &str = "BERTH_TEST_DATABASE";

/// A database of its own for one test.
#[derive(Debug)]
pub enum Database {
    Sqlite { folder: TempDir },
    Postgres { url: String },
}

impl Database {
    pub fn sqlite() -> Result<Self> {
        Ok(Self::Sqlite { folder: tempfile::tempdir()? })
    }

    /// `None` when no PostgreSQL server is given.
    pub async fn postgres() -> Result<Option<Self>> {
        let Ok(server) = std::env::var(POSTGRES_VARIABLE) else { return Ok(None) };
        sqlx::any::install_default_drivers();
        let name = format!("test_{:032x}", rand::random::<u128>());
        let mut connection = AnyConnection::connect(&server).await.with_context(|| format!("connecting to {server}"))?;
        // The name is made above of hexadecimal digits only; `create database` takes no parameters.
        connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
        connection.close().await?;
        let (base, _) = server.rsplit_once('/').context("the URL ends in a database's name")?;
        Ok(Some(Self::Postgres { url: format!("{base}/{name}") }))
    }

    /// SQLite, and PostgreSQL when a server is given: for tests that run the same on both.
    pub async fn each() -> Result<Vec<Self>> {
        let mut all = vec![Self::sqlite()?];
        all.extend(Self::postgres().await?);
        Ok(all)
    }

    /// The kind that [`KIND_VARIABLE`] names, for the black-box tests.
    pub async fn of_run() -> Result<Self> {
        match std::env::var(KIND_VARIABLE).as_deref() {
            Ok("postgres") => Self::postgres().await?.with_context(|| format!("{KIND_VARIABLE}=postgres needs {POSTGRES_VARIABLE}")),
            Ok("sqlite") | Err(_) => Self::sqlite(),
            Ok(other) => anyhow::bail!("{KIND_VARIABLE} is sqlite or postgres, not {other}"),
        }
    }

    /// `postgres://…`, or the path of the SQLite file.
    pub fn location(&self) -> String {
        match self {
            Self::Sqlite { folder } => folder.path().join("test.db").display().to_string(),
            Self::Postgres { url } => url.clone(),
        }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }
}
