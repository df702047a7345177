//! Memory of a server that was just started: at rest, and under many pushes over slow lines, all open at once.

use crate::accounting;
use crate::blob::Blob;
use crate::connection::Connection;
use crate::options::{LaneOptions, MIB, Side};
use crate::report::count;
use crate::score::{self, Bound, Row};
use crate::sides::PairOptions;
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const IDLE_MB_MAX: f64 = 20.0;
const PUSHES_MB_MAX: f64 = 120.0;
/// From ready to the look at a server at rest.
const REST: Duration = Duration::from_secs(10);
/// Bytes that go out at once.
const PIECE_BYTES: usize = 256 * 1024;
/// For how long at least all pushes have to be open.
const TOGETHER_MIN: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct MemoryOptions {
    #[command(flatten)]
    pair: PairOptions,
    /// Pushes at the same time
    #[arg(long, default_value_t = 64)]
    pushes: usize,
    /// MiB of each
    #[arg(long, default_value_t = 64)]
    mib: usize,
    /// Seconds that a line takes for one
    #[arg(long, default_value_t = 16)]
    secs: u64,
    /// Divides the size of the blobs, for a quick look
    #[arg(long, default_value_t = 1)]
    divide: usize,
}

/// What the pushes to one server took.
struct Pushed {
    peak_mb: f64,
    together: Duration,
}

pub fn run(options: &MemoryOptions) -> Result<bool> {
    let [ours, theirs] = options.pair.both("bench/memory");
    eprintln!("resting for {REST:?}");
    std::thread::sleep(REST);
    let idle = [&ours, &theirs].map(|side| accounting::resident_mb(&side.pids));
    ensure!(idle.iter().all(|mb| *mb > 0.0), "a server is gone");
    let mib = (options.mib / options.divide.max(1)).max(1);
    let [our_pushes, their_pushes] = [push_all(&ours, options, mib)?, push_all(&theirs, options, mib)?];
    let name = &options.pair.theirs_name;
    let work = format!("{} slow pushes of {mib} MiB, all open for {:.0?}: peak", options.pushes, our_pushes.together);
    let rows = [
        Row::pairs("10 s after the first start", "MB", &idle[..1], (name, &idle[1..])).target(Bound::AtMost(IDLE_MB_MAX)),
        Row::pairs(work, "MB", &[our_pushes.peak_mb], (name, &[their_pushes.peak_mb])).target(Bound::AtMost(PUSHES_MB_MAX)),
    ];
    Ok(score::print("memory", &rows))
}

fn push_all(side: &Side, options: &MemoryOptions, mib: usize) -> Result<Pushed> {
    eprintln!("pushing {} x {mib} MiB to {} within {} s", options.pushes, side.label, options.secs);
    let blobs = Blob::series(9000, options.pushes, mib * MIB);
    let pace = pace(mib * MIB, Duration::from_secs(options.secs));
    nix::unistd::sync();
    accounting::forget_peak(&side.pids);
    let start = Barrier::new(blobs.len());
    let times = std::thread::scope(|scope| {
        let push = |blob| {
            // Opened before the wait: nobody is left waiting when one fails to.
            let connection = Connection::open(side, &LaneOptions::default());
            start.wait();
            connection?.push_slowly(blob, PIECE_BYTES, pace)
        };
        let pushes: Vec<_> = blobs.iter().map(|blob| scope.spawn(move || push(blob))).collect();
        let joined = pushes.into_iter().map(|push| push.join().map_err(|_| anyhow!("a push panicked"))?);
        joined.collect::<Result<Vec<(Instant, Instant)>>>()
    })?;
    let together = together(&times).context("no pushes")?;
    ensure!(together >= TOGETHER_MIN, "all pushes were open for {together:?} only: give them more `--secs`");
    Ok(Pushed { peak_mb: accounting::peak_mb(&side.pids), together })
}

/// How far apart pieces go out for `bytes` to take `time`.
fn pace(bytes: usize, time: Duration) -> Duration {
    time.div_f64(count(bytes.div_ceil(PIECE_BYTES)))
}

/// For how long all were open.
fn together(times: &[(Instant, Instant)]) -> Option<Duration> {
    let began = times.iter().map(|(began, _)| *began).max()?;
    let ended = times.iter().map(|(_, ended)| *ended).min()?;
    Some(ended.saturating_duration_since(began))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_spread_over_the_time() {
        assert_eq!(pace(64 * MIB, Duration::from_secs(16)), Duration::from_micros(62_500));
        assert_eq!(pace(1, Duration::from_secs(16)), Duration::from_secs(16));
    }

    #[test]
    fn all_are_open_between_the_last_begin_and_the_first_end() {
        let zero = Instant::now();
        let at = |secs| zero + Duration::from_secs(secs);
        assert_eq!(together(&[(at(0), at(9)), (at(2), at(12)), (at(1), at(10))]), Some(Duration::from_secs(7)));
        assert_eq!(together(&[(at(0), at(1)), (at(2), at(3))]), Some(Duration::ZERO));
        assert_eq!(together(&[]), None);
    }
}
