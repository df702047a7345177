//! One host: a fake engine that lives on, and the lives of its real agent, each ended as by `kill -9`.

use crate::arena::{Arena, SkewedClock};
use crate::link::Link;
use crate::server::CONTROL_PLANE;
use agent::AgentConfig;
use agent::diff::Planes;
use agent::engine::{Engine, Parts, RelayAccess};
use agent::ledger::Writes;
use agent::runtime::fake::FakeDocker;
use agent::{reporter, sync::Sync};
use anyhow::Result;
use model::instance::ZONE_ATTRIBUTE;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A control plane that the hosts belonged to before.
pub const FORMER_PLANE: &str = "cp-former";

pub struct Host {
    pub at: usize,
    pub docker: FakeDocker,
    dir: PathBuf,
    clock: Arc<SkewedClock>,
    life: Option<Life>,
}

/// A running agent.
struct Life {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Host {
    pub fn new(at: usize, docker: FakeDocker, dir: PathBuf, skew_micros: i64) -> Self {
        Self { at, docker, dir, clock: Arc::new(SkewedClock { start: Instant::now(), skew_micros }), life: None }
    }

    /// A new life over the ledger that is there.
    pub fn start(&mut self, arena: &Arc<Arena>) -> Result<()> {
        let stop = CancellationToken::new();
        let parts = Parts {
            runtime: self.docker.clone(),
            clock: self.clock.clone(),
            data_dir: self.dir.clone(),
            planes: Planes { current: CONTROL_PLANE.into(), former: vec![FORMER_PLANE.into()] },
            relay: RelayAccess::new(crate::kinds::RELAY_PORT),
            writes: Writes::InPlace,
            failpoint: None,
        };
        let engine = Engine::open(parts, stop.clone())?;
        let link = Link::new(arena.clone(), self.at, stop.clone());
        let epoch = {
            let engine = engine.clone();
            move || engine.epoch()
        };
        let sync = Sync {
            config: self.config(),
            control_plane: CONTROL_PLANE.into(),
            engine: engine.clone(),
            server: link.clone(),
            can_rejoin: false,
        };
        let tasks = vec![
            tokio::spawn(engine.clone().run()),
            tokio::spawn(reporter::run(link, engine.outbox(), epoch)),
            tokio::spawn(async move {
                sync.run(|_| {}).await;
            }),
        ];
        arena.state().engines[self.at] = Some(engine);
        self.life = Some(Life { stop, tasks });
        Ok(())
    }

    fn config(&self) -> AgentConfig {
        let zone = format!("zone-{}", self.at % 2);
        AgentConfig {
            server: "https://127.0.0.1:1".into(),
            zone: Some(zone.clone()),
            attributes: BTreeMap::from([(ZONE_ATTRIBUTE.to_owned(), zone)]),
            address: Some("127.0.0.1".into()),
            ..AgentConfig::default()
        }
    }

    pub fn kill(&mut self, arena: &Arena) {
        self.life = None;
        arena.state().engines[self.at] = None;
    }

    pub fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// What of the agent ended though nobody ended it.
    pub fn has_broken(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.tasks.iter().any(JoinHandle::is_finished))
    }
}
