//! Asks for one path at a fixed rate, over some connections in turn, until it is stopped.
//!
//! Each connection is asked once in a time that is longer than any answer should take: as long as answers come in that time, no request
//! waits for the one before.

use crate::connection::{Body, Connection};
use crate::lanes::manifests::MEDIA_TYPE;
use crate::options::{LaneOptions, Side};
use anyhow::{Result, anyhow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections, and how far apart the requests of one are: 250 in a second.
const PROBERS: u32 = 16;
const PERIOD: Duration = Duration::from_millis(64);

pub struct Probers {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<f64>>>>,
}

impl Probers {
    pub fn start(side: &Side, path: &str) -> Result<Self> {
        let connections = (0..PROBERS).map(|_| Connection::open(side, &LaneOptions::default())).collect::<Result<Vec<_>>>()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let mut first = Instant::now();
        let mut threads = Vec::new();
        for mut connection in connections {
            let (path, is_stopped) = (path.to_owned(), stopped.clone());
            let accept = format!("Accept: {MEDIA_TYPE}\r\n");
            let ask = move || connection.request("GET", &path, &accept, b"", Body::Discard)?.expect(200).map(drop);
            threads.push(std::thread::spawn(move || ask_until(&is_stopped, first, ask)));
            first += PERIOD / PROBERS;
        }
        Ok(Self { stopped, threads })
    }

    /// How long each answer took, in milliseconds.
    pub fn stop(self) -> Result<Vec<f64>> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut latencies_ms = Vec::new();
        for thread in self.threads {
            latencies_ms.extend(thread.join().map_err(|_| anyhow!("a prober panicked"))??);
        }
        Ok(latencies_ms)
    }
}

/// A request that had to wait for the answer to the one before counts from when it was due, so that a server that stalls is not asked
/// less often for it.
fn ask_until(stopped: &AtomicBool, first: Instant, mut ask: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut latencies_ms = Vec::new();
    let mut due = first;
    loop {
        let early = due.saturating_duration_since(Instant::now());
        std::thread::sleep(early);
        if stopped.load(Ordering::Relaxed) {
            return Ok(latencies_ms);
        }
        let from = if early.is_zero() { due } else { Instant::now() };
        ask()?;
        latencies_ms.push(from.elapsed().as_secs_f64() * 1e3);
        due += PERIOD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_behind_a_stall_counts_its_wait() {
        let stopped = AtomicBool::new(false);
        let mut asked = 0;
        let latencies = ask_until(&stopped, Instant::now(), || {
            asked += 1;
            match asked {
                1 => std::thread::sleep(3 * PERIOD),
                5 => stopped.store(true, Ordering::Relaxed),
                _ => {}
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(latencies.len(), 5);
        let period = PERIOD.as_secs_f64() * 1e3;
        assert!(latencies[0] >= 3.0 * period && latencies[1] >= 1.9 * period, "{latencies:?}");
    }
}
