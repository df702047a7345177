//! A control plane in memory: real database and identity, a registry that is a map, and callers by the grants they hold.

use api::aws::{Api, CONTENT_TYPE};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use deployer::triggers::intake;
use deployer::{Context, Deployer, DeployerConfig, RegistryFunctions, RepositoryEntry};
use identity::operations::{grants, principals, tokens};
use identity::{BootstrapAdmin, Caller, Credential, Identity, IdentityConfig};
use model::access::{Principal, Resource, Role};
use model::clock::ManualClock;
use model::ids::{ClusterName, DeploymentId, InstanceId, Partition, TaskDefinitionId, TaskId};
use model::instance::{Instance, InstanceStatus, Resources};
use model::service::RolloutState;
use model::task::{DesiredStatus, HealthStatus, Task, TaskStatus};
use model::{Digest, Reference, RepositoryName, Tag, Timestamp};
use platform::db::{Db, DbError};
use platform::exchange::{self, Pusher};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt as _;

pub const ACCOUNT: &str = "123456789012";
pub const REGION: &str = "eu-home-1";
pub const IMAGE: &str = "127.0.0.1:5000/acme/web:v1";

type Repositories = Arc<Mutex<BTreeMap<RepositoryName, BTreeMap<String, Digest>>>>;

pub struct World {
    pub deployer: Deployer,
    pub repositories: Repositories,
    pub clock: Arc<ManualClock>,
    /// Token of the first administrator.
    pub admin: String,
    caller: Caller,
    _folder: tempfile::TempDir,
}

/// What came back: status and body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    /// The code of a refusal.
    #[track_caller]
    pub fn refused(&self) -> &str {
        assert_eq!(self.status, StatusCode::BAD_REQUEST, "{}", self.body);
        self.body["__type"].as_str().expect("a refusal has a type")
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// Runs `test` in a fresh world, on each kind of database.
pub async fn in_each_world<F, T>(test: F)
where
    F: Fn(World) -> T,
    T: Future<Output = ()>,
{
    platform::db::testing::on_each_database(|db| {
        let test = &test;
        async move { test(World::new(db).await).await }
    })
    .await;
}

impl World {
    pub async fn new(db: Db) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
        let config = IdentityConfig { master_key_file: folder.path().join("master.key") };
        let identity = Identity::open(config, db.clone(), clock.clone()).await.unwrap();
        let admin = identity::bootstrap(&identity, BootstrapAdmin::default()).await.unwrap().expect("nobody is there yet");
        let repositories = Repositories::default();
        let context =
            Context::new(db, clock.clone(), identity, Partition::new(ACCOUNT, REGION).unwrap(), config_of_tests(), registry(&repositories));
        let deployer = Deployer::open(context).await.unwrap();
        let caller = Caller::new("user:admin".parse().unwrap(), Credential::Password);
        let world = Self { deployer, repositories, clock, admin: admin.token, caller, _folder: folder };
        world.push("acme/web", "v1", 1);
        world
    }

    /// A tag of a repository, as if it had been pushed.
    pub fn push(&self, repository: &str, tag: &str, content: u8) -> Digest {
        let digest: Digest = format!("sha256:{}", format!("{content:02x}").repeat(32)).parse().unwrap();
        let mut repositories = self.repositories.lock().unwrap();
        repositories.entry(repository.parse().unwrap()).or_default().insert(tag.to_owned(), digest.clone());
        digest
    }

    /// A push by `principal`, as the registry records it, narrowed to `scope` when the token was. Gives its sequence.
    pub async fn pushed_by(&self, principal: &str, scope: Option<&str>, image: &str, content: u8) -> i64 {
        let (repository, tag) = image.split_once(':').unwrap();
        let digest = self.push(repository, tag, content);
        let pusher = Pusher { principal: principal.into(), scope: scope.map(str::to_owned), ..Pusher::default() };
        let (repository, tag, now) = (repository.parse().unwrap(), tag.parse().unwrap(), self.now());
        let write = self.deployer.context().db.write(move |tx| {
            let (repository, tag, digest, pusher): (RepositoryName, Tag, Digest, Pusher) =
                (Clone::clone(&repository), Clone::clone(&tag), digest.clone(), pusher.clone());
            Box::pin(async move { exchange::record_push(tx, now, &repository, &tag, &digest, &pusher).await })
        });
        let sequence: Result<i64, DbError> = write.await;
        sequence.unwrap()
    }

    /// A push by the first administrator, who may everything.
    pub async fn pushed(&self, image: &str, content: u8) -> i64 {
        self.pushed_by("user:admin", None, image, content).await
    }

    /// One pass of the intake, as after a start.
    pub async fn intake(&self) -> intake::Status {
        intake::run(self.deployer.context(), &mut intake::Memory::default()).await.unwrap()
    }

    /// A request of the Berth API as the owner of `token`.
    pub async fn v1(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let router: axum::Router = self.deployer.v1_router().into();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    /// A trigger of the service `web` for `acme/web` at `tag`, made by the first administrator. Gives its id.
    pub async fn trigger(&self, tag: &str) -> String {
        let wish = json!({"service": "web", "repository": "acme/web", "tag": tag});
        let made = self.v1(&self.admin, "POST", "/api/v1/triggers", wish).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        made.body["id"].as_str().unwrap().to_owned()
    }

    /// `7 taken, 6 superseded`: the decisions that `query` asks for, the newest pushes first.
    pub async fn history(&self, query: &str) -> String {
        let page = self.v1(&self.admin, "GET", &format!("/api/v1/trigger-decisions{query}"), Value::Null).await.ok();
        let word = |decision: &Value| format!("{} {}", decision["push"]["sequence"], decision["status"].as_str().unwrap());
        page["items"].as_array().unwrap().iter().map(word).collect::<Vec<_>>().join(", ")
    }

    /// PRIMARY of the service `web`: definition and image of `app`.
    pub async fn primary(&self) -> (String, String) {
        let id = self.web_id().await;
        let mut tx = self.deployer.context().db.read().await.unwrap();
        let deployments = deployer::store::deployments::of_service(&mut tx, &id).await.unwrap();
        (deployments[0].task_definition.to_string(), deployments[0].images["app"].digest.as_ref().unwrap().to_string())
    }

    /// Ends the PRIMARY deployment of `web` as the planner would.
    pub async fn end(&self, state: RolloutState) {
        let id = self.web_id().await;
        self.write(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                let mut primary = deployer::store::deployments::of_service(tx, &id).await?.remove(0);
                primary.rollout_state = state;
                deployer::store::deployments::update(tx, &primary).await
            })
        })
        .await;
    }

    /// Kinds and messages of the events about `web`, newest first, that begin with `kind`.
    pub async fn events(&self, kind: &str) -> Vec<String> {
        let mut tx = self.deployer.context().db.read().await.unwrap();
        let events = platform::events::of_subject(&mut tx, "service:default/web", 100).await.unwrap();
        let shown = events.into_iter().filter(|event| event.kind.starts_with(kind));
        shown.map(|event| format!("{} {}: {}", event.kind, event.principal.unwrap_or_default(), event.message)).collect()
    }

    /// A new robot that holds `grants`, and its token.
    pub async fn robot(&self, name: &str, grants: &[(Role, Resource)]) -> String {
        let identity = &self.deployer.context().identity;
        let owner: Principal = format!("robot:{name}").parse().unwrap();
        principals::create(identity, &self.caller, &owner, None).await.unwrap();
        for (role, resource) in grants {
            self.grant(&owner, *role, resource).await;
        }
        let wish = tokens::Wish { owner, label: "test".into(), scope: None, life: None };
        tokens::create(identity, &self.caller, wish).await.unwrap().1
    }

    pub async fn grant(&self, principal: &Principal, role: Role, resource: &Resource) {
        let pattern = resource.name.parse().unwrap();
        let wish = grants::Wish { principal: principal.clone(), role, kind: resource.kind, pattern };
        grants::create(&self.deployer.context().identity, &self.caller, wish).await.unwrap();
    }

    /// Calls an operation as the owner of `token`.
    pub async fn call(&self, token: &str, api: Api, operation: &str, body: &Value) -> Answer {
        let authorization = format!("Bearer {token}");
        self.send(&[("authorization", &authorization), ("x-amz-target", &format!("{}.{operation}", api.target()))], body.to_string()).await
    }

    /// Calls an operation of ECS as the first administrator.
    pub async fn ecs(&self, operation: &str, body: Value) -> Answer {
        self.call(&self.admin, Api::Ecs, operation, &body).await
    }

    pub async fn send(&self, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = Request::post("/").header("content-type", CONTENT_TYPE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.deployer.aws_router().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status();
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
        assert_eq!(response.headers()["x-amzn-requestid"].len(), 36);
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, body: serde_json::from_slice(&bytes).unwrap() }
    }

    /// Registers `web:N` of one container with `IMAGE`.
    pub async fn register_web(&self) -> Value {
        self.ecs("RegisterTaskDefinition", web()).await.ok()["taskDefinition"].clone()
    }

    /// A service `web` of `count` tasks, whose definition is registered here.
    pub async fn create_web(&self, count: i64) -> Value {
        self.register_web().await;
        let request = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": count});
        self.ecs("CreateService", request).await.ok()["service"].clone()
    }

    /// A connected instance with plenty of everything.
    pub async fn instance(&self, number: u128) -> InstanceId {
        let instance = Instance {
            id: InstanceId::from_random(number),
            cluster: ClusterName::default_cluster(),
            name: format!("host-{number}"),
            status: InstanceStatus::Active,
            agent_connected: true,
            registered: Resources { cpu: 4096, memory: 8192, ports: [(model::instance::Protocol::Tcp, 22)].into() },
            attributes: BTreeMap::from([("ecs.availability-zone".to_owned(), "a".to_owned())]),
            agent_version: "1".into(),
            docker_version: "28".into(),
            address: "127.0.0.1".into(),
            version: 1,
            registered_at: self.now(),
        };
        let id = instance.id.clone();
        self.write(move |tx| {
            let instance = instance.clone();
            Box::pin(async move { deployer::store::instances::insert(tx, &instance).await })
        })
        .await;
        id
    }

    /// A running task, of the service `web` when `of_service`.
    pub async fn task(&self, number: u128, of_service: Option<&str>) -> TaskId {
        let task = self.new_task(number, of_service);
        let id = task.id.clone();
        self.write(move |tx| {
            let task = task.clone();
            Box::pin(async move { deployer::store::tasks::insert(tx, &task).await })
        })
        .await;
        id
    }

    fn new_task(&self, number: u128, service_id: Option<&str>) -> Task {
        Task {
            id: TaskId::from_random(number),
            cluster: ClusterName::default_cluster(),
            service_id: service_id.map(str::to_owned),
            deployment_id: service_id.map(|_| DeploymentId("1".into())),
            task_definition: TaskDefinitionId { family: "web".parse().unwrap(), revision: 1 },
            group: if service_id.is_some() { "service:web".into() } else { "family:web".into() },
            started_by: Some("test".into()),
            instance_id: Some(InstanceId::from_random(1)),
            reserved: Resources { cpu: 256, memory: 64, ports: [(model::instance::Protocol::Tcp, 8080)].into() },
            overrides: Vec::new(),
            images: BTreeMap::new(),
            principal: "user:admin".parse().unwrap(),
            client_token: None,
            tags: vec![("team".into(), "x".into())],
            desired_status: DesiredStatus::Running,
            stop_code: None,
            stopped_reason: None,
            last_status: TaskStatus::Running,
            health_status: HealthStatus::Healthy,
            containers: Vec::new(),
            report_sequence: 0,
            connected: true,
            version: 1,
            created_at: self.now(),
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: Some(self.now()),
            stopping_at: None,
            stopped_at: None,
            healthy_at: None,
        }
    }

    /// Plans until there is nothing to do.
    pub async fn plan(&self) {
        let mut memory = deployer::rollout::pass::Memory::default();
        for _ in 0..20 {
            let status = deployer::rollout::pass::run(self.deployer.context(), &mut memory).await.unwrap();
            if status.changed + status.outdated == 0 {
                return;
            }
        }
        panic!("the planner does not come to rest");
    }

    /// All tasks that are to run do so, and long enough to count as healthy; what is to stop has stopped.
    pub async fn obey(&self) {
        let service = self.web_id().await;
        let now = self.now();
        self.write(move |tx| {
            let service = service.clone();
            Box::pin(async move {
                for listed in deployer::store::tasks::of_service(tx, &service).await? {
                    let Some(mut task) = deployer::store::tasks::get(tx, &listed.id).await? else { continue };
                    let runs = task.desired_status == DesiredStatus::Running;
                    task.last_status = if runs { TaskStatus::Running } else { TaskStatus::Stopped };
                    task.started_at = task.started_at.or(Some(now));
                    task.stopped_at = (!runs).then_some(now);
                    deployer::store::tasks::update_observed(tx, &task).await?;
                }
                Ok(())
            })
        })
        .await;
        self.pass(10);
    }

    /// The internal id of the service `web`.
    pub async fn web_id(&self) -> String {
        let mut tx = self.deployer.context().db.read().await.unwrap();
        let (cluster, name) = (ClusterName::default_cluster(), "web".parse().unwrap());
        deployer::store::services::get(&mut tx, &cluster, &name).await.unwrap().expect("the service is there").id
    }

    pub async fn write<F>(&self, change: F)
    where
        F: for<'c> Fn(&'c mut platform::db::Tx) -> futures_util::future::BoxFuture<'c, Result<(), DbError>> + Send + Sync + 'static,
    {
        self.deployer.context().db.write(change).await.unwrap();
    }

    /// The first administrator.
    pub fn caller(&self) -> Caller {
        self.caller.clone()
    }

    pub fn now(&self) -> Timestamp {
        model::Clock::now(&*self.clock)
    }

    pub fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

pub fn web() -> Value {
    json!({"family": "web", "containerDefinitions": [{"name": "app", "image": IMAGE, "memory": 64}]})
}

fn config_of_tests() -> DeployerConfig {
    DeployerConfig {
        own_hosts: vec!["127.0.0.1:5000".into(), "registry.example.com".into()],
        image_host: "127.0.0.1:5000".into(),
        public_url: "http://127.0.0.1:5000".into(),
        agent_url: "https://127.0.0.1:5001".into(),
        control_plane_id: "test".into(),
        epoch: 1,
        heartbeat: DeployerConfig::HEARTBEAT_DEFAULT,
        lease: DeployerConfig::LEASE_DEFAULT,
        brake: DeployerConfig::BRAKE_DEFAULT,
        healthy_after: DeployerConfig::HEALTHY_AFTER_DEFAULT,
    }
}

fn registry(repositories: &Repositories) -> RegistryFunctions {
    let entry = |name: &RepositoryName| RepositoryEntry {
        name: name.clone(),
        created_at: Timestamp::from_secs(1_700_000_000),
        settings: model::repository::RepositorySettings::default(),
    };
    let (resolve, create, list, set) = (repositories.clone(), repositories.clone(), repositories.clone(), repositories.clone());
    RegistryFunctions {
        resolve: Arc::new(move |name, reference| {
            let tags = resolve.lock().unwrap().get(&name).cloned().unwrap_or_default();
            let digest = match reference {
                Reference::Tag(tag) => tags.get(tag.as_str()).cloned(),
                Reference::Digest(digest) => tags.into_values().find(|known| *known == digest),
            };
            Box::pin(async move { Ok(digest) })
        }),
        serve_assigned: Arc::new(|_| Box::pin(async { StatusCode::NOT_FOUND.into_response() })),
        create_repository: Arc::new(move |name, _, _| {
            let mut repositories = create.lock().unwrap();
            let made = (!repositories.contains_key(&name)).then(|| entry(&name));
            repositories.entry(name).or_default();
            Box::pin(async move { Ok(made) })
        }),
        list_repositories: Arc::new(move |names, after, limit| {
            let repositories = list.lock().unwrap();
            let wanted = |name: &&RepositoryName| {
                names.as_ref().is_none_or(|names| names.contains(name)) && after.as_ref().is_none_or(|after| *name > after)
            };
            let found: Vec<_> = repositories.keys().filter(wanted).take(usize::try_from(limit).unwrap()).map(entry).collect();
            Box::pin(async move { Ok(found) })
        }),
        set_tag_mutability: Arc::new(move |name, _, (tag_overwrite, tag_exceptions)| {
            let changed = set.lock().unwrap().contains_key(&name).then(|| {
                let settings = model::repository::RepositorySettings { tag_overwrite, tag_exceptions, ..Default::default() };
                RepositoryEntry { settings, ..entry(&name) }
            });
            Box::pin(async move { Ok(changed) })
        }),
    }
}
