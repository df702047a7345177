//! A fresh database per test, on SQLite always and on PostgreSQL where `BERTH_TEST_POSTGRES` says where (feature `testing`).
//!
//! The variable holds a base URL (`postgres://user:password@host:port`, any database path is replaced) whose role may
//! `create database`. Dropped again when the test succeeds; a failed test leaves its database to look at.

use super::{DatabaseUrl, Db};
use sqlx::AnyPool;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use std::future::Future;

/// Names the base URL of the PostgreSQL server to test on.
pub const POSTGRES_VARIABLE: &str = "BERTH_TEST_POSTGRES";

/// Runs `test` once per kind of database, each time on an empty migrated one.
pub async fn on_each_database<F, T>(test: F)
where
    F: Fn(Db) -> T,
    T: Future<Output = ()>,
{
    on_each_url(|url| {
        let test = &test;
        async move {
            let db = Db::open(&url).await.expect("a fresh database opens");
            test(db.clone()).await;
            db.close().await;
        }
    })
    .await;
}

/// Like [`on_each_database`] for tests that open the database themselves, perhaps several times.
pub async fn on_each_url<F, T>(test: F)
where
    F: Fn(DatabaseUrl) -> T,
    T: Future<Output = ()>,
{
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    test(DatabaseUrl::Sqlite(folder.path().join("berth.db"))).await;
    let Ok(base) = std::env::var(POSTGRES_VARIABLE) else { return };
    let name = format!("berth_test_{:032x}", crate::random::bits128());
    let server = admin_pool(&base).await;
    run(&server, format!("create database {name}")).await;
    test(DatabaseUrl::Postgres(with_database(&base, &name))).await;
    run(&server, format!("drop database {name} with (force)")).await;
    server.close().await;
}

/// A fresh SQLite database in a folder that lives as long as the returned guard: for tests that are not about SQL.
pub async fn sqlite() -> (Db, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let db = Db::open(&DatabaseUrl::Sqlite(folder.path().join("berth.db"))).await.expect("a fresh database opens");
    (db, folder)
}

async fn admin_pool(base: &str) -> AnyPool {
    install_default_drivers();
    let url = with_database(base, "postgres");
    AnyPoolOptions::new().max_connections(1).connect(&url).await.expect("the PostgreSQL server to test on answers")
}

async fn run(server: &AnyPool, statement: String) {
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(server).await.expect("test databases can be made and dropped");
}

/// `base` with its database replaced; parameters after `?` stay.
fn with_database(base: &str, database: &str) -> String {
    let (address, parameters) = base.split_once('?').map_or((base, None), |(address, parameters)| (address, Some(parameters)));
    let (scheme, rest) = address.split_once("://").expect("a URL with a scheme");
    let host = rest.split('/').next().unwrap_or(rest);
    let parameters = parameters.map(|text| format!("?{text}")).unwrap_or_default();
    format!("{scheme}://{host}/{database}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        assert_eq!(with_database("postgres://u:p@h:1", "x"), "postgres://u:p@h:1/x");
        assert_eq!(with_database("postgres://u@h/old?host=/run/pg", "x"), "postgres://u@h/x?host=/run/pg");
    }

    #[tokio::test]
    async fn a_fresh_database_has_the_counters() {
        on_each_database(|db| async move {
            let mut connection = db.read().await.unwrap();
            sqlx::query("select value from counters where name = 'identity_version'").fetch_one(&mut *connection).await.unwrap();
        })
        .await;
    }
}
