//! A control plane in one process: real database, real identity, a clock that is moved by hand, a registry that answers with roots.

use axum::body::Body;
use axum::response::Response;
use deployer::operations::services::deployment;
use deployer::rollout::pass::{self, Memory};
use deployer::store::{self, task_definitions::Registered, task_definitions::TaskDefinitionStatus};
use deployer::{AssignedRequest, Context, Deployer, DeployerConfig, RegistryFunctions};
use futures_util::FutureExt as _;
use http::{Method, Request, StatusCode, header};
use identity::{BootstrapAdmin, Identity, IdentityConfig};
use model::clock::{Clock as _, ManualClock};
use model::ids::{ClusterName, DeploymentId, Partition, TaskDefinitionId};
use model::service::{
    Cause, CauseKind, CircuitBreaker, Deployment, DeploymentStatus, RolloutState, Service, ServiceDeployment, ServiceSettings,
    ServiceStatus,
};
use model::task::{ResolvedImage, ServiceTask, Task};
use model::{Digest, Timestamp};
use platform::db::{Db, DbError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

pub const HEALTHY_AFTER: Duration = Duration::from_secs(10);
pub const LEASE: Duration = Duration::from_secs(15);

pub struct World {
    pub deployer: Deployer,
    pub context: Arc<Context>,
    pub clock: Arc<ManualClock>,
    pub memory: Memory,
    pub token: String,
    folder: tempfile::TempDir,
}

pub fn digest(letter: char) -> Digest {
    format!("sha256:{}", letter.to_string().repeat(64)).parse().unwrap()
}

fn config() -> DeployerConfig {
    DeployerConfig {
        own_hosts: vec!["127.0.0.1:5000".into()],
        image_host: "127.0.0.1:5000".into(),
        public_url: "http://127.0.0.1:5000".into(),
        agent_url: "https://127.0.0.1:5001".into(),
        control_plane_id: "cp-test".into(),
        epoch: 7,
        heartbeat: Duration::from_millis(200),
        lease: LEASE,
        brake: DeployerConfig::BRAKE_DEFAULT,
        healthy_after: HEALTHY_AFTER,
    }
}

/// Answers a pull with what it was asked, so that a test can see it.
fn registry() -> RegistryFunctions {
    let serve = |request: AssignedRequest| {
        let roots: Vec<_> = request.roots.iter().map(ToString::to_string).collect();
        let seen = json!({"repository": request.repository, "roots": roots, "manifest": request.is_manifest, "digest": request.digest});
        async move { Response::new(Body::from(seen.to_string())) }.boxed()
    };
    RegistryFunctions {
        resolve: Arc::new(|_, _| async { Ok(None) }.boxed()),
        serve_assigned: Arc::new(serve),
        create_repository: Arc::new(|_, _, _| async { Ok(None) }.boxed()),
        list_repositories: Arc::new(|_, _, _| async { Ok(vec![]) }.boxed()),
        set_tag_mutability: Arc::new(|_, _, _| async { Ok(None) }.boxed()),
    }
}

impl World {
    pub async fn new(db: Db) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_700_000_000)));
        let config_of_identity = IdentityConfig { master_key_file: folder.path().join("master.key") };
        let identity = Identity::open(config_of_identity, db.clone(), clock.clone()).await.unwrap();
        let admin = BootstrapAdmin { password: Some("correct horse".into()), ..BootstrapAdmin::default() };
        let token = identity::bootstrap(&identity, admin).await.unwrap().unwrap().token;
        let partition = Partition::new("123456789012", "eu-home-1").unwrap();
        let deployer = Deployer::open(Context::new(db, clock.clone(), identity, partition, config(), registry())).await.unwrap();
        Self { context: deployer.context().clone(), deployer, clock, memory: Memory::default(), token, folder }
    }

    /// The same database after a restart of the server.
    pub async fn restart(self) -> Self {
        let Self { context, clock, token, folder, .. } = self;
        let config = DeployerConfig { epoch: context.config.epoch + 1, ..context.config.clone() };
        let (identity, partition) = (context.identity.clone(), context.partition.clone());
        let again = Context::new(context.db.clone(), clock.clone(), identity, partition, config, context.registry.clone());
        let deployer = Deployer::open(again).await.unwrap();
        Self { context: deployer.context().clone(), deployer, clock, memory: Memory::default(), token, folder }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Plans until there is nothing to do.
    pub async fn settle(&mut self) {
        for _ in 0..20 {
            let status = pass::run(&self.context, &mut self.memory).await.unwrap();
            if status.changed + status.outdated == 0 {
                return;
            }
        }
        panic!("the planner does not come to rest");
    }

    /// A request to the Berth API or the permission API, as the administrator.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.api_as(&self.token, method, path, body).await
    }

    pub async fn api_as(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .unwrap();
        let (router, _) = identity::router(self.context.identity.clone()).merge(self.deployer.v1_router()).split_for_parts();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let value = serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        (status, value)
    }

    pub async fn join_token(&self) -> String {
        let (status, made) = self.api(Method::POST, "/api/v1/join-tokens", Some(json!({}))).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made["secret"].as_str().unwrap().to_owned()
    }

    /// Registers `web:REVISION` with what `change` makes of a plain container.
    pub async fn definition(&self, revision: i64, change: Value) -> TaskDefinitionId {
        let mut container = json!({"name": "web", "image": "127.0.0.1:5000/acme/web:v1", "cpu": 128, "memory": 64});
        container.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let document = json!({"family": "web", "containerDefinitions": [container]});
        let id = TaskDefinitionId { family: "web".parse().unwrap(), revision };
        let registered = Registered {
            id: id.clone(),
            status: TaskDefinitionStatus::Active,
            definition: serde_json::from_value(document.clone()).unwrap(),
            document,
            images: images('a'),
            tags: vec![],
            registered_at: self.now(),
            registered_by: "user:admin".into(),
            deregistered_at: None,
        };
        self.write(move |tx| {
            let registered = registered.clone();
            Box::pin(async move { store::task_definitions::insert(tx, &registered).await })
        })
        .await;
        id
    }

    /// A service `web` of `web:1`, owned by `principal`.
    pub async fn service(&self, desired: i64, principal: &str) -> Service {
        let service = Service {
            id: format!("{:032x}", platform::random::bits128()),
            cluster: ClusterName::default_cluster(),
            name: "web".parse().unwrap(),
            status: ServiceStatus::Active,
            desired_count: desired,
            task_definition: TaskDefinitionId { family: "web".parse().unwrap(), revision: 1 },
            minimum_healthy_percent: 100,
            maximum_percent: 200,
            placement_strategy: vec![],
            placement_constraints: vec![],
            health_check_grace_period_secs: 0,
            circuit_breaker: CircuitBreaker::default(),
            principal: principal.parse().unwrap(),
            client_token: None,
            tags: vec![],
            client_settings: ServiceSettings::default(),
            version: 1,
            created_at: self.now(),
        };
        let (made, deployment) = (service.clone(), self.deployment(&service, 1));
        self.write(move |tx| {
            let (service, deployment) = (made.clone(), deployment.clone());
            Box::pin(async move {
                store::services::insert(tx, &service).await?;
                let cause = Cause::asked(CauseKind::Create, service.principal.clone());
                deployment::begin(tx, &service, &deployment, &cause, service.created_at).await?;
                Ok(())
            })
        })
        .await;
        service
    }

    fn deployment(&self, service: &Service, revision: i64) -> Deployment {
        Deployment {
            id: DeploymentId::from_random(platform::random::bits64()),
            service_id: service.id.clone(),
            status: DeploymentStatus::Primary,
            task_definition: TaskDefinitionId { revision, ..service.task_definition.clone() },
            images: images('a'),
            rollout_state: RolloutState::InProgress,
            rollout_state_reason: String::new(),
            principal: None,
            failed_tasks: 0,
            breaker_failures: 0,
            breaker_consecutive: 0,
            consecutive_failures: 0,
            not_before: Timestamp::default(),
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// What UpdateService does with another revision.
    pub async fn update(&self, service: &Service, revision: i64) {
        let (id, deployment) = (service.id.clone(), self.deployment(service, revision));
        self.write(move |tx| {
            let (id, deployment) = (id.clone(), deployment.clone());
            Box::pin(async move {
                let service = store::services::by_id(tx, &id).await?.unwrap();
                let service = Service { task_definition: deployment.task_definition.clone(), ..service };
                let cause = Cause::asked(CauseKind::Update, service.principal.clone());
                deployment::begin(tx, &service, &deployment, &cause, deployment.created_at).await?;
                assert!(store::services::update(tx, &service).await?);
                Ok(())
            })
        })
        .await;
    }

    pub async fn change_service(&self, id: &str, change: impl Fn(&mut Service) + Send + Sync + 'static) {
        let (id, change) = (id.to_owned(), Arc::new(change));
        self.write(move |tx| {
            let (id, change) = (id.clone(), change.clone());
            Box::pin(async move {
                let mut service = store::services::by_id(tx, &id).await?.unwrap();
                change(&mut service);
                assert!(store::services::update(tx, &service).await?);
                Ok(())
            })
        })
        .await;
    }

    pub async fn write<F>(&self, change: F)
    where
        F: for<'c> Fn(&'c mut platform::db::Tx) -> futures_util::future::BoxFuture<'c, Result<(), DbError>> + Send + Sync + 'static,
    {
        self.context.db.write(change).await.unwrap();
    }

    /// Tasks of the service that are not STOPPED.
    pub async fn tasks(&self, service: &Service) -> Vec<ServiceTask> {
        store::tasks::of_service(&mut self.context.db.read().await.unwrap(), &service.id).await.unwrap()
    }

    pub async fn task(&self, id: &model::ids::TaskId) -> Option<Task> {
        store::tasks::get(&mut self.context.db.read().await.unwrap(), id).await.unwrap()
    }

    pub async fn deployments(&self, service: &Service) -> Vec<Deployment> {
        store::deployments::of_service(&mut self.context.db.read().await.unwrap(), &service.id).await.unwrap()
    }

    /// All attempts of the service, newest first.
    pub async fn attempts(&self, service: &Service) -> Vec<ServiceDeployment> {
        store::service_deployments::of_service(&mut self.context.db.read().await.unwrap(), &service.id, 100).await.unwrap()
    }

    pub async fn read_service(&self, service: &Service) -> Service {
        store::services::by_id(&mut self.context.db.read().await.unwrap(), &service.id).await.unwrap().unwrap()
    }

    /// Messages of the service's events, oldest first.
    pub async fn messages(&self) -> Vec<String> {
        let mut connection = self.context.db.read().await.unwrap();
        let events = platform::events::of_subject_kind(&mut connection, "service:default/web", "service.event", 100).await.unwrap();
        events.into_iter().rev().map(|event| event.message).collect()
    }

    /// Events about attempts, oldest first.
    pub async fn announced(&self) -> Vec<platform::events::Event> {
        let mut connection = self.context.db.read().await.unwrap();
        let events = platform::events::of_subject(&mut connection, "service:default/web", 100).await.unwrap();
        events.into_iter().rev().filter(|event| event.kind.starts_with("deployment.")).collect()
    }
}

pub fn images(letter: char) -> BTreeMap<String, ResolvedImage> {
    let image =
        ResolvedImage { repository: Some("acme/web".into()), digest: Some(digest(letter)), image: "127.0.0.1:5000/acme/web:v1".into() };
    BTreeMap::from([("web".to_owned(), image)])
}
