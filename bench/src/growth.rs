//! A registry that grows, beside one that stays small: start, manifests, catalog and garbage collection, in shuffled pairs at each size.
//!
//! The rows of the large one are written into its database while it is stopped (`store`), then both servers run at the same time.

mod server;
mod shape;
mod store;
mod work;

use crate::report::median;
use crate::score::{self, Bound, Row, short};
use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{Table, presets};
use rand::seq::SliceRandom;
use server::Server;
use shape::{SMALL, Shape};
use std::path::PathBuf;
use std::time::Instant;
use tokio::runtime::Runtime;
use work::{GROWTH_MAX, Registry, Work};

const START_MS_MAX: f64 = 200.0;
/// Most rounds: the small registry has no more manifests that were not asked for yet.
const ROUNDS_MAX: usize = SMALL / work::COLD;

#[derive(Debug, Args)]
pub struct GrowthOptions {
    /// Manifests at the end, a hundred in a repository
    #[arg(long, default_value_t = 1_000_000)]
    manifests: usize,
    /// Pairs of each measurement, at most 5
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Starts of each server at each size
    #[arg(long, default_value_t = 7)]
    starts: usize,
    /// Where both servers keep their data
    #[arg(long)]
    folder: PathBuf,
}

/// Milliseconds on both sides, in pairs.
#[derive(Debug, Default, Clone)]
struct Pairs {
    small: Vec<f64>,
    grown: Vec<f64>,
}

/// What one size showed.
struct Point {
    manifests: usize,
    fill_secs: f64,
    megabytes: f64,
    starts: Pairs,
    works: Vec<(Work, Pairs)>,
}

pub fn run(options: &GrowthOptions) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut small = Server::on(options.folder.join("small"))?;
    let mut grown = Server::on(options.folder.join("grown"))?;
    for server in [&mut small, &mut grown] {
        // The schema is the server's to make.
        server.start()?;
        server.stop()?;
    }
    fill(&runtime, &small, Shape::SMALL, 0, SMALL)?;
    let (mut points, mut have) = (Vec::new(), 0);
    for manifests in shape::sizes(options.manifests) {
        let fill_secs = fill(&runtime, &grown, Shape::GROWN, have, manifests)?;
        have = manifests;
        eprintln!("{manifests} manifests, filled in {fill_secs:.1} s");
        let megabytes = server::megabytes(&grown.database())?;
        let starts = starts(&mut small, &mut grown, options.starts)?;
        let works = works(&runtime, &small, &grown, manifests, options.rounds.clamp(1, ROUNDS_MAX))?;
        points.push(Point { manifests, fill_secs, megabytes, starts, works });
        small.stop()?;
        grown.stop()?;
    }
    print(&points)
}

/// Seconds that it took to bring a stopped server from `have` to `wanted` manifests.
fn fill(runtime: &Runtime, server: &Server, shape: Shape, have: usize, wanted: usize) -> Result<f64> {
    let began = Instant::now();
    let now = model::Clock::now(&model::clock::SystemClock);
    let repositories = shape.repositories(have)..shape.repositories(wanted);
    let filled = runtime.block_on(store::fill(&server.database(), shape, repositories, now));
    filled.with_context(|| format!("filling {}", server.database().display()))?;
    nix::unistd::sync();
    Ok(began.elapsed().as_secs_f64())
}

/// Starts both in turn; both run at the end.
fn starts(small: &mut Server, grown: &mut Server, count: usize) -> Result<Pairs> {
    let mut pairs = Pairs::default();
    for _ in 0..count.max(1) {
        small.stop()?;
        grown.stop()?;
        pairs.small.push(small.start()?);
        pairs.grown.push(grown.start()?);
    }
    Ok(pairs)
}

fn works(runtime: &Runtime, small: &Server, grown: &Server, manifests: usize, rounds: usize) -> Result<Vec<(Work, Pairs)>> {
    let small = Registry { server: small, shape: Shape::SMALL, manifests: SMALL, runtime };
    let grown = Registry { server: grown, shape: Shape::GROWN, manifests, runtime };
    small.check()?;
    grown.check()?;
    let mut works: Vec<(Work, Pairs)> = Work::ALL.map(|work| (work, Pairs::default())).into();
    let seed = u64::from(rand::random::<u32>()) * 1000;
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..works.len()).collect();
        order.shuffle(&mut rand::rng());
        for index in order {
            let seed = seed + u64::try_from(round * 10 + index)?;
            let (work, Pairs { small: of_small, grown: of_grown }) = &mut works[index];
            let mut sides = [(&small, of_small), (&grown, of_grown)];
            sides.shuffle(&mut rand::rng());
            for (registry, into) in sides {
                into.push(registry.measure(*work, round, seed)?);
            }
        }
    }
    Ok(works)
}

fn print(points: &[Point]) -> Result<bool> {
    let last = points.last().context("no sizes")?;
    let mut curve = Table::new();
    curve.load_style(presets::ASCII_MARKDOWN);
    let works = Work::ALL.map(|work| format!("{}, ms", work.name()));
    curve
        .set_header(["manifests", "repositories", "database, MB", "filled in, s", "start, ms"].map(str::to_owned).into_iter().chain(works));
    curve.add_row(cells(SMALL, Shape::SMALL, [String::new(), String::new()], last, |pairs| short(median(&pairs.small))));
    for point in points {
        let database = [short(point.megabytes), short(point.fill_secs)];
        curve.add_row(cells(point.manifests, Shape::GROWN, database, point, |pairs| {
            format!("{} ({:.2} x)", short(median(&pairs.grown)), pairs.ratio())
        }));
    }
    println!("{curve}");
    Ok(score::print("a grown registry", &rows(last)))
}

fn cells(manifests: usize, shape: Shape, database: [String; 2], point: &Point, cell: impl Fn(&Pairs) -> String) -> Vec<String> {
    let mut cells = vec![manifests.to_string(), shape.repositories(manifests).to_string()];
    cells.extend(database);
    cells.push(cell(&point.starts));
    cells.extend(point.works.iter().map(|(_, pairs)| cell(pairs)));
    cells
}

fn rows(last: &Point) -> Vec<Row> {
    let beside = format!("{SMALL} manifests");
    let row = |work: &str, pairs: &Pairs| {
        Row::pairs(format!("{} manifests: {work}", last.manifests), "ms", &pairs.grown, (&beside, &pairs.small))
    };
    let start = row("start to ready", &last.starts).target(Bound::AtMost(START_MS_MAX));
    let works = last.works.iter().map(|(work, pairs)| row(work.name(), pairs).target(Bound::TimesAtMost(GROWTH_MAX)));
    std::iter::once(start).chain(works).collect()
}

impl Pairs {
    fn ratio(&self) -> f64 {
        let ratios: Vec<f64> = self.grown.iter().zip(&self.small).map(|(grown, small)| grown / small).collect();
        median(&ratios)
    }
}
