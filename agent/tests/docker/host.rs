//! A host for one test: the machine's Docker Engine under a control plane of its own, an image of busybox, and engines over one ledger.

use agent::diff::Planes;
use agent::engine::{Engine, Parts, RelayAccess};
use agent::record::TaskRecord;
use agent::runtime::docker::DockerRuntime;
use api::agent::{PollResponse, TaskOrder};
use model::clock::SystemClock;
use model::ids::TaskId;
use model::task::{DesiredStatus, ResolvedImage, TaskStatus};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub const SOCKET: &str = "unix:///var/run/docker.sock";
pub const IMAGE: &str = "berth-agent-test/busybox:v1";
const APPLETS: &[&str] = &["sh", "sleep", "true", "false", "cat", "echo", "httpd", "wget", "tail"];

static NEXT: AtomicU64 = AtomicU64::new(1);
static IMAGE_MADE: Mutex<bool> = Mutex::new(false);

/// The host.
pub struct Host {
    dir: tempfile::TempDir,
    pub plane: String,
}

impl Host {
    pub fn new() -> Self {
        make_image();
        let plane = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { dir: tempfile::tempdir().unwrap(), plane }
    }

    /// An order for a task definition, with busybox as the image where none is named.
    pub fn order(&self, mut definition: Value) -> TaskOrder {
        definition["family"] = self.plane.clone().into();
        for container in definition["containerDefinitions"].as_array_mut().unwrap() {
            container.as_object_mut().unwrap().entry("image").or_insert_with(|| IMAGE.into());
        }
        let definition: model::task_definition::TaskDefinition = serde_json::from_value(definition).unwrap();
        let image = |image: &str| ResolvedImage { repository: None, digest: None, image: image.to_owned() };
        let task_id = TaskId::from_random((u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 80) + u128::from(std::process::id()));
        TaskOrder {
            task_arn: format!("arn:aws:ecs:r:123456789012:task/default/{task_id}"),
            task_id,
            version: 1,
            desired_status: DesiredStatus::Running,
            stop_code: None,
            stopped_reason: None,
            cluster: "default".into(),
            task_definition: format!("{}:1", definition.family),
            group: "family:test".into(),
            images: definition.container_definitions.iter().map(|c| (c.name.clone(), image(&c.image))).collect(),
            definition,
            overrides: Vec::new(),
        }
    }

    /// An engine over this host's ledger, until the value is dropped.
    pub fn live(&self) -> Life {
        let stop = CancellationToken::new();
        let parts = Parts {
            runtime: DockerRuntime::new(SOCKET),
            clock: Arc::new(SystemClock),
            data_dir: self.dir.path().to_owned(),
            planes: Planes { current: self.plane.clone(), former: Vec::new() },
            relay: RelayAccess::new(1),
            writes: agent::ledger::Writes::Beside,
            failpoint: None,
        };
        let engine = Engine::open(parts, stop.clone()).unwrap();
        tokio::spawn(Arc::clone(&engine).run());
        Life { engine, stop }
    }

    /// Ids of this host's containers.
    pub fn containers(&self) -> Vec<String> {
        let filter = format!("label=io.berth.control-plane={}", self.plane);
        docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for container in self.containers() {
            docker(&["rm", "--force", "--volumes", &container]);
        }
        let volumes = docker(&["volume", "ls", "--quiet", "--filter", &format!("label=io.berth.family={}", self.plane)]);
        for volume in volumes.lines() {
            docker(&["volume", "rm", volume]);
        }
    }
}

/// A running engine.
pub struct Life {
    pub engine: Arc<Engine<DockerRuntime>>,
    stop: CancellationToken,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Life {
    pub fn order(&self, order: &TaskOrder) {
        self.order_all(std::slice::from_ref(order));
    }

    pub fn order_all(&self, orders: &[TaskOrder]) {
        self.engine.take(&answer(orders.to_vec())).unwrap();
    }

    pub fn stop(&self, order: &TaskOrder) {
        self.order(&TaskOrder { version: order.version + 1, desired_status: DesiredStatus::Stopped, ..order.clone() });
    }

    pub fn record(&self, order: &TaskOrder) -> TaskRecord {
        self.engine.record(&order.task_id).unwrap()
    }

    pub async fn reach(&self, order: &TaskOrder, status: TaskStatus) -> TaskRecord {
        for _ in 0..6000 {
            let record = self.record(order);
            if record.status() == status {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the task does not reach {status:?}: {:?}", self.record(order));
    }

    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..3000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not come about that {what}");
    }
}

pub fn answer(tasks: Vec<TaskOrder>) -> PollResponse {
    PollResponse {
        epoch: 1,
        lease_ms: 15_000,
        heartbeat_ms: 1_000,
        complete: true,
        tasks,
        settled: Vec::new(),
        unknown: Vec::new(),
        log_requests: Vec::new(),
    }
}

/// Runs the docker command; what it says on failure is the test's message.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output();
    let output = output.expect("the docker command is installed (scripts/docker-engine does that)");
    assert!(
        output.status.success(),
        "docker {} failed; is an engine running (scripts/docker-engine starts one)?\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A root file system of busybox and its links, as a tar.
pub fn busybox_tar() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::copy("/bin/busybox", bin.join("busybox")).expect("/bin/busybox is there (Debian's package busybox-static)");
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
    }
    let output = Command::new("tar").arg("-C").arg(dir.path()).args(["-c", "bin"]).output().expect("tar is installed");
    assert!(output.status.success());
    output.stdout
}

fn make_image() {
    let mut made = IMAGE_MADE.lock().unwrap();
    if *made || !docker(&["images", "--quiet", IMAGE]).is_empty() {
        *made = true;
        return;
    }
    let mut import = Command::new("docker").args(["import", "-", IMAGE]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut import.stdin.take().unwrap(), &busybox_tar()).unwrap();
    assert!(import.wait().unwrap().success());
    *made = true;
}
