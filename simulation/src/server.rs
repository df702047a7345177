//! The real control plane, on a thread of its own: real database, real routers, the real planner and lease, and a clock that is told
//! the time. One job at a time, and whoever asked waits: to the world a call takes no time and happens all at once.
//!
//! Its background tasks do not run by themselves; the world says when. A long poll answers at once here; the world holds it.

use crate::kinds::REPOSITORY;
use crate::picture::Picture;
use anyhow::{Context as _, Result};
use api::agent::{AgentError, AgentErrorCode};
use axum::Router;
use axum::body::Body;
use deployer::agents::lease;
use deployer::rollout::pass::{self, Memory, Status};
use deployer::{Context, Deployer, DeployerConfig, RegistryFunctions, RepositoryEntry};
use futures_util::FutureExt as _;
use http::{Request, StatusCode};
use identity::{BootstrapAdmin, Identity, IdentityConfig};
use model::clock::{Clock as _, ManualClock};
use model::ids::Partition;
use model::{Digest, Reference, Timestamp};
use platform::db::{DatabaseUrl, Db};
use platform::http::PeerCertificate;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

pub const START: Timestamp = Timestamp::from_secs(1_700_000_000);
pub const CONTROL_PLANE: &str = "cp-simulated";
pub const HEARTBEAT: Duration = Duration::from_secs(5);
pub const LEASE: Duration = Duration::from_secs(15);
pub const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// How long what many lost hosts ran is not replaced; short, so that a run sees its end.
pub const BRAKE: Duration = Duration::from_secs(40);
const BODY_BYTES_MAX: usize = 1 << 24;

/// A runtime of one thread, in real time: nothing in here depends on how long it takes.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("building a runtime")
}

/// The machine that the server runs on: database and clock outlive its processes.
pub struct Machine {
    pub clock: Arc<ManualClock>,
    pub db: Db,
    identity: Identity,
    pub token: String,
    epoch: i64,
    process: Option<Process>,
    pub picture: Picture,
    writes_seen: u64,
}

/// What dies with the process.
struct Process {
    context: Arc<Context>,
    agents: Router,
    people: Router,
    memory: Memory,
}

impl Machine {
    /// Opens the database in `folder`; with the administrator's token when it has one already.
    pub async fn open(folder: &Path, token: Option<String>) -> Result<Self> {
        let clock = Arc::new(ManualClock::at(START));
        let db = Db::open(&DatabaseUrl::Sqlite(folder.join("berth.db"))).await?;
        let config = IdentityConfig { master_key_file: folder.join("master.key") };
        let identity = Identity::open(config, db.clone(), clock.clone()).await?;
        let token = match token {
            Some(token) => token,
            None => identity::bootstrap(&identity, BootstrapAdmin::default()).await?.context("somebody is there already")?.token,
        };
        let mut machine =
            Self { clock, db, identity, token, epoch: START.as_secs(), process: None, picture: Picture::default(), writes_seen: 0 };
        machine.start().await?;
        machine.refresh().await?;
        Ok(machine)
    }

    pub async fn close(self) {
        drop(self.process);
        self.db.close().await;
    }

    /// A new process, as after a start of the server: an epoch higher, and nothing remembered.
    pub async fn start(&mut self) -> Result<()> {
        self.epoch = (self.epoch + 1).max(self.clock.now().as_secs());
        let partition = Partition::new("123456789012", "eu-home-1").context("a partition")?;
        let context = Context::new(self.db.clone(), self.clock.clone(), self.identity.clone(), partition, config(self.epoch), registry());
        let deployer = Deployer::open(context).await?;
        let context = deployer.context().clone();
        lease::expect_connected(&context).await?;
        self.process = Some(Process { context, agents: deployer.agent_router(), people: deployer.aws_router(), memory: Memory::default() });
        Ok(())
    }

    /// As by `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Sets the clock; it never goes back here.
    pub fn set_time(&self, now: Timestamp) {
        self.clock.advance(now.since(self.clock.now()));
    }

    /// What the database holds now.
    pub async fn refresh(&mut self) -> Result<Picture> {
        if self.writes_seen != self.db.writes() || self.picture.instances.is_empty() {
            self.writes_seen = self.db.writes();
            self.picture.refresh(&self.db).await?;
        }
        Ok(self.picture.clone())
    }

    /// A look of the planner at all services.
    pub async fn plan(&mut self) -> Result<Status> {
        match &mut self.process {
            Some(process) => Ok(pass::run(&process.context, &mut process.memory).await?),
            None => Ok(Status::default()),
        }
    }

    /// A look for lost agents.
    pub async fn sweep(&self) -> Result<usize> {
        match &self.process {
            Some(process) => Ok(lease::sweep(&process.context).await?.len()),
            None => Ok(0),
        }
    }

    /// A request of an agent; its refusal, or nothing when nobody answers.
    pub async fn agent(
        &self,
        certificate: Option<&CertificateDer<'static>>,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Option<AgentErrorCode>> {
        let process = self.process.as_ref().ok_or(None)?;
        let mut request = Request::post(format!("/agent/v1/{path}"))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .expect("a request can be made");
        if let Some(certificate) = certificate {
            request.extensions_mut().insert(PeerCertificate(certificate.clone()));
        }
        let response = process.agents.clone().oneshot(request).await.map_err(|_| None)?;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), BODY_BYTES_MAX).await.map_err(|_| None)?;
        if status == StatusCode::OK {
            return Ok(body.to_vec());
        }
        Err(serde_json::from_slice::<AgentError>(&body).ok().map(|error| error.code))
    }

    /// A request of a person to the ECS API, as the administrator; the refusal as text.
    pub async fn ecs(&self, operation: &str, body: &Value) -> Result<Value, String> {
        let process = self.process.as_ref().ok_or("nobody answers")?;
        let request = Request::post("/")
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", format!("Bearer {}", self.token))
            .header("x-amz-target", format!("AmazonEC2ContainerServiceV20141113.{operation}"))
            .body(Body::from(body.to_string()))
            .expect("a request can be made");
        let response = process.people.clone().oneshot(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), BODY_BYTES_MAX).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if status == StatusCode::OK { serde_json::from_str(&text).map_err(|error| error.to_string()) } else { Err(text) }
    }

    /// A join token for a host.
    pub async fn join_token(&self) -> Result<String> {
        let request = Request::post("/api/v1/join-tokens")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Body::from(json!({}).to_string()))?;
        let (router, _) = identity::router(self.identity.clone()).split_for_parts();
        let response = router.oneshot(request).await?;
        let body = axum::body::to_bytes(response.into_body(), BODY_BYTES_MAX).await?;
        let made: Value = serde_json::from_slice(&body)?;
        made["secret"].as_str().map(str::to_owned).with_context(|| format!("no join token: {made}"))
    }
}

fn config(epoch: i64) -> DeployerConfig {
    DeployerConfig {
        own_hosts: vec!["127.0.0.1:5000".into()],
        image_host: "127.0.0.1:5000".into(),
        public_url: "http://127.0.0.1:5000".into(),
        agent_url: "https://127.0.0.1:5001".into(),
        control_plane_id: CONTROL_PLANE.into(),
        epoch,
        // A poll answers at once; the world holds it until there is news or the heartbeat is over.
        heartbeat: Duration::ZERO,
        lease: LEASE,
        healthy_after: HEALTHY_AFTER,
        brake: BRAKE,
    }
}

/// A registry with one repository, whose tag `kN` names the digest N.
fn registry() -> RegistryFunctions {
    let resolve = |_, reference: Reference| async move { Ok(digest(&reference)) }.boxed();
    let entry = || RepositoryEntry {
        name: REPOSITORY.parse().expect("a name"),
        created_at: START,
        settings: model::repository::RepositorySettings::default(),
    };
    RegistryFunctions {
        resolve: Arc::new(resolve),
        serve_assigned: Arc::new(|_| async { axum::response::Response::new(Body::empty()) }.boxed()),
        create_repository: Arc::new(|_, _, _| async { Ok(None) }.boxed()),
        list_repositories: Arc::new(move |_, _, _| async move { Ok(vec![entry()]) }.boxed()),
        set_tag_mutability: Arc::new(|_, _, _| async { Ok(None) }.boxed()),
    }
}

fn digest(reference: &Reference) -> Option<Digest> {
    match reference {
        Reference::Digest(digest) => Some(digest.clone()),
        Reference::Tag(tag) => {
            let at: usize = tag.to_string().strip_prefix('k')?.parse().ok()?;
            crate::kinds::Kind::digest(at).parse().ok()
        }
    }
}
