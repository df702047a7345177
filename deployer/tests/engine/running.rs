//! Services from first task to last.

use crate::agent::FakeAgent;
use crate::world::{HEALTHY_AFTER, World};
use model::service::{DeploymentStatus, RolloutState, ServiceStatus};
use model::task::{DesiredStatus, HealthStatus, StopCode, TaskStatus};
use platform::db::testing::{on_each_database, sqlite};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_service_runs_becomes_healthy_and_is_completed() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        world.definition(1, json!({})).await;
        let service = world.service(3, "user:admin").await;
        let mut agents = [FakeAgent::start(&world, "a").await, FakeAgent::start(&world, "b").await];
        world.settle().await;
        for agent in &mut agents {
            agent.obey(&world).await;
        }
        assert_eq!(agents.iter().map(|agent| agent.orders.len()).sum::<usize>(), 3);
        assert!(agents.iter().all(|agent| !agent.orders.is_empty()), "spread over zones");
        world.settle().await;
        assert_eq!(world.deployments(&service).await[0].rollout_state, RolloutState::InProgress);
        world.advance(HEALTHY_AFTER);
        world.settle().await;
        assert_eq!(world.deployments(&service).await[0].rollout_state, RolloutState::Completed);
        let tasks = world.tasks(&service).await;
        assert!(tasks.iter().all(|task| task.healthy_at.is_some() && task.last_status == TaskStatus::Running));
        let messages = world.messages().await;
        assert!(messages[0].starts_with("(service web) has started 3 tasks: (task "), "{messages:?}");
        assert_eq!(messages.last().unwrap(), "(service web) has reached a steady state.");
        let order = agents[0].orders.values().next().unwrap();
        assert_eq!(order.task_definition, "web:1");
        assert_eq!(order.group, "service:web");
    })
    .await;
}

#[tokio::test]
async fn a_quiet_service_is_not_looked_at_again() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    world.service(1, "user:admin").await;
    let mut agent = FakeAgent::start(&world, "a").await;
    world.settle().await;
    agent.obey(&world).await;
    world.advance(HEALTHY_AFTER);
    world.settle().await;
    let status = deployer::rollout::pass::run(&world.context, &mut world.memory).await.unwrap();
    assert_eq!(status.looked_at, 0);
}

#[tokio::test]
async fn an_exit_is_recorded_and_the_task_replaced_with_back_off() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        world.definition(1, json!({})).await;
        let service = world.service(1, "user:admin").await;
        let mut agent = FakeAgent::start(&world, "a").await;
        world.settle().await;
        agent.obey(&world).await;
        let first = agent.to_run()[0].clone();
        agent.tell(&world, &first, TaskStatus::Stopped, Some(7)).await;
        let stopped = world.task(&first).await.unwrap();
        assert_eq!(stopped.containers[0].exit_code, Some(7));
        assert_eq!(stopped.stop_code, Some(StopCode::EssentialContainerExited));
        let deployment = world.deployments(&service).await.remove(0);
        assert_eq!((deployment.failed_tasks, deployment.consecutive_failures), (1, 1));
        world.settle().await;
        assert!(world.tasks(&service).await.is_empty(), "it waits");
        world.advance(Duration::from_millis(500));
        world.settle().await;
        assert_eq!(world.tasks(&service).await.len(), 1);
        let answer = agent.poll(&world).await;
        assert_eq!(answer.settled, std::slice::from_ref(&first), "the agent may forget it");
        // One that lived is replaced at once.
        agent.obey(&world).await;
        world.advance(HEALTHY_AFTER);
        world.settle().await;
        world.advance(HEALTHY_AFTER);
        let second = agent.to_run()[0].clone();
        agent.tell(&world, &second, TaskStatus::Stopped, Some(0)).await;
        world.settle().await;
        assert_eq!(world.tasks(&service).await.len(), 1);
        assert_eq!(world.deployments(&service).await[0].failed_tasks, 1);
    })
    .await;
}

#[tokio::test]
async fn a_task_that_is_on_its_way_out_is_counted_before_it_is_replaced() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    let service = world.service(1, "user:admin").await;
    let mut agent = FakeAgent::start(&world, "a").await;
    world.settle().await;
    agent.obey(&world).await;
    let id = agent.to_run()[0].clone();
    agent.tell(&world, &id, TaskStatus::Stopping, Some(1)).await;
    world.settle().await;
    assert_eq!(world.tasks(&service).await.len(), 1, "no replacement before the wait is over");
    agent.tell(&world, &id, TaskStatus::Stopped, Some(1)).await;
    assert_eq!(world.deployments(&service).await[0].failed_tasks, 1, "counted once");
    let last = world.messages().await.pop().unwrap();
    assert_eq!(last, format!("(service web) (task {id}) stopped: Essential container in task exited (web exited with 1)."));
}

#[tokio::test]
async fn a_new_revision_replaces_the_old_one_and_the_old_deployment_is_gone_at_the_end() {
    on_each_database(|db| async move {
        let mut world = World::new(db).await;
        world.definition(1, json!({})).await;
        world.definition(2, json!({})).await;
        let service = world.service(2, "user:admin").await;
        let mut agent = FakeAgent::start(&world, "a").await;
        world.settle().await;
        agent.obey(&world).await;
        world.advance(HEALTHY_AFTER);
        world.settle().await;
        world.update(&service, 2).await;
        world.settle().await;
        assert_eq!(world.tasks(&service).await.len(), 4, "new ones start beside the old ones");
        assert_eq!(world.deployments(&service).await.len(), 2);
        agent.obey(&world).await;
        world.advance(HEALTHY_AFTER);
        world.settle().await;
        let answer = agent.poll(&world).await;
        assert_eq!((answer.tasks.len(), agent.to_stop().len()), (2, 2));
        assert!(answer.tasks.iter().all(|order| order.stopped_reason.as_deref().unwrap().starts_with("Scaling activity")));
        agent.obey(&world).await;
        world.settle().await;
        let deployments = world.deployments(&service).await;
        assert_eq!(deployments.len(), 1);
        assert_eq!((deployments[0].status, deployments[0].rollout_state), (DeploymentStatus::Primary, RolloutState::Completed));
        assert!(world.tasks(&service).await.iter().all(|task| task.task_definition.revision == 2));
    })
    .await;
}

#[tokio::test]
async fn unhealthy_tasks_are_replaced() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({"healthCheck": {"command": ["CMD", "true"]}})).await;
    let service = world.service(1, "user:admin").await;
    let mut agent = FakeAgent::start(&world, "a").await;
    world.settle().await;
    agent.poll(&world).await;
    let id = agent.to_run()[0].clone();
    let mut report = agent.observed(&world, &id, TaskStatus::Running, None);
    world.advance(HEALTHY_AFTER);
    world.settle().await;
    assert!(world.task(&id).await.unwrap().healthy_at.is_none(), "running is not enough where there is a check");
    report.health_status = HealthStatus::Healthy;
    agent.report(&world, vec![report.clone()], vec![]).await;
    world.settle().await;
    assert_eq!(world.deployments(&service).await[0].rollout_state, RolloutState::Completed);
    world.advance(HEALTHY_AFTER);
    report.sequence += 1;
    report.health_status = HealthStatus::Unhealthy;
    agent.report(&world, vec![report], vec![]).await;
    world.settle().await;
    assert_eq!(world.tasks(&service).await.len(), 2, "the new one starts beside it");
    assert_eq!(world.task(&id).await.unwrap().desired_status, DesiredStatus::Running, "and it stays until the new one is healthy");
    agent.poll(&world).await;
    let new = agent.to_run().into_iter().find(|task| *task != id).unwrap();
    let mut report = agent.observed(&world, &new, TaskStatus::Running, None);
    report.health_status = HealthStatus::Healthy;
    agent.report(&world, vec![report], vec![]).await;
    world.settle().await;
    let old = world.task(&id).await.unwrap();
    assert_eq!(old.stopped_reason.as_deref(), Some("Task failed container health checks"));
}

#[tokio::test]
async fn a_deleted_service_stops_its_tasks_and_is_inactive_after() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    let service = world.service(2, "user:admin").await;
    let mut agent = FakeAgent::start(&world, "a").await;
    world.settle().await;
    agent.obey(&world).await;
    world
        .change_service(&service.id, |service| {
            service.status = ServiceStatus::Draining;
            service.desired_count = 0;
        })
        .await;
    world.settle().await;
    agent.obey(&world).await;
    assert!(agent.orders.is_empty());
    world.settle().await;
    assert_eq!(world.read_service(&service).await.status, ServiceStatus::Inactive);
    assert!(world.deployments(&service).await.is_empty());
}

#[tokio::test]
async fn an_open_poll_learns_of_a_new_task_within_milliseconds() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    world.service(1, "user:admin").await;
    let mut agent = FakeAgent::start(&world, "a").await;
    agent.poll(&world).await;
    let request = agent.poll_request();
    let began = Instant::now();
    let certificate = agent.certificate().clone();
    let context = world.context.clone();
    let deployer = world.deployer.clone();
    let planner = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        deployer::rollout::pass::run(&context, &mut world.memory).await.unwrap()
    };
    let router = deployer.agent_router();
    let poll = async {
        use tower::ServiceExt as _;
        let mut http = http::Request::post("/agent/v1/poll")
            .header("content-type", "application/json")
            .body(axum::body::Body::from(serde_json::to_vec(&request).unwrap()))
            .unwrap();
        http.extensions_mut().insert(platform::http::PeerCertificate(certificate));
        let response = router.oneshot(http).await.unwrap();
        axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()
    };
    let (status, body) = tokio::join!(planner, poll);
    let answer: api::agent::PollResponse = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.changed, answer.tasks.len()), (1, 1));
    assert!(began.elapsed() < Duration::from_millis(180), "before the heartbeat: {:?}", began.elapsed());
}

#[tokio::test]
async fn stopped_tasks_can_be_described_for_an_hour() {
    let (db, _folder) = sqlite().await;
    let mut world = World::new(db).await;
    world.definition(1, json!({})).await;
    let service = world.service(1, "user:admin").await;
    let mut agent = FakeAgent::start(&world, "a").await;
    world.settle().await;
    agent.obey(&world).await;
    let id = agent.to_run()[0].clone();
    agent.tell(&world, &id, TaskStatus::Stopped, Some(0)).await;
    world.change_service(&service.id, |service| service.desired_count = 0).await;
    world.advance(Duration::from_secs(3599));
    assert_eq!(deployer::rollout::cleanup(&world.context).await.unwrap(), 0);
    world.advance(Duration::from_secs(2));
    assert_eq!(deployer::rollout::cleanup(&world.context).await.unwrap(), 1);
    assert!(world.task(&id).await.is_none());
}
