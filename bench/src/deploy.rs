//! The deploy path, on this machine's Docker Engine: a real server with its agent, and Docker Swarm on the same engine in the same run,
//! the rounds of both in turn.
//!
//! The image is the same on both sides: a web server of busybox, warm on the host, and a layer of 5 MB that is new in each round. Ours is
//! pushed to the registry and pulled from it; Swarm's is loaded into the engine before its clock starts, which spares it the pull.

mod crash;
mod engine;
mod many;
mod ours;
mod swarm;

use crate::report::{median, percentile};
use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};
use ours::Ours;
use swarm::Swarm;
use testing::Image;

/// Bytes of the layer that changes.
const LAYER_BYTES: usize = 5_000_000;
/// Tasks of the service.
const TASKS: usize = 3;
/// Looks at both sides are this far apart.
const LOOK_PERIOD: std::time::Duration = std::time::Duration::from_millis(10);
/// Longest wait for any of it.
const LIMIT: std::time::Duration = std::time::Duration::from_mins(2);

#[derive(Debug, Clone, Args)]
pub struct DeployOptions {
    /// Rounds of each measurement
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Tasks on one host
    #[arg(long, default_value_t = 50)]
    many: usize,
    /// Leave Docker Swarm out
    #[arg(long)]
    no_swarm: bool,
    /// Only these: `push`, `kill`, `many`, `crash`
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// One line of the table: seconds of each round, ours and Swarm's.
struct Row {
    what: &'static str,
    ours: Vec<f64>,
    swarm: Vec<f64>,
    promised: Promise,
}

enum Promise {
    Secs(f64),
    /// Times what the other side took.
    Times(f64),
}

impl Row {
    fn new(what: &'static str, promised: Promise) -> Self {
        Self { what, ours: Vec::new(), swarm: Vec::new(), promised }
    }

    fn is_kept(&self) -> bool {
        match self.promised {
            Promise::Secs(secs) => median(&self.ours) <= secs,
            Promise::Times(times) => median(&self.ours) <= times * median(&self.swarm),
        }
    }
}

/// Whether every promised number was kept.
pub fn run(options: &DeployOptions) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut rows = Vec::new();
        let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
        if wanted("push") || wanted("kill") {
            rows.extend(beside_swarm(options, wanted("push"), wanted("kill")).await?);
        }
        if wanted("many") {
            rows.push(many::measure(options.many, options.rounds.min(3)).await?);
        }
        if wanted("crash") {
            rows.push(crash::measure(options.rounds.min(5)).await?);
        }
        print(&rows);
        Ok(rows.iter().all(Row::is_kept))
    })
}

async fn beside_swarm(options: &DeployOptions, push: bool, kill: bool) -> Result<Vec<Row>> {
    let mut running = Row::new("push acknowledged -> first new task RUNNING", Promise::Secs(1.0));
    let mut completed = Row::new("push acknowledged -> COMPLETED, 3 tasks, start-first", Promise::Secs(3.0));
    let mut replaced = Row::new("killed task -> replacement RUNNING", Promise::Secs(0.7));
    let first = image(0);
    let ours = Ours::start(&first, TASKS).await?;
    let swarm = if options.no_swarm { None } else { Some(Swarm::start(&first, TASKS)?) };
    let mut parts = Vec::new();
    for round in 1..=options.rounds {
        if push {
            let image = image(round);
            let pushed = ours.push(&image, round).await?;
            running.ours.push(pushed.running);
            completed.ours.push(pushed.completed);
            parts.push(pushed.parts);
            if let Some(swarm) = &swarm {
                let (to_running, to_completed) = swarm.update(&image, round)?;
                running.swarm.push(to_running);
                completed.swarm.push(to_completed);
            }
        }
        if kill {
            replaced.ours.push(ours.kill_one().await?);
            if let Some(swarm) = &swarm {
                replaced.swarm.push(swarm.kill_one()?);
            }
        }
    }
    print_parts(&parts);
    Ok([running, completed, replaced].into_iter().filter(|row| !row.ours.is_empty()).collect())
}

/// The image of a round.
fn image(round: usize) -> Image {
    let seed = u64::try_from(round).unwrap_or_default() ^ u64::from(std::process::id()) << 32;
    let layer = testing::images::Blob::made_up(seed, LAYER_BYTES);
    Image::busybox()
        .expect("busybox-static is installed")
        .folder("www")
        .file("www/index.html", 0o644, b"hello\n")
        .layer("layer", &layer.bytes)
        .command(&["sh", "-c", "trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait"])
        .build()
}

/// How both sides find out that a task is healthy.
const HEALTH_COMMAND: &str = "wget -q -O /dev/null http://127.0.0.1:8080/";

fn print_parts(parts: &[[f64; 4]]) {
    if !parts.is_empty() {
        let [planned, pulled, started, seen] =
            std::array::from_fn(|part| 1000.0 * median(&parts.iter().map(|of| of[part]).collect::<Vec<_>>()));
        println!("the way to RUNNING, ms: planned {planned:.0}, image there {pulled:.0}, started {started:.0}, seen {seen:.0}");
    }
}

fn print(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["work", "median", "worst", "beside it", "promised", ""]);
    for row in rows {
        let secs = |values: &[f64]| if values.is_empty() { String::new() } else { format!("{:.2} s", median(values)) };
        let promised = match row.promised {
            Promise::Secs(secs) => format!("{secs:.1} s"),
            Promise::Times(times) => format!("{times:.1} x beside it"),
        };
        let worst = format!("{:.2} s", percentile(&row.ours, 1.0));
        let kept = if row.is_kept() { "ok" } else { "MISSED" };
        table.add_row([row.what.to_owned(), secs(&row.ours), worst, secs(&row.swarm), promised, kept.to_owned()]);
    }
    println!("{table}");
    println!("beside it: Docker Swarm with an image that is on the host already; for many tasks the bare Engine API, four at a time");
}
