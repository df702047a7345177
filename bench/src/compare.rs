//! Our server beside others: every lane on all sides that it has, the order of lanes and of sides shuffled in each round, pushed blobs
//! deleted and the disk synced before the next, so that none pays for the other. What counts is the median of the pairs' ratios.
//!
//! Beside docker-registry stands nginx, which serves the same blobs as files.

mod lanes;

use crate::blob::Blob;
use crate::lanes::{manifests, transfer};
use crate::options::{LaneOptions, Side, loopback};
use crate::report::{Measured, percentile};
use crate::score::{self, Bound, Row};
use crate::sides::PairOptions;
use anyhow::{Context, Result, ensure};
use clap::Args;
use lanes::{Does, Lane, TAGS};
use rand::seq::SliceRandom;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

const REPOSITORY: &str = "bench/a";

#[derive(Debug, Args)]
pub struct CompareOptions {
    #[command(flatten)]
    pair: PairOptions,
    #[command(flatten)]
    files: FileOptions,
    #[command(flatten)]
    tls: TlsOptions,
    /// Rounds of each lane
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Divides the sizes of blobs, for a quick look
    #[arg(long, default_value_t = 1)]
    divide: usize,
    /// Where every single measurement goes, a line each
    #[arg(long)]
    raw: Option<PathBuf>,
}

/// A server of files, as the second peer of pulls.
#[derive(Debug, Args)]
struct FileOptions {
    /// `http://127.0.0.1:PORT` of nginx
    #[arg(long, value_parser = loopback, requires = "nginx_root")]
    nginx: Option<String>,
    /// Folder that it serves
    #[arg(long)]
    nginx_root: Option<PathBuf>,
    /// Its processes
    #[arg(long, value_delimiter = ',')]
    nginx_pids: Vec<u32>,
}

/// What both serve over TLS.
#[derive(Debug, Args)]
struct TlsOptions {
    /// `https://127.0.0.1:PORT` of a server of ours, with the same credentials
    #[arg(long, value_parser = loopback, requires_all = ["ours_tls_pid", "nginx_tls", "authority"])]
    ours_tls: Option<String>,
    #[arg(long)]
    ours_tls_pid: Option<u32>,
    /// `https://127.0.0.1:PORT` of nginx
    #[arg(long, value_parser = loopback)]
    nginx_tls: Option<String>,
    /// Authority that both have their certificates from, PEM
    #[arg(long)]
    authority: Option<PathBuf>,
}

/// Who can take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seat {
    Ours,
    Registry,
    Nginx,
    OursTls,
    NginxTls,
}

type Sides = BTreeMap<Seat, Side>;
type Results = BTreeMap<Seat, Vec<Measured>>;

/// Whether everything was kept.
pub fn run(options: &CompareOptions) -> Result<bool> {
    let sides = sides(options);
    let (lanes, left_out): (Vec<_>, Vec<_>) = lanes::all(options.divide.max(1))
        .into_iter()
        .map(|lane| (lane.name, lane.with(|seat| sides.contains_key(&seat))))
        .partition(|(_, lane)| lane.is_some());
    for (name, _) in left_out {
        println!("left out, since nobody to compare with was named: {name}");
    }
    let lanes: Vec<Lane> = lanes.into_iter().filter_map(|(_, lane)| lane).collect();
    for (seat, side) in &sides {
        seed(*seat, side, &lanes, options.files.nginx_root.as_deref())?;
    }
    let mut raw = options.raw.as_ref().map(File::create).transpose()?;
    let mut results: Vec<Results> = lanes.iter().map(|_| Results::default()).collect();
    let seed = u64::from(rand::random::<u32>()) * 1000;
    for round in 0..options.rounds {
        let mut order: Vec<usize> = (0..lanes.len()).collect();
        order.shuffle(&mut rand::rng());
        for index in order {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, lanes[index].name);
            let seed = seed + u64::try_from(round * 100 + index * 10)?;
            run_lane(&sides, &lanes[index], seed, &mut results[index], raw.as_mut())?;
        }
    }
    let rows: Vec<Row> = lanes.iter().zip(&results).flat_map(|(lane, results)| rows(&sides, lane, results)).collect();
    Ok(score::print("registry", &rows))
}

fn sides(options: &CompareOptions) -> Sides {
    let [ours, theirs] = options.pair.both(REPOSITORY);
    let mut sides = Sides::from([(Seat::Registry, theirs)]);
    if let Some(url) = &options.files.nginx {
        sides.insert(Seat::Nginx, Side::of(url, options.files.nginx_pids.clone(), REPOSITORY, "nginx"));
    }
    let tls = &options.tls;
    if let (Some(url), Some(pid)) = (&tls.ours_tls, tls.ours_tls_pid) {
        let side = Side::of(url, vec![pid], REPOSITORY, "ours over TLS");
        sides.insert(Seat::OursTls, Side { auth: ours.auth.clone(), authority: tls.authority.clone(), ..side });
    }
    if let Some(url) = &tls.nginx_tls {
        let side = Side::of(url, options.files.nginx_pids.clone(), REPOSITORY, "nginx, TLS");
        sides.insert(Seat::NginxTls, Side { authority: tls.authority.clone(), ..side });
    }
    sides.insert(Seat::Ours, ours);
    sides
}

/// What the reading lanes of a side read.
fn seed(seat: Seat, side: &Side, lanes: &[Lane], root: Option<&Path>) -> Result<()> {
    eprintln!("seeding {}", side.label);
    for lane in lanes.iter().filter(|lane| lane.seats().any(|other| other == seat)) {
        match (lane.does, seat) {
            (Does::Pull, Seat::Nginx | Seat::NginxTls) => write_files(root.context("--nginx-root")?, side, &lane.options)?,
            (Does::Pull, _) => drop(transfer::push(side, &lane.options)?),
            (Does::Ask, _) => drop(manifests::seed_tags(side, &LaneOptions { count: TAGS, parallel: 4, ..LaneOptions::default() })?),
            (Does::Push, _) => {}
        }
    }
    Ok(())
}

/// The blobs of a lane as files, under the paths that a registry has them by.
fn write_files(root: &Path, side: &Side, options: &LaneOptions) -> Result<()> {
    for blob in transfer::large(options) {
        let path = root.join(transfer::path_of(side, &blob).trim_start_matches('/'));
        if !path.exists() {
            std::fs::create_dir_all(path.parent().context("a blob has a folder")?)?;
            write_file(&path, &blob).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

fn write_file(path: &Path, blob: &Blob) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    blob.write_range(&mut file, 0, blob.size)?;
    Ok(file.into_inner()?.sync_all()?)
}

fn run_lane(sides: &Sides, lane: &Lane, seed: u64, results: &mut Results, mut raw: Option<&mut File>) -> Result<()> {
    let pushes = lane.does == Does::Push;
    let options = if pushes { LaneOptions { seed, ..lane.options.clone() } } else { lane.options.clone() };
    let mut order: Vec<Seat> = lane.seats().collect();
    order.shuffle(&mut rand::rng());
    for seat in order {
        let side = &sides[&seat];
        nix::unistd::sync();
        let measured = (lane.run)(side, &options)?;
        ensure!(measured.errors == 0, "{}: {} answered {} requests with errors", lane.name, side.label, measured.errors);
        if let Some(raw) = &mut raw {
            writeln!(raw, "{}", measured.to_json(&side.label))?;
        }
        results.entry(seat).or_default().push(measured);
        if pushes && options.size.is_some() {
            transfer::delete(side, &options)?;
        }
    }
    Ok(())
}

/// What a lane showed: rates and processor time beside each peer, and the slowest of a hundred.
fn rows(sides: &Sides, lane: &Lane, results: &Results) -> Vec<Row> {
    let values = |seat: Seat, value: fn(&Measured) -> f64| results.get(&seat).into_iter().flatten().map(value).collect::<Vec<f64>>();
    let Some(units) = results.get(&lane.ours).and_then(|all| all.first()) else { return Vec::new() };
    let beside = |peer: Seat, work: &str, unit, value: fn(&Measured) -> f64| {
        Row::pairs(work, unit, &values(lane.ours, value), (&sides[&peer].label, &values(peer, value)))
    };
    let mut rows = Vec::new();
    for peer in &lane.peers {
        let rate = beside(peer.seat, lane.name, units.unit(), Measured::rate);
        rows.push(rate.promised(peer.promised).target(peer.target));
    }
    for peer in &lane.peers {
        let work = format!("{}: processor", lane.name);
        rows.push(beside(peer.seat, &work, units.cost_unit(), Measured::cost).target(peer.cost));
    }
    if let Some(most) = lane.p99_ms_max {
        let p99 = |measured: &Measured| percentile(&measured.latencies_ms, 0.99);
        let work = format!("{}: p99", lane.name);
        rows.extend(lane.peers.iter().map(|peer| beside(peer.seat, &work, "ms", p99).target(Bound::AtMost(most))));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_where_a_registry_has_its_blobs() {
        let folder = tempfile::tempdir().unwrap();
        let side = Side::of("127.0.0.1:1", Vec::new(), "bench/a", "nginx");
        let options = LaneOptions { size: Some(5000), parallel: 2, count: 2, ..LaneOptions::default() };
        write_files(folder.path(), &side, &options).unwrap();
        for blob in transfer::large(&options) {
            let mut expected = Vec::new();
            blob.write_range(&mut expected, 0, blob.size).unwrap();
            assert_eq!(std::fs::read(folder.path().join("v2/bench/a/blobs").join(&blob.digest)).unwrap(), expected);
        }
    }

    #[test]
    fn a_lane_is_compared_with_each_of_its_peers() {
        let lane = lanes::all(1).into_iter().find(|lane| lane.name.starts_with("blob pull")).unwrap();
        let side = |label: &str| Side::of("127.0.0.1:1", Vec::new(), "a", label);
        let sides = Sides::from([(Seat::Ours, side("ours")), (Seat::Registry, side("registry")), (Seat::Nginx, side("nginx"))]);
        let measured = |wall_secs, cpu_secs| Measured { bytes: Some(1 << 30), wall_secs, cpu_secs, ..Measured::default() };
        let results = Results::from([
            (Seat::Ours, vec![measured(1.0, 0.5)]),
            (Seat::Registry, vec![measured(2.0, 1.0)]),
            (Seat::Nginx, vec![measured(1.0, 0.5)]),
        ]);
        assert_eq!(rows(&sides, &lane, &results).len(), 4);
        assert!(score::print("test", &rows(&sides, &lane, &results)));
    }
}
