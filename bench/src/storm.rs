//! A pull storm: many clients begin at once to pull one image, while somebody else asks for its manifest again and again.
//!
//! What comes is dropped in the kernel: the clients of a storm have processors of their own, and the machine here is to be the server's.

mod crowd;
mod probers;

use crate::blob::Blob;
use crate::connection::{Body, Connection};
use crate::lanes::manifests::{self, MEDIA_TYPE};
use crate::options::{Drain, LaneOptions, Side};
use crate::report::percentile;
use crate::score::{self, Bound, Row};
use crate::sides::PairOptions;
use anyhow::{Context, Result};
use clap::Args;
use probers::Probers;
use rand::seq::SliceRandom;
use serde_json::Value;
use std::time::Instant;

const REPOSITORY: &str = "bench/storm";
const TAG: &str = "latest";
const LAYERS: usize = 5;
const TIME_MAX: f64 = 0.7;
const P999_MS_MAX: f64 = 50.0;

#[derive(Debug, Args)]
pub struct StormOptions {
    #[command(flatten)]
    pair: PairOptions,
    /// Clients that begin at once
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// MB (10^6 bytes) of the image
    #[arg(long, default_value_t = 500)]
    megabytes: usize,
    /// Storms on each side
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Divides the size of the image, for a quick look
    #[arg(long, default_value_t = 1)]
    divide: usize,
    /// What clients do with what comes
    #[arg(long, value_enum, default_value_t = Drain::Discard)]
    drain: Drain,
}

/// What the storms on one side showed.
#[derive(Default)]
struct Storms {
    secs: Vec<f64>,
    /// Of the manifest GETs meanwhile, of all rounds.
    manifests_ms: Vec<f64>,
}

/// Something that a manifest names.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    digest: String,
    size: usize,
}

pub fn run(options: &StormOptions) -> Result<bool> {
    let sides = options.pair.both(REPOSITORY);
    for side in &sides {
        seed(side, options.megabytes * 1_000_000 / options.divide.max(1))?;
    }
    let mut shown = [Storms::default(), Storms::default()];
    for round in 0..options.rounds {
        let mut order = [0, 1];
        order.shuffle(&mut rand::rng());
        for which in order {
            nix::unistd::sync();
            let secs = storm(&sides[which], options, &mut shown[which].manifests_ms)?;
            eprintln!("round {} of {}: {} {secs:.1} s", round + 1, options.rounds, sides[which].label);
            shown[which].secs.push(secs);
        }
    }
    let [ours, theirs] = &shown;
    let name = options.pair.theirs_name.as_str();
    let p999 = |storms: &Storms| [percentile(&storms.manifests_ms, 0.999)];
    let work = format!("{} clients pull {} MB at once", options.clients, options.megabytes / options.divide.max(1));
    let meanwhile = format!("p99.9 of {} manifest GETs meanwhile", ours.manifests_ms.len());
    let rows = [
        Row::pairs(work, "s", &ours.secs, (name, &theirs.secs)).target(Bound::TimesAtMost(TIME_MAX)),
        Row::pairs(meanwhile, "ms", &p999(ours), (name, &p999(theirs))).target(Bound::AtMost(P999_MS_MAX)),
    ];
    Ok(score::print("pull storm", &rows))
}

/// Pushes the image.
fn seed(side: &Side, bytes: usize) -> Result<()> {
    eprintln!("seeding {}", side.label);
    let (config, layers) = (Blob::new(70, 2048), Blob::series(71, LAYERS, bytes / LAYERS));
    let mut connection = Connection::open(side, &LaneOptions::default())?;
    for blob in layers.iter().chain([&config]) {
        connection.push(blob)?;
    }
    let body = manifests::manifest(&config, &layers, "storm");
    connection.request("PUT", &path_of_manifest(), &format!("Content-Type: {MEDIA_TYPE}\r\n"), body.as_bytes(), Body::Keep)?.expect(201)?;
    Ok(())
}

/// Seconds until the last client has everything.
fn storm(side: &Side, options: &StormOptions, manifests_ms: &mut Vec<f64>) -> Result<f64> {
    let probers = Probers::start(side, &path_of_manifest())?;
    let began = Instant::now();
    let pulled = crowd::pull(side, options.clients, options.drain);
    let secs = began.elapsed().as_secs_f64();
    manifests_ms.extend(probers.stop()?);
    pulled.map(|()| secs)
}

/// The config and the layers of a manifest.
fn parts(manifest: &[u8]) -> Result<Vec<Part>> {
    let manifest: Value = serde_json::from_slice(manifest)?;
    let part = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().context("a descriptor has a digest")?.to_owned();
        anyhow::Ok(Part { digest, size: usize::try_from(descriptor["size"].as_u64().context("a descriptor has a size")?)? })
    };
    std::iter::once(&manifest["config"]).chain(manifest["layers"].as_array().into_iter().flatten()).map(part).collect()
}

/// Where a token for the pull is given out.
fn path_of_token() -> String {
    format!("/token?service=berth&scope=repository:{REPOSITORY}:pull")
}

fn path_of_manifest() -> String {
    format!("/v2/{REPOSITORY}/manifests/{TAG}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_pulls_what_the_manifest_names() {
        let (config, layers) = (Blob::new(1, 10), Blob::series(2, 2, 20));
        let manifest = manifests::manifest(&config, &layers, "");
        let expected: Vec<Part> =
            [&config, &layers[0], &layers[1]].map(|blob| Part { digest: blob.digest.clone(), size: blob.size }).into_iter().collect();
        assert_eq!(parts(manifest.as_bytes()).unwrap(), expected);
        assert!(parts(b"{}").is_err());
    }
}
