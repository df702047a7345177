//! How the statements behind garbage collection are carried out: by indexes that hold the garbage, whatever stands beside it.

use super::{blobs, collected, garbage, manifests, removals};
use crate::gc::judge::{Kind, Verdict, judge};
use model::Timestamp;
use platform::db::testing::on_each_database;
use platform::db::{Db, DbError, Tx};
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::BTreeMap;

/// Live manifests, with a blob each and one that all share.
const LIVE: i64 = 4000;
/// Garbage of each kind.
const GARBAGE: i64 = 10;

async fn run(tx: &mut Tx, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(tx).await.unwrap();
}

/// A digest of sixty-four digits that ends with `n`; kinds differ in their first digit.
fn digest(first: char, n: &str) -> String {
    format!("'sha256:{first}' || substr('{}' || {n}, -63)", "0".repeat(63)).replace(", -63)", &format!(", length({n}) + 1)"))
}

async fn fill(db: &Db) {
    let numbers = |from: i64, to: i64| format!("with recursive n (i) as (select {from} union all select i + 1 from n where i < {to})");
    let (live, all) = (numbers(1, LIVE), numbers(1, LIVE + GARBAGE));
    let (manifest, layer) = (digest('a', "cast(i as text)"), digest('b', "cast(i as text)"));
    let shared = format!("'sha256:{:064x}'", 12);
    let statements = [
        format!(
            "{} insert into repositories (id, name, created_at, created_by, tags) select i, 'r' || cast(i as text), 0, 'u', '[]' from n",
            numbers(1, 300)
        ),
        // The last of them are garbage: since the fifth microsecond.
        format!(
            "{all} insert into blobs (digest, size, storage_key, created_at, touched_at) select {layer}, 7, '00/' || substr('{}' || cast(i as text), length(cast(i as text)) + 1), 0, 0 from n",
            "0".repeat(32)
        ),
        format!(
            "insert into blobs (digest, size, storage_key, created_at, touched_at) values ({shared}, 2, '01/{}', 0, 0)",
            "01".repeat(16)
        ),
        format!(
            "{all} insert into repository_blobs (repository_id, digest, linked_at, unused_since) select 1, {layer}, 0, case when i > {LIVE} then 5 else null end from n"
        ),
        format!("insert into repository_blobs (repository_id, digest, linked_at) values (1, {shared}, 0)"),
        format!(
            "{all} insert into manifests (repository_id, digest, media_type, body, created_at, untagged_since) select 1, {manifest}, 'm', cast('{{}}' as {}), 0, case when i > {LIVE} then 5 else null end from n",
            if db.is_exclusive() { "blob" } else { "bytea" }
        ),
        format!("{live} insert into manifest_references (repository_id, digest, child, kind) select 1, {manifest}, {layer}, 'blob' from n"),
        format!(
            "{live} insert into manifest_references (repository_id, digest, child, kind) select 1, {manifest}, {shared}, 'blob' from n"
        ),
        format!("{live} insert into tags (repository_id, name, digest, updated_at) select 1, 't' || cast(i as text), {manifest}, 0 from n"),
    ];
    db.write(move |tx| {
        let statements = statements.clone();
        Box::pin(async move {
            for statement in statements {
                run(tx, statement).await;
            }
            Ok::<_, DbError>(())
        })
    })
    .await
    .unwrap();
    if !db.is_exclusive() {
        run(&mut db.read().await.unwrap(), "analyze".into()).await;
    }
}

/// Every statement of a collection, and every one that feeds it from pushes and deletes, with values that are there.
fn statements() -> Vec<&'static str> {
    let mut all =
        vec![blobs::USE_BY, blobs::UNUSED, blobs::UNLINKED, manifests::ADOPT, manifests::UNTAG, manifests::ABANDON, collected::FORGET];
    all.extend(garbage::statements());
    all
}

/// The statement with its parameters written out: numbers where numbers belong.
fn written_out(statement: &str) -> String {
    let digest = format!("'sha256:a{}1'", "0".repeat(62));
    let mut text = statement.to_owned();
    for at in ["$1", "$2", "$3"] {
        let is_text = [format!("digest = {at}"), format!("digest <> {at}"), format!("child = {at}"), format!("subject = {at}")];
        let value = if is_text.iter().any(|place| statement.contains(place)) {
            digest.as_str()
        } else if statement.contains(&format!("repository_id = {at}")) {
            "1"
        } else {
            "5"
        };
        text = text.replace(at, value);
    }
    text
}

#[tokio::test]
async fn no_statement_of_a_collection_walks_what_is_live() {
    on_each_database(|db| async move {
        fill(&db).await;
        let mut tx = db.read().await.unwrap();
        let mut bad = Vec::new();
        for statement in statements() {
            let (explain, column) = if db.is_exclusive() { ("explain query plan", "detail") } else { ("explain", "QUERY PLAN") };
            let text = format!("{explain} {}", written_out(statement));
            let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(&mut *tx).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
            let plan: Vec<String> = rows.iter().map(|row| row.try_get(column).unwrap()).collect();
            let walks = |line: &&String| {
                let line = line.trim();
                let scans = line.starts_with("SCAN") && !line.starts_with("SCAN CONSTANT ROW") || line.contains("Seq Scan");
                // By the repository alone is as good as a walk.
                let scans = scans || line.contains("(repository_id=?)") || line.contains("Index Cond: (repository_id = 1)");
                // The queue of files and the memory of what went are nothing but garbage.
                scans && !line.contains("removals") && !line.contains("collected")
            };
            if plan.iter().any(|line| walks(&line)) {
                bad.push(format!("{statement}\n  {}", plan.join("\n  ")));
            }
        }
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    })
    .await;
}

/// Rows that this connection read of each table, by PostgreSQL's own count.
async fn rows_read(tx: &mut Tx) -> BTreeMap<String, i64> {
    let rows = sqlx::query(
        "select cast(relname as text) as name, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as read from pg_stat_xact_user_tables",
    )
    .fetch_all(tx)
    .await
    .unwrap();
    rows.iter().map(|row| (row.try_get("name").unwrap(), row.try_get("read").unwrap())).collect()
}

#[tokio::test]
async fn a_collection_reads_as_many_rows_as_there_is_garbage() {
    on_each_database(|db| async move {
        fill(&db).await;
        let counted = !db.is_exclusive();
        let (judged, read) = db
            .write(move |tx| {
                Box::pin(async move {
                    let before = if counted { rows_read(tx).await } else { BTreeMap::new() };
                    let mut judged = 0;
                    for kind in Kind::ALL {
                        for candidate in garbage::due(tx, kind, Timestamp::from_micros(5), 100).await? {
                            assert_eq!(judge(garbage::facts(tx, &candidate).await?.as_ref(), Timestamp::from_micros(5)), Verdict::Remove);
                            judged += 1;
                            match (&candidate.place, kind) {
                                (Some(place), Kind::Manifest) => {
                                    let since = manifests::Since { blobs: candidate.since, manifests: candidate.since };
                                    manifests::delete(tx, since, place.id, &candidate.digest).await?;
                                }
                                (Some(place), _) => {
                                    blobs::unlink(tx, candidate.since, place.id, &candidate.digest).await?;
                                }
                                (None, _) => {
                                    let removal = blobs::delete(tx, &candidate.digest).await?.unwrap();
                                    removals::insert(tx, candidate.since, &removal.key, removal.size).await?;
                                }
                            }
                        }
                    }
                    let mut read = if counted { rows_read(tx).await } else { BTreeMap::new() };
                    for (table, rows) in &mut read {
                        *rows -= before[table];
                    }
                    Ok::<_, DbError>((judged, read))
                })
            })
            .await
            .unwrap();
        assert_eq!(judged, 3 * GARBAGE, "manifests, links and blobs, and nothing that is live");
        let rows: i64 = read.values().sum();
        assert!(rows < 40 * GARBAGE, "{rows} rows were read for {judged} that are garbage, beside {LIVE} that are not: {read:?}");
    })
    .await;
}
