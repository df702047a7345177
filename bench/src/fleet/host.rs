//! One simulated host: joins, registers, polls and reports as an agent does, and runs nothing.

use agent::client::{self, HttpServer, Server as _};
use agent::tls;
use anyhow::{Context, Result};
use api::agent::{AgentErrorCode, JoinRequest, PollRequest, PollResponse, RegisterRequest, ReportRequest, TaskOrder, TaskReport};
use model::Timestamp;
use model::ids::TaskId;
use model::task::{ContainerState, DesiredStatus, HealthStatus, TaskStatus};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use testing::Client;

/// Zones that the hosts are spread over.
const ZONES: usize = 3;
const RETRY: Duration = Duration::from_secs(1);

pub struct Host {
    server: HttpServer,
    number: usize,
    epoch: i64,
    known: BTreeMap<TaskId, i64>,
    sequence: i64,
}

impl Host {
    /// Joins with a token and a key of its own, and registers.
    pub async fn join(admin: Client, agent_url: String, number: usize) -> Result<Self> {
        let made = admin.post("/api/v1/join-tokens", &json!({})).await?.expect(201)?;
        let token = made.json()["secret"].as_str().context("a join token is shown once")?.to_owned();
        let (secret, fingerprint) = token.rsplit_once('.').context("a join token carries a fingerprint")?;
        let key = rcgen::KeyPair::generate()?;
        let request = JoinRequest {
            token: secret.to_owned(),
            certificate_request: rcgen::CertificateParams::new(Vec::<String>::new())?.serialize_request(&key)?.pem()?,
            name: format!("host-{number}"),
            zone: Some(format!("zone-{}", number % ZONES)),
            attributes: BTreeMap::new(),
        };
        let joined = client::join(&agent_url, tls::pinned(fingerprint)?, &request).await?;
        let config = tls::mutual(&joined.authority, &joined.certificate, &key.serialize_pem())?;
        let host = Self { server: HttpServer::new(&agent_url, config)?, number, epoch: 0, known: BTreeMap::new(), sequence: 0 };
        host.register().await?;
        Ok(host)
    }

    async fn register(&self) -> Result<()> {
        let request = RegisterRequest {
            agent_version: "bench".into(),
            docker_version: "none".into(),
            cpu: 64 * 1024,
            memory: 256 * 1024,
            reserved_ports: Vec::new(),
            attributes: BTreeMap::new(),
            address: format!("127.1.{}.{}", self.number / 250, self.number % 250 + 1),
        };
        self.server.register(&request).await?;
        Ok(())
    }

    /// Polls for as long as it is let: what is ordered to run is reported RUNNING at once, what is ordered to stop STOPPED.
    pub async fn obey(mut self) {
        loop {
            let request = PollRequest { epoch: self.epoch, known: self.known.clone() };
            let done = match self.server.poll(&request).await {
                Ok(answer) => self.take(answer).await,
                Err(error) if error.code() == Some(AgentErrorCode::Register) => self.register().await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = done {
                eprintln!("host {}: {error}", self.number);
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn take(&mut self, answer: PollResponse) -> Result<()> {
        self.epoch = answer.epoch;
        for task in &answer.settled {
            self.known.remove(task);
        }
        let reports: Vec<TaskReport> = answer.tasks.iter().map(|order| self.report(order)).collect();
        if !reports.is_empty() {
            self.server.report(&ReportRequest { epoch: self.epoch, tasks: reports, unknown: Vec::new() }).await?;
        }
        self.known.extend(answer.tasks.into_iter().map(|order| (order.task_id, order.version)));
        Ok(())
    }

    fn report(&mut self, order: &TaskOrder) -> TaskReport {
        self.sequence += 1;
        let stopped = order.desired_status == DesiredStatus::Stopped;
        let status = if stopped { TaskStatus::Stopped } else { TaskStatus::Running };
        let container = |name: &String| ContainerState {
            name: name.clone(),
            runtime_id: Some(format!("{}{}", order.task_id, order.task_id)),
            last_status: status,
            health_status: HealthStatus::Unknown,
            exit_code: stopped.then_some(143),
            reason: None,
            network_bindings: Vec::new(),
        };
        TaskReport {
            task_id: order.task_id.clone(),
            sequence: self.sequence,
            last_status: status,
            health_status: HealthStatus::Unknown,
            containers: order.images.keys().map(container).collect(),
            stop_code: order.stop_code,
            stopped_reason: order.stopped_reason.clone(),
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: (!stopped).then(now),
            stopped_at: stopped.then(now),
        }
    }
}

fn now() -> Timestamp {
    model::Clock::now(&model::clock::SystemClock)
}
