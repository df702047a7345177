//! A fleet that exists on the wire only: agents that speak the agent protocol over mTLS, each with its own certificate and connection,
//! and run nothing; a real server with services whose tasks they report RUNNING. What it measures is the server: its memory, what it
//! does at rest, and what planning one service costs in a fleet of this size and in one of a tenth.

mod host;
mod server;

use crate::accounting;
use crate::report::median;
use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use host::Host;
use server::{Fleet, Plans};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const MEMORY_MB_MAX: f64 = 300.0;
const PLAN_MS_MAX: f64 = 5.0;
/// How much more a plan may cost in ten times the fleet before it counts as growing with it.
const GROWTH_MAX: f64 = 2.0;
/// Hosts that join at once.
const JOINING: usize = 16;
/// Rest over which the server's processor time is read.
const REST: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Args)]
pub struct FleetOptions {
    /// Simulated agents, one container instance each
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Services
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// Tasks of each service
    #[arg(long, default_value_t = 50)]
    tasks: usize,
    /// Tasks at which memory is read
    #[arg(long, default_value_t = 20_000)]
    memory_tasks: usize,
    /// Services that are changed one after the other
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

/// What one fleet showed.
struct Shown {
    agents: usize,
    services: usize,
    tasks: usize,
    plan_ms: f64,
    apply_ms: f64,
    plans: Plans,
    /// At `memory_tasks`.
    memory: Option<Memory>,
}

struct Memory {
    tasks: usize,
    resident_mb: f64,
    peak_mb: f64,
    /// Share of one processor at rest.
    busy: f64,
}

/// Both fleets, the tenth first; whether every promised number was kept.
pub fn run(options: &FleetOptions) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let tenth = FleetOptions { agents: options.agents.div_ceil(10), services: options.services.div_ceil(10), ..options.clone() };
        let small = show(&tenth).await?;
        let large = show(options).await?;
        Ok(print(&small, &large))
    })
}

async fn show(options: &FleetOptions) -> Result<Shown> {
    let began = Instant::now();
    let fleet = Fleet::start().await?;
    let hosts = join(&fleet, options.agents).await?;
    eprintln!("{} agents joined after {:.1?}", options.agents, began.elapsed());
    let mut running = JoinSet::new();
    for host in hosts {
        running.spawn(host.obey());
    }
    let first = (options.memory_tasks / options.tasks.max(1)).min(options.services);
    fleet.create_services(0..first, options.tasks).await?;
    fleet.settled(first, options.tasks).await?;
    eprintln!("{} tasks in {first} services settled after {:.1?}", first * options.tasks, began.elapsed());
    let memory = if first * options.tasks >= options.memory_tasks { Some(rest(&fleet, first * options.tasks).await?) } else { None };
    fleet.create_services(first..options.services, options.tasks).await?;
    fleet.settled(options.services, options.tasks).await?;
    eprintln!("{} tasks in {} services settled after {:.1?}", options.services * options.tasks, options.services, began.elapsed());
    let (plan_ms, apply_ms, plans) = change_one_by_one(&fleet, options).await?;
    running.abort_all();
    let (agents, services, tasks) = (options.agents, options.services, options.services * options.tasks);
    Ok(Shown { agents, services, tasks, plan_ms, apply_ms, plans, memory })
}

async fn join(fleet: &Fleet, agents: usize) -> Result<Vec<Host>> {
    let mut joining = JoinSet::new();
    let mut hosts = Vec::with_capacity(agents);
    for number in 0..agents {
        if joining.len() == JOINING {
            hosts.push(joining.join_next().await.context("a host joins")???);
        }
        joining.spawn(Host::join(fleet.admin.clone(), fleet.agent_url(), number));
    }
    while let Some(host) = joining.join_next().await {
        hosts.push(host??);
    }
    Ok(hosts)
}

/// Memory, and what polls and passes cost when nothing happens.
async fn rest(fleet: &Fleet, tasks: usize) -> Result<Memory> {
    let pids = [fleet.pid()?];
    let before = accounting::cpu_secs(&pids);
    tokio::time::sleep(REST).await;
    let busy = (accounting::cpu_secs(&pids) - before) / REST.as_secs_f64();
    Ok(Memory { tasks, resident_mb: accounting::resident_mb(&pids), peak_mb: accounting::peak_mb(&pids), busy })
}

/// Adds one task to one service after the other. Medians over the services of what its plans took, and all plans together.
async fn change_one_by_one(fleet: &Fleet, options: &FleetOptions) -> Result<(f64, f64, Plans)> {
    let (mut plan_ms, mut apply_ms, mut all) = (Vec::new(), Vec::new(), Plans::default());
    for number in 0..options.rounds.min(options.services) {
        let before = fleet.plans().await?;
        fleet.scale(number, options.tasks + 1).await?;
        let plans = fleet.plans().await?.since(&before);
        ensure!(plans.plan.count > 0 && plans.apply.count > 0, "nothing was planned");
        plan_ms.push(plans.plan.mean_ms());
        apply_ms.push(plans.apply.mean_ms());
        all.add(&plans);
    }
    Ok((median(&plan_ms), median(&apply_ms), all))
}

fn print(small: &Shown, large: &Shown) -> bool {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["agents", "services", "tasks", "observe + plan, ms", "plans", "of them within 5 ms", "write, ms"]);
    for shown in [small, large] {
        table.add_row([
            shown.agents.to_string(),
            shown.services.to_string(),
            shown.tasks.to_string(),
            format!("{:.2}", shown.plan_ms),
            shown.plans.plan.count.to_string(),
            shown.plans.plan.within_5_ms.to_string(),
            format!("{:.2}", shown.apply_ms),
        ]);
    }
    println!("{table}");
    let growth = large.plan_ms / small.plan_ms;
    let (mut kept, plan_kept) = (true, large.plan_ms <= PLAN_MS_MAX && growth <= GROWTH_MAX);
    println!(
        "plan of one service: {:.2} ms (promised: {PLAN_MS_MAX} ms), {growth:.2} x that in a tenth of the fleet {}",
        large.plan_ms,
        word(plan_kept)
    );
    kept &= plan_kept;
    if let Some(memory) = &large.memory {
        let memory_kept = memory.resident_mb <= MEMORY_MB_MAX;
        println!(
            "memory of the server with {} agents and {} tasks: {:.0} MB, {:.0} MB at most (promised: {MEMORY_MB_MAX:.0} MB) {}; at rest it uses \
             {:.1} % of a processor",
            large.agents,
            memory.tasks,
            memory.resident_mb,
            memory.peak_mb,
            word(memory_kept),
            memory.busy * 100.0
        );
        kept &= memory_kept;
    }
    kept
}

fn word(kept: bool) -> &'static str {
    if kept { "ok" } else { "MISSED" }
}
