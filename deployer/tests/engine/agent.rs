//! A fake agent: speaks the protocol to the router in process, runs nothing, and reports what a test tells it to have seen.

use crate::world::World;
use api::agent::{
    AgentError, AgentErrorCode, JoinRequest, JoinResponse, PollRequest, PollResponse, RegisterRequest, RegisterResponse, ReportRequest,
    ReportResponse, TaskOrder, TaskReport, UnknownContainer,
};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use model::ids::{InstanceId, TaskId};
use model::task::{ContainerState, DesiredStatus, HealthStatus, StopCode, TaskStatus};
use platform::http::PeerCertificate;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use tower::ServiceExt as _;

pub struct FakeAgent {
    pub instance: InstanceId,
    certificate: CertificateDer<'static>,
    pub epoch: i64,
    pub orders: BTreeMap<TaskId, TaskOrder>,
    sequence: i64,
}

pub fn join_request(token: String, zone: &str) -> JoinRequest {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    JoinRequest {
        token,
        certificate_request: request.pem().unwrap(),
        name: format!("host-{zone}"),
        zone: Some(zone.to_owned()),
        attributes: BTreeMap::new(),
    }
}

/// A request to the agents' listener; `certificate` as TLS would have taken it.
pub async fn send(world: &World, certificate: Option<&CertificateDer<'static>>, request: Request<Body>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    if let Some(certificate) = certificate {
        parts.extensions.insert(PeerCertificate(certificate.clone()));
    }
    world.deployer.agent_router().oneshot(Request::from_parts(parts, body)).await.unwrap()
}

pub async fn call<T: DeserializeOwned>(
    world: &World,
    certificate: Option<&CertificateDer<'static>>,
    name: &str,
    body: &impl Serialize,
) -> Result<T, AgentErrorCode> {
    let request = Request::post(format!("/agent/v1/{name}"))
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(body).unwrap()))
        .unwrap();
    let response = send(world, certificate, request).await;
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
    if status == StatusCode::OK {
        return Ok(serde_json::from_slice(&body).unwrap());
    }
    let error: AgentError = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{status} {}", String::from_utf8_lossy(&body)));
    Err(error.code)
}

impl FakeAgent {
    /// Joined and registered.
    pub async fn start(world: &World, zone: &str) -> Self {
        let agent = Self::join(world, zone).await;
        agent.register(world).await;
        agent
    }

    pub async fn join(world: &World, zone: &str) -> Self {
        let token = world.join_token().await;
        let joined: JoinResponse = call(world, None, "join", &join_request(token, zone)).await.unwrap();
        assert_eq!(joined.control_plane_id, "cp-test");
        let certificate = CertificateDer::from_pem_slice(joined.certificate.as_bytes()).unwrap();
        Self { instance: joined.instance_id, certificate, epoch: 0, orders: BTreeMap::new(), sequence: 0 }
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub async fn call<T: DeserializeOwned>(&self, world: &World, name: &str, body: &impl Serialize) -> Result<T, AgentErrorCode> {
        call(world, Some(&self.certificate), name, body).await
    }

    pub async fn register(&self, world: &World) -> RegisterResponse {
        let request = RegisterRequest {
            agent_version: "0.1.0".into(),
            docker_version: "20.10".into(),
            cpu: 2048,
            memory: 1024,
            reserved_ports: vec![],
            attributes: BTreeMap::new(),
            address: "127.0.0.1".into(),
        };
        self.call(world, "register", &request).await.unwrap()
    }

    pub fn poll_request(&self) -> PollRequest {
        PollRequest { epoch: self.epoch, known: self.orders.iter().map(|(id, order)| (id.clone(), order.version)).collect() }
    }

    /// One poll; keeps what it brings, forgets what is settled.
    pub async fn poll(&mut self, world: &World) -> PollResponse {
        let answer: PollResponse = self.call(world, "poll", &self.poll_request()).await.unwrap();
        assert!(answer.epoch >= self.epoch);
        self.epoch = answer.epoch;
        for order in &answer.tasks {
            self.orders.insert(order.task_id.clone(), order.clone());
        }
        for id in &answer.settled {
            self.orders.remove(id);
        }
        answer
    }

    pub fn to_run(&self) -> Vec<TaskId> {
        self.orders.values().filter(|order| order.desired_status == DesiredStatus::Running).map(|order| order.task_id.clone()).collect()
    }

    pub fn to_stop(&self) -> Vec<TaskId> {
        self.orders.values().filter(|order| order.desired_status == DesiredStatus::Stopped).map(|order| order.task_id.clone()).collect()
    }

    /// A report of the next observation; `exit_code` with STOPPED.
    pub fn observed(&mut self, world: &World, id: &TaskId, status: TaskStatus, exit_code: Option<i64>) -> TaskReport {
        self.sequence += 1;
        let ran = status >= TaskStatus::Running;
        TaskReport {
            task_id: id.clone(),
            sequence: self.sequence,
            last_status: status,
            health_status: HealthStatus::Unknown,
            containers: vec![ContainerState {
                name: "web".into(),
                runtime_id: Some(format!("docker-{id}")),
                last_status: status,
                health_status: HealthStatus::Unknown,
                exit_code,
                reason: None,
                network_bindings: vec![],
            }],
            stop_code: exit_code.map(|_| StopCode::EssentialContainerExited),
            stopped_reason: exit_code.map(|_| "Essential container in task exited".into()),
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: ran.then(|| world.now()),
            stopped_at: (status == TaskStatus::Stopped).then(|| world.now()),
            log_tails: Vec::new(),
        }
    }

    pub async fn report(&self, world: &World, tasks: Vec<TaskReport>, unknown: Vec<UnknownContainer>) {
        let _: ReportResponse = self.call(world, "report", &ReportRequest { epoch: self.epoch, tasks, unknown }).await.unwrap();
    }

    pub async fn tell(&mut self, world: &World, id: &TaskId, status: TaskStatus, exit_code: Option<i64>) {
        let report = self.observed(world, id, status, exit_code);
        self.report(world, vec![report], vec![]).await;
    }

    /// Takes the orders and does them all: what is to run runs, what is to stop is stopped.
    pub async fn obey(&mut self, world: &World) {
        self.poll(world).await;
        for id in self.to_run() {
            self.tell(world, &id, TaskStatus::Running, None).await;
        }
        for id in self.to_stop() {
            self.tell(world, &id, TaskStatus::Stopped, Some(143)).await;
        }
        self.poll(world).await;
    }
}

pub fn unknown_container(name: &str) -> UnknownContainer {
    UnknownContainer {
        runtime_id: format!("id-{name}"),
        name: name.into(),
        task_id: Some(TaskId::from_random(99)),
        image: "acme/web:v1".into(),
        status: "running".into(),
    }
}
