//! The promises of `platform::db`, on SQLite and, when `BERTH_TEST_POSTGRES` names a server, on PostgreSQL:
//! all or nothing, acknowledged after commit, folded on SQLite, retried on PostgreSQL, one server per SQLite file.

#![expect(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod support;

use futures_util::future::{BoxFuture, join_all};
use platform::db::{Db, DbError, Tx};
use sqlx::Row;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use support::{Database, databases};

fn set(tx: &mut Tx, name: String, value: String) -> BoxFuture<'_, Result<(), DbError>> {
    Box::pin(async move {
        sqlx::query("insert into settings (name, value) values ($1, $2)").bind(name).bind(value).execute(tx).await?;
        Ok(())
    })
}

async fn names(db: &Db) -> Vec<String> {
    let mut connection = db.read().await.unwrap();
    let rows = sqlx::query("select name from settings where name like 'test%' order by name").fetch_all(&mut *connection).await.unwrap();
    rows.iter().map(|row| row.try_get("name").unwrap()).collect()
}

async fn counter(db: &Db) -> i64 {
    let mut connection = db.read().await.unwrap();
    let row = sqlx::query("select value from counters where name = 'events'").fetch_one(&mut *connection).await.unwrap();
    row.try_get("value").unwrap()
}

/// Reads, then writes what it read plus one: wrong as soon as two of them overlap.
fn read_then_raise(tx: &mut Tx) -> BoxFuture<'_, Result<i64, DbError>> {
    read_wait_raise(tx, Duration::ZERO)
}

fn read_wait_raise(tx: &mut Tx, pause: Duration) -> BoxFuture<'_, Result<i64, DbError>> {
    Box::pin(async move {
        let row = sqlx::query("select value from counters where name = 'events'").fetch_one(&mut *tx).await?;
        let next: i64 = row.try_get::<i64, _>("value")? + 1;
        tokio::time::sleep(pause).await;
        sqlx::query("update counters set value = $1 where name = 'events'").bind(next).execute(tx).await?;
        Ok(next)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_can_be_read_and_survives_a_reopen() {
    for database in databases().await {
        let db = database.open().await;
        db.write(|tx| set(tx, "test-a".into(), "1".into())).await.unwrap();
        assert_eq!(names(&db).await, ["test-a"], "{database}");
        db.close().await;
        drop(db);
        assert_eq!(names(&database.reopen().await).await, ["test-a"], "{database}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closures_that_overlap_see_the_world_as_if_each_ran_alone() {
    for database in databases().await {
        let db = database.open().await;
        let answers = join_all((0..200).map(|_| db.write(read_then_raise))).await;
        let mut values: Vec<i64> = answers.into_iter().map(Result::unwrap).collect();
        values.sort_unstable();
        assert_eq!(values, (1..=200).collect::<Vec<_>>(), "{database}");
        assert_eq!(counter(&db).await, 200, "{database}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_closure_leaves_nothing_and_its_neighbours_stand() {
    for database in databases().await {
        let db = database.open().await;
        let writes = (0..120).map(|n| {
            db.write(move |tx| {
                Box::pin(async move {
                    set(tx, format!("test-{n:03}"), String::new()).await?;
                    if n % 3 == 0 { Err(DbError::Other(format!("refused {n}"))) } else { Ok(n) }
                })
            })
        });
        for (n, answer) in join_all(writes).await.into_iter().enumerate() {
            match answer {
                Ok(value) => assert!(value == n && n % 3 != 0, "{database} {n}"),
                Err(error) => assert_eq!((error.to_string(), n % 3), (format!("database: refused {n}"), 0), "{database}"),
            }
        }
        let kept: Vec<String> = (0..120).filter(|n| n % 3 != 0).map(|n| format!("test-{n:03}")).collect();
        assert_eq!(names(&db).await, kept, "{database}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_fails_inside_a_closure_spoils_only_that_closure() {
    for database in databases().await {
        let db = database.open().await;
        let writes = (0..60).map(|n| {
            db.write(move |tx| {
                Box::pin(async move {
                    set(tx, format!("test-{n:03}"), String::new()).await?;
                    if n % 4 == 0 {
                        sqlx::query("insert into no_such_table (x) values (1)").execute(tx).await?;
                    }
                    Ok::<_, DbError>(())
                })
            })
        });
        let failed = join_all(writes).await.iter().filter(|answer| answer.is_err()).count();
        assert_eq!((failed, names(&db).await.len()), (15, 45), "{database}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closure_that_panics_is_an_error_of_its_own_and_the_database_goes_on() {
    for database in databases().await {
        let db = database.open().await;
        let panicking = db.write(|tx| {
            Box::pin(async move {
                set(tx, "test-lost".into(), String::new()).await?;
                let rows = sqlx::query("select name from settings where name = 'nothing'").fetch_all(tx).await?;
                assert_eq!(rows.len(), 1, "this fails always");
                Ok::<_, DbError>(())
            })
        });
        let beside = db.write(|tx| set(tx, "test-beside".into(), String::new()));
        let (panicked, beside) = tokio::join!(panicking, beside);
        assert!(panicked.is_err() && beside.is_ok(), "{database}: {panicked:?} {beside:?}");
        db.write(|tx| set(tx, "test-later".into(), String::new())).await.unwrap();
        assert_eq!(names(&db).await, ["test-beside", "test-later"], "{database}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_stands_when_its_caller_goes_away() {
    for database in databases().await {
        let db = database.open().await;
        let (entered, has_entered) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = tokio::sync::oneshot::channel::<()>();
        let (entered, may_go_on) = (Arc::new(std::sync::Mutex::new(Some(entered))), Arc::new(tokio::sync::Mutex::new(Some(may_go_on))));
        let writer = db.clone();
        let caller = tokio::spawn(async move {
            writer
                .write(move |tx| {
                    let (entered, may_go_on) = (entered.clone(), may_go_on.clone());
                    Box::pin(async move {
                        set(tx, "test-1".into(), String::new()).await?;
                        if let Some(entered) = entered.lock().unwrap().take() {
                            entered.send(()).unwrap();
                        }
                        if let Some(gate) = may_go_on.lock().await.take() {
                            gate.await.unwrap();
                        }
                        set(tx, "test-2".into(), String::new()).await
                    })
                })
                .await
        });
        has_entered.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        go_on.send(()).unwrap();
        support::wait_until("both rows", || async { names(&db).await == ["test-1", "test-2"] }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_rule_of_uniqueness_is_typed_and_names_what_was_broken() {
    for database in databases().await {
        let db = database.open().await;
        db.write(|tx| set(tx, "test-a".into(), "1".into())).await.unwrap();
        match db.write(|tx| set(tx, "test-a".into(), "2".into())).await.unwrap_err() {
            DbError::Unique(name) => assert!(name.contains("settings"), "{database}: {name}"),
            other => panic!("{database}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_second_server_on_one_sqlite_file_refuses_and_may_start_after_the_first_ended() {
    let database = Database::sqlite();
    let first = database.open().await;
    assert!(first.is_exclusive());
    assert!(matches!(database.try_open().await, Err(DbError::Locked(_))));
    first.write(|tx| set(tx, "test-a".into(), String::new())).await.unwrap();
    first.close().await;
    drop(first);
    assert_eq!(names(&database.reopen().await).await, ["test-a"]);
}

#[tokio::test]
async fn after_a_close_the_sqlite_file_alone_is_the_whole_database() {
    let (database, copy) = (Database::sqlite(), Database::sqlite());
    let db = database.open().await;
    db.write(|tx| set(tx, "test-a".into(), "1".into())).await.unwrap();
    db.close().await;
    assert!(matches!(db.write(|tx| set(tx, "test-b".into(), "1".into())).await, Err(DbError::Unavailable(_))));
    std::fs::copy(database.file(), copy.file()).unwrap();
    assert_eq!(names(&copy.open().await).await, ["test-a"]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_with_the_cause() {
    let database = Database::sqlite();
    std::fs::write(database.file(), "this is no database, but long enough to have a header of one".repeat(100)).unwrap();
    let started = std::time::Instant::now();
    let Err(DbError::Open(cause)) = database.try_open().await else { panic!("it opened") };
    assert!(cause.contains("not a database"), "{cause}");
    assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_are_folded_into_few_commits_on_sqlite() {
    let database = Database::sqlite();
    let db = database.open().await;
    let before = database.wal_commits();
    join_all((0..128).map(|n| db.write(move |tx| set(tx, format!("test-{n}"), String::new())))).await.into_iter().for_each(Result::unwrap);
    let commits = database.wal_commits() - before;
    assert!((1..=16).contains(&commits), "128 writes took {commits} commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conflicts_on_postgresql_are_retried_and_hidden() {
    let Some(database) = Database::postgres().await else { return };
    let (one, two) = (database.open().await, database.reopen().await);
    assert!(!one.is_exclusive());
    let runs = Arc::new(AtomicUsize::new(0));
    let writes = (0..40).map(|n| {
        let (db, runs) = (if n % 2 == 0 { &one } else { &two }, runs.clone());
        db.write(move |tx| {
            runs.fetch_add(1, SeqCst);
            read_then_raise(tx)
        })
    });
    join_all(writes).await.into_iter().for_each(|answer| {
        answer.unwrap();
    });
    assert_eq!(counter(&one).await, 40);
    assert!(runs.load(SeqCst) > 40, "the closures never conflicted, so nothing was shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_write_among_quick_ones_on_postgresql_gets_its_turn() {
    let Some(database) = Database::postgres().await else { return };
    let (slow, quick) = (database.open().await, database.reopen().await);
    let over = Arc::new(AtomicBool::new(false));
    let hammers: Vec<_> = (0..4)
        .map(|_| {
            let (quick, over) = (quick.clone(), over.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while !over.load(SeqCst) {
                    quick.write(read_then_raise).await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    let runs = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let counted = runs.clone();
        let write = slow.write(move |tx| {
            counted.fetch_add(1, SeqCst);
            read_wait_raise(tx, Duration::from_millis(100))
        });
        write.await.unwrap();
    }
    over.store(true, SeqCst);
    let quick: i64 = join_all(hammers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(counter(&slow).await, quick + 3);
    assert!(runs.load(SeqCst) > 3, "the slow writes never conflicted, so nothing was shown");
}

#[tokio::test]
async fn a_conflict_that_does_not_end_is_reported_after_a_bounded_number_of_runs() {
    let Some(database) = Database::postgres().await else { return };
    let db = database.open().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let answer = db
        .write(move |_| {
            counted.fetch_add(1, SeqCst);
            Box::pin(async { Err::<(), _>(DbError::Conflict) })
        })
        .await;
    assert!(matches!(answer, Err(DbError::Conflict)));
    assert_eq!(runs.load(SeqCst), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_may_start_on_one_empty_postgresql_database_at_once() {
    let Some(database) = Database::postgres().await else { return };
    let opened = join_all((0..4).map(|_| database.try_open())).await;
    assert!(opened.iter().all(Result::is_ok), "{:?}", opened.iter().filter_map(|db| db.as_ref().err()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_database_says_so() {
    for database in databases().await {
        let db = database.open().await;
        db.close().await;
        assert!(matches!(db.read().await, Err(DbError::Unavailable(_))), "{database}");
    }
}
