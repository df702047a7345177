//! A Docker Engine that is not there: containers in memory, faults on request, and a journal of what was done, for tests.
//!
//! It outlives the agents that use it, as a real engine does. Calls take a moment each, so that a crash can fall in the middle: what a
//! call does is done before its answer is on the way, and the answer may be lost.

use super::{EngineInfo, Event, EventKind, Found, LogOptions, Meter, Owner, PullCredential, Runtime, RuntimeError, Sighting};
use bollard::models::ContainerCreateBody;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use model::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

const EVENTS_KEPT: usize = 1024;
/// A call takes up to this long before its effect, and again after it: no two calls the same, so that they overtake each other.
const LATENCY_MS_MAX: u64 = 20;

/// One thing done to a container, by the name of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Pulled(String),
    Created(String),
    Started(String),
    Stopped(String),
    Removed(String),
}

/// What goes wrong with the next call of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Refused without effect.
    Refuse(u16, String),
    /// The answer never comes; whether it happened is the flag.
    Silence { happened: bool },
    /// The engine is not there.
    Gone,
}

/// Calls that faults can be put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    List,
    Inspect,
    Pull,
    Create,
    Start,
    Stop,
    Remove,
    Exec,
}

struct Container {
    name: String,
    body: ContainerCreateBody,
    sighting: Sighting,
}

#[derive(Default)]
struct Inner {
    containers: BTreeMap<String, Container>,
    images: BTreeSet<String>,
    /// What registries out there have.
    remote: BTreeSet<String>,
    faults: BTreeMap<Call, VecDeque<Fault>>,
    journal: Vec<Deed>,
    exec_code: i64,
    down: bool,
    made: u64,
    calls: u64,
}

impl Inner {
    /// Different for each call, and the same in every run of a test.
    fn latencies(&mut self) -> (Duration, Duration) {
        self.calls += 1;
        let mixed = self.calls.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let millis = |bits: u64| Duration::from_millis(bits % (LATENCY_MS_MAX + 1));
        (millis(mixed >> 20), millis(mixed >> 40))
    }
}

/// The fake; clones share it.
#[derive(Clone)]
pub struct FakeDocker {
    inner: Arc<Mutex<Inner>>,
    events: broadcast::Sender<Event>,
}

impl Default for FakeDocker {
    fn default() -> Self {
        Self { inner: Arc::default(), events: broadcast::channel(EVENTS_KEPT).0 }
    }
}

impl FakeDocker {
    /// Puts an image on the host.
    pub fn add_image(&self, image: &str) {
        self.lock().images.insert(image.to_owned());
    }

    /// Puts an image where it can be pulled from.
    pub fn publish_image(&self, image: &str) {
        self.lock().remote.insert(image.to_owned());
    }

    /// Makes the next calls of a kind fail, one fault each.
    pub fn inject(&self, call: Call, fault: Fault) {
        self.lock().faults.entry(call).or_default().push_back(fault);
    }

    /// The exit code of commands run inside.
    pub fn set_exec_code(&self, code: i64) {
        self.lock().exec_code = code;
    }

    /// Takes the engine away or brings it back. Containers end with it, as they do without live-restore.
    pub fn set_down(&self, down: bool) {
        let mut inner = self.lock();
        inner.down = down;
        if down {
            for container in inner.containers.values_mut().filter(|container| is_running(container)) {
                container.sighting = Sighting::Exited { exit_code: Some(137), out_of_memory: false };
            }
        }
    }

    /// Ends a container from outside; `None` when no event is to tell of it.
    pub fn kill(&self, name: &str, exit_code: i64, tell: bool) {
        let mut inner = self.lock();
        let Some((id, container)) = inner.containers.iter_mut().find(|(_, c)| c.name == name && is_running(c)) else { return };
        container.sighting = Sighting::Exited { exit_code: Some(exit_code), out_of_memory: false };
        if tell {
            let _ = self.events.send(event(id, container, EventKind::Died { exit_code }));
        }
    }

    /// Removes a container from outside, without any event.
    pub fn vanish(&self, name: &str) {
        self.lock().containers.retain(|_, container| container.name != name);
    }

    /// Makes a running container that no agent made.
    pub fn plant(&self, name: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let body = ContainerCreateBody { labels: Some(labels), ..ContainerCreateBody::default() };
        let sighting = Sighting::Running { bindings: Vec::new() };
        self.lock().containers.insert(name.to_owned(), Container { name: name.to_owned(), body, sighting });
    }

    /// Names of the containers that run.
    pub fn running(&self) -> BTreeSet<String> {
        self.lock().containers.values().filter(|container| is_running(container)).map(|container| container.name.clone()).collect()
    }

    /// Names and ids of all containers.
    pub fn containers(&self) -> BTreeMap<String, String> {
        self.lock().containers.iter().map(|(id, container)| (container.name.clone(), id.clone())).collect()
    }

    pub fn journal(&self) -> Vec<Deed> {
        self.lock().journal.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call: latency, fault, effect, latency.
    async fn call<T>(&self, call: Call, effect: impl FnOnce(&mut Inner) -> Result<T, RuntimeError>) -> Result<T, RuntimeError> {
        let (before, after) = self.lock().latencies();
        tokio::time::sleep(before).await;
        let result = {
            let mut inner = self.lock();
            if inner.down {
                return Err(RuntimeError::Unavailable("connection refused".into()));
            }
            match inner.faults.get_mut(&call).and_then(VecDeque::pop_front) {
                None => effect(&mut inner),
                Some(Fault::Refuse(status, message)) => return Err(RuntimeError::Refused { status, message }),
                Some(Fault::Gone) => return Err(RuntimeError::Unavailable("connection refused".into())),
                Some(Fault::Silence { happened }) => {
                    if happened {
                        let _ = effect(&mut inner);
                    }
                    return Err(RuntimeError::Timeout(Duration::from_secs(1)));
                }
            }
        };
        tokio::time::sleep(after).await;
        result
    }
}

fn is_running(container: &Container) -> bool {
    matches!(container.sighting, Sighting::Running { .. })
}

fn owner(container: &Container) -> Option<Owner> {
    container.body.labels.as_ref().and_then(Owner::from_labels)
}

fn event(id: &str, container: &Container, kind: EventKind) -> Event {
    let nobody = || Owner { control_plane: String::new(), task_id: None, container: String::new() };
    Event { id: id.to_owned(), owner: owner(container).unwrap_or_else(nobody), kind }
}

fn found(id: &str, container: &Container) -> Option<Found> {
    Some(Found {
        id: id.to_owned(),
        name: container.name.clone(),
        owner: owner(container)?,
        image: container.body.image.clone().unwrap_or_default(),
        status: format!("{:?}", container.sighting),
        sighting: container.sighting.clone(),
    })
}

/// A container by name or id.
fn key(inner: &Inner, container: &str) -> Result<String, RuntimeError> {
    let hit = inner.containers.iter().find(|(id, known)| id.as_str() == container || known.name == container);
    hit.map(|(id, _)| id.clone()).ok_or_else(|| refused(404, format!("No such container: {container}")))
}

fn refused(status: u16, message: String) -> RuntimeError {
    RuntimeError::Refused { status, message }
}

impl Runtime for FakeDocker {
    async fn list(&self) -> Result<Vec<Found>, RuntimeError> {
        self.call(Call::List, |inner| Ok(inner.containers.iter().filter_map(|(id, container)| found(id, container)).collect())).await
    }

    async fn inspect(&self, container: &str) -> Result<Option<Found>, RuntimeError> {
        let look = |inner: &mut Inner| Ok(key(inner, container).ok().and_then(|id| found(&id, &inner.containers[&id])));
        self.call(Call::Inspect, look).await
    }

    async fn image_exists(&self, image: &str) -> Result<bool, RuntimeError> {
        let inner = self.lock();
        if inner.down { Err(RuntimeError::Unavailable("connection refused".into())) } else { Ok(inner.images.contains(image)) }
    }

    async fn pull(&self, image: &str, _: Option<PullCredential>, _: &Meter) -> Result<(), RuntimeError> {
        let pull = |inner: &mut Inner| {
            if !inner.remote.contains(image) {
                return Err(refused(404, format!("manifest for {image} not found: manifest unknown")));
            }
            inner.images.insert(image.to_owned());
            inner.journal.push(Deed::Pulled(image.to_owned()));
            Ok(())
        };
        self.call(Call::Pull, pull).await
    }

    async fn tag(&self, _: &str, repository: &str, tag: &str) -> Result<(), RuntimeError> {
        self.lock().images.insert(format!("{repository}:{tag}"));
        Ok(())
    }

    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, RuntimeError> {
        let create = |inner: &mut Inner| {
            let image = body.image.clone().unwrap_or_default();
            if !inner.images.contains(&image) {
                return Err(refused(404, format!("No such image: {image}")));
            }
            if key(inner, name).is_ok() {
                return Err(refused(409, format!("Conflict. The container name \"/{name}\" is already in use")));
            }
            inner.made += 1;
            let id = format!("{:064x}", inner.made);
            inner.containers.insert(id.clone(), Container { name: name.to_owned(), body, sighting: Sighting::Created });
            inner.journal.push(Deed::Created(name.to_owned()));
            Ok(id)
        };
        self.call(Call::Create, create).await
    }

    async fn start(&self, container: &str) -> Result<(), RuntimeError> {
        let events = self.events.clone();
        let start = |inner: &mut Inner| {
            let id = key(inner, container)?;
            let known = inner.containers.get_mut(&id).expect("the key was just found");
            if is_running(known) {
                return Ok(());
            }
            known.sighting = Sighting::Running { bindings: Vec::new() };
            let _ = events.send(event(&id, known, EventKind::Started));
            let name = known.name.clone();
            inner.journal.push(Deed::Started(name));
            Ok(())
        };
        self.call(Call::Start, start).await
    }

    async fn stop(&self, container: &str, _: Duration) -> Result<(), RuntimeError> {
        let events = self.events.clone();
        let stop = |inner: &mut Inner| {
            let id = key(inner, container)?;
            let known = inner.containers.get_mut(&id).expect("the key was just found");
            if is_running(known) {
                known.sighting = Sighting::Exited { exit_code: Some(143), out_of_memory: false };
                let _ = events.send(event(&id, known, EventKind::Died { exit_code: 143 }));
                let name = known.name.clone();
                inner.journal.push(Deed::Stopped(name));
            }
            Ok(())
        };
        self.call(Call::Stop, stop).await
    }

    async fn remove(&self, container: &str) -> Result<(), RuntimeError> {
        let events = self.events.clone();
        let remove = |inner: &mut Inner| {
            let Ok(id) = key(inner, container) else { return Ok(()) };
            let known = inner.containers.remove(&id).expect("the key was just found");
            let _ = events.send(event(&id, &known, EventKind::Removed));
            inner.journal.push(Deed::Removed(known.name));
            Ok(())
        };
        self.call(Call::Remove, remove).await
    }

    async fn exec(&self, container: &str, _: Vec<String>) -> Result<i64, RuntimeError> {
        self.call(Call::Exec, |inner| key(inner, container).map(|_| inner.exec_code)).await
    }

    fn logs(&self, container: &str, _: &LogOptions) -> BoxStream<'static, Result<Bytes, RuntimeError>> {
        futures_util::stream::iter([Ok(Bytes::from(format!("output of {container}\n")))]).boxed()
    }

    fn events(&self, _: Timestamp) -> BoxStream<'static, Result<Event, RuntimeError>> {
        let receiver = self.events.subscribe();
        futures_util::stream::unfold(receiver, |mut receiver| async move {
            let event = receiver.recv().await.ok()?;
            Some((Ok(event), receiver))
        })
        .boxed()
    }

    async fn info(&self) -> Result<EngineInfo, RuntimeError> {
        Ok(EngineInfo { version: "fake".into(), cpus: 2, memory_bytes: 1 << 30, architecture: "x86_64".into() })
    }
}
