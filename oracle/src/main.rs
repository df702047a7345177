//! `make oracle`: random worlds of principals, teams, grants and tokens; each question is asked of `decide` and of Cedar, and both have to
//! say the same.
//!
//! `SEED=n` plays that world aloud; otherwise `SEEDS` (default 5000) from `FIRST` (default 1) on, on `THREADS`. `VECTORS` is where the
//! answers of the first worlds are written: `make test` asks `decide` again what is in there.

mod cedar;
mod compare;
mod generate;

use anyhow::{Context, Result, bail};
use cedar::Vocabulary;
use compare::Counts;
use identity::testing::Vector;
use std::fmt::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const SEEDS: u64 = 5000;
/// Worlds that are written down, and how many questions of each.
const VECTOR_WORLDS: u64 = 200;
const VECTOR_QUESTIONS: usize = 10;

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).and_then(|text| text.parse().ok())
}

fn main() -> Result<()> {
    let vocabulary = Vocabulary::read()?;
    if let Some(seed) = setting::<u64>("SEED") {
        let (world, questions) = generate::world(seed);
        compare::aloud(&vocabulary, &world, &questions)?;
        one(&vocabulary, seed)?;
        return Ok(());
    }
    if let Some(path) = setting::<String>("VECTORS") {
        write_vectors(&vocabulary, Path::new(&path))?;
    }
    let (seeds, begun) = (setting("SEEDS").unwrap_or(SEEDS), Instant::now());
    let counts = many(&vocabulary, setting("FIRST").unwrap_or(1), seeds)?;
    if seeds >= VECTOR_WORLDS {
        compare::check(&counts)?;
    }
    println!("{seeds} worlds in {} s: decide and Cedar gave the same answers", begun.elapsed().as_secs());
    println!(
        "{} allowed, {} denied: {} without a grant, {} for a role that does not exist there, {} disabled or gone, {} beyond the token; {} lists of who can",
        counts.allowed,
        counts.denied(),
        counts.no_grant,
        counts.no_such_role,
        counts.disabled,
        counts.token,
        counts.lists
    );
    Ok(())
}

/// Plays one world; an error is a difference, told.
fn one(vocabulary: &Vocabulary, seed: u64) -> Result<Counts> {
    let (world, questions) = generate::world(seed);
    match compare::compare(vocabulary, &world, &questions).with_context(|| format!("seed {seed}"))? {
        (_, counts, None) => Ok(counts),
        (_, _, Some(difference)) => bail!("decide and Cedar differ\n{}", compare::report(vocabulary, seed, &world, difference)?),
    }
}

fn many(vocabulary: &Vocabulary, first: u64, seeds: u64) -> Result<Counts> {
    let threads = setting("THREADS").unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (next, failed, total) = (AtomicU64::new(first), AtomicBool::new(false), Mutex::new(Ok(Counts::default())));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let played = one(vocabulary, seed);
                    failed.fetch_or(played.is_err(), Ordering::Relaxed);
                    let mut total = total.lock().expect("nobody panics with it");
                    *total = match (std::mem::replace(&mut *total, Ok(Counts::default())), played) {
                        (Ok(sum), Ok(counts)) => Ok(sum.and(counts)),
                        (Err(first), _) | (Ok(_), Err(first)) => Err(first),
                    };
                }
            });
        }
    });
    total.into_inner().expect("nobody panics with it")
}

/// Cedar's answers, whatever `decide` says of them: always of the same worlds, so that the file changes only with the rules.
fn write_vectors(vocabulary: &Vocabulary, path: &Path) -> Result<()> {
    let mut text = String::new();
    for seed in 1..=VECTOR_WORLDS {
        let (world, questions) = generate::world(seed);
        let cedar = cedar::Cedar::new(vocabulary, &world)?;
        let mut vector = Vector { world, allowed: Vec::new(), denied: Vec::new() };
        for question in questions.iter().take(VECTOR_QUESTIONS) {
            let list = if cedar.ask(question)?.allowed { &mut vector.allowed } else { &mut vector.denied };
            list.push(question.to_string());
        }
        writeln!(text, "{}", serde_json::to_string(&vector)?)?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
