//! Asks for one path at a fixed rate on a connection of its own, until it is stopped.

use crate::connection::{Body, Connection};
use crate::lanes::manifests::MEDIA_TYPE;
use crate::options::{LaneOptions, Side};
use anyhow::{Result, anyhow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests are this far apart.
const PERIOD: Duration = Duration::from_millis(4);

pub struct Prober {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<f64>>>,
}

impl Prober {
    pub fn start(side: &Side, path: String) -> Result<Self> {
        let mut connection = Connection::open(side, &LaneOptions::default())?;
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = stopped.clone();
        let ask = move || {
            let accept = format!("Accept: {MEDIA_TYPE}\r\n");
            connection.request("GET", &path, &accept, b"", Body::Discard)?.expect(200)?;
            Ok(())
        };
        Ok(Self { stopped, thread: std::thread::spawn(move || ask_until(&is_stopped, ask)) })
    }

    /// How long each answer took, in milliseconds.
    pub fn stop(self) -> Result<Vec<f64>> {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the prober panicked"))?
    }
}

/// A request that had to wait for the answer to the one before counts from when it was due, so that a server that stalls is not asked
/// less often for it.
fn ask_until(stopped: &AtomicBool, mut ask: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut latencies_ms = Vec::new();
    let mut due = Instant::now();
    while !stopped.load(Ordering::Relaxed) {
        let early = due.saturating_duration_since(Instant::now());
        std::thread::sleep(early);
        let from = if early.is_zero() { due } else { Instant::now() };
        ask()?;
        latencies_ms.push(from.elapsed().as_secs_f64() * 1e3);
        due += PERIOD;
    }
    Ok(latencies_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_behind_a_stall_counts_its_wait() {
        let stopped = AtomicBool::new(false);
        let mut asked = 0;
        let latencies = ask_until(&stopped, || {
            asked += 1;
            match asked {
                1 => std::thread::sleep(10 * PERIOD),
                12 => stopped.store(true, Ordering::Relaxed),
                _ => {}
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(latencies.len(), 12);
        let period = PERIOD.as_secs_f64() * 1e3;
        assert!(latencies[0] >= 10.0 * period && latencies[1] >= 8.0 * period, "{latencies:?}");
    }
}
