//! What can be measured. A lane is a function of a side and its options, and gives one [`Measured`].

pub mod coldstart;
pub mod get;
pub mod load;
pub mod manifests;
pub mod transfer;

use crate::accounting;
use crate::connection::Connection;
use crate::options::{LaneOptions, Side};
use crate::report::Measured;
use anyhow::{Result, anyhow};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// How a lane is run.
pub type Run = fn(&Side, &LaneOptions) -> Result<Measured>;

/// Does `each` for 0 to `count`, over `parallel` connections that are opened before the clock starts.
fn pool<F>(side: &Side, options: &LaneOptions, lane: String, count: usize, each: F) -> Result<Measured>
where
    F: Fn(&mut Connection, usize) -> Result<()> + Sync,
{
    let connections: Vec<Connection> = (0..options.parallel.max(1)).map(|_| Connection::open(side, options)).collect::<Result<_>>()?;
    let (next, start) = (AtomicUsize::new(0), Barrier::new(connections.len() + 1));
    std::thread::scope(|scope| {
        let worker = |mut connection: Connection| {
            start.wait();
            let mut latencies = Vec::new();
            loop {
                let item = next.fetch_add(1, Ordering::Relaxed);
                if item >= count {
                    return anyhow::Ok(latencies);
                }
                let started = Instant::now();
                each(&mut connection, item)?;
                latencies.push(started.elapsed().as_secs_f64() * 1e3);
            }
        };
        let workers: Vec<_> = connections.into_iter().map(|connection| scope.spawn(move || worker(connection))).collect();
        let cpu_before = accounting::cpu_secs(&side.pids);
        start.wait();
        let started = Instant::now();
        let mut latencies_ms = Vec::new();
        for worker in workers {
            latencies_ms.extend(worker.join().map_err(|_| anyhow!("a worker panicked"))??);
        }
        Ok(measured(side, lane, started, latencies_ms, cpu_before))
    })
}

fn measured(side: &Side, lane: String, started: Instant, latencies_ms: Vec<f64>, cpu_before: f64) -> Measured {
    Measured {
        lane,
        wall_secs: started.elapsed().as_secs_f64(),
        latencies_ms,
        cpu_secs: accounting::cpu_secs(&side.pids) - cpu_before,
        resident_mb: accounting::resident_mb(&side.pids),
        peak_mb: accounting::peak_mb(&side.pids),
        ..Measured::default()
    }
}

fn or_default(given: usize, default: usize) -> usize {
    if given == 0 { default } else { given }
}
