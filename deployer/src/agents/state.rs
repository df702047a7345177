//! What is known of the connected agents, in memory: when each was last heard, the wake of its polls, log requests for it.
//!
//! A std mutex, since nothing is awaited while it is held.

use super::logs::Requests;
use model::Timestamp;
use model::ids::InstanceId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
pub struct Agents {
    known: Mutex<HashMap<InstanceId, Agent>>,
    /// People who wait for output.
    pub(super) logs: Requests,
    last_sweep: Mutex<Option<Timestamp>>,
    /// When the server stops, open polls answer and output ends.
    stopping: OnceLock<CancellationToken>,
}

#[derive(Debug)]
struct Agent {
    wake: watch::Sender<u64>,
    /// Registered since this server started.
    registered: bool,
    /// When it was last heard, while it is connected.
    heard: Option<Timestamp>,
}

impl Default for Agent {
    fn default() -> Self {
        Self { wake: watch::Sender::new(0), registered: false, heard: None }
    }
}

impl Agents {
    /// From now on `stopping` ends what is held open.
    pub(super) fn stop_with(&self, stopping: CancellationToken) {
        // Started once per process; a second start would bring the same token.
        let _ = self.stopping.set(stopping);
    }

    /// Cancelled when the server stops; never, where nothing was started.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.get().cloned().unwrap_or_default()
    }

    /// The polls of this instance look again.
    pub fn wake(&self, instance: &InstanceId) {
        if let Some(agent) = self.lock().get(instance) {
            agent.wake.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Subscribe before looking, so that no wake between the look and the wait is lost.
    pub(super) fn subscribe(&self, instance: &InstanceId) -> watch::Receiver<u64> {
        self.lock().entry(instance.clone()).or_default().wake.subscribe()
    }

    pub(super) fn registered(&self, instance: &InstanceId, now: Timestamp) {
        let mut known = self.lock();
        let agent = known.entry(instance.clone()).or_default();
        agent.registered = true;
        agent.heard = Some(now);
    }

    /// Whether the agent registered with this server process and is connected; if so it was heard now.
    pub(super) fn hear(&self, instance: &InstanceId, now: Timestamp) -> bool {
        let mut known = self.lock();
        match known.get_mut(instance) {
            Some(agent) if agent.registered && agent.heard.is_some() => {
                agent.heard = Some(now);
                true
            }
            _ => false,
        }
    }

    /// The instance is on record as connected: it gets a whole lease from `now` on.
    pub(super) fn expect(&self, instance: &InstanceId, now: Timestamp) {
        self.lock().entry(instance.clone()).or_default().heard = Some(now);
    }

    /// Agents that were not heard for `lease`. They are taken for lost from now on and have to register again.
    pub(super) fn sweep(&self, now: Timestamp, lease: Duration) -> Vec<InstanceId> {
        let mut last_sweep = self.last_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let jumped = last_sweep.is_some_and(|last| has_jumped(last, now, lease));
        *last_sweep = Some(now);
        let mut lost = Vec::new();
        for (id, agent) in self.lock().iter_mut() {
            let Some(heard) = agent.heard else { continue };
            if jumped {
                agent.heard = Some(now);
            } else if now.since(heard) >= lease {
                (agent.heard, agent.registered) = (None, false);
                lost.push(id.clone());
            }
        }
        lost
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Agent>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the clock was set, or this process stood still, since the last sweep: then silence says nothing about the agents.
fn has_jumped(last: Timestamp, now: Timestamp, lease: Duration) -> bool {
    now < last || now.since(last) >= lease
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    #[test]
    fn an_agent_is_lost_after_one_lease_of_silence_and_only_once() {
        let (agents, id) = (Agents::default(), InstanceId::from_random(1));
        let start = Timestamp::from_secs(100);
        agents.registered(&id, start);
        let at = |secs| start.plus(Duration::from_secs(secs));
        assert!(agents.sweep(at(5), LEASE).is_empty());
        assert!(agents.hear(&id, at(5)));
        for secs in [10, 15, 19] {
            assert!(agents.sweep(at(secs), LEASE).is_empty(), "after {secs} s");
        }
        assert_eq!(agents.sweep(at(20), LEASE), std::slice::from_ref(&id));
        assert!(agents.sweep(at(30), LEASE).is_empty());
        assert!(!agents.hear(&id, at(31)), "it has to register again");
    }

    #[test]
    fn nobody_is_lost_when_the_clock_is_set_or_the_server_stood_still() {
        let (agents, id) = (Agents::default(), InstanceId::from_random(1));
        let start = Timestamp::from_secs(10_000);
        agents.registered(&id, start);
        assert!(agents.sweep(start, LEASE).is_empty());
        let hour = Duration::from_hours(1);
        assert!(agents.sweep(start.plus(hour), LEASE).is_empty());
        assert!(agents.sweep(start.minus(hour), LEASE).is_empty());
        let silence: Vec<_> = (1..=15).flat_map(|secs| agents.sweep(start.minus(hour).plus(Duration::from_secs(secs)), LEASE)).collect();
        assert_eq!(silence, [id]);
    }
}
