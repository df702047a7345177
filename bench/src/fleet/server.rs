//! The real server under a simulated fleet, its services, and what its metrics say of planning.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::ops::Range;
use std::time::{Duration, Instant};
use testing::{Client, Database, Server};

/// Longest wait for the fleet to do what it was told.
const SETTLE_SECS_MAX: u64 = 600;
const LOOK_PERIOD: Duration = Duration::from_millis(20);
/// Services that DescribeServices takes at once.
const DESCRIBED_MAX: usize = 10;
/// No plan for this long: the planner is at rest.
const QUIET: Duration = Duration::from_secs(3);

pub struct Fleet {
    server: Server,
    pub admin: Client,
    ecs: Client,
}

/// A histogram of the server, as far as it is read here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timed {
    pub count: u64,
    pub secs: f64,
    pub within_5_ms: u64,
}

/// What planning took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plans {
    pub plan: Timed,
    pub apply: Timed,
}

impl Timed {
    pub fn mean_ms(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
        let count = self.count.max(1) as f64;
        self.secs * 1e3 / count
    }

    fn since(&self, before: &Self) -> Self {
        Self { count: self.count - before.count, secs: self.secs - before.secs, within_5_ms: self.within_5_ms - before.within_5_ms }
    }

    fn add(&mut self, more: &Self) {
        self.count += more.count;
        self.secs += more.secs;
        self.within_5_ms += more.within_5_ms;
    }
}

impl Plans {
    pub fn since(&self, before: &Self) -> Self {
        Self { plan: self.plan.since(&before.plan), apply: self.apply.since(&before.apply) }
    }

    pub fn add(&mut self, more: &Self) {
        self.plan.add(&more.plan);
        self.apply.add(&more.apply);
    }
}

impl Fleet {
    pub async fn start() -> Result<Self> {
        let server = Server::builder().database(Database::Sqlite).start().await?;
        let (admin, ecs) = (server.admin_token().await?, server.admin_by_access_key()?);
        let container = json!({"name": "app", "image": "docker.io/library/none:1", "cpu": 1, "memory": 6});
        let fleet = Self { server, admin, ecs };
        fleet.ecs("RegisterTaskDefinition", &json!({"family": "bench", "containerDefinitions": [container]})).await?;
        Ok(fleet)
    }

    pub fn agent_url(&self) -> String {
        self.server.agent_url()
    }

    pub fn pid(&self) -> Result<u32> {
        self.server.id().context("the server runs")
    }

    pub async fn create_services(&self, numbers: Range<usize>, tasks: usize) -> Result<()> {
        for number in numbers {
            let body = json!({"serviceName": name(number), "taskDefinition": "bench:1", "desiredCount": tasks});
            self.ecs("CreateService", &body).await?;
        }
        Ok(())
    }

    /// Waits until the first `services` run `tasks` tasks each, are COMPLETED, and nothing more is planned.
    pub async fn settled(&self, services: usize, tasks: usize) -> Result<()> {
        let numbers: Vec<usize> = (0..services).collect();
        for some in numbers.chunks(DESCRIBED_MAX) {
            let names: Vec<String> = some.iter().map(|number| name(*number)).collect();
            self.wait(&names, |service| {
                let completed = service["deployments"][0]["rolloutState"] == "COMPLETED";
                completed && service["runningCount"].as_u64() == u64::try_from(tasks).ok()
            })
            .await?;
        }
        let mut before = self.plans().await?;
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.plans().await?;
            if now.plan.count == before.plan.count {
                return Ok(());
            }
            before = now;
        }
    }

    /// Makes a service run `tasks` tasks, and waits until they run.
    pub async fn scale(&self, number: usize, tasks: usize) -> Result<()> {
        self.ecs("UpdateService", &json!({"service": name(number), "desiredCount": tasks})).await?;
        self.wait(&[name(number)], |service| service["runningCount"].as_u64() == u64::try_from(tasks).ok()).await
    }

    async fn wait(&self, names: &[String], is_so: impl Fn(&Value) -> bool) -> Result<()> {
        let began = Instant::now();
        loop {
            let described = self.ecs("DescribeServices", &json!({"services": names})).await?;
            let services = described["services"].as_array().context("services")?;
            if services.iter().all(&is_so) {
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(SETTLE_SECS_MAX) {
                bail!("waited {SETTLE_SECS_MAX} s for {names:?}: {}", services[0]);
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    pub async fn plans(&self) -> Result<Plans> {
        let text = self.admin.get("/metrics").await?.expect(200)?.text();
        Ok(Plans { plan: timed(&text, "berth_rollout_plan_seconds")?, apply: timed(&text, "berth_rollout_apply_seconds")? })
    }

    async fn ecs(&self, operation: &str, body: &Value) -> Result<Value> {
        let answer = self.ecs.ecs(operation, body).await?;
        ensure!(answer.status == 200, "{operation} {body}: {} {}", answer.status, answer.text());
        Ok(answer.json())
    }
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

fn timed(text: &str, metric: &str) -> Result<Timed> {
    let value = |suffix: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(metric)?.strip_prefix(suffix))
            .with_context(|| format!("no {metric}{suffix}"))?;
        anyhow::Ok(line.trim().parse::<f64>()?)
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters")]
    let count = |value: f64| value as u64;
    let within = value("_bucket{le=\"0.005\"}")?;
    Ok(Timed { count: count(value("_count")?), secs: value("_sum")?, within_5_ms: count(within) })
}
