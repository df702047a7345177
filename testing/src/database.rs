//! The database of a server under test: SQLite in the server's own folder, or a new one in the PostgreSQL server that
//! `BERTH_TEST_POSTGRES` names (`scripts/postgres-test-server` starts one; `make test` does so).

use anyhow::{Context, Result, bail};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};

/// Names the PostgreSQL server for tests, by URL.
pub const POSTGRES_VARIABLE: &str = "BERTH_TEST_POSTGRES";
/// Which database the servers of the black-box tests run on: `sqlite` (default) or `postgres`.
pub const KIND_VARIABLE: &str = "BERTH_TEST_DATABASE";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres { url: String },
}

impl Database {
    /// The kind that [`KIND_VARIABLE`] names.
    pub async fn of_run() -> Result<Self> {
        match std::env::var(KIND_VARIABLE).as_deref() {
            Ok("postgres") => Self::new_postgres().await,
            Ok("sqlite") | Err(_) => Ok(Self::Sqlite),
            Ok(other) => bail!("{KIND_VARIABLE} is sqlite or postgres, not {other}"),
        }
    }

    /// A new, empty PostgreSQL database. It goes with the test server.
    pub async fn new_postgres() -> Result<Self> {
        let server = std::env::var(POSTGRES_VARIABLE).with_context(|| format!("PostgreSQL needs {POSTGRES_VARIABLE}"))?;
        sqlx::any::install_default_drivers();
        let name = format!("test_{:032x}", rand::random::<u128>());
        let mut connection = AnyConnection::connect(&server).await.with_context(|| format!("connecting to {server}"))?;
        // The name is made above of hexadecimal digits only; `create database` takes no parameters.
        connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
        connection.close().await?;
        let (base, _) = server.rsplit_once('/').context("the URL ends in a database's name")?;
        Ok(Self::Postgres { url: format!("{base}/{name}") })
    }
}
