//! Ending a task's containers on order, and removing those of a task that is settled.

use super::Engine;
use crate::record::Phase;
use crate::runtime::{Runtime, RuntimeError};
use futures_util::future::join_all;
use model::ids::TaskId;
use std::time::Duration;

/// Pause before the next attempt when Docker did not do it.
const RETRY: Duration = Duration::from_secs(2);

/// Stops all running containers of a task beside each other, each with its own grace.
pub(super) async fn stop<R: Runtime>(engine: &Engine<R>, task: &TaskId) {
    let Some(record) = engine.record(task) else { return };
    let running = record.order.definition.container_definitions.iter().filter(|c| record.containers[&c.name].phase == Phase::Running);
    let stops = running.filter_map(|definition| {
        let id = record.containers[&definition.name].runtime_id.clone()?;
        Some(stop_one(engine, task, definition.name.as_str(), id, definition.stop_timeout()))
    });
    let results = join_all(stops).await;
    if results.contains(&false) {
        tokio::time::sleep(RETRY).await;
    }
}

/// Whether the container has ended.
async fn stop_one<R: Runtime>(engine: &Engine<R>, task: &TaskId, container: &str, id: String, grace: Duration) -> bool {
    match engine.runtime.stop(&id, grace).await {
        Ok(()) => engine.failpoint.hit("stopped"),
        Err(error) if error.is_not_found() => {}
        Err(error) => tracing::warn!(task.id = %task, container.id = id, "container {container} of task {task} did not stop: {error}"),
    }
    // Whatever the answer was, what counts is what is there now.
    match engine.runtime.inspect(&id).await {
        Ok(Some(found)) => {
            engine.note(task, |record, now| record.see(container, &id, &found.sighting, now));
        }
        Ok(None) => {
            engine.note(task, |record, now| record.see_gone(container, now));
        }
        Err(error) => tracing::warn!(task.id = %task, "cannot look at container {container} of task {task}: {error}"),
    }
    engine.record(task).is_none_or(|record| record.containers[container].phase == Phase::Exited)
}

/// Removes the containers of a settled task, then forgets it. What fails is tried again after a pause.
pub(super) async fn remove<R: Runtime>(engine: &Engine<R>, task: &TaskId) {
    for (container, id) in engine.containers_of(task, None) {
        match engine.runtime.remove(&id).await {
            Ok(()) => engine.lock().forget_container(&id),
            Err(error @ RuntimeError::Refused { .. }) if error.is_conflict() => {
                // "removal of container is already in progress"
                tracing::debug!(task.id = %task, "container {container} of task {task} is being removed: {error}");
                engine.lock().forget_container(&id);
            }
            Err(error) => {
                tracing::warn!(task.id = %task, "cannot remove container {container} of task {task}: {error}");
                tokio::time::sleep(RETRY).await;
                return;
            }
        }
    }
    engine.lock().forget_task(task);
}
