//! The writer on real folders and databases: what is handed over is found again, whatever happens in between.

use super::query::{Direction, Filter, Place};
use super::*;
use crate::caller::{Caller, Credential};
use crate::operations::audit::{LastPullsOf, Question, find, last_pulls};
use crate::registry_token::RegistryAction;
use crate::store;
use crate::tests::{Fixture, START, on_each, sqlite};
use model::access::Role;
use tempfile::TempDir;

fn config(folder: &TempDir) -> AuditConfig {
    AuditConfig { folder: folder.path().join("audit"), keep: Some(Duration::from_hours(24)), bytes_max: 1 << 30 }
}

fn start(f: &Fixture, folder: &TempDir) {
    f.identity.audit().start(config(folder), f.db.clone(), f.clock.clone()).unwrap();
}

fn pull(f: &Fixture, who: &Caller, tag: &str) -> Record {
    let granted = Some(vec![("acme/web".parse().unwrap(), vec![RegistryAction::Pull])]);
    let caller = RegistryCaller { granted, catalog: false, caller: who.clone() };
    let content = Content::of_repository("acme/web", Some(tag.into()), Some("sha256:00".into()));
    let address = Some(IpAddr::from([10, 0, 0, 7]));
    Record {
        at: f.identity.now(),
        action: Action::Pull,
        outcome: Outcome::Done,
        who: Who::Caller(Arc::new(caller)),
        address,
        content: content.into(),
    }
}

fn newest(filter: Filter, limit: usize) -> Question {
    Question { filter, since: Timestamp(0), until: Timestamp(i64::MAX - 1), direction: Direction::Back, from: Place::LAST, limit }
}

async fn told(f: &Fixture, filter: Filter) -> Vec<String> {
    let found = find(&f.identity, &f.admin, newest(filter, 100)).await.unwrap().found;
    let text = |found: query::Found| {
        let line = found.line;
        format!("{} {} {} {}", line.principal.unwrap_or_default(), line.action, line.reference.unwrap_or_default(), line.times)
    };
    found.into_iter().rev().map(text).collect()
}

#[tokio::test]
async fn pulls_and_changes_are_told_together_in_the_order_of_time() {
    on_each(|f| async move {
        let folder = tempfile::tempdir().unwrap();
        start(&f, &folder);
        let alice = f.principal("user:alice").await;
        f.clock.advance(Duration::from_secs(1));
        f.identity.audit().record(pull(&f, &alice, "v1")).await;
        f.clock.advance(Duration::from_secs(1));
        f.grant(&alice, Role::Pull, "repository:acme/**").await;
        f.clock.advance(Duration::from_secs(1));
        f.identity.audit().record(pull(&f, &alice, "v2")).await;
        let expected = ["user:admin principal.created  1", "user:alice pull v1 1", "user:admin grant.created  1", "user:alice pull v2 1"];
        assert_eq!(told(&f, Filter::default()).await, expected);
        let of = |action: &str| Filter { action: Some(action.into()), ..Filter::default() };
        assert_eq!(told(&f, of("pull")).await, [expected[1], expected[3]]);
        assert_eq!(told(&f, of("grant.")).await, [expected[2]]);
        assert_eq!(told(&f, Filter { principal: Some("user:alice".into()), ..Filter::default() }).await, [expected[1], expected[3]]);
        let found = find(&f.identity, &f.admin, newest(of("pull"), 1)).await.unwrap();
        let line = &found.found[0].line;
        assert_eq!((line.credential.as_deref(), line.address.as_deref()), (Some("registry-token of password"), Some("10.0.0.7")));
        assert!(found.stopped_at.is_some(), "there is another one");
    })
    .await;
}

#[tokio::test]
async fn everybody_reads_what_they_did_and_admins_of_a_resource_what_was_done_to_it() {
    on_each(|f| async move {
        let alice = f.principal("user:alice").await;
        let ask = |principal: Option<&str>, target: Option<&str>| {
            let filter = Filter { principal: principal.map(Into::into), target: target.map(Into::into), ..Filter::default() };
            let (identity, alice) = (f.identity.clone(), alice.clone());
            async move { find(&identity, &alice, newest(filter, 10)).await.is_ok() }
        };
        assert!(ask(Some("user:alice"), None).await);
        assert!(!ask(None, None).await);
        assert!(!ask(Some("user:admin"), None).await);
        assert!(!ask(None, Some("repository:acme/web")).await);
        f.grant(&alice, Role::Admin, "repository:acme/*").await;
        assert!(ask(None, Some("repository:acme/web")).await);
        assert!(!ask(None, Some("repository:other/web")).await);
    })
    .await;
}

#[tokio::test]
async fn the_same_pull_within_a_second_is_one_line_with_its_count() {
    let (f, folder) = sqlite().await;
    start(&f, &folder);
    let record = pull(&f, &f.admin, "v1");
    for _ in 0..1000 {
        f.identity.audit().record(record.clone()).await;
    }
    f.identity.audit().record(pull(&f, &f.admin, "v2")).await;
    f.identity.audit().flush().await;
    let lines = segments::earlier(
        &folder.path().join("audit"),
        Timestamp(i64::MAX),
        Timestamp(0),
        &segments::Wanted { needles: Vec::new(), matches: &|_| true, lines_max: 10_000, bytes_max: u64::MAX },
    );
    let lines = lines.unwrap().lines;
    assert_eq!(lines.iter().map(|line| line.times).sum::<u64>(), 1001);
    assert!(lines.len() < 20, "{} lines", lines.len());
}

/// More than the channel holds, from many tasks at once: they wait, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_when_more_comes_than_can_wait() {
    const TASKS: usize = 8;
    const EACH: usize = 20_000;
    let (f, folder) = sqlite().await;
    start(&f, &folder);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (identity, mut record) = (f.identity.clone(), pull(&f, &f.admin, "v1"));
        tasks.spawn(async move {
            for at in 0..EACH {
                // Denials are never put together: each is a line.
                record.outcome = Outcome::Denied;
                record.content = Content::of_repository("acme/web", Some(format!("{task}-{at}")), None).into();
                identity.audit().record(record.clone()).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    f.identity.audit().close().await;
    let bytes: Vec<u8> =
        segments::list(&folder.path().join("audit")).unwrap().iter().flat_map(|segment| std::fs::read(&segment.path).unwrap()).collect();
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| Line::parse(line).unwrap()).collect();
    assert_eq!(lines.len(), TASKS * EACH);
    assert!(lines.is_sorted_by(|a, b| a.at < b.at));
}

#[tokio::test]
async fn last_pulls_are_known_by_tag_and_by_principal_and_survive_a_crash() {
    on_each(|f| async move {
        let folder = tempfile::tempdir().unwrap();
        start(&f, &folder);
        let alice = f.principal("user:alice").await;
        for (who, tag, secs) in [(&alice, "v1", 1), (&f.admin, "v1", 2), (&alice, "v2", 3), (&alice, "v1", 4), (&alice, "sha256:00", 5)] {
            let at = START.plus(Duration::from_secs(secs));
            f.identity.audit().record(Record { at, ..pull(&f, who, tag) }).await;
        }
        let told = |of: LastPullsOf| {
            let f = &f;
            async move {
                let list = last_pulls(&f.identity, &f.admin, &of, 10).await.unwrap();
                list.iter()
                    .map(|pull| format!("{}@{} {}", pull.reference, pull.at.since(START).as_secs(), pull.principal))
                    .collect::<Vec<_>>()
            }
        };
        let all = ["@5 user:alice", "v1@2 user:admin", "v1@4 user:alice", "v2@3 user:alice"];
        assert_eq!(told(LastPullsOf::Repository("acme/web".into(), (String::new(), String::new()))).await, all);
        let alice = ["@5 user:alice", "v1@4 user:alice", "v2@3 user:alice"];
        assert_eq!(told(LastPullsOf::Principal("user:alice".into())).await, alice);
        // The rows are gone, the segments are not; nor is the position, which a crash would have left further back.
        f.db.write(|tx| Box::pin(async move { store::last_pulls::delete_all(tx).await })).await.unwrap();
        let audit = folder.path().join("audit");
        std::fs::write(audit.join("position"), "0").unwrap();
        let second = f.second_server().await;
        second.audit().start(config(&folder), f.db.clone(), f.clock.clone()).unwrap();
        second.audit().flush().await;
        assert_eq!(told(LastPullsOf::Repository("acme/web".into(), (String::new(), String::new()))).await, all);
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_loses_nothing_that_memory_holds() {
    let (f, folder) = sqlite().await;
    start(&f, &folder);
    let audit = folder.path().join("audit");
    std::fs::remove_dir_all(&audit).unwrap();
    f.identity.audit().record(pull(&f, &f.admin, "v1")).await;
    f.identity.audit().flush().await;
    std::fs::create_dir_all(&audit).unwrap();
    f.identity.audit().record(pull(&f, &f.admin, "v2")).await;
    assert_eq!(
        told(&f, Filter { action: Some("pull".into()), ..Filter::default() }).await,
        ["user:admin pull v1 1", "user:admin pull v2 1"]
    );
}

#[tokio::test]
async fn wrong_passwords_are_written_down() {
    let (f, folder) = sqlite().await;
    start(&f, &folder);
    let from = Some(IpAddr::from([10, 0, 0, 9]));
    assert!(f.identity.authenticate(&crate::tests::basic("admin", "wrong"), from).await.is_err());
    let found = find(&f.identity, &f.admin, newest(Filter { outcome: Some("failed".into()), ..Filter::default() }, 5)).await.unwrap().found;
    let line = &found[0].line;
    assert_eq!((line.action.as_str(), line.target.as_str(), line.address.as_deref()), ("login", "user:admin", Some("10.0.0.9")));
    assert_eq!(Credential::Password.to_string(), line.credential.clone().unwrap());
}
