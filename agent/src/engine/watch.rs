//! Seeing what happens in Docker: its events as they come, and a list of everything now and then, which heals what events missed.
//!
//! One list is one call. A container is inspected only when it was killed by signal 9, to learn whether memory ran out.

use super::Engine;
use crate::config::LIST_PERIOD;
use crate::record::Phase;
use crate::runtime::{Event, EventKind, Found, Runtime, Sighting};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// Pause before the events are asked for again, growing up to the second.
const RECONNECT_MIN: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// Docker's clock counts seconds: a new connection asks a little further back.
const OVERLAP: Duration = Duration::from_secs(2);
/// 128 + SIGKILL.
const KILLED: i64 = 137;

/// Follows the events until the agent stops; asks for a list whenever the connection is new.
pub(super) async fn follow_events<R: Runtime>(engine: Arc<Engine<R>>) {
    let mut pause = RECONNECT_MIN;
    let mut since = engine.clock.now();
    loop {
        let mut events = engine.runtime.events(since.minus(OVERLAP));
        engine.list_wanted.notify_one();
        let mut heard = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    heard = true;
                    since = engine.clock.now();
                    handle(&engine, event);
                }
                Err(error) => {
                    tracing::warn!("the events of Docker ended: {error}");
                    break;
                }
            }
        }
        pause = if heard { RECONNECT_MIN } else { (pause * 2).min(RECONNECT_MAX) };
        tokio::time::sleep(pause).await;
    }
}

/// Lists on request and every [`LIST_PERIOD`], until the agent stops.
pub(super) async fn keep_listing<R: Runtime>(engine: Arc<Engine<R>>) {
    let mut was_reachable = true;
    loop {
        let begun = engine.lock().begin_list();
        let listed = engine.runtime.list().await;
        let reachable = listed.is_ok();
        match listed {
            Ok(list) => absorb(&engine, list, begun).await,
            Err(error) if was_reachable => tracing::warn!("cannot list containers, nothing is concluded from that: {error}"),
            Err(_) => {}
        }
        was_reachable = reachable;
        let pause = if reachable { LIST_PERIOD } else { RECONNECT_MAX };
        // Cancel-safe: a permit of `Notify` is kept when the other arm wins.
        tokio::select! {
            biased;
            () = engine.list_wanted.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn absorb<R: Runtime>(engine: &Arc<Engine<R>>, mut list: Vec<Found>, begun: u64) {
    for found in list.iter_mut().filter(|found| is_killed(found)) {
        if is_news(engine, found)
            && let Ok(Some(seen)) = engine.runtime.inspect(&found.id).await
        {
            found.sighting = seen.sighting;
        }
    }
    let now = engine.clock.now();
    let mut state = engine.lock();
    state.absorb(list, begun, &engine.planes, now);
    engine.publish_unknown(&state);
    drop(state);
    engine.wake.notify_one();
}

fn is_killed(found: &Found) -> bool {
    matches!(found.sighting, Sighting::Exited { exit_code: Some(KILLED), .. })
}

/// Whether the end of a container is not in its record yet.
fn is_news<R: Runtime>(engine: &Engine<R>, found: &Found) -> bool {
    let Some(record) = found.owner.task_id.as_ref().and_then(|task| engine.record(task)) else { return false };
    record.cause.is_none() && record.containers.get(&found.owner.container).is_some_and(|known| known.phase < Phase::Exited)
}

fn handle<R: Runtime>(engine: &Arc<Engine<R>>, event: Event) {
    if event.owner.control_plane != engine.planes.current {
        engine.list_wanted.notify_one();
        return;
    }
    let Some(task) = event.owner.task_id.clone() else { return };
    let Some(record) = engine.record(&task) else {
        engine.list_wanted.notify_one();
        return;
    };
    match event.kind {
        // A start of ours is noted by whoever started it, with its ports; one by somebody else shows in a list.
        EventKind::Started if record.is_up() || engine.lock().is_busy(&task) => {}
        EventKind::Started => engine.list_wanted.notify_one(),
        EventKind::Died { exit_code: KILLED } if record.cause.is_none() => look_closer(engine, event),
        EventKind::Died { exit_code } => note_end(engine, &event, exit_code, false),
        EventKind::Removed => {
            engine.lock().forget_container(&event.id);
            // The end of a launch or a removal under way says it itself, and a later list says it anyway.
            if record.containers.get(&event.owner.container).is_some_and(|known| known.runtime_id.as_deref() == Some(&event.id)) {
                engine.note(&task, |record, now| record.see_gone(&event.owner.container, now));
            }
        }
    }
}

/// Killed by signal 9: by somebody, or because memory ran out?
fn look_closer<R: Runtime>(engine: &Arc<Engine<R>>, event: Event) {
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        let seen = engine.runtime.inspect(&event.id).await;
        let out_of_memory = matches!(seen, Ok(Some(Found { sighting: Sighting::Exited { out_of_memory: true, .. }, .. })));
        note_end(&engine, &event, KILLED, out_of_memory);
    });
}

fn note_end<R: Runtime>(engine: &Engine<R>, event: &Event, exit_code: i64, out_of_memory: bool) {
    let Some(task) = &event.owner.task_id else { return };
    let sighting = Sighting::Exited { exit_code: Some(exit_code), out_of_memory };
    engine.note(task, |record, now| record.see(&event.owner.container, &event.id, &sighting, now));
}
