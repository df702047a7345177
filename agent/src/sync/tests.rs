//! The conversation over a server that loses requests and answers, forgets registrations and is replaced.

use super::*;
use crate::client::{Code, Refusal};
use crate::diff::Planes;
use crate::engine::{Parts, RelayAccess};
use crate::ledger::Writes;
use crate::record::tests::order_of_two;
use crate::reporter;
use crate::runtime::fake::FakeDocker;
use api::agent::{RegisterRequest, ReportRequest, ReportResponse, TaskOrder, TaskReport};
use model::clock::SystemClock;
use model::ids::TaskId;
use model::task::{DesiredStatus, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct World {
    epoch: i64,
    plane: String,
    registered: bool,
    orders: Vec<TaskOrder>,
    /// Everything that was ever reported of a task, in order.
    reports: BTreeMap<TaskId, Vec<TaskReport>>,
    settled: BTreeSet<TaskId>,
    refusal: Option<AgentErrorCode>,
    registrations: usize,
    calls: u64,
}

/// A server that loses half of all messages, before or after it did what was asked.
#[derive(Clone, Default)]
struct Lossy(Arc<Mutex<World>>);

enum Loss {
    None,
    Request,
    Answer,
}

fn lost() -> ClientError {
    ClientError::Status { status: 503 }
}

fn refused(code: AgentErrorCode) -> ClientError {
    ClientError::Refused(Refusal { code: Code(code), message: "no".into() })
}

impl Lossy {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    async fn call<T>(&self, effect: impl FnOnce(&mut World) -> Result<T, ClientError>) -> Result<T, ClientError> {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let mut world = self.world();
        world.calls += 1;
        let loss = match world.calls.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33 & 7 {
            0 | 1 => Loss::Request,
            2 | 3 => Loss::Answer,
            _ => Loss::None,
        };
        if let Some(code) = world.refusal {
            return Err(refused(code));
        }
        match loss {
            Loss::Request => Err(lost()),
            Loss::Answer => effect(&mut world).and(Err(lost())),
            Loss::None => effect(&mut world),
        }
    }
}

impl Server for Lossy {
    async fn register(&self, _: &RegisterRequest) -> Result<RegisterResponse, ClientError> {
        self.call(|world| {
            world.registered = true;
            world.registrations += 1;
            Ok(RegisterResponse {
                epoch: world.epoch,
                control_plane_id: world.plane.clone(),
                instance_arn: "arn".into(),
                cluster: "default".into(),
                image_host: "r.io".into(),
            })
        })
        .await
    }

    async fn poll(&self, request: &PollRequest) -> Result<PollResponse, ClientError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.call(|world| {
            if !world.registered {
                return Err(refused(AgentErrorCode::Register));
            }
            let complete = request.epoch != world.epoch;
            let news = |order: &&TaskOrder| {
                !world.settled.contains(&order.task_id) && (complete || request.known.get(&order.task_id) != Some(&order.version))
            };
            Ok(PollResponse {
                epoch: world.epoch,
                lease_ms: 15_000,
                heartbeat_ms: 500,
                complete,
                tasks: world.orders.iter().filter(news).cloned().collect(),
                settled: request.known.keys().filter(|task| world.settled.contains(*task)).cloned().collect(),
                unknown: Vec::new(),
                log_requests: Vec::new(),
            })
        })
        .await
    }

    async fn report(&self, request: &ReportRequest) -> Result<ReportResponse, ClientError> {
        self.call(|world| {
            for report in &request.tasks {
                if report.last_status == TaskStatus::Stopped {
                    world.settled.insert(report.task_id.clone());
                }
                world.reports.entry(report.task_id.clone()).or_default().push(report.clone());
            }
            Ok(ReportResponse { epoch: world.epoch })
        })
        .await
    }
}

struct Agent {
    sync: tokio::task::JoinHandle<Ended>,
    reporter: tokio::task::JoinHandle<()>,
    engine: Arc<Engine<FakeDocker>>,
    stop: CancellationToken,
    docker: FakeDocker,
    _dir: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
        self.sync.abort();
        self.reporter.abort();
    }
}

fn start(server: &Lossy, can_rejoin: bool) -> Agent {
    let (docker, dir, stop) = (FakeDocker::default(), tempfile::tempdir().unwrap(), CancellationToken::new());
    docker.add_image("x:latest");
    docker.add_image("y:latest");
    let parts = Parts {
        runtime: docker.clone(),
        clock: Arc::new(SystemClock),
        data_dir: dir.path().to_owned(),
        planes: Planes { current: "plane".into(), former: Vec::new() },
        relay: RelayAccess::new(1),
        writes: Writes::Beside,
        failpoint: None,
    };
    let engine = Engine::open(parts, stop.clone()).unwrap();
    tokio::spawn(Arc::clone(&engine).run());
    let epoch = {
        let engine = Arc::clone(&engine);
        move || engine.epoch()
    };
    let reporter = tokio::spawn(reporter::run(server.clone(), engine.outbox(), epoch));
    let config = AgentConfig { server: "https://127.0.0.1:1".into(), ..AgentConfig::default() };
    let sync = Sync { config, control_plane: "plane".into(), engine: Arc::clone(&engine), server: server.clone(), can_rejoin };
    let sync = tokio::spawn(async move { sync.run(|_| {}).await });
    Agent { sync, reporter, engine, stop, docker, _dir: dir }
}

fn server() -> Lossy {
    let server = Lossy::default();
    {
        let mut world = server.world();
        (world.epoch, world.plane) = (10, "plane".into());
    }
    server
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come about that {what}");
}

fn last(server: &Lossy, task: &TaskId) -> Option<TaskStatus> {
    server.world().reports.get(task).and_then(|all| all.last()).map(|report| report.last_status)
}

#[tokio::test(start_paused = true)]
async fn orders_and_reports_arrive_over_a_line_that_loses_half_of_all_messages() {
    let server = server();
    let orders: Vec<TaskOrder> = (1..10_u128).map(|id| order_of_two(id << 80)).collect();
    server.world().orders = orders.clone();
    let agent = start(&server, false);
    until("all run", || orders.iter().all(|order| last(&server, &order.task_id) == Some(TaskStatus::Running))).await;

    let stopped = |order: &TaskOrder| TaskOrder { version: 2, desired_status: DesiredStatus::Stopped, ..order.clone() };
    server.world().orders = orders.iter().map(stopped).collect();
    until("all are stopped", || orders.iter().all(|order| last(&server, &order.task_id) == Some(TaskStatus::Stopped))).await;
    until("all are settled", || agent.engine.known().is_empty()).await;
    assert!(agent.docker.running().is_empty());
    for reports in server.world().reports.values() {
        assert!(reports.is_sorted_by_key(|report| report.last_status), "no report goes back");
        assert!(reports.is_sorted_by_key(|report| report.sequence));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_replaced_is_registered_with_anew_and_an_older_one_is_not_obeyed() {
    let server = server();
    let order = order_of_two(1);
    server.world().orders = vec![order.clone()];
    let agent = start(&server, false);
    until("it runs", || last(&server, &order.task_id) == Some(TaskStatus::Running)).await;
    {
        let mut world = server.world();
        (world.epoch, world.registered) = (11, false);
        world.reports.clear();
    }
    until("it is told again to the new server", || last(&server, &order.task_id) == Some(TaskStatus::Running)).await;
    assert!(server.world().registrations >= 2);
    until("its epoch is the one that counts", || agent.engine.epoch() == 11).await;

    let stop = TaskOrder { version: 2, desired_status: DesiredStatus::Stopped, ..order.clone() };
    {
        let mut world = server.world();
        (world.epoch, world.orders) = (10, vec![stop]);
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(agent.docker.running().len(), 2, "an order from the past is refused");
    server.world().epoch = 12;
    until("the same order from the present is obeyed", || agent.docker.running().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_agent_keeps_its_containers_and_asks_only_now_and_then() {
    let server = server();
    let order = order_of_two(1);
    server.world().orders = vec![order.clone()];
    let mut agent = start(&server, false);
    until("it runs", || last(&server, &order.task_id) == Some(TaskStatus::Running)).await;
    server.world().refusal = Some(AgentErrorCode::Revoked);
    let before = server.world().calls;
    tokio::time::sleep(Duration::from_mins(10)).await;
    let asked = server.world().calls - before;
    assert!(asked <= 45, "{asked} calls in ten minutes");
    assert_eq!(agent.docker.running().len(), 2);
    server.world().refusal = None;
    server.world().registered = false;
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(server.world().registrations >= 2, "taken back, it goes on");
    assert!(!agent.sync.is_finished());

    let server = self::server();
    server.world().refusal = Some(AgentErrorCode::Revoked);
    agent = start(&server, true);
    assert_eq!((&mut agent.sync).await.unwrap(), Ended::Rejoin, "with a token at hand it joins anew");
}

#[tokio::test(start_paused = true)]
async fn another_control_plane_behind_the_same_door_is_noticed() {
    let server = server();
    server.world().plane = "another".into();
    let mut agent = start(&server, false);
    assert_eq!((&mut agent.sync).await.unwrap(), Ended::OtherControlPlane("another".into()));
}
