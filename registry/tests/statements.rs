//! What a caller may not see costs what does not exist costs: the same statements, and the same answer down to its bytes. Alone in its
//! process, since it counts what the whole process asks of its databases.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "protocol/world.rs"]
#[expect(dead_code, reason = "what the other tests need of it")]
mod world;

use http::Method;
use model::access::Role;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};
use world::{World, on_each, sha256};

/// Every statement that a database was asked, as sqlx says it.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

/// A statement is told by a thread of the database, perhaps after its answer has come: longest wait for the first one, and the silence
/// after which there are no more, in milliseconds.
const FIRST_MS_MAX: u64 = 2000;
const SILENCE_MS: u64 = 20;

impl Statements {
    async fn take(&self) -> Vec<String> {
        for _ in 0..FIRST_MS_MAX / SILENCE_MS {
            let before = self.0.lock().unwrap().len();
            tokio::time::sleep(std::time::Duration::from_millis(SILENCE_MS)).await;
            if before > 0 && before == self.0.lock().unwrap().len() {
                break;
            }
        }
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Summary(String);

impl Visit for Summary {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "summary" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn event(&self, event: &Event<'_>) {
        let mut summary = Summary(String::new());
        event.record(&mut summary);
        self.0.lock().unwrap().push(summary.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Status, headers and body of a request, with the repository's name taken out, and the statements it took.
async fn observe(world: &World, statements: &Statements, who: &str, method: Method, repository: &str, path: &str) -> (String, Vec<String>) {
    statements.0.lock().unwrap().clear();
    let answer = world.ask(method, format!("/v2/{repository}/{path}")).by(who).send().await;
    let took = statements.take().await;
    let said = format!("{} {:?} {}", answer.status, answer.headers, String::from_utf8_lossy(&answer.body));
    (said.replace(repository, "NAME"), took)
}

#[tokio::test]
async fn denied_missing_and_foreign_are_one_answer_and_the_same_statements() {
    let statements = Statements::default();
    tracing::subscriber::set_global_default(statements.clone()).unwrap();
    let seen = &statements;
    on_each(|world| async move {
        let digest = world.image("denied0/x", "v1", b"layer").await;
        let layer = sha256(b"layer");
        // A repository of the caller's own, in which the same is missing: it is in another repository only.
        world.blob("foreign/x", b"something else").await;
        let user = world.user("dev", Role::Pull, "foreign/*").await;
        let both = world.user("both", Role::Pull, "foreign/*").await;
        world.grant(&"user:both".parse().unwrap(), Role::Pull, "missing/*").await;
        // Somebody else has just pulled it, so that it is in memory.
        for path in ["manifests/v1".to_owned(), format!("blobs/{layer}")] {
            assert!(world.get(format!("/v2/denied0/x/{path}")).send().await.status.is_success());
        }
        let (by_digest, blob, referrers) = (format!("manifests/{digest}"), format!("blobs/{layer}"), format!("referrers/{digest}"));
        for method in [Method::GET, Method::HEAD] {
            for path in ["manifests/v1", &by_digest, &blob, "tags/list", &referrers] {
                let look = |who, repository| observe(&world, seen, who, method.clone(), repository, path);
                let denied = look(&user, "denied0/x").await;
                let missing = look(&user, "missing/x").await;
                let missing_to_who_may = look(&both, "missing/x").await;
                assert!(!denied.1.is_empty(), "{method} {path}: no statement was counted");
                assert_eq!(denied, missing, "{method} {path}");
                assert_eq!(denied, missing_to_who_may, "{method} {path}");
                // A tag list of one's own is no answer to compare; everything else in it is as if it were nowhere.
                if path != "tags/list" {
                    assert_eq!(denied, look(&user, "foreign/x").await, "{method} {path}");
                }
                let named = look(&user, "denied0/x").await.0;
                assert!(
                    method == Method::HEAD || path == referrers || named.contains("NAME"),
                    "it does not name what was asked for: {named}"
                );
            }
        }
    })
    .await;
}
