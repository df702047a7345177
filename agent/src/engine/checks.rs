//! Runs the health checks: one runner per running container that has one, kept in line with the records after every pass.

use super::Engine;
use crate::health::{self, Policy, Verdict};
use crate::record::{Goal, Phase, TaskRecord};
use crate::runtime::{Runtime, RuntimeError};
use model::ids::TaskId;
use model::task::HealthStatus;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Longest a command that outlived its timeout is waited for before another is run beside it.
const HUNG_MAX: Duration = Duration::from_mins(10);

/// An engine that takes longer for a question stands still.
const ENGINE_ANSWER_MAX: Duration = Duration::from_secs(5);

/// Task, container.
type Key = (TaskId, String);

/// The runners.
#[derive(Default)]
pub(super) struct Checks {
    runners: BTreeMap<Key, JoinHandle<()>>,
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.runners.values().for_each(JoinHandle::abort);
    }
}

struct Runner {
    key: Key,
    container_id: String,
    command: Vec<String>,
    policy: Policy,
    known: HealthStatus,
    age: Duration,
}

impl Checks {
    /// Starts runners for containers that came up, ends those of containers that went.
    pub fn reconcile<R: Runtime>(&mut self, engine: &Arc<Engine<R>>) {
        let mut wanted = wanted(engine);
        self.runners.retain(|key, runner| {
            let keep = wanted.remove(key).is_some();
            if !keep {
                runner.abort();
            }
            keep
        });
        for (key, runner) in wanted {
            self.runners.insert(key, tokio::spawn(run(Arc::clone(engine), runner)));
        }
    }
}

fn wanted<R: Runtime>(engine: &Engine<R>) -> BTreeMap<Key, Runner> {
    let now = engine.clock.now();
    let state = engine.lock();
    let live = state.reportable().filter(|record| record.goal() == Goal::Run);
    live.flat_map(|record| runners_of(record, now)).map(|runner| (runner.key.clone(), runner)).collect()
}

fn runners_of(record: &TaskRecord, now: model::Timestamp) -> Vec<Runner> {
    let runner = |definition: &model::task_definition::ContainerDefinition| {
        let known = record.containers.get(&definition.name).filter(|known| known.phase == Phase::Running)?;
        let check = definition.health_check.as_ref()?;
        Some(Runner {
            key: (record.order.task_id.clone(), definition.name.clone()),
            container_id: known.runtime_id.clone()?,
            command: health::command(check)?,
            policy: Policy::of(check),
            known: known.health,
            age: record.started_at.map_or(Duration::ZERO, |at| now.since(at)),
        })
    };
    record.order.definition.container_definitions.iter().filter_map(runner).collect()
}

/// Checks one container until it is aborted.
async fn run<R: Runtime>(engine: Arc<Engine<R>>, runner: Runner) {
    let begun = Instant::now();
    let mut verdict = Verdict::new(runner.policy.clone(), runner.known);
    let mut last = runner.known;
    loop {
        let command = engine.runtime.exec(&runner.container_id, runner.command.clone());
        let mut command = std::pin::pin!(command);
        let result = timeout(runner.policy.timeout, &mut command).await;
        let success = match &result {
            Ok(Ok(code)) => Some(*code == 0),
            // An engine that does not answer says nothing about the container.
            Ok(Err(RuntimeError::Unavailable(_) | RuntimeError::Timeout(_))) => None,
            Ok(Err(_)) => Some(false),
            Err(_) => engine_answers(&engine, &runner).await.then_some(false),
        };
        if let Some(success) = success {
            let now = verdict.take(success, runner.age + begun.elapsed());
            if now != last {
                engine.note(&runner.key.0, |record, _| record.set_health(&runner.key.1, now));
                last = now;
            }
        }
        tokio::time::sleep(verdict.pause()).await;
        if result.is_err() {
            last = wait_for_hung(&engine, &runner, &mut verdict, last, begun, command).await;
        }
    }
}

/// Whether it is the command that hangs, or the engine.
async fn engine_answers<R: Runtime>(engine: &Engine<R>, runner: &Runner) -> bool {
    timeout(ENGINE_ANSWER_MAX, engine.runtime.inspect(&runner.container_id)).await.is_ok_and(|seen| seen.is_ok())
}

/// A command that hangs goes on failing at the pace of the checks; a second one beside it would only pile up processes.
async fn wait_for_hung<R: Runtime>(
    engine: &Engine<R>,
    runner: &Runner,
    verdict: &mut Verdict,
    mut last: HealthStatus,
    begun: Instant,
    mut command: std::pin::Pin<&mut impl Future<Output = Result<i64, RuntimeError>>>,
) -> HealthStatus {
    let give_up = Instant::now() + HUNG_MAX;
    while Instant::now() < give_up && timeout(verdict.pause(), &mut command).await.is_err() {
        if !engine_answers(engine, runner).await {
            continue;
        }
        let now = verdict.take(false, runner.age + begun.elapsed());
        if now != last {
            engine.note(&runner.key.0, |record, _| record.set_health(&runner.key.1, now));
            last = now;
        }
    }
    last
}
