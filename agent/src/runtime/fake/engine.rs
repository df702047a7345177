//! The seam [`Runtime`] of the fake: every call is latency, fault, effect, latency.

use super::{Call, Container, Deed, FakeDocker, Fault, Inner, bindings, event, is_running, key, owner, refused};
use crate::runtime::{EngineInfo, Event, EventKind, Found, LogOptions, Meter, PullCredential, Runtime, RuntimeError, Sighting};
use bollard::models::ContainerCreateBody;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use model::Timestamp;
use model::task::NetworkBinding;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// What a call that gets no answer ends with.
const SILENCE: RuntimeError = RuntimeError::Timeout(Duration::from_secs(1));

impl FakeDocker {
    async fn call<T: Send + 'static>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut Inner) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        self.slow_call(call, Duration::ZERO, effect).await
    }

    /// A call that takes `longer` than others. Where the engine outlives its agents, the work is its own.
    async fn slow_call<T: Send + 'static>(
        &self,
        call: Call,
        longer: Duration,
        effect: impl FnOnce(&mut Inner) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let ((before, after), outlives) = {
            let mut inner = self.lock();
            (inner.mix.latencies(), inner.outlives)
        };
        let docker = self.clone();
        let work = async move {
            tokio::time::sleep(before + longer).await;
            docker.serve(call, effect)
        };
        let result = if outlives { tokio::spawn(work).await.unwrap_or(Err(SILENCE)) } else { work.await };
        if !matches!(result, Err(RuntimeError::Timeout(_) | RuntimeError::Unavailable(_))) {
            tokio::time::sleep(after).await;
        }
        result
    }

    fn serve<T: Send + 'static>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut Inner) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let mut inner = self.lock();
        if inner.down {
            return Err(RuntimeError::Unavailable("connection refused".into()));
        }
        let injected = inner.faults.get_mut(&call).and_then(VecDeque::pop_front);
        let weather = inner.weather;
        match injected.or_else(|| weather.and_then(|weather| inner.mix.fault(weather, call))) {
            None => effect(&mut inner),
            Some(Fault::Refuse(status, message)) => Err(RuntimeError::Refused { status, message }),
            Some(Fault::Gone) => Err(RuntimeError::Unavailable("connection refused".into())),
            Some(Fault::Silence { happened }) => {
                if happened {
                    let _ = effect(&mut inner);
                }
                Err(SILENCE)
            }
            Some(Fault::Late(wait)) => {
                let docker = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    let _ = effect(&mut docker.lock());
                });
                Err(SILENCE)
            }
        }
    }

    /// Ends the container by itself when its conduct says so, unless it was started anew by then.
    fn end_in_time(&self, id: &str, life: u64, after: Duration, exit_code: i64) {
        let (docker, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let name = docker.lock().containers.get(&id).filter(|known| known.life == life).map(|known| known.name.clone());
            if let Some(name) = name {
                docker.kill(&name, exit_code, true);
            }
        });
    }

    fn stops_after(&self, container: &str) -> Duration {
        let inner = self.lock();
        let image = key(&inner, container).ok().and_then(|id| inner.containers[&id].body.image.clone());
        image.and_then(|image| inner.conducts.get(&image)).map_or(Duration::ZERO, |conduct| conduct.stops_after)
    }
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

fn make(inner: &mut Inner, name: &str, body: ContainerCreateBody) -> Result<String, RuntimeError> {
    let image = body.image.clone().unwrap_or_default();
    if !inner.images.contains(&image) {
        return Err(refused(404, format!("No such image: {image}")));
    }
    if key(inner, name).is_ok() {
        return Err(refused(409, format!("Conflict. The container name \"/{name}\" is already in use")));
    }
    inner.made += 1;
    let id = format!("{:064x}", inner.made);
    inner.containers.insert(id.clone(), Container { name: name.to_owned(), body, sighting: Sighting::Created, life: 0 });
    inner.journal.push(Deed::Created(name.to_owned()));
    Ok(id)
}

/// Starts a container; its id and life when it did not run before.
fn start(inner: &mut Inner, container: &str) -> Result<Option<(String, u64)>, RuntimeError> {
    let id = key(inner, container)?;
    let wanted = bindings(&inner.containers[&id].body);
    let held: BTreeSet<u16> = inner.containers.values().flat_map(|known| held(&known.sighting)).map(|binding| binding.host_port).collect();
    let known = inner.containers.get_mut(&id).expect("the key was just found");
    if is_running(known) {
        return Ok(None);
    }
    if let Some(taken) = wanted.iter().find(|binding| held.contains(&binding.host_port)) {
        return Err(refused(500, format!("Bind for 0.0.0.0:{} failed: port is already allocated", taken.host_port)));
    }
    known.sighting = Sighting::Running { bindings: wanted };
    known.life += 1;
    let (name, life) = (known.name.clone(), known.life);
    inner.journal.push(Deed::Started(name));
    Ok(Some((id, life)))
}

fn held(sighting: &Sighting) -> &[NetworkBinding] {
    if let Sighting::Running { bindings } = sighting { bindings } else { &[] }
}

impl Runtime for FakeDocker {
    async fn list(&self) -> Result<Vec<Found>, RuntimeError> {
        self.call(Call::List, |inner| Ok(inner.containers.iter().filter_map(|(id, container)| found(id, container)).collect())).await
    }

    async fn inspect(&self, container: &str) -> Result<Option<Found>, RuntimeError> {
        let container = container.to_owned();
        let look = move |inner: &mut Inner| Ok(key(inner, &container).ok().and_then(|id| found(&id, &inner.containers[&id])));
        self.call(Call::Inspect, look).await
    }

    async fn image_exists(&self, image: &str) -> Result<bool, RuntimeError> {
        let inner = self.lock();
        if inner.down { Err(RuntimeError::Unavailable("connection refused".into())) } else { Ok(inner.images.contains(image)) }
    }

    async fn pull(&self, image: &str, _: Option<PullCredential>, _: &Meter) -> Result<(), RuntimeError> {
        let image = image.to_owned();
        let pull = move |inner: &mut Inner| {
            if !inner.remote.contains(&image) {
                return Err(refused(404, format!("manifest for {image} not found: manifest unknown")));
            }
            inner.images.insert(image.clone());
            inner.journal.push(Deed::Pulled(image));
            Ok(())
        };
        self.call(Call::Pull, pull).await
    }

    async fn tag(&self, _: &str, repository: &str, tag: &str) -> Result<(), RuntimeError> {
        self.lock().images.insert(format!("{repository}:{tag}"));
        Ok(())
    }

    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, RuntimeError> {
        let name = name.to_owned();
        self.call(Call::Create, move |inner| make(inner, &name, body)).await
    }

    async fn start(&self, container: &str) -> Result<(), RuntimeError> {
        let (docker, container) = (self.clone(), container.to_owned());
        let start = move |inner: &mut Inner| {
            let Some((id, life)) = start(inner, &container)? else { return Ok(()) };
            let known = &inner.containers[&id];
            let _ = docker.events.send(event(&id, known, EventKind::Started));
            let conduct = known.body.image.as_ref().and_then(|image| inner.conducts.get(image));
            if let Some((after, exit_code)) = conduct.and_then(|conduct| conduct.ends) {
                docker.end_in_time(&id, life, after, exit_code);
            }
            Ok(())
        };
        self.call(Call::Start, start).await
    }

    async fn stop(&self, container: &str, grace: Duration) -> Result<(), RuntimeError> {
        let (events, takes) = (self.events.clone(), self.stops_after(container));
        let container = container.to_owned();
        let stop = move |inner: &mut Inner| {
            let id = key(inner, &container)?;
            let known = inner.containers.get_mut(&id).expect("the key was just found");
            if is_running(known) {
                let exit_code = if takes < grace { 143 } else { 137 };
                known.sighting = Sighting::Exited { exit_code: Some(exit_code), out_of_memory: false };
                let _ = events.send(event(&id, known, EventKind::Died { exit_code }));
                let name = known.name.clone();
                inner.journal.push(Deed::Stopped(name));
            }
            Ok(())
        };
        self.slow_call(Call::Stop, takes.min(grace), stop).await
    }

    async fn remove(&self, container: &str) -> Result<(), RuntimeError> {
        let (events, container) = (self.events.clone(), container.to_owned());
        let remove = move |inner: &mut Inner| {
            let Ok(id) = key(inner, &container) else { return Ok(()) };
            let known = inner.containers.remove(&id).expect("the key was just found");
            let _ = events.send(event(&id, &known, EventKind::Removed));
            inner.journal.push(Deed::Removed(known.name));
            Ok(())
        };
        self.call(Call::Remove, remove).await
    }

    async fn exec(&self, container: &str, _: Vec<String>) -> Result<i64, RuntimeError> {
        let container = container.to_owned();
        let exec = move |inner: &mut Inner| {
            let id = key(inner, &container)?;
            let known = &inner.containers[&id];
            if inner.outlives && !is_running(known) {
                return Err(refused(409, format!("container {container} is not running")));
            }
            let conduct = known.body.image.as_ref().and_then(|image| inner.conducts.get(image));
            Ok(conduct.map_or(inner.exec_code, |conduct| conduct.check))
        };
        self.call(Call::Exec, exec).await
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
