//! A load client for OCI registries, over HTTP/1.1 on loopback: threads that block, and one epoll loop for small requests.
//!
//! Each lane prints one line of JSON. `bench compare` runs the lanes against several servers in shuffled pairs and prints a table of the
//! medians of the pairs' ratios against what we promise: absolute numbers of one machine at one moment mean little. `lists`, `memory`,
//! `storm` and `growth` do the same for what is more than a lane.
//! Deliberately small and blocking, so that the client is not what is measured.

mod accounting;
mod blob;
mod certificate;
mod compare;
mod connection;
mod deploy;
mod fleet;
mod growth;
mod lanes;
mod lists;
mod memory;
mod options;
mod report;
mod score;
mod sides;
mod storm;
mod stream;

use anyhow::Result;
use clap::{Parser, Subcommand};
use compare::CompareOptions;
use options::{LaneOptions, Side};
use std::process::ExitCode;

/// Load client for OCI registries on loopback.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Push `--count` blobs of `--size` over `--parallel` connections
    Push(Lane),
    /// Pull what `push` with the same seed, count and size pushed
    Pull(Lane),
    /// Push many small blobs
    Small(Lane),
    /// Put one manifest under tags t0, t1, …
    SeedTags(Lane),
    /// Put different manifests under different tags
    ManifestPut(Lane),
    /// Ask for the manifests of `seed-tags` in a closed loop over keep-alive connections
    Load(Lane),
    /// Ask for `--path` again and again
    Get(Lane),
    /// Start `--path` (a command line), and time until it answers
    Coldstart(Lane),
    /// Delete the blobs that `push` with the same seed, count and size pushed
    Delete(Lane),
    /// All lanes against other servers, in shuffled pairs
    Compare(CompareOptions),
    /// Make an authority and a certificate for 127.0.0.1
    Certificate(certificate::CertificateOptions),
    /// Pages of tags, of a repository with many of them
    Lists(lists::ListOptions),
    /// Memory of a server that was just started: at rest, and under slow pushes
    Memory(memory::MemoryOptions),
    /// Many clients pull one image at once
    Storm(storm::StormOptions),
    /// A registry of many manifests beside a small one
    Growth(growth::GrowthOptions),
    /// A real server under simulated agents: its memory, and what planning one service costs
    Fleet(fleet::FleetOptions),
    /// The deploy path on this machine's Docker Engine, beside Docker Swarm
    Deploy(deploy::DeployOptions),
}

#[derive(Debug, clap::Args)]
struct Lane {
    #[command(flatten)]
    side: Side,
    #[command(flatten)]
    options: LaneOptions,
}

fn main() -> Result<ExitCode> {
    let (run, lane): (lanes::Run, Lane) = match Arguments::parse().command {
        Command::Push(lane) => (lanes::transfer::push, lane),
        Command::Pull(lane) => (lanes::transfer::pull, lane),
        Command::Small(lane) => (lanes::transfer::small, lane),
        Command::SeedTags(lane) => (lanes::manifests::seed_tags, lane),
        Command::ManifestPut(lane) => (lanes::manifests::put, lane),
        Command::Load(lane) => (lanes::load::run, lane),
        Command::Get(lane) => (lanes::get::run, lane),
        Command::Coldstart(lane) => (lanes::coldstart::run, lane),
        Command::Delete(lane) => (lanes::transfer::delete, lane),
        Command::Compare(options) => return compare::run(&options).map(verdict),
        Command::Certificate(options) => return certificate::make(&options).map(|()| ExitCode::SUCCESS),
        Command::Lists(options) => return lists::run(&options).map(verdict),
        Command::Memory(options) => return memory::run(&options).map(verdict),
        Command::Storm(options) => return storm::run(&options).map(verdict),
        Command::Growth(options) => return growth::run(&options).map(verdict),
        Command::Deploy(options) => return deploy::run(&options).map(verdict),
        Command::Fleet(options) => return fleet::run(&options).map(verdict),
    };
    println!("{}", run(&lane.side, &lane.options)?.to_json(&lane.side.label));
    Ok(ExitCode::SUCCESS)
}

/// A number that was missed makes the run fail, after everything is printed.
fn verdict(kept: bool) -> ExitCode {
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
