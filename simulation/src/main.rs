//! `make soak`: plays many seeds, or one aloud.
//!
//! `SEED=n` plays that one and prints everything; otherwise `SEEDS` (default 1000) from `FIRST` (default 1) on, for at most `SECS`,
//! `THREADS` at a time, with `STEPS` each. Ends with the first rule that does not hold.

use anyhow::{Result, bail};
use simulation::{Length, play};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SEEDS: u64 = 1000;
const SECS: u64 = 3600;
/// Seeds between two lines of progress.
const PROGRESS: u64 = 100;

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).and_then(|text| text.parse().ok())
}

fn main() -> Result<()> {
    let length = Length { steps: setting("STEPS").unwrap_or(Length::default().steps), ..Length::default() };
    if let Some(seed) = setting::<u64>("SEED") {
        return one(seed, length);
    }
    let (first, seeds) = (setting("FIRST").unwrap_or(1), setting("SEEDS").unwrap_or(SEEDS));
    let deadline = Instant::now() + Duration::from_secs(setting("SECS").unwrap_or(SECS));
    let threads = setting("THREADS").unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (next, done, failed, begun) = (AtomicU64::new(first), AtomicU64::new(0), AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) && Instant::now() < deadline {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    match play(seed, length, false) {
                        Ok(Ok(_)) => {}
                        Ok(Err(violation)) => {
                            failed.store(true, Ordering::Relaxed);
                            println!("{violation}");
                        }
                        Err(error) => {
                            failed.store(true, Ordering::Relaxed);
                            println!("seed {seed} cannot be played: {error:#}");
                        }
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(PROGRESS) {
                        println!("{done} seeds in {} s", begun.elapsed().as_secs());
                    }
                }
            });
        }
    });
    let done = done.load(Ordering::Relaxed);
    if failed.load(Ordering::Relaxed) {
        bail!("a rule does not hold, after {done} seeds and {} s", begun.elapsed().as_secs());
    }
    println!("{done} seeds of {} steps in {} s: every rule held", length.steps, begun.elapsed().as_secs());
    Ok(())
}

fn one(seed: u64, length: Length) -> Result<()> {
    match play(seed, length, true)? {
        Ok(played) => {
            println!("every rule held: {played:?}");
            Ok(())
        }
        Err(violation) => bail!("seed {seed}: {}", violation.sentence),
    }
}
