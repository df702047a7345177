//! Two registries side by side: every lane on both, the order of lanes and of sides shuffled in each round, pushed blobs deleted and the
//! disk synced before the next, so that neither pays for the other. What counts is the median of the pairs' ratios.

use crate::lanes::{self, load, manifests, transfer};
use crate::options::{LaneOptions, MIB, Method, Side};
use crate::report::{Measured, median};
use anyhow::{Result, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use rand::seq::SliceRandom;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// Tags that `load` asks for.
const TAGS: usize = 200;

#[derive(Debug, Args)]
pub struct CompareOptions {
    /// `http://127.0.0.1:PORT` of our server
    #[arg(long)]
    ours: String,
    #[arg(long)]
    ours_pid: u32,
    /// `user:password` for our server
    #[arg(long)]
    ours_auth: Option<String>,
    /// `http://127.0.0.1:PORT` of the other
    #[arg(long)]
    theirs: String,
    #[arg(long)]
    theirs_pid: u32,
    /// Name of the other in the table
    #[arg(long, default_value = "theirs")]
    theirs_name: String,
    /// Pairs per lane
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Divides the sizes of blobs, for a quick look
    #[arg(long, default_value_t = 1)]
    divide: usize,
    /// Where every single measurement goes, a line each
    #[arg(long)]
    raw: Option<PathBuf>,
}

/// One comparison: what is run, and the ratio that we promise, if we do.
struct Lane {
    name: &'static str,
    target: Option<f64>,
    run: lanes::Run,
    options: LaneOptions,
    /// Whether each round gets blobs of its own, which are deleted afterwards.
    pushes: bool,
}

/// The pairs of one lane.
#[derive(Default)]
struct Pairs {
    ours: Vec<Measured>,
    theirs: Vec<Measured>,
}

pub fn run(options: &CompareOptions) -> Result<()> {
    let sides = Sides::of(options);
    let lanes = compared(options.divide.max(1));
    let mut raw = options.raw.as_ref().map(File::create).transpose()?;
    let seed = rand::random::<u32>();
    for side in [&sides.ours, &sides.theirs] {
        seed_side(side, &lanes)?;
    }
    let mut pairs: Vec<Pairs> = lanes.iter().map(|_| Pairs::default()).collect();
    for round in 0..options.rounds {
        let mut order: Vec<usize> = (0..lanes.len()).collect();
        order.shuffle(&mut rand::rng());
        for index in order {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, lanes[index].name);
            let blob_seed = u64::from(seed) * 1000 + u64::try_from(round * 100 + index * 10)?;
            run_pair(&sides, &lanes[index], blob_seed, &mut pairs[index], raw.as_mut())?;
        }
    }
    print_table(&options.theirs_name, &lanes, &pairs);
    let missed: Vec<&str> = lanes
        .iter()
        .zip(&pairs)
        .filter(|(lane, pairs)| lane.target.is_some_and(|t| pairs.ratio() < t))
        .map(|(lane, _)| lane.name)
        .collect();
    ensure!(missed.is_empty(), "below what we promise: {}", missed.join(", "));
    Ok(())
}

struct Sides {
    ours: Side,
    theirs: Side,
}

impl Sides {
    fn of(options: &CompareOptions) -> Self {
        let side = |url: &str, pid: u32, auth: &Option<String>, label: &str| Side {
            url: url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            auth: auth.clone(),
            token: None,
            pids: vec![pid],
            repository: "bench/a".to_owned(),
            label: label.to_owned(),
        };
        Self {
            ours: side(&options.ours, options.ours_pid, &options.ours_auth, "ours"),
            theirs: side(&options.theirs, options.theirs_pid, &None, &options.theirs_name),
        }
    }
}

fn compared(divide: usize) -> Vec<Lane> {
    let blobs = |mib: usize, parallel: usize| LaneOptions {
        size: Some((mib * MIB / divide).max(MIB)),
        parallel,
        count: parallel,
        ..LaneOptions::default()
    };
    let tags = |method| LaneOptions { count: TAGS, secs: 3.0, method, ..LaneOptions::default() };
    let many = |count| LaneOptions { count, parallel: 8, ..LaneOptions::default() };
    let lane = |name, target, run, options, pushes| Lane { name, target, run, options, pushes };
    vec![
        lane("durable push, 256 MiB", Some(2.5), transfer::push, blobs(256, 1), true),
        lane("durable push, 8 x 64 MiB at once", Some(1.8), transfer::push, blobs(64, 8), true),
        lane("manifest GET by tag", Some(30.0), load::run, tags(Method::Get), false),
        lane("manifest HEAD by tag", None, load::run, tags(Method::Head), false),
        lane("blob pull, 1 GiB", Some(1.0), transfer::pull, blobs(1024, 1), false),
        lane("blob pull, 8 x 128 MiB at once", Some(1.3), transfer::pull, blobs(128, 8), false),
        lane("small blobs, 8 at once", None, transfer::small, many(300), true),
        lane("manifest PUT, 8 at once", None, manifests::put, many(200), true),
    ]
}

/// What the reading lanes read.
fn seed_side(side: &Side, lanes: &[Lane]) -> Result<()> {
    eprintln!("seeding {}", side.label);
    for lane in lanes.iter().filter(|lane| lane.name.starts_with("blob pull")) {
        transfer::push(side, &lane.options)?;
    }
    manifests::seed_tags(side, &LaneOptions { count: TAGS, parallel: 4, ..LaneOptions::default() })?;
    Ok(())
}

fn run_pair(sides: &Sides, lane: &Lane, seed: u64, pairs: &mut Pairs, mut raw: Option<&mut File>) -> Result<()> {
    let options = if lane.pushes { LaneOptions { seed, ..lane.options.clone() } } else { lane.options.clone() };
    let mut order = [(&sides.ours, &mut pairs.ours), (&sides.theirs, &mut pairs.theirs)];
    order.shuffle(&mut rand::rng());
    for (side, into) in order {
        nix::unistd::sync();
        let measured = (lane.run)(side, &options)?;
        ensure!(measured.errors == 0, "{}: {} answered {} requests with errors", lane.name, side.label, measured.errors);
        if let Some(raw) = &mut raw {
            writeln!(raw, "{}", measured.to_json(&side.label))?;
        }
        into.push(measured);
        if lane.pushes && options.size.is_some() {
            transfer::delete(side, &options)?;
        }
    }
    Ok(())
}

impl Pairs {
    fn ratio(&self) -> f64 {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours.rate() / theirs.rate()).collect();
        median(&ratios)
    }
}

fn print_table(theirs_name: &str, lanes: &[Lane], pairs: &[Pairs]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["lane", "unit", "ours", theirs_name, "ratio", "promised", "", "processor: ours", theirs_name, "unit"]);
    for (lane, pairs) in lanes.iter().zip(pairs) {
        let Some(unit) = pairs.ours.first() else { continue };
        let rate = |side: &[Measured]| format!("{:.0}", median(&side.iter().map(Measured::rate).collect::<Vec<_>>()));
        let cost = |side: &[Measured]| format!("{:.2}", median(&side.iter().map(Measured::cost).collect::<Vec<_>>()));
        let ratio = pairs.ratio();
        let verdict = match lane.target {
            Some(target) if ratio < target => "MISSED",
            Some(_) => "ok",
            None => "",
        };
        table.add_row([
            lane.name.to_owned(),
            unit.unit().to_owned(),
            rate(&pairs.ours),
            rate(&pairs.theirs),
            format!("{ratio:.2} x"),
            lane.target.map(|target| format!("{target:.1} x")).unwrap_or_default(),
            verdict.to_owned(),
            cost(&pairs.ours),
            cost(&pairs.theirs),
            unit.cost_unit().to_owned(),
        ]);
    }
    println!("{table}");
}
