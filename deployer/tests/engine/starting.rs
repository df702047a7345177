//! Placement written down: tasks of RunTask, guards against plans made from an older picture.

use crate::agent::FakeAgent;
use crate::world::{World, images};
use deployer::rollout::NotWritten;
use deployer::rollout::apply::{Applied, apply};
use deployer::rollout::fleet::Fleet;
use deployer::rollout::observe::observe;
use deployer::rollout::pass::Memory;
use deployer::rollout::plan::plan;
use deployer::rollout::run::{Placement, RunRequest, Started, place, start};
use deployer::store;
use model::ids::{ClusterName, TaskDefinitionId};
use platform::db::testing::on_each_database;
use serde_json::json;

async fn request(world: &World, id: &TaskDefinitionId, count: usize) -> RunRequest {
    let definition = store::task_definitions::get(&mut world.context.db.read().await.unwrap(), id).await.unwrap().unwrap();
    RunRequest {
        cluster: ClusterName::default_cluster(),
        definition,
        images: images('a'),
        count,
        group: "family:web".into(),
        started_by: Some("me".into()),
        overrides: vec![],
        placement_strategy: vec![],
        placement_constraints: vec![],
        principal: "user:admin".parse().unwrap(),
        client_token: None,
        tags: vec![],
    }
}

async fn placed(world: &World, fleet: &mut Fleet, request: &RunRequest) -> Placement {
    place(&world.context, &mut world.context.db.read().await.unwrap(), fleet, request).await.unwrap()
}

async fn write(world: &World, request: &RunRequest, placement: Placement) -> Result<Started, NotWritten> {
    let (request, now) = (request.clone(), world.now());
    let written = world.context.db.write(move |tx| {
        let (request, placement) = (request.clone(), placement.clone());
        Box::pin(async move { start(tx, &request, &placement, now).await })
    });
    written.await
}

async fn run(world: &World, id: &TaskDefinitionId, count: usize) -> Started {
    let request = request(world, id, count).await;
    let placement = placed(world, &mut Fleet::default(), &request).await;
    write(world, &request, placement).await.unwrap()
}

#[tokio::test]
async fn of_two_calls_that_saw_one_picture_only_one_is_written_and_the_other_finds_what_is_left() {
    on_each_database(|db| async move {
        let world = World::new(db).await;
        let large = world.definition(1, json!({"memory": 600})).await;
        let _agent = FakeAgent::start(&world, "a").await;
        let (request, mut fleet) = (request(&world, &large, 1).await, Fleet::default());
        let (first, second) = (placed(&world, &mut fleet, &request).await, placed(&world, &mut fleet, &request).await);
        assert_eq!(write(&world, &request, first).await.unwrap().tasks.len(), 1);
        assert!(matches!(write(&world, &request, second).await, Err(NotWritten::Outdated)));
        let again = placed(&world, &mut fleet, &request).await;
        let left = write(&world, &request, again).await.unwrap();
        assert_eq!((left.tasks.len(), left.failures[0].reason.as_str()), (0, "RESOURCE:MEMORY"));
    })
    .await;
}

#[tokio::test]
async fn tasks_are_placed_while_there_is_room_and_the_rest_says_what_is_short() {
    on_each_database(|db| async move {
        let world = World::new(db).await;
        let ports = json!({"portMappings": [{"containerPort": 80, "hostPort": 8080}]});
        let fixed = world.definition(1, ports).await;
        let large = world.definition(2, json!({"memory": 600})).await;
        let none = run(&world, &fixed, 1).await;
        assert_eq!((none.tasks.len(), none.failures[0].arn.clone()), (0, None));
        let mut agent = FakeAgent::start(&world, "a").await;
        let started = run(&world, &fixed, 2).await;
        assert_eq!((started.tasks.len(), started.failures.len()), (1, 1));
        assert_eq!(started.failures[0].reason, "RESOURCE:PORTS");
        assert!(started.failures[0].arn.as_ref().unwrap().ends_with(agent.instance.as_str()));
        let started = run(&world, &large, 2).await;
        assert_eq!((started.tasks.len(), started.failures[0].reason.as_str()), (1, "RESOURCE:MEMORY"));
        assert_eq!(agent.poll(&world).await.tasks.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn of_two_plans_from_one_picture_only_one_is_written() {
    on_each_database(|db| async move {
        let world = World::new(db).await;
        world.definition(1, json!({})).await;
        let service = world.service(2, "user:admin").await;
        let _agent = FakeAgent::start(&world, "a").await;
        let snapshot = world.context.identity.snapshot().await.unwrap();
        let mut connection = world.context.db.read().await.unwrap();
        let (now, mut memory) = (world.now(), Memory::default());
        let observed = observe(&world.context, &mut connection, &snapshot, &mut memory, service.clone(), now).await.unwrap();
        drop(connection);
        let steps = plan(&observed, now).steps;
        let (first, second) = (observed.clone(), observed);
        assert_eq!(apply(&world.context, first, steps.clone(), now).await.unwrap(), Applied::Written);
        assert_eq!(apply(&world.context, second, steps, now).await.unwrap(), Applied::Outdated);
        assert_eq!(world.tasks(&service).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_placement_is_void_when_the_instance_changed_since() {
    on_each_database(|db| async move {
        let world = World::new(db).await;
        world.definition(1, json!({})).await;
        let service = world.service(1, "user:admin").await;
        let _agent = FakeAgent::start(&world, "a").await;
        let snapshot = world.context.identity.snapshot().await.unwrap();
        let mut connection = world.context.db.read().await.unwrap();
        let (now, mut memory) = (world.now(), Memory::default());
        let observed = observe(&world.context, &mut connection, &snapshot, &mut memory, service.clone(), now).await.unwrap();
        drop(connection);
        let id = TaskDefinitionId { family: "web".parse().unwrap(), revision: 1 };
        assert_eq!(run(&world, &id, 1).await.tasks.len(), 1);
        let steps = plan(&observed, now).steps;
        assert_eq!(apply(&world.context, observed, steps, now).await.unwrap(), Applied::Outdated);
        assert!(world.tasks(&service).await.is_empty());
    })
    .await;
}
