//! A Docker Engine that is not there: containers in memory, faults on request or by chance, and a journal of what was done, for tests.
//!
//! It outlives the agents that use it, as a real engine does. Calls take a moment each, so that a crash can fall in the middle: what a
//! call does is done before its answer is on the way, and the answer may be lost. The seam itself is implemented in `engine`.

mod conduct;
mod engine;

pub use conduct::{Conduct, Weather};

use super::{Event, EventKind, Owner, RuntimeError, Sighting};
use bollard::models::ContainerCreateBody;
use conduct::Mix;
use model::task::NetworkBinding;
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
    /// Ended by itself, or by somebody who is not the agent.
    Ended(String),
}

/// What goes wrong with the next call of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Refused without effect.
    Refuse(u16, String),
    /// The answer never comes; whether it happened is the flag.
    Silence { happened: bool },
    /// The answer never comes, and it happens after so long.
    Late(Duration),
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

/// A container as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub name: String,
    pub image: String,
    pub running: bool,
    pub owner: Option<Owner>,
    /// Host ports it holds while it runs.
    pub ports: Vec<u16>,
}

struct Container {
    name: String,
    body: ContainerCreateBody,
    sighting: Sighting,
    /// Counts starts, so that the end of an earlier life is not taken for that of this one.
    life: u64,
}

#[derive(Default)]
struct Inner {
    containers: BTreeMap<String, Container>,
    images: BTreeSet<String>,
    /// What registries out there have.
    remote: BTreeSet<String>,
    conducts: BTreeMap<String, Conduct>,
    faults: BTreeMap<Call, VecDeque<Fault>>,
    weather: Option<Weather>,
    journal: Vec<Deed>,
    exec_code: i64,
    down: bool,
    made: u64,
    mix: Mix,
    /// Work goes on when the agent that asked for it is killed.
    outlives: bool,
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
    /// An engine for the simulation: every chance follows from `seed`, and calls go on when whoever made them is gone.
    pub fn seeded(seed: u64) -> Self {
        let docker = Self::default();
        docker.lock().mix = Mix::new(seed);
        docker.lock().outlives = true;
        docker
    }

    /// Puts an image on the host.
    pub fn add_image(&self, image: &str) {
        self.lock().images.insert(image.to_owned());
    }

    /// Puts an image where it can be pulled from.
    pub fn publish_image(&self, image: &str) {
        self.lock().remote.insert(image.to_owned());
    }

    /// How containers of an image behave, from their next start on.
    pub fn set_conduct(&self, image: &str, conduct: Conduct) {
        self.lock().conducts.insert(image.to_owned(), conduct);
    }

    /// Makes the next calls of a kind fail, one fault each.
    pub fn inject(&self, call: Call, fault: Fault) {
        self.lock().faults.entry(call).or_default().push_back(fault);
    }

    /// Faults by chance from now on, or none.
    pub fn set_weather(&self, weather: Option<Weather>) {
        self.lock().weather = weather;
    }

    /// The exit code of commands run inside containers of images without a conduct.
    pub fn set_exec_code(&self, code: i64) {
        self.lock().exec_code = code;
    }

    /// Takes the engine away or brings it back. Containers end with it, as they do without live-restore.
    pub fn set_down(&self, down: bool) {
        let mut inner = self.lock();
        inner.down = down;
        if !down {
            return;
        }
        let mut ended = Vec::new();
        for container in inner.containers.values_mut().filter(|container| is_running(container)) {
            container.sighting = Sighting::Exited { exit_code: Some(137), out_of_memory: false };
            ended.push(Deed::Ended(container.name.clone()));
        }
        inner.journal.append(&mut ended);
    }

    /// Takes the engine away and brings it back without its containers noticing, as with live-restore.
    pub fn set_silent(&self, silent: bool) {
        self.lock().down = silent;
    }

    /// Ends a container from outside; `None` when no event is to tell of it.
    pub fn kill(&self, name: &str, exit_code: i64, tell: bool) {
        let mut inner = self.lock();
        let Some((id, container)) = inner.containers.iter_mut().find(|(_, c)| c.name == name && is_running(c)) else { return };
        container.sighting = Sighting::Exited { exit_code: Some(exit_code), out_of_memory: false };
        if tell {
            let _ = self.events.send(event(id, container, EventKind::Died { exit_code }));
        }
        inner.journal.push(Deed::Ended(name.to_owned()));
    }

    /// Removes a container from outside, without any event.
    pub fn vanish(&self, name: &str) {
        let mut inner = self.lock();
        inner.containers.retain(|_, container| container.name != name);
        inner.journal.push(Deed::Ended(name.to_owned()));
    }

    /// Makes a running container that no agent made.
    pub fn plant(&self, name: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let body = ContainerCreateBody { labels: Some(labels), ..ContainerCreateBody::default() };
        let sighting = Sighting::Running { bindings: Vec::new() };
        self.lock().containers.insert(name.to_owned(), Container { name: name.to_owned(), body, sighting, life: 1 });
    }

    /// Names of the containers that run.
    pub fn running(&self) -> BTreeSet<String> {
        self.lock().containers.values().filter(|container| is_running(container)).map(|container| container.name.clone()).collect()
    }

    /// Names and ids of all containers.
    pub fn containers(&self) -> BTreeMap<String, String> {
        self.lock().containers.iter().map(|(id, container)| (container.name.clone(), id.clone())).collect()
    }

    /// All containers.
    pub fn look(&self) -> Vec<Look> {
        self.lock().containers.values().map(look).collect()
    }

    pub fn journal(&self) -> Vec<Deed> {
        self.lock().journal.clone()
    }

    /// The journal from its `from`-th entry on.
    pub fn journal_since(&self, from: usize) -> Vec<Deed> {
        self.lock().journal.get(from..).unwrap_or_default().to_vec()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(container: &Container) -> Look {
    let ports = match &container.sighting {
        Sighting::Running { bindings } => bindings.iter().map(|binding| binding.host_port).collect(),
        _ => Vec::new(),
    };
    Look {
        name: container.name.clone(),
        image: container.body.image.clone().unwrap_or_default(),
        running: is_running(container),
        owner: owner(container),
        ports,
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

/// A container by name or id.
fn key(inner: &Inner, container: &str) -> Result<String, RuntimeError> {
    let hit = inner.containers.iter().find(|(id, known)| id.as_str() == container || known.name == container);
    hit.map(|(id, _)| id.clone()).ok_or_else(|| refused(404, format!("No such container: {container}")))
}

fn refused(status: u16, message: String) -> RuntimeError {
    RuntimeError::Refused { status, message }
}

/// Fixed host ports that a container asks for.
fn bindings(body: &ContainerCreateBody) -> Vec<NetworkBinding> {
    let published = body.host_config.as_ref().and_then(|host| host.port_bindings.as_ref());
    let mut bindings = Vec::new();
    for (port, wishes) in published.into_iter().flatten() {
        for wish in wishes.iter().flatten() {
            let fixed = wish.host_port.as_ref().and_then(|port| port.parse().ok());
            let inside = port.split('/').next().and_then(|port| port.parse().ok());
            if let (Some(host_port), Some(container_port)) = (fixed, inside) {
                bindings.push(NetworkBinding {
                    bind_ip: "0.0.0.0".to_owned(),
                    container_port,
                    host_port,
                    protocol: model::instance::Protocol::Tcp,
                });
            }
        }
    }
    bindings
}
