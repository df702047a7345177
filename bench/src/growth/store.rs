//! Rows straight into the SQLite file of a server, as the server itself would have written them: what takes 20 minutes over HTTP takes
//! less than two. The server is stopped while it is filled.

use super::shape::{Image, Part, Shape};
use crate::lanes::manifests::MEDIA_TYPE;
use anyhow::Result;
use model::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, QueryBuilder, Row, Sqlite};
use std::ops::Range;
use std::path::Path;

/// Pages kept in memory while filling, in KiB.
const CACHE_KIB: i64 = 512 * 1024;
/// Indexes that are made once, at the end, are those of these tables.
const FILLED: [&str; 6] = ["blobs", "repository_blobs", "manifests", "manifest_references", "tags", "push_events"];
const PRINCIPAL: &str = "user:admin";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

type Rows<'a> = QueryBuilder<Sqlite>;

/// Adds the repositories of these numbers with all their images.
pub async fn fill(database: &Path, shape: Shape, repositories: Range<usize>, now: Timestamp) -> Result<()> {
    let options = SqliteConnectOptions::new().filename(database).foreign_keys(false);
    let options = options.journal_mode(SqliteJournalMode::Off).synchronous(SqliteSynchronous::Off);
    let mut connection = options.pragma("cache_size", format!("-{CACHE_KIB}")).disable_statement_logging().connect().await?;
    let indexes = drop_indexes(&mut connection).await?;
    sqlx::query("begin immediate").execute(&mut connection).await?;
    let mut ids = Ids::load(&mut connection).await?;
    for number in repositories {
        ids.repository += 1;
        repository(&mut connection, ids.repository, number, now).await?;
        let images: Vec<Image> = shape.images(number).map(|image| shape.image(image)).collect();
        let mut blobs: Vec<Part> = images.iter().map(|image| image.config.clone()).collect();
        blobs.push(Shape::layer(number));
        put_blobs(&mut connection, ids.repository, &blobs, now).await?;
        put_manifests(&mut connection, ids.repository, number, &images, now).await?;
        put_pushes(&mut connection, &mut ids.push_event, number, &images, now).await?;
    }
    sqlx::query("update counters set value = $1 where name = 'push_events'").bind(ids.push_event).execute(&mut connection).await?;
    sqlx::query("commit").execute(&mut connection).await?;
    for index in indexes {
        sqlx::query(AssertSqlSafe(index)).execute(&mut connection).await?;
    }
    sqlx::query("pragma journal_mode = wal").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Lets the grace time of every unused blob be over, beside a server that runs. How many there are.
pub async fn age(database: &Path) -> Result<u64> {
    let mut connection = SqliteConnectOptions::new().filename(database).connect().await?;
    let aged = sqlx::query("update repository_blobs set unused_since = 1 where unused_since is not null").execute(&mut connection).await?;
    connection.close().await?;
    Ok(aged.rows_affected())
}

/// What was given out last.
struct Ids {
    repository: i64,
    push_event: i64,
}

impl Ids {
    async fn load(connection: &mut SqliteConnection) -> Result<Self> {
        let row =
            sqlx::query("select (select coalesce(max(id), 0) from repositories), (select value from counters where name = 'push_events')")
                .fetch_one(connection)
                .await?;
        Ok(Self { repository: row.try_get(0)?, push_event: row.try_get(1)? })
    }
}

/// Takes away the indexes that can be made again, and says how.
async fn drop_indexes(connection: &mut SqliteConnection) -> Result<Vec<String>> {
    let rows = sqlx::query("select name, tbl_name, sql from sqlite_master where type = 'index' and sql is not null")
        .fetch_all(&mut *connection)
        .await?;
    let mut made = Vec::new();
    for row in rows {
        let (name, table, sql): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if FILLED.contains(&table.as_str()) {
            sqlx::query(AssertSqlSafe(format!("drop index {name}"))).execute(&mut *connection).await?;
            made.push(sql);
        }
    }
    Ok(made)
}

async fn repository(connection: &mut SqliteConnection, id: i64, number: usize, now: Timestamp) -> Result<()> {
    sqlx::query("insert into repositories (id, name, created_at, created_by, tags) values ($1, $2, $3, $4, '[]')")
        .bind(id)
        .bind(Shape::repository(number))
        .bind(now.as_micros())
        .bind(PRINCIPAL)
        .execute(connection)
        .await?;
    Ok(())
}

async fn put_blobs(connection: &mut SqliteConnection, repository_id: i64, blobs: &[Part], now: Timestamp) -> Result<()> {
    let mut rows = Rows::new("insert into blobs (digest, size, storage_key, created_at, touched_at) ");
    rows.push_values(blobs, |mut row, blob| {
        row.push_bind(&blob.digest).push_bind(blob.size).push_bind(&blob.key).push_bind(now.as_micros()).push_bind(now.as_micros());
    });
    rows.build().execute(&mut *connection).await?;
    let mut rows = Rows::new("insert into repository_blobs (repository_id, digest, linked_at) ");
    rows.push_values(blobs, |mut row, blob| {
        row.push_bind(repository_id).push_bind(&blob.digest).push_bind(now.as_micros());
    });
    rows.build().execute(connection).await?;
    Ok(())
}

async fn put_manifests(connection: &mut SqliteConnection, id: i64, number: usize, images: &[Image], now: Timestamp) -> Result<()> {
    let mut rows = Rows::new("insert into manifests (repository_id, digest, media_type, artifact_type, body, created_at) ");
    rows.push_values(images, |mut row, image| {
        row.push_bind(id).push_bind(&image.digest).push_bind(MEDIA_TYPE).push_bind(CONFIG_TYPE).push_bind(image.body.as_bytes());
        row.push_bind(now.as_micros());
    });
    rows.build().execute(&mut *connection).await?;
    let layer = Shape::layer(number).digest;
    let edges = images.iter().flat_map(|image| [(&image.digest, &image.config.digest), (&image.digest, &layer)]);
    let mut rows = Rows::new("insert into manifest_references (repository_id, digest, child, kind) ");
    rows.push_values(edges, |mut row, (digest, child)| {
        row.push_bind(id).push_bind(digest).push_bind(child).push_bind("blob");
    });
    rows.build().execute(&mut *connection).await?;
    let mut rows = Rows::new("insert into tags (repository_id, name, digest, updated_at) ");
    rows.push_values(images, |mut row, image| {
        row.push_bind(id).push_bind(&image.tag).push_bind(&image.digest).push_bind(now.as_micros());
    });
    rows.build().execute(connection).await?;
    Ok(())
}

async fn put_pushes(connection: &mut SqliteConnection, sequence: &mut i64, number: usize, images: &[Image], now: Timestamp) -> Result<()> {
    let mut rows = Rows::new("insert into push_events (sequence, repository, tag, digest, principal, at, credential, address) ");
    let repository = Shape::repository(number);
    rows.push_values(images, |mut row, image| {
        *sequence += 1;
        row.push_bind(*sequence).push_bind(&repository).push_bind(&image.tag).push_bind(&image.digest).push_bind(PRINCIPAL);
        row.push_bind(now.as_micros()).push_bind("password").push_bind("127.0.0.1");
    });
    rows.build().execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with the real schema.
    async fn migrated(path: &Path) -> SqliteConnection {
        let mut connection = SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap();
        let mut files: Vec<_> = std::fs::read_dir("../migrations/sqlite").unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap();
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
        }
        connection
    }

    async fn number(connection: &mut SqliteConnection, sql: &'static str) -> i64 {
        sqlx::query(sql).fetch_one(connection).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn fills_the_real_schema_twice_over_and_keeps_its_indexes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("berth.db");
        let mut connection = migrated(&path).await;
        let indexes = number(&mut connection, "select count(*) from sqlite_master where type = 'index'").await;
        connection.close().await.unwrap();
        for part in [0..2, 2..3] {
            fill(&path, Shape { per_repository: 7 }, part, Timestamp::from_secs(1)).await.unwrap();
        }
        let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        for (sql, expected) in [
            ("select count(*) from manifests m join repositories r on r.id = m.repository_id where m.untagged_since is null", 21),
            ("select count(*) from tags t join manifests m on m.repository_id = t.repository_id and m.digest = t.digest", 21),
            (
                "select count(*) from manifest_references e join repository_blobs l on l.repository_id = e.repository_id
              and l.digest = e.child join blobs b on b.digest = l.digest where l.unused_since is null and b.unlinked_since is null",
                42,
            ),
            ("select count(*) from blobs", 24),
            ("select value from counters where name = 'push_events'", 21),
            ("select count(distinct sequence) from push_events", 21),
            ("select count(*) from sqlite_master where type = 'index'", indexes),
            ("select count(*) from pragma_foreign_key_check", 0),
        ] {
            assert_eq!(number(&mut connection, sql).await, expected, "{sql}");
        }
        assert_eq!(age(&path).await.unwrap(), 0, "everything is in use");
    }
}
