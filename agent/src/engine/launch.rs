//! Bringing a task up: images, then every container made, then every container started. Picks up where a crash left off.
//!
//! A container's name follows from its task, and Docker refuses a second one of that name: whatever happened before, no container is
//! ever made twice. A call without an answer is followed by a look at what it did.

use super::Engine;
use super::images::{self, ImageError};
use super::starts::Place;
use crate::failure::{FailureKind, LaunchFailure, docker_text, is_port_taken};
use crate::mapping::{container_name, create_body, has_published_ports};
use crate::record::{Phase, TaskRecord};
use crate::runtime::{Found, Runtime, RuntimeError, Sighting};
use bollard::models::ContainerCreateBody;
use model::ids::TaskId;
use model::task::ResolvedImage;
use model::task_definition::ContainerDefinition;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause before the next look when the engine does not answer.
const ENGINE_RETRY: Duration = Duration::from_secs(1);
/// Attempts of a call that gets no answer and, on looking, did nothing.
const CALL_ATTEMPTS: u32 = 3;
/// Docker takes a name before it shows the container: one that a killed agent asked for appears within seconds.
const NAME_ATTEMPTS: u32 = 40;
const NAME_RETRY: Duration = Duration::from_millis(250);
/// A port of a task that just stopped is free a moment after Docker says that the container died.
const PORT_ATTEMPTS: u32 = 20;
const PORT_RETRY: Duration = Duration::from_millis(150);

enum LaunchError {
    Failed(LaunchFailure),
    /// The engine is not there: nothing is known, so nothing failed.
    Engine(RuntimeError),
    Cancelled,
}

impl From<ImageError> for LaunchError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Failed(failure) => Self::Failed(failure),
            ImageError::Engine(error) => Self::Engine(error),
            ImageError::Cancelled => Self::Cancelled,
        }
    }
}

/// One attempt to bring up a task; what comes of it is in its record.
pub(super) async fn launch<R: Runtime>(engine: &Engine<R>, task: &TaskId, cancel: &CancellationToken) {
    let Some(record) = engine.record(task) else { return };
    match bring_up(engine, &record, cancel).await {
        Ok(()) | Err(LaunchError::Cancelled) => {}
        Err(LaunchError::Failed(failure)) => {
            tracing::warn!(task.id = %task, container = failure.container, "task {task} cannot start: {failure}");
            engine.note(task, |record, _| record.fail(&failure));
        }
        Err(LaunchError::Engine(error)) => {
            tracing::warn!(task.id = %task, "task {task} waits: {error}");
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(ENGINE_RETRY) => {}
            }
        }
    }
}

async fn bring_up<R: Runtime>(engine: &Engine<R>, record: &TaskRecord, cancel: &CancellationToken) -> Result<(), LaunchError> {
    let task = &record.order.task_id;
    let below = |phase: Phase| move |c: &&ContainerDefinition| record.containers[&c.name].phase < phase;
    let definitions = &record.order.definition.container_definitions;
    let begun = engine.clock.now();
    let mut place = engine.starts.place();
    for definition in definitions.iter().filter(below(Phase::Created)) {
        make(engine, record, definition, &mut place, cancel).await?;
    }
    engine.note(task, |record, now| {
        // Without a pull, this is how long it took to see that none is needed.
        record.pull_started_at.get_or_insert(begun);
        record.pull_stopped_at.get_or_insert(now);
    });
    for definition in definitions.iter().filter(below(Phase::Running)) {
        check(cancel)?;
        start(engine, record, &definition.name, &mut place, cancel).await?;
    }
    Ok(())
}

fn check(cancel: &CancellationToken) -> Result<(), LaunchError> {
    if cancel.is_cancelled() { Err(LaunchError::Cancelled) } else { Ok(()) }
}

/// Makes one container, pulling its image only when Docker does not have it.
async fn make<R: Runtime>(
    engine: &Engine<R>,
    record: &TaskRecord,
    definition: &ContainerDefinition,
    place: &mut Place<'_>,
    cancel: &CancellationToken,
) -> Result<(), LaunchError> {
    let container = &definition.name;
    let written = || ResolvedImage { repository: None, digest: None, image: definition.image.clone() };
    let image = record.order.images.get(container).cloned().unwrap_or_else(written);
    let source = engine.images.source(&image);
    let wanted = images::Wanted { task: &record.order.task_id, container, source: &source };
    let body = |name: &str| create_body(&record.order, definition, &engine.planes.current, name).map_err(LaunchError::Failed);
    if source.movable {
        images::refresh(engine, &wanted, cancel).await?;
    }
    for name in &source.names {
        check(cancel)?;
        if create(engine, record, container, body(name)?, place).await? {
            return Ok(());
        }
    }
    place.give_up();
    images::obtain(engine, &image, &wanted, cancel).await?;
    check(cancel)?;
    if create(engine, record, container, body(&source.names[0])?, place).await? {
        return Ok(());
    }
    Err(failed(container, FailureKind::CannotPull, format!("{} was removed from this host right after it was pulled", source.written)))
}

/// Asks Docker to make the container; false when it does not have the image.
async fn create<R: Runtime>(
    engine: &Engine<R>,
    record: &TaskRecord,
    container: &str,
    body: ContainerCreateBody,
    place: &mut Place<'_>,
) -> Result<bool, LaunchError> {
    let name = container_name(&record.order, container);
    let (mut silent, mut name_taken) = (0, 0);
    loop {
        place.take().await;
        let result = engine.runtime.create(&name, body.clone()).await;
        match result {
            Ok(id) => {
                engine.failpoint.hit("created");
                engine.note(&record.order.task_id, |record, now| record.see(container, &id, &Sighting::Created, now));
                return Ok(true);
            }
            Err(RuntimeError::Refused { status: 404, message }) if message.contains("No such image") => return Ok(false),
            Err(error @ RuntimeError::Unavailable(_)) => return Err(LaunchError::Engine(error)),
            Err(error) if error.is_conflict() || matches!(error, RuntimeError::Timeout(_)) => {
                if let Some(found) = look(engine, &name).await? {
                    return adopt(engine, record, container, &found).map(|()| true);
                }
                if !error.is_conflict() {
                    silent += 1;
                    if silent == CALL_ATTEMPTS {
                        let text = "Could not transition to created; Docker gave no answer".to_owned();
                        return Err(failed(container, FailureKind::Timeout, text));
                    }
                    continue;
                }
                name_taken += 1;
                if name_taken == NAME_ATTEMPTS {
                    return Err(failed(container, FailureKind::CannotCreate, docker_text(&error)));
                }
                place.give_up_for(NAME_RETRY).await;
            }
            Err(error) => return Err(failed(container, FailureKind::CannotCreate, docker_text(&error))),
        }
    }
}

/// A container of the wanted name is there: ours from before a crash, or somebody else's.
fn adopt<R: Runtime>(engine: &Engine<R>, record: &TaskRecord, container: &str, found: &Found) -> Result<(), LaunchError> {
    let owner = &found.owner;
    let task = &record.order.task_id;
    if owner.control_plane == engine.planes.current && owner.task_id.as_ref() == Some(task) && owner.container == container {
        tracing::info!(task.id = %task, container.id = found.id, "adopted container {} of task {task}", found.name);
        engine.note(task, |record, now| record.see(container, &found.id, &found.sighting, now));
        return Ok(());
    }
    Err(failed(container, FailureKind::CannotCreate, format!("the container name {} is taken", found.name)))
}

async fn start<R: Runtime>(
    engine: &Engine<R>,
    record: &TaskRecord,
    container: &str,
    place: &mut Place<'_>,
    cancel: &CancellationToken,
) -> Result<(), LaunchError> {
    let name = container_name(&record.order, container);
    let (mut silent, mut port_taken) = (0, 0);
    loop {
        place.take().await;
        let result = engine.runtime.start(&name).await;
        match result {
            Ok(()) => {
                engine.failpoint.hit("started");
                return note_started(engine, record, container, &name).await;
            }
            Err(error @ RuntimeError::Unavailable(_)) => return Err(LaunchError::Engine(error)),
            Err(RuntimeError::Timeout(_)) if silent + 1 < CALL_ATTEMPTS => {
                silent += 1;
                if look(engine, &name).await?.is_some_and(|found| found.sighting != Sighting::Created) {
                    return note_started(engine, record, container, &name).await;
                }
            }
            Err(RuntimeError::Timeout(time)) => {
                let text = format!("Could not transition to started; timed out after waiting {} s", time.as_secs());
                return Err(failed(container, FailureKind::Timeout, text));
            }
            Err(error) if error.is_not_found() => {
                engine.note(&record.order.task_id, |record, now| record.see_gone(container, now));
                return Ok(());
            }
            Err(error) if is_port_taken(&error) && port_taken < PORT_ATTEMPTS => {
                port_taken += 1;
                check(cancel)?;
                place.give_up_for(PORT_RETRY).await;
            }
            Err(error) => return Err(failed(container, FailureKind::CannotStart, docker_text(&error))),
        }
    }
}

/// Notes that a container runs. Docker is asked only when it chose ports; it may have ended meanwhile.
async fn note_started<R: Runtime>(engine: &Engine<R>, record: &TaskRecord, container: &str, name: &str) -> Result<(), LaunchError> {
    let task = &record.order.task_id;
    let mut sighting = Sighting::Running { bindings: Vec::new() };
    if has_published_ports(&record.order.definition, container)
        && let Some(found) = look(engine, name).await?
    {
        sighting = found.sighting;
    }
    let id = engine.record(task).and_then(|record| record.containers[container].runtime_id.clone()).unwrap_or_else(|| name.to_owned());
    engine.note(task, |record, now| record.see(container, &id, &sighting, now));
    Ok(())
}

async fn look<R: Runtime>(engine: &Engine<R>, name: &str) -> Result<Option<Found>, LaunchError> {
    engine.runtime.inspect(name).await.map_err(LaunchError::Engine)
}

fn failed(container: &str, kind: FailureKind, text: String) -> LaunchError {
    LaunchError::Failed(LaunchFailure { container: container.to_owned(), kind, text })
}
