//! What people see of tasks: events of their changes, the last lines they leave, how far their pulls are.

use crate::access::{token, user};
use crate::agent::{FakeAgent, send};
use crate::world::World;
use api::agent::{LOG_TAIL_BYTES_MAX, LogTail, ProgressRequest, PullProgress};
use api::v1::events::{Progress, TASK_CHANGED, TaskChanges, TaskGlance};
use axum::body::Body;
use deployer::live::News;
use http::{Method, Request, StatusCode};
use model::ids::TaskId;
use model::task::TaskStatus;
use platform::db::testing::{on_each_database, sqlite};
use serde_json::{Value, json};

/// Everything said about tasks so far: the sequence of the event, and the task.
async fn glances(world: &World) -> Vec<(i64, TaskGlance)> {
    let mut connection = world.context.db.read().await.unwrap();
    let events = platform::events::of_subject_after(&mut connection, "service:default/web", TASK_CHANGED, 0, 1000).await.unwrap();
    let tasks = |event: platform::events::Event| {
        let changes: TaskChanges = serde_json::from_value(event.detail).unwrap();
        changes.tasks.into_iter().map(move |task| (event.sequence, task))
    };
    events.into_iter().flat_map(tasks).collect()
}

async fn states(world: &World, task: &TaskId) -> Vec<&'static str> {
    glances(world).await.iter().filter(|(_, glance)| glance.task == task.as_str()).map(|(_, glance)| glance.state().as_str()).collect()
}

async fn started(world: &mut World, count: i64) -> (FakeAgent, Vec<TaskId>) {
    world.definition(1, json!({})).await;
    world.service(count, "user:admin").await;
    let mut agent = FakeAgent::start(world, "a").await;
    world.settle().await;
    agent.poll(world).await;
    let tasks = agent.to_run();
    (agent, tasks)
}

#[tokio::test]
async fn each_change_that_people_see_is_one_event() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        let (mut agent, tasks) = started(&mut world, 3).await;
        let first = glances(&world).await;
        assert_eq!(first.len(), 3);
        assert!(first.iter().all(|(sequence, _)| *sequence == first[0].0), "what one plan starts is one row");
        let id = tasks[0].clone();
        let mut pulling = agent.observed(&world, &id, TaskStatus::Pending, None);
        pulling.pull_started_at = Some(world.now());
        agent.report(&world, vec![pulling], vec![]).await;
        agent.tell(&world, &id, TaskStatus::Running, None).await;
        agent.tell(&world, &id, TaskStatus::Running, None).await;
        world.advance(crate::world::HEALTHY_AFTER);
        world.settle().await;
        agent.tell(&world, &id, TaskStatus::Stopped, Some(3)).await;
        assert_eq!(states(&world, &id).await, ["PENDING", "PULLING", "RUNNING", "HEALTHY", "STOPPED"]);
        let all = glances(&world).await;
        let (_, last) = all.iter().rfind(|(_, glance)| glance.task == id.as_str()).unwrap();
        assert_eq!((last.containers[0].exit_code, last.stop_code.as_deref()), (Some(3), Some("EssentialContainerExited")));
        assert!(last.deployment.as_ref().is_some_and(|id| id.starts_with("ecs-svc/")) && last.instance.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_stop_that_is_ordered_and_a_host_that_is_lost_are_seen() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    let (mut agent, tasks) = started(&mut world, 1).await;
    let id = tasks[0].clone();
    agent.tell(&world, &id, TaskStatus::Running, None).await;
    deployer::agents::lease::expect_connected(&world.context).await.unwrap();
    deployer::agents::lease::sweep(&world.context).await.unwrap();
    for _ in 0..4 {
        world.advance(crate::world::LEASE / 3);
        deployer::agents::lease::sweep(&world.context).await.unwrap();
    }
    let lost = glances(&world).await.pop().unwrap().1;
    assert_eq!((lost.task.as_str(), lost.connected), (id.as_str(), false));
    agent.register(&world).await;
    assert!(glances(&world).await.pop().unwrap().1.connected);
    let service = world.task(&id).await.unwrap().service_id.unwrap();
    world.change_service(&service, |service| service.desired_count = 0).await;
    world.settle().await;
    let stopping = glances(&world).await.pop().unwrap().1;
    assert_eq!((stopping.state().as_str(), stopping.stop_code.as_deref()), ("STOPPING", Some("ServiceSchedulerInitiated")));
    assert!(stopping.reason.unwrap().starts_with("Scaling activity"));
}

const LINES: &str = "2026-01-01T00:00:01.000000000Z starting\n2026-01-01T00:00:02.000000000Z boom\n";

async fn stopped_with(world: &mut World, tails: Vec<LogTail>) -> (FakeAgent, TaskId) {
    let (mut agent, tasks) = started(world, 1).await;
    let id = tasks[0].clone();
    agent.tell(world, &id, TaskStatus::Running, None).await;
    let mut report = agent.observed(world, &id, TaskStatus::Stopped, Some(1));
    report.log_tails = tails;
    agent.report(world, vec![report], vec![]).await;
    (agent, id)
}

#[tokio::test]
async fn the_last_lines_of_a_stopped_task_are_kept_as_long_as_the_task() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        let nul = LogTail { container: "web".into(), text: format!("{LINES}a\0b\n") };
        let (_agent, id) = stopped_with(&mut world, vec![nul, LogTail { container: "nobody".into(), text: "x".into() }]).await;
        let path = |query: &str| format!("/api/v1/tasks/{id}/logs?kept=true{query}");
        let text = |text: &str| (StatusCode::OK, Value::String(text.to_owned()));
        assert_eq!(world.api(Method::GET, &path(""), None).await, text("starting\nboom\na\u{fffd}b\n"));
        assert_eq!(world.api(Method::GET, &path("&tail=1"), None).await, text("a\u{fffd}b\n"));
        let with_times = world.api(Method::GET, &path("&timestamps=true&tail=2"), None).await;
        assert_eq!(with_times, text("2026-01-01T00:00:02.000000000Z boom\na\u{fffd}b\n"));
        user(&world, "stranger").await;
        let stranger = token(&world, "user:stranger").await;
        assert_eq!(world.api_as(&stranger, Method::GET, &path(""), None).await.0, StatusCode::FORBIDDEN, "output is for who may view");
        world.advance(std::time::Duration::from_secs(3601));
        deployer::rollout::cleanup(&world.context).await.unwrap();
        let left = deployer::store::log_tails::of_task(&mut world.context.db.read().await.unwrap(), &id).await.unwrap();
        assert!(left.is_empty() && world.task(&id).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn the_last_lines_stand_in_when_the_agent_has_no_output_any_more() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    let (mut agent, id) = stopped_with(&mut world, vec![LogTail { container: "web".into(), text: LINES.into() }]).await;
    let answer = async {
        let request = loop {
            if let Some(request) = agent.poll(&world).await.log_requests.pop() {
                break request;
            }
        };
        let post = Request::post(format!("/agent/v1/logs/{}", request.id)).header(api::agent::LOG_PROBLEM_HEADER, "removed");
        send(&world, Some(agent.certificate()), post.body(Body::empty()).unwrap()).await.status()
    };
    let path = format!("/api/v1/tasks/{id}/logs");
    let (read, _) = tokio::join!(world.api(Method::GET, &path, None), answer);
    assert_eq!(read, (StatusCode::OK, Value::String("starting\nboom\n".into())));
}

#[tokio::test]
async fn more_lines_than_were_agreed_are_not_kept() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    let large = LogTail { container: "web".into(), text: "x".repeat(LOG_TAIL_BYTES_MAX + 1) };
    let (_agent, id) = stopped_with(&mut world, vec![large]).await;
    assert!(deployer::store::log_tails::of_task(&mut world.context.db.read().await.unwrap(), &id).await.unwrap().is_empty());
    assert_eq!(world.task(&id).await.unwrap().last_status, TaskStatus::Stopped, "the report counts all the same");
}

#[tokio::test]
async fn the_progress_of_pulls_is_heard_and_kept_nowhere() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    let (agent, tasks) = started(&mut world, 1).await;
    let pull = |task: &TaskId, container: &str| PullProgress {
        task_id: task.clone(),
        container: container.into(),
        layers_done: 1,
        layers: 4,
        bytes_done: 10,
        bytes: 40,
    };
    let post = async |pulls: Vec<PullProgress>| {
        let body = serde_json::to_vec(&ProgressRequest { pulls }).unwrap();
        let request = Request::post("/agent/v1/progress").header("content-type", "application/json").body(Body::from(body)).unwrap();
        send(&world, Some(agent.certificate()), request).await.status()
    };
    assert_eq!(post(vec![pull(&tasks[0], "web")]).await, StatusCode::NO_CONTENT, "nobody listens");
    let mut news = world.context.live.subscribe();
    let mixed = vec![pull(&TaskId::from_random(9), "web"), pull(&tasks[0], "nonsense"), pull(&tasks[0], "web")];
    let writes = world.context.db.writes();
    assert_eq!(post(mixed).await, StatusCode::NO_CONTENT);
    assert_eq!(world.context.db.writes(), writes);
    let Ok(News::Progress(progress)) = news.try_recv() else { panic!("progress is handed on") };
    let expected = Progress {
        subject: "service:default/web".into(),
        task: tasks[0].to_string(),
        container: "web".into(),
        layers_done: 1,
        layers: 4,
        bytes_done: 10,
        bytes: 40,
    };
    assert_eq!(*progress, expected);
    assert!(news.try_recv().is_err(), "other tasks and containers are nobody's");
    assert_eq!(post(vec![pull(&tasks[0], "web"); 201]).await, StatusCode::BAD_REQUEST);
}
