//! The engine over the fake Docker: each state of a task, each fault, and crashes at every moment.

use super::*;
use crate::record::tests::{order_of_two, order_with};
use crate::runtime::fake::{Call, Deed, FakeDocker, Fault};
use crate::runtime::{LABEL_CONTAINER, LABEL_CONTROL_PLANE, LABEL_TASK};
use api::agent::TaskOrder;
use model::clock::SystemClock;
use model::task::{DesiredStatus, HealthStatus, StopCode, TaskStatus};
use proptest::prelude::*;
use serde_json::json;
use std::path::Path;

/// A running engine that dies with this value, as by `kill -9`.
struct Life {
    engine: Arc<Engine<FakeDocker>>,
    stop: CancellationToken,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn live(docker: &FakeDocker, dir: &Path) -> Life {
    let stop = CancellationToken::new();
    let parts = Parts {
        runtime: docker.clone(),
        clock: Arc::new(SystemClock),
        data_dir: dir.to_owned(),
        planes: Planes { current: "plane".into(), former: vec!["former".into()] },
        relay: RelayAccess::new(4000),
        writes: Writes::Beside,
        failpoint: None,
    };
    let engine = Engine::open(parts, stop.clone()).unwrap();
    tokio::spawn(Arc::clone(&engine).run());
    Life { engine, stop }
}

fn answer(tasks: Vec<TaskOrder>) -> PollResponse {
    PollResponse {
        epoch: 1,
        lease_ms: 15_000,
        heartbeat_ms: 5_000,
        complete: true,
        tasks,
        settled: Vec::new(),
        unknown: Vec::new(),
        log_requests: Vec::new(),
    }
}

fn stopped(order: &TaskOrder) -> TaskOrder {
    TaskOrder { version: order.version + 1, desired_status: DesiredStatus::Stopped, ..order.clone() }
}

/// A Docker that has the images of `order_of_two`.
fn docker() -> FakeDocker {
    let docker = FakeDocker::default();
    for image in ["x:latest", "y:latest"] {
        docker.add_image(image);
        docker.publish_image(image);
    }
    docker
}

async fn reach(engine: &Engine<FakeDocker>, task: &TaskId, status: TaskStatus) -> TaskRecord {
    for _ in 0..20_000 {
        if let Some(record) = engine.record(task)
            && record.status() == status
        {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("task {task} does not reach {status:?}: {:?}", engine.record(task));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_launched_watched_and_stopped_on_order() {
    let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
    let life = live(&docker, dir.path());
    let order = order_of_two(1);
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    let record = reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    assert_eq!(docker.running().len(), 2);
    assert!(record.started_at.is_some() && record.pull_stopped_at.is_some());
    while life.engine.record(&order.task_id).unwrap().health() != HealthStatus::Healthy {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    life.engine.take(&answer(vec![stopped(&order)])).unwrap();
    let record = reach(&life.engine, &order.task_id, TaskStatus::Stopped).await;
    assert_eq!(record.report().stop_code, None);
    assert_eq!(record.containers["app"].exit_code, Some(143));
    assert!(docker.running().is_empty());
    assert_eq!(docker.containers().len(), 2, "kept for a look at them");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_essential_container_stops_the_others() {
    let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
    let life = live(&docker, dir.path());
    let order = order_of_two(1);
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    docker.kill("berth-web-1-app-000000000000", 7, true);
    let report = reach(&life.engine, &order.task_id, TaskStatus::Stopped).await.report();
    assert_eq!(report.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!(report.containers.iter().find(|c| c.name == "app").unwrap().exit_code, Some(7));
    assert!(docker.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_missed_event_is_healed_by_the_list() {
    let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
    let life = live(&docker, dir.path());
    let order = order_of_two(1);
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    docker.kill("berth-web-1-app-000000000000", 3, false);
    let record = reach(&life.engine, &order.task_id, TaskStatus::Stopped).await;
    assert_eq!(record.containers["app"].exit_code, Some(3));

    let order = order_of_two(2 << 80);
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    let record = reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    docker.vanish(&crate::mapping::container_name(&record.order, "app"));
    let record = reach(&life.engine, &order.task_id, TaskStatus::Stopped).await;
    assert!(record.containers["app"].reason.as_ref().unwrap().starts_with("ContainerVanishedError"));
}

#[tokio::test(start_paused = true)]
async fn each_failure_to_start_has_its_name() {
    let refuse = |status, text: &str| Fault::Refuse(status, text.to_owned());
    for (call, fault, times, expected) in [
        (Call::Create, refuse(400, "invalid mount config"), 1, "CannotCreateContainerError: Error response from daemon: invalid mount"),
        (
            Call::Start,
            refuse(500, "OCI runtime create failed: no such file"),
            1,
            "CannotStartContainerError: Error response from daemon: OCI",
        ),
        (Call::Start, refuse(500, "Bind for 0.0.0.0:80 failed: port is already allocated"), 50, "CannotStartContainerError: "),
        (Call::Start, Fault::Silence { happened: false }, 3, "DockerTimeoutError: Could not transition to started"),
        (Call::Create, Fault::Silence { happened: false }, 3, "DockerTimeoutError: Could not transition to created"),
    ] {
        let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
        for _ in 0..times {
            docker.inject(call, fault.clone());
        }
        let life = live(&docker, dir.path());
        let order = order_of_two(1);
        life.engine.take(&answer(vec![order.clone()])).unwrap();
        let report = reach(&life.engine, &order.task_id, TaskStatus::Stopped).await.report();
        assert_eq!(report.stop_code, Some(StopCode::TaskFailedToStart));
        assert!(report.stopped_reason.as_ref().unwrap().starts_with(expected), "{report:?}");
        assert!(docker.running().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_nowhere_is_a_failed_pull_and_one_on_the_host_is_enough() {
    let (docker, dir) = (FakeDocker::default(), tempfile::tempdir().unwrap());
    let life = live(&docker, dir.path());
    let order = order_with(1, json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "nowhere:v1"}]}));
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    let report = reach(&life.engine, &order.task_id, TaskStatus::Stopped).await.report();
    let reason = report.containers[0].reason.clone().unwrap();
    assert!(reason.starts_with("CannotPullContainerError: the image does not exist"), "{reason}");

    docker.add_image("local:v1");
    let order = order_with(2, json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "local:v1"}]}));
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    assert!(!docker.journal().iter().any(|deed| matches!(deed, Deed::Pulled(_))));
}

#[tokio::test(start_paused = true)]
async fn an_own_image_is_pulled_once_by_digest_through_the_relay() {
    let (docker, dir) = (FakeDocker::default(), tempfile::tempdir().unwrap());
    let digest = format!("sha256:{}", "0".repeat(64));
    let name = format!("127.0.0.1:4000/acme/web@{digest}");
    docker.publish_image(&name);
    let life = live(&docker, dir.path());
    life.engine.set_image_host("r.io");
    let orders: Vec<TaskOrder> = (1..8_u128)
        .map(|id| {
            let mut order =
                order_with(id << 80, json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "acme/web:v1"}]}));
            let image = order.images.get_mut("app").unwrap();
            (image.repository, image.digest) = (Some("acme/web".into()), Some(digest.parse().unwrap()));
            order
        })
        .collect();
    life.engine.take(&answer(orders.clone())).unwrap();
    for order in &orders {
        reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    }
    let pulls = docker.journal().into_iter().filter(|deed| matches!(deed, Deed::Pulled(_))).collect::<Vec<_>>();
    assert_eq!(pulls, [Deed::Pulled(name)]);
    assert!(docker.image_exists("r.io/acme/web:v1").await.unwrap(), "readable for people");
}

#[tokio::test(start_paused = true)]
async fn a_stop_reaches_a_task_that_is_still_pulling() {
    let (docker, dir) = (FakeDocker::default(), tempfile::tempdir().unwrap());
    for _ in 0..3 {
        docker.inject(Call::Pull, Fault::Silence { happened: false });
    }
    let life = live(&docker, dir.path());
    let order = order_of_two(1);
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    life.engine.take(&answer(vec![stopped(&order)])).unwrap();
    let begun = tokio::time::Instant::now();
    let report = reach(&life.engine, &order.task_id, TaskStatus::Stopped).await.report();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(report.stop_code, None);
    assert!(docker.containers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_stopped_and_is_back_means_stopped_tasks_not_lost_ones() {
    let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
    let life = live(&docker, dir.path());
    let order = order_of_two(1);
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    docker.set_down(true);
    let waiting = order_of_two(5 << 80);
    life.engine.take(&answer(vec![waiting.clone()])).unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(life.engine.record(&order.task_id).unwrap().status(), TaskStatus::Running, "nobody knows better");
    assert_eq!(life.engine.record(&waiting.task_id).unwrap().status(), TaskStatus::Pending, "not failed: not tried");
    docker.set_down(false);
    let report = reach(&life.engine, &order.task_id, TaskStatus::Stopped).await.report();
    assert_eq!(report.stop_code, Some(StopCode::EssentialContainerExited));
    reach(&life.engine, &waiting.task_id, TaskStatus::Running).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_server_does_not_know_is_reported_and_kept() {
    let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
    let task = format!("{:032x}", 99);
    let labels = |plane: &'static str| [(LABEL_CONTROL_PLANE, plane), (LABEL_TASK, task.as_str()), (LABEL_CONTAINER, "app")];
    docker.plant("yesterdays", &labels("plane"));
    docker.plant("of-the-former", &labels("former"));
    docker.plant("neighbours", &labels("other"));
    let life = live(&docker, dir.path());
    let order = order_of_two(1);
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    life.engine.take(&PollResponse { unknown: vec![order.task_id.clone()], ..answer(Vec::new()) }).unwrap();
    docker.kill("berth-web-1-app-000000000000", 1, true);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(docker.running().contains("berth-web-1-side-000000000000"), "nothing of an unknown task is stopped");
    assert_eq!(docker.running().len(), 4);
    assert!(!docker.journal().iter().any(|deed| matches!(deed, Deed::Stopped(_) | Deed::Removed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lower_epoch_is_refused_also_after_a_restart() {
    let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
    let life = live(&docker, dir.path());
    life.engine.take(&PollResponse { epoch: 9, ..answer(Vec::new()) }).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(life.engine.take(&answer(vec![order_of_two(1)])), Err(StaleEpoch { got: 1, held: 9 }));
    drop(life);
    let life = live(&docker, dir.path());
    assert!(life.engine.take(&answer(vec![order_of_two(1)])).is_err());
    assert!(life.engine.known().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_ledger_loses_no_container() {
    let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
    let life = live(&docker, dir.path());
    let order = order_of_two(1);
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    let before = docker.containers();
    drop(life);

    let other = tempfile::tempdir().unwrap();
    let life = live(&docker, other.path());
    life.engine.take(&answer(vec![order.clone()])).unwrap();
    reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    assert_eq!(docker.containers(), before, "the same containers");
    life.engine.take(&answer(vec![stopped(&order)])).unwrap();
    reach(&life.engine, &order.task_id, TaskStatus::Stopped).await;
    assert!(docker.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_settled_task_is_forgotten_with_its_containers_after_a_while() {
    let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
    let life = live(&docker, dir.path());
    let orders: Vec<TaskOrder> = (1..=55_u128).map(|id| order_of_two(id << 80)).collect();
    life.engine.take(&answer(orders.clone())).unwrap();
    for order in &orders {
        reach(&life.engine, &order.task_id, TaskStatus::Running).await;
    }
    life.engine.take(&answer(orders.iter().map(stopped).collect())).unwrap();
    for order in &orders {
        reach(&life.engine, &order.task_id, TaskStatus::Stopped).await;
    }
    life.engine.take(&PollResponse { settled: orders.iter().map(|order| order.task_id.clone()).collect(), ..answer(Vec::new()) }).unwrap();
    assert!(life.engine.known().is_empty(), "settled tasks are not asked about");
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(docker.containers().len(), 100, "fifty tasks of two containers are kept");
    drop(life);
    assert_eq!(std::fs::read_dir(dir.path().join("ledger/plane")).unwrap().count(), 51, "fifty tasks and the epoch");
}

/// What a test does to the world between two crashes.
#[derive(Debug, Clone)]
enum Turn {
    Order(u8),
    StopOrder(u8),
    Kill(u8),
    Fault(Call, bool),
    Wait(u16),
    List,
    Crash,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let call = prop_oneof![Just(Call::Create), Just(Call::Start), Just(Call::Stop), Just(Call::Inspect), Just(Call::List)];
    let turn = prop_oneof![
        4 => (0..4_u8).prop_map(Turn::Order),
        2 => (0..4_u8).prop_map(Turn::StopOrder),
        1 => (0..4_u8).prop_map(Turn::Kill),
        2 => (call, any::<bool>()).prop_map(|(call, happened)| Turn::Fault(call, happened)),
        4 => (0..120_u16).prop_map(Turn::Wait),
        3 => Just(Turn::List),
        3 => Just(Turn::Crash),
    ];
    proptest::collection::vec(turn, 1..25)
}

/// Plays the turns, then lets everything settle, and holds the world to the rules.
async fn play(turns: Vec<Turn>) {
    let (docker, dir) = (docker(), tempfile::tempdir().unwrap());
    let mut life = live(&docker, dir.path());
    let mut orders: BTreeMap<u8, TaskOrder> = BTreeMap::new();
    let mut disturbed = std::collections::BTreeSet::new();
    let silent = |call: Call| turns.iter().filter(|turn| matches!(turn, Turn::Fault(which, _) if *which == call)).count();
    let (silent_creates, silent_starts) = (silent(Call::Create), silent(Call::Start));
    for turn in turns.clone() {
        if silent_starts == 0 {
            none_runs_after_stopped(&docker, &life, &orders);
        }
        match turn {
            Turn::Order(n) => {
                let order = orders.entry(n).or_insert_with(|| order_of_two(u128::from(n + 1) << 80)).clone();
                life.engine.take(&answer(vec![order])).unwrap();
            }
            Turn::StopOrder(n) => {
                let Some(order) = orders.get_mut(&n) else { continue };
                *order = stopped(order);
                life.engine.take(&answer(vec![order.clone()])).unwrap();
            }
            Turn::Kill(n) => {
                let Some(order) = orders.get(&n) else { continue };
                let name = crate::mapping::container_name(order, "app");
                if docker.running().contains(&name) {
                    disturbed.insert(n);
                    docker.kill(&name, 1, true);
                }
            }
            Turn::Fault(call, happened) => docker.inject(call, Fault::Silence { happened }),
            Turn::List => life.engine.list_wanted.notify_one(),
            Turn::Wait(millis) => tokio::time::sleep(Duration::from_millis(u64::from(millis))).await,
            Turn::Crash => {
                drop(life);
                life = live(&docker, dir.path());
                // The first poll of a new life brings everything.
                life.engine.take(&answer(orders.values().cloned().collect())).unwrap();
            }
        }
    }
    tokio::time::sleep(Duration::from_mins(2)).await;
    judge(&docker, &life, &orders, &disturbed, silent_creates >= 3 || silent_starts >= 3);
}

/// STOPPED is never said of what runs.
fn none_runs_after_stopped(docker: &FakeDocker, life: &Life, orders: &BTreeMap<u8, TaskOrder>) {
    for order in orders.values() {
        if life.engine.record(&order.task_id).is_some_and(|record| record.status() == TaskStatus::Stopped) {
            for container in ["app", "side"] {
                let name = crate::mapping::container_name(order, container);
                assert!(!docker.running().contains(&name), "{name} runs, and its task counts as STOPPED");
            }
        }
    }
}

fn judge(docker: &FakeDocker, life: &Life, orders: &BTreeMap<u8, TaskOrder>, disturbed: &std::collections::BTreeSet<u8>, may_fail: bool) {
    let journal = docker.journal();
    let count = |deed: &Deed| journal.iter().filter(|done| *done == deed).count();
    for (n, order) in orders {
        let record = life.engine.record(&order.task_id).expect("an order is never forgotten");
        let ordered = order.desired_status == DesiredStatus::Stopped;
        let failed = matches!(record.cause, Some(crate::record::StopCause::FailedToStart { .. }));
        assert!(may_fail || !failed, "a few lost answers are no failure: {record:?}");
        for container in ["app", "side"] {
            let name = crate::mapping::container_name(order, container);
            assert!(count(&Deed::Created(name.clone())) <= 1, "{name} was made twice: {journal:?}");
            assert!(count(&Deed::Started(name.clone())) <= 1, "{name} was started twice: {journal:?}");
            let may_stop = ordered || failed || disturbed.contains(n);
            assert!(may_stop || count(&Deed::Stopped(name.clone())) == 0, "{name} was stopped without a cause: {journal:?}");
            assert!(may_stop || docker.running().contains(&name), "{name} does not run: {record:?}");
            assert!(!may_stop || !docker.running().contains(&name), "{name} runs on: {record:?}");
        }
        let expected = if ordered || failed || disturbed.contains(n) { TaskStatus::Stopped } else { TaskStatus::Running };
        assert_eq!(record.status(), expected, "{record:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Orders, kills, lost answers and crashes in any order: nothing is made or started twice, nothing stops without a cause, and
    /// everything ends where it was ordered to be.
    #[test]
    fn whatever_happens_no_container_is_doubled_or_lost(turns in turns()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(turns));
    }
}
