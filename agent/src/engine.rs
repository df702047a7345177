//! The engine of one host: brings its containers in line with the ledger, pass by pass.
//!
//! A pass writes what changed to the ledger, then takes the steps of the pure [`diff`] and publishes reports, in that
//! order: nothing is done or told that a crash could make forgotten. Steps run beside each other, one per task at a time; what they and
//! Docker's events find out is noted in the records, which wakes the next pass. Passes take no input and may run at any time.

mod checks;
mod images;
mod launch;
mod progress;
mod starts;
mod state;
mod stop;
mod tails;
#[cfg(test)]
mod tests;
mod watch;

pub use images::{Images, RelayAccess};
pub use progress::Progress;

use crate::config::LIST_PERIOD;
use crate::diff::{self, Action, Planes, Step};
use crate::failpoint::Failpoint;
use crate::ledger::{Changes, Ledger, Writes};
use crate::record::TaskRecord;
use crate::reporter::Outbox;
use crate::runtime::Runtime;
use api::agent::PollResponse;
use model::ids::TaskId;
use model::{Clock, Timestamp};
use starts::Starts;
use state::{Batch, State};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Pause after the ledger could not be written: without it nothing is done.
const LEDGER_RETRY: Duration = Duration::from_secs(1);

/// What an engine is made of.
pub struct Parts<R> {
    pub runtime: R,
    pub clock: Arc<dyn Clock>,
    pub data_dir: std::path::PathBuf,
    pub planes: Planes,
    pub relay: Arc<RelayAccess>,
    pub writes: Writes,
    pub failpoint: Option<String>,
}

/// The engine. Shared by its own steps, the sync loop and the log streams.
pub struct Engine<R> {
    runtime: R,
    clock: Arc<dyn Clock>,
    ledger: Ledger,
    planes: Planes,
    images: Images,
    progress: Progress,
    outbox: Arc<Outbox>,
    failpoint: Failpoint,
    state: Mutex<State>,
    wake: Notify,
    list_wanted: Notify,
    /// Creates and starts under way in Docker.
    starts: Starts,
    tracker: TaskTracker,
    stopping: CancellationToken,
}

/// An order was refused because a newer server has spoken already.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("orders of epoch {got} refused: epoch {held} has spoken already")]
pub struct StaleEpoch {
    pub got: i64,
    pub held: i64,
}

impl<R: Runtime> Engine<R> {
    /// Reads the ledger; nothing is done before [`run`](Self::run).
    pub fn open(parts: Parts<R>, stopping: CancellationToken) -> io::Result<Arc<Self>> {
        let (ledger, loaded) = Ledger::open(&parts.data_dir, &parts.planes.current, parts.writes)?;
        let failpoint = Failpoint::new(parts.failpoint.as_deref(), &parts.data_dir);
        Ok(Arc::new(Self {
            runtime: parts.runtime,
            clock: parts.clock,
            ledger,
            planes: parts.planes,
            images: Images::new(parts.relay),
            progress: Progress::default(),
            outbox: Arc::new(Outbox::new(failpoint.clone())),
            failpoint,
            state: Mutex::new(State::new(loaded)),
            wake: Notify::new(),
            list_wanted: Notify::new(),
            starts: Starts::new(),
            tracker: TaskTracker::new(),
            stopping,
        }))
    }

    /// Runs until the agent stops. No container is stopped by that.
    pub async fn run(self: Arc<Self>) {
        // They end with this future, also when it is dropped.
        let watcher = AbortOnDropHandle::new(tokio::spawn(watch::follow_events(Arc::clone(&self))));
        let lister = AbortOnDropHandle::new(tokio::spawn(watch::keep_listing(Arc::clone(&self))));
        let mut checks = checks::Checks::default();
        while !self.stopping.is_cancelled() {
            self.pass().await;
            checks.reconcile(&self);
            // Cancel-safe: a permit of `Notify` is kept when the other arm wins.
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LIST_PERIOD) => {}
            }
        }
        drop((watcher, lister, checks));
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Takes what a poll brought. It is in the ledger before it is acted on.
    pub fn take(&self, response: &PollResponse) -> Result<(), StaleEpoch> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.take(response, &self.planes, now)?;
        self.publish_unknown(&state);
        drop(state);
        for task in &response.settled {
            self.outbox.forget(task);
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Versions of the orders held, for the next poll.
    pub fn known(&self) -> BTreeMap<TaskId, i64> {
        self.lock().known()
    }

    /// The highest epoch that has spoken.
    pub fn epoch(&self) -> i64 {
        self.lock().server.epoch
    }

    /// Where reports wait to be sent.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Queues the state of every task again: a server that just started may have missed some.
    pub fn report_all(&self) {
        let state = self.lock();
        for record in state.reportable() {
            self.outbox.repeat(record.report());
        }
        self.publish_unknown(&state);
        self.outbox.repeat_unknown();
    }

    /// How far the pulls under way are.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Host part of the readable names of pulled images.
    pub fn set_image_host(&self, host: &str) {
        self.images.set_host(host);
    }

    /// Host ports of this agent's own tasks: not to be taken for somebody else's.
    pub fn own_ports(&self) -> std::collections::BTreeSet<u16> {
        self.lock().own_ports()
    }

    /// Containers of a task by name and Docker id, for logs; one of them, or all that were made.
    pub fn containers_of(&self, task: &TaskId, container: Option<&str>) -> Vec<(String, String)> {
        self.lock().containers_of(task, container)
    }

    pub fn runtime(&self) -> &R {
        &self.runtime
    }

    /// What is known of a task.
    pub fn record(&self, task: &TaskId) -> Option<TaskRecord> {
        self.lock().tasks.get(task).map(|tracked| tracked.record.clone())
    }

    /// Changes a record as something was found out; the next pass writes, acts and reports.
    fn note<T>(&self, task: &TaskId, change: impl FnOnce(&mut TaskRecord, Timestamp) -> T) -> Option<T> {
        let now = self.clock.now();
        let changed = self.lock().note(task, |record| change(record, now));
        self.wake.notify_one();
        changed
    }

    async fn pass(self: &Arc<Self>) {
        loop {
            let batch = self.lock().collect(self.clock.now());
            if let Err(error) = self.persist(&batch).await {
                tracing::error!("cannot write the ledger, so nothing is done: {error}");
                self.lock().give_back(batch);
                tokio::time::sleep(LEDGER_RETRY).await;
                return;
            }
            if batch.has_new_orders {
                self.failpoint.hit("order-received");
            }
            for record in batch.records.iter().filter(|record| !record.unknown && record.settled_at.is_none()) {
                self.outbox.publish(record.report());
            }
            if !self.take_steps() {
                return;
            }
        }
    }

    async fn persist(&self, batch: &Batch) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let batch = batch.clone();
        let changes = Changes { server: batch.server, records: batch.records, forgotten: batch.forgotten };
        self.ledger.write(changes).await
    }

    /// Takes the next steps; true when records changed by that, so that another round is due.
    fn take_steps(self: &Arc<Self>) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        if !state.listed {
            return false;
        }
        let mut again = false;
        for step in diff::diff(state.views(), now) {
            match step {
                Step::Launch(task) => self.spawn(&mut state, task, Action::Launch),
                Step::Stop(task) => self.spawn(&mut state, task, Action::Stop),
                Step::Remove(task) => self.spawn(&mut state, task, Action::Remove),
                Step::CancelLaunch(task) => state.cancel(&task),
                Step::Finish(task) if has_output(&state, &task) => self.spawn(&mut state, task, Action::Finish),
                Step::Finish(task) => {
                    state.note(&task, |record| record.finish(now));
                    again = true;
                }
            }
        }
        again
    }

    fn spawn(self: &Arc<Self>, state: &mut State, task: TaskId, action: Action) {
        let cancel = state.begin(&task, action);
        let engine = Arc::clone(self);
        self.tracker.spawn(async move {
            let work = async {
                match action {
                    Action::Launch => launch::launch(&engine, &task, &cancel).await,
                    Action::Stop => stop::stop(&engine, &task).await,
                    Action::Finish => tails::finish(&engine, &task).await,
                    Action::Remove => stop::remove(&engine, &task).await,
                }
            };
            // Dropping work in the middle is what `kill -9` would do: the next start finds out by label what became of it.
            tokio::select! {
                biased;
                () = engine.stopping.cancelled() => return,
                () = work => {}
            }
            engine.lock().end(&task);
            engine.wake.notify_one();
        });
    }

    /// Publishes containers nobody has an order for, once the server has said which tasks there are.
    fn publish_unknown(&self, state: &State) {
        if state.complete && state.listed {
            self.outbox.publish_unknown(diff::unknown(&state.found, |task| state.is_known(task), &self.planes));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether the task may have left lines to be read before it counts as STOPPED.
fn has_output(state: &State, task: &TaskId) -> bool {
    state.tasks.get(task).is_some_and(|tracked| !tracked.record.ended_containers().is_empty())
}
