//! Where all sides meet: the server behind a call that takes no time, the network, the hosts' engines, the oracle that watches them
//! and the trace. Shared by every task of a run; one thread plays them all.

use crate::network::{Cut, Fate, Lie, Quality};
use crate::oracle::Oracle;
use crate::picture::Picture;
use crate::server::{Machine, START, runtime};
use crate::template::{self, Membership};
use crate::trace::Trace;
use agent::engine::Engine;
use agent::record::StopCause;
use agent::runtime::fake::FakeDocker;
use anyhow::{Context as _, Result};
use api::agent::PollResponse;
use model::Timestamp;
use model::clock::Clock;
use model::ids::{InstanceId, TaskId};
use model::task::Task;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Answers of earlier epochs kept per host, to be played again.
const ANSWERS_KEPT: usize = 16;

type Job = Box<dyn FnOnce(&Runtime, &mut Machine) + Send>;

/// The server's thread.
struct Server {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is shared and changes.
pub struct State {
    pub trace: Trace,
    pub oracle: Oracle,
    pub quality: Quality,
    pub cuts: Vec<Cut>,
    pub dockers: Vec<FakeDocker>,
    /// The agents that run.
    pub engines: Vec<Option<Arc<Engine<FakeDocker>>>>,
    /// Highest epoch that each agent has obeyed.
    epochs: Vec<i64>,
    /// Polls answered with tasks, by host: epoch and body.
    answers: Vec<VecDeque<(i64, Vec<u8>)>>,
    /// By host: what the next poll is answered with.
    pub lies: Vec<Option<Lie>>,
    random: StdRng,
    pub plan_wanted: bool,
}

pub struct Arena {
    server: Server,
    state: Mutex<State>,
    start: Instant,
    pub members: Vec<Membership>,
    /// By host: its tasks changed, or the server's process ended, so that its held poll looks again.
    /// (A `watch` wakes in an order that chance gives, this one in the order of waiting.)
    pub news: Vec<Notify>,
    /// Counts processes of the server: a held poll does not outlive its own.
    pub process: AtomicU64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(jobs);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A thread that panicked has said so by the calls it did not answer.
            let _ = thread.join();
        }
    }
}

impl Server {
    fn start(folder: PathBuf, seed: u64) -> Self {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let thread = std::thread::spawn(move || {
            platform::random::seeded::begin(seed);
            let runtime = runtime().expect("a runtime can be built");
            let token = template::get().token.clone();
            let mut machine = runtime.block_on(Machine::open(&folder, Some(token))).expect("the copied database opens");
            while let Ok(job) = waiting.recv() {
                job(&runtime, &mut machine);
            }
            runtime.block_on(machine.close());
        });
        Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) }
    }

    fn call<T: Send + 'static>(&self, job: impl FnOnce(&Runtime, &mut Machine) -> T + Send + 'static) -> T {
        let (reply, answer) = mpsc::channel();
        let job: Job = Box::new(move |runtime, machine| {
            let _ = reply.send(job(runtime, machine));
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().expect("the server's thread lives as long as the arena").send(job).expect("the server's thread runs");
        answer.recv().expect("the server's thread answers")
    }
}

impl Arena {
    pub fn new(folder: PathBuf, seed: u64, hosts: usize, trace: Trace) -> Result<Arc<Self>> {
        let template = template::get();
        template.copy_to(&folder).context("the template is copied")?;
        let members: Vec<Membership> = template.hosts.iter().take(hosts).cloned().collect();
        let dockers = (0..hosts as u64).map(|at| FakeDocker::seeded(seed.wrapping_mul(31).wrapping_add(at + 1))).collect();
        let state = State {
            trace,
            oracle: Oracle::new(members.iter().map(|member| member.instance.clone()).collect()),
            quality: Quality::default(),
            cuts: vec![Cut::None; hosts],
            dockers,
            engines: vec![None; hosts],
            epochs: vec![0; hosts],
            answers: vec![VecDeque::new(); hosts],
            lies: vec![None; hosts],
            random: StdRng::seed_from_u64(seed ^ 0x6E65_7477_6F72_6B21),
            plan_wanted: false,
        };
        let arena = Self {
            server: Server::start(folder, seed),
            state: Mutex::new(state),
            start: Instant::now(),
            members,
            news: (0..hosts).map(|_| Notify::new()).collect(),
            process: AtomicU64::new(0),
        };
        arena.ask(false, |_, _| ());
        Ok(Arc::new(arena))
    }

    /// Virtual time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The server's clock.
    pub fn now(&self) -> Timestamp {
        START.plus(self.elapsed())
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn say(&self, text: &str) {
        self.state().trace.say(self.elapsed(), text);
    }

    pub fn picture(&self) -> Picture {
        self.state().oracle.picture.clone()
    }

    /// Has the server do something at this moment, and the oracle judge what came of it. `planned`: the planner did it.
    pub fn ask<T: Send + 'static>(&self, planned: bool, job: impl FnOnce(&Runtime, &mut Machine) -> T + Send + 'static) -> T {
        let (now, mut state) = (self.now(), self.state());
        self.watch_engines(&mut state);
        let (answer, picture) = self.server.call(move |runtime, machine| {
            machine.set_time(now);
            let answer = job(runtime, machine);
            (answer, runtime.block_on(machine.refresh()).expect("the database can be read"))
        });
        let touched = touched(&state.oracle.picture, &picture);
        let changes = state.oracle.take(&picture, planned, now);
        for change in &changes {
            state.trace.say(self.elapsed(), change);
        }
        state.plan_wanted |= !changes.is_empty();
        drop(state);
        for (host, _) in self.members.iter().enumerate().filter(|(_, member)| touched.contains(&member.instance)) {
            self.news[host].notify_waiters();
        }
        answer
    }

    /// Every held poll looks again.
    pub fn wake_all(&self) {
        self.news.iter().for_each(Notify::notify_waiters);
    }

    /// Judges what the engines did since the last look.
    pub fn watch(&self) {
        self.watch_engines(&mut self.state());
    }

    fn watch_engines(&self, state: &mut State) {
        let now = self.now();
        for host in 0..state.dockers.len() {
            let (docker, engine) = (state.dockers[host].clone(), state.engines[host].clone());
            // What an agent that is dead knew cannot be asked any more.
            let failed = |task: &TaskId| {
                let cause = engine.as_ref().map(|engine| engine.record(task).and_then(|record| record.cause));
                cause.is_none_or(|cause| matches!(cause, Some(StopCause::FailedToStart { .. })))
            };
            for line in state.oracle.see(host, &docker, failed, now) {
                state.trace.say(self.elapsed(), &line);
            }
        }
    }

    pub fn fate(&self) -> Fate {
        let mut state = self.state();
        let quality = state.quality;
        quality.fate(&mut state.random)
    }

    pub fn cut(&self, host: usize) -> Cut {
        self.state().cuts[host]
    }

    /// An agent asks in the name of an epoch; it never goes back to a lower one, but may begin anew.
    pub fn obeys(&self, host: usize, epoch: i64) {
        let mut state = self.state();
        let held = state.epochs[host];
        if epoch != 0 && epoch < held {
            state.oracle.violations.push(format!("host-{host} obeys epoch {epoch}, and epoch {held} has spoken"));
        }
        state.epochs[host] = held.max(epoch);
    }

    /// Remembers the answer of a poll that brought tasks.
    pub fn keep_answer(&self, host: usize, epoch: i64, body: &[u8]) {
        let answers = &mut self.state().answers[host];
        if answers.len() == ANSWERS_KEPT {
            answers.pop_back();
        }
        answers.push_front((epoch, body.to_vec()));
    }

    /// The hosts to which tasks were sent.
    pub fn hosts_with_tasks(&self) -> Vec<usize> {
        let state = self.state();
        (0..state.answers.len()).filter(|host| !state.answers[*host].is_empty()).collect()
    }

    /// What the host hears in place of `answer`, if it is to be lied to.
    pub fn lie(&self, host: usize, answer: &PollResponse) -> Option<Vec<u8>> {
        let mut state = self.state();
        let lie = state.lies[host]?;
        let body = match lie {
            Lie::Past => state.answers[host].iter().rev().find(|(of, _)| *of < answer.epoch).map(|(_, body)| body.clone())?,
            Lie::Blank => {
                let blank = PollResponse { complete: true, tasks: vec![], settled: vec![], unknown: vec![], ..answer.clone() };
                serde_json::to_vec(&blank).ok()?
            }
        };
        state.lies[host] = None;
        drop(state);
        self.say(&format!("host-{host} is lied to: {lie:?}"));
        Some(body)
    }
}

/// Instances with a task that is new or changed.
fn touched(before: &Picture, after: &Picture) -> BTreeSet<InstanceId> {
    let is_new = |task: &&Arc<Task>| before.tasks.get(&task.id).is_none_or(|was| was.version != task.version);
    after.tasks.values().filter(is_new).filter_map(|task| task.instance_id.clone()).collect()
}

/// A host's clock: the virtual time, wrong by a constant.
pub struct SkewedClock {
    pub start: Instant,
    pub skew_micros: i64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp(START.plus(self.start.elapsed()).0 + self.skew_micros)
    }
}
