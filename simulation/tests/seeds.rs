//! Some hundreds of seeds; that a seed repeats itself; and the seeds that found something, by what they found.

use simulation::{Counts, Length, Played, play};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that `make test` plays; `BERTH_SEEDS` raises it, `make soak` plays thousands.
const SEEDS: u64 = 100;
const THREADS: usize = 2;

fn played(seed: u64, length: Length) -> Played {
    match play(seed, length, false) {
        Ok(Ok(played)) => played,
        Ok(Err(violation)) => panic!("{violation}"),
        Err(error) => panic!("seed {seed} cannot be played: {error:#}"),
    }
}

#[test]
fn every_rule_holds_for_some_hundreds_of_seeds() {
    let seeds = std::env::var("BERTH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (next, sum) = (AtomicU64::new(1), Mutex::new(Counts::default()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let counts = played(seed, Length::default()).counts;
                    sum.lock().unwrap().add(counts);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    println!("{seeds} seeds: {sum:?}");
    // A simulation in which nothing happens holds every rule.
    assert!(sum.started > seeds && sum.stopped > seeds / 2 && sum.completed > seeds / 2 && sum.armed > seeds / 2, "{sum:?}");
    assert!(sum.failed > seeds / 10 && sum.rolled_back > seeds / 50, "{sum:?}");
}

#[test]
fn a_seed_repeats_itself_to_the_last_line() {
    for seed in [7, 23, 24] {
        let (once, again) = (played(seed, Length::default()), played(seed, Length::default()));
        assert_eq!(once, again, "seed {seed}");
        assert!(once.lines > 50, "{once:?}");
    }
}
