//! What every operation and background task of the control plane works with. Built once by the composition root.

use axum::response::Response;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use identity::{Caller, Identity};
use model::access::Principal;
use model::ids::{InstanceId, Partition};
use model::repository::{RepositorySettings, TagOverwrite, TagPattern};
use model::{Clock, Digest, Reference, RepositoryName, Timestamp};
use platform::db::Db;
use platform::wake::Wake;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub struct Context {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub identity: Identity,
    pub partition: Partition,
    pub config: DeployerConfig,
    pub registry: RegistryFunctions,
    /// The planner looks again.
    pub rollout_wake: Wake,
    /// The intake of pushes looks again; the registry wakes it too.
    pub intake_wake: Wake,
    /// Every open poll of an agent looks again.
    pub orders_wake: OrdersWake,
    /// What is known of the connected agents; memory only.
    pub agents: crate::agents::Agents,
    /// The instances as RunTask sees them. Held by the one call that places tasks now: two that choose from one picture would choose
    /// the same instances, and one of them in vain.
    pub placing: tokio::sync::Mutex<crate::rollout::fleet::Fleet>,
    /// Where streams of events listen.
    pub live: crate::live::Live,
    pub metrics: crate::metrics::Metrics,
}

impl Context {
    pub fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        identity: Identity,
        partition: Partition,
        config: DeployerConfig,
        registry: RegistryFunctions,
    ) -> Self {
        Self {
            db,
            clock,
            identity,
            partition,
            config,
            registry,
            rollout_wake: Wake::default(),
            intake_wake: Wake::default(),
            orders_wake: OrdersWake::default(),
            agents: crate::agents::Agents::default(),
            placing: tokio::sync::Mutex::default(),
            live: crate::live::Live::default(),
            metrics: crate::metrics::Metrics::default(),
        }
    }
}

/// Settings of the control plane; validated by the composition root.
#[derive(Debug, Clone)]
pub struct DeployerConfig {
    /// Names under which people address this registry, as `host[:port]`: listen address, loopback, external host.
    pub own_hosts: Vec<String>,
    /// The one of them that agents tag pulled images with.
    pub image_host: String,
    /// Where this server is reached from outside, `http://127.0.0.1:5000`; ECR hands it to `docker login`.
    pub public_url: String,
    /// Where agents on other machines reach their listener, `https://10.0.0.5:5001`.
    pub agent_url: String,
    /// Labels every container that is ordered.
    pub control_plane_id: String,
    /// Of this start; every order carries it.
    pub epoch: i64,
    /// How often an agent is heard; default 5 s.
    pub heartbeat: Duration,
    /// An agent that is not heard for this long is lost; default 15 s.
    pub lease: Duration,
    /// How long the tasks of many instances lost at once are waited for; default 5 min, zero never.
    pub brake: Duration,
    /// How long a task without health check stays RUNNING before it counts as healthy; default 10 s.
    pub healthy_after: Duration,
}

impl DeployerConfig {
    pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(5);
    pub const LEASE_DEFAULT: Duration = Duration::from_secs(15);
    pub const BRAKE_DEFAULT: Duration = crate::rollout::brake::BRAKE_DEFAULT;
    pub const HEALTHY_AFTER_DEFAULT: Duration = Duration::from_secs(10);
}

type Answer<T> = BoxFuture<'static, Result<T, String>>;
pub type Resolve = Arc<dyn Fn(RepositoryName, Reference) -> Answer<Option<Digest>> + Send + Sync>;
pub type ServeAssigned = Arc<dyn Fn(AssignedRequest) -> BoxFuture<'static, Response> + Send + Sync>;
/// Name, maker, tags.
pub type CreateRepository = Arc<dyn Fn(RepositoryName, Principal, Tags) -> Answer<Option<RepositoryEntry>> + Send + Sync>;
/// Names, or all; after a name; at most so many.
pub type ListRepositories =
    Arc<dyn Fn(Option<Vec<RepositoryName>>, Option<RepositoryName>, i64) -> Answer<Vec<RepositoryEntry>> + Send + Sync>;
pub type Tags = Vec<(String, String)>;
/// Name, who changes it, who may move tags and for which tags it is the other way round.
pub type SetTagMutability =
    Arc<dyn Fn(RepositoryName, Caller, (TagOverwrite, Vec<TagPattern>)) -> Answer<Option<RepositoryEntry>> + Send + Sync>;

/// What the control plane needs of the registry, injected by the composition root. Errors are for the log, not for clients.
#[derive(Clone)]
pub struct RegistryFunctions {
    /// The digest a tag or digest names in a repository, when both exist.
    pub resolve: Resolve,
    /// Answers an agent's pull of content that is assigned to it.
    pub serve_assigned: ServeAssigned,
    /// Makes an empty repository; nothing when it exists already.
    pub create_repository: CreateRepository,
    /// Repositories by name (those of `names` that exist, or all), after a name, at most so many.
    pub list_repositories: ListRepositories,
    /// Says which tags of a repository may move; nothing when there is no such repository.
    pub set_tag_mutability: SetTagMutability,
}

/// A repository as ECR describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryEntry {
    pub name: RepositoryName,
    pub created_at: Timestamp,
    pub settings: RepositorySettings,
}

/// A pull by an agent: `digest` is served only when it is reachable from `roots` in `repository`.
#[derive(Debug, Clone)]
pub struct AssignedRequest {
    pub repository: RepositoryName,
    pub roots: Vec<Digest>,
    pub is_manifest: bool,
    pub digest: Digest,
    pub method: Method,
    pub headers: HeaderMap,
    /// Who pulls and from where, for the audit.
    pub instance: InstanceId,
    pub address: Option<IpAddr>,
}

/// Wakes every open poll at once. A poll subscribes before it looks, so that no wake between the look and the wait is lost.
#[derive(Debug, Clone)]
pub struct OrdersWake(watch::Sender<u64>);

impl Default for OrdersWake {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl OrdersWake {
    pub fn wake(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
