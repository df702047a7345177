//! What is measured of a registry that has grown, each thing in the same way in a small one.

use super::server::Server;
use super::shape::Shape;
use super::store;
use crate::blob::Blob;
use crate::connection::{Body, Connection};
use crate::lanes::{get, manifests};
use crate::options::{LaneOptions, Side};
use crate::report::median;
use anyhow::{Result, ensure};
use serde_json::Value;
use std::time::Instant;
use tokio::runtime::Runtime;

/// How much more something may cost in the grown registry.
pub const GROWTH_MAX: f64 = 1.3;
/// Manifests that are asked for once, in each round.
pub const COLD: usize = 200;
const HOT: usize = 500;
const PUTS: usize = 40;
const PAGES: usize = 60;
const PAGE: usize = 100;
/// Collections that find nothing.
const LOOKS: usize = 20;
/// Blobs that nobody needs.
const GARBAGE: usize = 100;
const GARBAGE_BYTES: usize = 1024;
const COLLECT: &str = "/api/v1/registry/garbage/collect";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The manifest of one tag, again and again: from memory.
    Again,
    /// Each tag once, from all over the registry: from the database.
    Once,
    Put,
    Catalog,
    /// A collection that finds nothing.
    CollectNothing,
    Collect,
}

impl Work {
    pub const ALL: [Self; 6] = [Self::Again, Self::Once, Self::Put, Self::Catalog, Self::CollectNothing, Self::Collect];

    pub fn name(self) -> &'static str {
        match self {
            Self::Again => "GET by tag, one again and again",
            Self::Once => "GET by tag, each once",
            Self::Put => "manifest PUT",
            Self::Catalog => "catalog, page of 100",
            Self::CollectNothing => "collection of nothing",
            Self::Collect => "collection of 100 blobs",
        }
    }
}

/// A registry under measurement.
pub struct Registry<'a> {
    pub server: &'a Server,
    pub shape: Shape,
    pub manifests: usize,
    pub runtime: &'a Runtime,
}

impl Registry<'_> {
    /// Milliseconds of one thing: a median of many, or of a collection the one.
    pub fn measure(&self, work: Work, round: usize, seed: u64) -> Result<f64> {
        let side = self.server.side(&Shape::repository(1))?;
        match work {
            Work::Again => median_of(&side, self.shape.path(self.manifests - 1), HOT),
            Work::Once => self.each_once(&side, round),
            Work::Put => {
                let puts = manifests::put(&side, &LaneOptions { count: PUTS, seed, ..LaneOptions::default() })?;
                Ok(median(&puts.latencies_ms))
            }
            Work::Catalog => self.catalog(&side),
            Work::CollectNothing => {
                sweep(&side)?;
                let times = (0..LOOKS).map(|_| collect(&side, 0)).collect::<Result<Vec<f64>>>()?;
                Ok(median(&times))
            }
            Work::Collect => {
                sweep(&side)?;
                self.make_garbage(&side, seed)?;
                collect(&side, GARBAGE)
            }
        }
    }

    fn each_once(&self, side: &Side, round: usize) -> Result<f64> {
        let mut connection = Connection::open(side, &LaneOptions::default())?;
        let mut latencies = Vec::with_capacity(COLD);
        for image in Shape::sample(self.manifests, COLD, round) {
            let began = Instant::now();
            connection.request("GET", &self.shape.path(image), "", b"", Body::Discard)?.expect(200)?;
            latencies.push(began.elapsed().as_secs_f64() * 1e3);
        }
        Ok(median(&latencies))
    }

    /// The first page, one in the middle, the last.
    fn catalog(&self, side: &Side) -> Result<f64> {
        let repositories = self.shape.repositories(self.manifests);
        let mut times = Vec::new();
        for page in [0, 1, 2] {
            // A page of the small registry is all of it, so that its pages begin before its first repository.
            let after = (repositories - PAGE) * page / 2;
            let after = after.checked_sub(1).map(|number| format!("&last={}", Shape::repository(number))).unwrap_or_default();
            times.push(median_of(side, format!("/v2/_catalog?n={PAGE}{after}"), PAGES)?);
        }
        Ok(median(&times))
    }

    /// Blobs whose time is over. They are pushed as everything is; their time is set back in the database.
    fn make_garbage(&self, side: &Side, seed: u64) -> Result<()> {
        let side = side.at("bench/garbage");
        let mut connection = Connection::open(&side, &LaneOptions::default())?;
        for blob in Blob::series(seed.wrapping_mul(1_000_003), GARBAGE, GARBAGE_BYTES) {
            connection.push(&blob)?;
        }
        let aged = self.runtime.block_on(store::age(&self.server.database()))?;
        ensure!(usize::try_from(aged)? == GARBAGE, "{aged} blobs are garbage where {GARBAGE} should be");
        nix::unistd::sync();
        Ok(())
    }

    /// Whether what was written past the server is as the server would have it: an image is served whole, can be pushed again as it is
    /// (so that its references are there), and none of it is garbage.
    pub fn check(&self) -> Result<()> {
        let side = self.server.side("none")?;
        let mut connection = Connection::open(&side, &LaneOptions::default())?;
        for number in Shape::sample(self.manifests, 3, 1_000_000) {
            let (path, image) = (self.shape.path(number), self.shape.image(number));
            let got = connection.request("GET", &path, "", b"", Body::Keep)?.expect(200)?;
            ensure!(got.body == image.body.as_bytes(), "{path} is not what was written");
            let content_type = format!("Content-Type: {}\r\n", manifests::MEDIA_TYPE);
            connection.request("PUT", &path, &content_type, image.body.as_bytes(), Body::Keep)?.expect(201)?;
        }
        let plan = connection.request("GET", "/api/v1/registry/garbage", "", b"", Body::Keep)?.expect(200)?;
        let plan: Value = serde_json::from_slice(&plan.body)?;
        ensure!(plan["items"].as_array().is_some_and(Vec::is_empty), "there is garbage: {plan}");
        Ok(())
    }
}

fn median_of(side: &Side, path: String, count: usize) -> Result<f64> {
    Ok(median(&get::run(side, &LaneOptions { count, path, ..LaneOptions::default() })?.latencies_ms))
}

/// Takes what earlier work has left: the files of blobs that were pushed once more.
fn sweep(side: &Side) -> Result<()> {
    Connection::open(side, &LaneOptions::default())?.request("POST", COLLECT, "", b"", Body::Keep)?.expect(200)?;
    Ok(())
}

/// Milliseconds of a collection that takes `count` blobs.
fn collect(side: &Side, count: usize) -> Result<f64> {
    let mut connection = Connection::open(side, &LaneOptions::default())?;
    let began = Instant::now();
    let answer = connection.request("POST", COLLECT, "", b"", Body::Keep)?.expect(200)?;
    let millis = began.elapsed().as_secs_f64() * 1e3;
    let taken: Value = serde_json::from_slice(&answer.body)?;
    for what in ["links", "blobs", "files"] {
        ensure!(taken[what].as_u64() == u64::try_from(count).ok(), "a collection of {count} blobs took {taken}");
    }
    Ok(millis)
}
