//! The stream of events: in order, each once, as far as the caller may see them, for as long as the caller may ask.

use crate::support::{World, in_each_world};
use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode, header};
use deployer::live::{self, STREAMS_OF_ONE_MAX};
use futures_util::StreamExt as _;
use identity::operations::grants;
use model::access::{Resource, Role};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use platform::lifecycle::Lifecycle;
use std::time::Duration;
use tower::ServiceExt as _;

/// Longest wait for what should come.
const WAIT: Duration = Duration::from_secs(20);
/// How long nothing has to come, before it counts as not coming.
const SILENCE: Duration = Duration::from_millis(700);

fn router(world: &World) -> Router {
    world.deployer.v1_router().split_for_parts().0
}

async fn ask(world: &World, token: &str, query: &str, last_id: Option<i64>) -> axum::response::Response {
    let mut request = Request::get(format!("/api/v1/events?{query}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::ACCEPT, "text/event-stream");
    if let Some(id) = last_id {
        request = request.header("last-event-id", id.to_string());
    }
    router(world).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

/// An open stream, taken apart.
struct Reader {
    body: BodyDataStream,
    text: String,
}

/// Id, kind and data of an event.
type Frame = (i64, String, serde_json::Value);

impl Reader {
    async fn open(world: &World, token: &str, query: &str, last_id: Option<i64>) -> Self {
        let response = ask(world, token, query, last_id).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        let mut reader = Self { body: response.into_body().into_data_stream(), text: String::new() };
        // The comment that says that it is open.
        reader.block(WAIT).await.unwrap();
        reader
    }

    /// The next block; nothing at the end.
    async fn block(&mut self, wait: Duration) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return Some(block);
            }
            let chunk = tokio::time::timeout(wait, self.body.next()).await.expect("something comes in time")?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    async fn event(&mut self) -> Option<Frame> {
        loop {
            let block = self.block(WAIT).await?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let (Some(id), Some(kind), Some(data)) = (field("id: "), field("event: "), field("data: ")) {
                return Some((id.parse().unwrap(), kind, serde_json::from_str(&data).unwrap()));
            }
        }
    }

    async fn events(&mut self, count: usize) -> Vec<Frame> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(self.event().await.expect("the stream goes on"));
        }
        all
    }

    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(SILENCE, self.event()).await.is_err()
    }
}

async fn write(world: &World, kind: &'static str, subject: &str, count: usize) {
    for n in 0..count {
        let subject = subject.to_owned();
        world
            .write(move |tx| {
                let detail = serde_json::json!({ "n": n });
                let event = NewEvent { kind, principal: None, subject: subject.clone(), message: format!("event {n}"), detail };
                Box::pin(async move { events::append(tx, model::Timestamp::from_secs(1), event).await.map(drop) })
            })
            .await;
    }
}

/// In one transaction.
async fn many(tx: &mut Tx, count: usize) -> Result<(), DbError> {
    for n in 0..count {
        let (subject, detail) = ("service:default/web".to_owned(), serde_json::Value::Null);
        let event = NewEvent { kind: "test.many", principal: None, subject, message: n.to_string(), detail };
        events::append(tx, model::Timestamp::from_secs(1), event).await?;
    }
    Ok(())
}

async fn latest(world: &World) -> i64 {
    events::latest(&mut world.deployer.context().db.read().await.unwrap()).await.unwrap()
}

/// The reader of the table runs until the value is dropped.
struct Running(Lifecycle);

impl Running {
    fn start(world: &World) -> Self {
        let lifecycle = Lifecycle::new();
        live::start(world.deployer.context(), &lifecycle);
        Self(lifecycle)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stopping.cancel();
    }
}

fn ids(frames: &[Frame]) -> Vec<i64> {
    frames.iter().map(|(id, _, _)| *id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_where_it_broke_off_without_gap_or_duplicate() {
    in_each_world(|world| async move {
        let _running = Running::start(&world);
        let before = latest(&world).await;
        let mut first = Reader::open(&world, &world.admin, "", None).await;
        let writers = async {
            futures_util::future::join_all((0..4).map(|_| write(&world, "test.one", "service:default/web", 15))).await;
        };
        let (heard, ()) = tokio::join!(first.events(25), writers);
        assert_eq!(ids(&heard), (before + 1..=before + 25).collect::<Vec<_>>(), "as they were committed");
        drop(first);
        write(&world, "test.two", "service:default/web", 250).await;
        let mut again = Reader::open(&world, &world.admin, "", Some(before + 25)).await;
        let (rest, ()) = tokio::join!(again.events(35 + 250 + 20), write(&world, "test.three", "service:default/web", 20));
        assert_eq!(ids(&rest), (before + 26..=before + 330).collect::<Vec<_>>());
        assert_eq!(rest.last().unwrap().1, "test.three");
        assert!(again.is_silent().await, "each came once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_brings_only_what_was_asked_for() {
    in_each_world(|world| async move {
        let _running = Running::start(&world);
        let from = latest(&world).await;
        write(&world, "test.old", "service:default/web", 1).await;
        write(&world, "test.old", "service:default/other", 1).await;
        let query = format!("subject=service:default/web&kind=test.&after={from}");
        let mut reader = Reader::open(&world, &world.admin, &query, None).await;
        write(&world, "other.new", "service:default/web", 1).await;
        write(&world, "test.new", "service:default/other", 1).await;
        write(&world, "test.new", "service:default/web", 1).await;
        let heard = reader.events(2).await;
        let kinds: Vec<_> = heard.iter().map(|(_, kind, data)| (kind.as_str(), data["subject"].as_str().unwrap())).collect();
        assert_eq!(kinds, [("test.old", "service:default/web"), ("test.new", "service:default/web")]);
        assert!(reader.is_silent().await);
        for bad in ["kind=%25", "kind=a%20b", "after=x", "nonsense=1"] {
            assert_eq!(ask(&world, &world.admin, bad, None).await.status(), StatusCode::BAD_REQUEST, "{bad}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_decided_on_by_itself() {
    in_each_world(|world| async move {
        let _running = Running::start(&world);
        let token = world.robot("viewer", &[(Role::View, Resource::service("default", "web"))]).await;
        let mut reader = Reader::open(&world, &token, "kind=test.", None).await;
        write(&world, "test.hidden", "service:default/secret", 1).await;
        write(&world, "test.hidden", "user:alice", 1).await;
        write(&world, "test.seen", "service:default/web", 1).await;
        assert_eq!(reader.event().await.unwrap().1, "test.seen");
        let identity = &world.deployer.context().identity;
        let snapshot = identity.snapshot().await.unwrap();
        let grant = snapshot.grants().find(|grant| grant.principal.to_string() == "robot:viewer").unwrap().id.clone();
        grants::revoke(identity, &world.caller(), &grant).await.unwrap();
        write(&world, "test.taken", "service:default/web", 1).await;
        assert!(reader.is_silent().await, "a grant that is gone acts at once, on an open stream too");
        world.grant(&"robot:viewer".parse().unwrap(), Role::View, &Resource::cluster("default")).await;
        write(&world, "test.again", "service:default/web", 1).await;
        assert_eq!(reader.event().await.unwrap().1, "test.again", "whoever sees the cluster sees its services");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_token_and_with_the_server() {
    in_each_world(|world| async move {
        let lifecycle = Lifecycle::new();
        world.deployer.start(&lifecycle);
        let token = world.robot("viewer", &[(Role::View, Resource::cluster("default"))]).await;
        let mut of_robot = Reader::open(&world, &token, "kind=test.", None).await;
        let mut of_admin = Reader::open(&world, &world.admin, "kind=test.", None).await;
        let identity = &world.deployer.context().identity;
        let robot = "robot:viewer".parse().unwrap();
        for token in identity::operations::tokens::list(identity, &world.caller(), &robot).await.unwrap() {
            identity::operations::tokens::revoke(identity, &world.caller(), &token.id).await.unwrap();
        }
        write(&world, "test.one", "service:default/web", 1).await;
        assert_eq!(of_robot.event().await, None, "nobody hears anything by a token that is revoked");
        assert_eq!(of_admin.event().await.unwrap().1, "test.one");
        lifecycle.stopping.cancel();
        assert_eq!(of_admin.event().await, None, "ended, and not cut off");
        lifecycle.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_one_principal_are_limited() {
    in_each_world(|world| async move {
        let _running = Running::start(&world);
        let token = world.robot("viewer", &[(Role::View, Resource::cluster("default"))]).await;
        let mut open = Vec::new();
        for _ in 0..STREAMS_OF_ONE_MAX {
            open.push(Reader::open(&world, &token, "", None).await);
        }
        assert_eq!(ask(&world, &token, "", None).await.status(), StatusCode::TOO_MANY_REQUESTS);
        Reader::open(&world, &world.admin, "", None).await;
        drop(open);
        let started = std::time::Instant::now();
        while ask(&world, &token, "", None).await.status() != StatusCode::OK {
            assert!(started.elapsed() < WAIT, "a place is free again when its stream is gone");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_was_too_slow_for_the_channel_misses_nothing() {
    in_each_world(|world| async move {
        let _running = Running::start(&world);
        let before = latest(&world).await;
        let mut reader = Reader::open(&world, &world.admin, "kind=test.", None).await;
        // More than the channels hold; nobody reads meanwhile.
        world.write(|tx| Box::pin(many(tx, 1_500))).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let heard = reader.events(1_500).await;
        assert_eq!(ids(&heard), (before + 1..=before + 1_500).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn old_events_about_tasks_go_and_those_of_the_audit_stay() {
    in_each_world(|world| async move {
        write(&world, "task.changed", "service:default/web", 3).await;
        write(&world, "grant.created", "service:default/web", 2).await;
        assert_eq!(deployer::rollout::cleanup_events(world.deployer.context()).await.unwrap(), 3);
        assert_eq!(deployer::rollout::cleanup_events(world.deployer.context()).await.unwrap(), 0);
        let mut tx = world.deployer.context().db.read().await.unwrap();
        let left = events::of_subject(&mut tx, "service:default/web", 10).await.unwrap();
        assert_eq!(left.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["grant.created", "grant.created"]);
    })
    .await;
}
