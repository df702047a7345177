//! The control plane and its agents in one process, played against a network that loses, delays, doubles and reorders, engines that
//! fail, and processes that are killed; by one seed, so that what goes wrong once goes wrong again.
//!
//! Real: the planner, the operations, the agent protocol's routes, the database (SQLite), and of the agent its engine, ledger,
//! conversation and reporter. Simulated: Docker, the network, time, chance. The `oracle` checks the rules after every step; after
//! the steps everything is healed and has to become what was asked for.
//!
//! One thread plays everything on tokio's paused clock; the server answers from a thread of its own, for which that one waits. Nothing
//! may depend on how long anything takes for real.

mod arena;
mod host;
mod kinds;
mod link;
mod network;
mod oracle;
mod picture;
mod quiet;
mod server;
mod steps;
mod store;
mod template;
mod trace;
mod world;

pub use oracle::Counts;

use anyhow::{Context as _, Result};
use arena::Arena;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt;
use trace::Trace;
use world::World;

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    pub steps: usize,
    /// Every so many seeds also wait until what is over has been cleaned up.
    pub clean_every: u64,
}

impl Default for Length {
    fn default() -> Self {
        Self { steps: 24, clean_every: 24 }
    }
}

/// What a run was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// Of everything that happened: the same for the same seed.
    pub hash: u64,
    pub lines: u64,
    pub virtual_secs: u64,
    pub counts: Counts,
}

/// A rule that did not hold.
#[derive(Debug)]
pub struct Violation {
    pub seed: u64,
    pub steps: usize,
    pub sentence: String,
    pub trace: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, steps, sentence, trace } = self;
        write!(f, "{trace}seed {seed}: {sentence}\nto repeat it: make soak SEED={seed} STEPS={steps}")
    }
}

/// Plays one seed. `aloud`: what happens is printed as it happens.
pub fn play(seed: u64, length: Length, aloud: bool) -> Result<Result<Played, Box<Violation>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().context("building a runtime")?;
    let folder = template::folder()?;
    runtime.block_on(async {
        let hosts = StdRng::seed_from_u64(seed ^ 0x686F_7374).random_range(1..=template::HOSTS_MAX);
        let arena = Arena::new(folder.path().to_owned(), seed, hosts, Trace::new(aloud))?;
        let mut world = World::new(arena.clone(), folder.path(), seed)?;
        let outcome = run(&mut world, seed, length).await?;
        let state = arena.state();
        Ok(match outcome {
            Ok(()) => Ok(Played {
                hash: state.trace.hash(),
                lines: state.trace.count(),
                virtual_secs: arena.elapsed().as_secs(),
                counts: state.oracle.counts,
            }),
            Err(sentence) => Err(Box::new(Violation { seed, steps: length.steps, sentence, trace: state.trace.tail() })),
        })
    })
}

async fn run(world: &mut World, seed: u64, length: Length) -> Result<Result<(), String>> {
    for _ in 0..length.steps {
        let pause = steps::take(world)?;
        if let Err(sentence) = world.pass(pause).await {
            return Ok(Err(sentence));
        }
    }
    quiet::heal(world)?;
    quiet::last_word(world);
    if let Err(sentence) = quiet::settle(world).await {
        return Ok(Err(sentence));
    }
    if seed.is_multiple_of(length.clean_every) {
        return Ok(quiet::clean(world).await);
    }
    Ok(Ok(()))
}
