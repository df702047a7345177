//! Pushes, mounts, manifests, deletes and garbage collection at once, against the real binary with a short grace time.
//!
//! Two things have to hold. What was acknowledged is there: each manifest that got its 201 and was not deleted is read whole in the
//! end, byte for byte. And what a client was told it can count on for a while: a manifest that comes within the grace time after each
//! of its blobs was pushed, mounted or found by HEAD is not refused.
//!
//! `BERTH_TEST_STRESS_SECS` makes it longer. Seeded as far as real time allows: a failure prints its seed.

use anyhow::{Context, Result, bail, ensure};
use conformance::registry::{OCTETS, Repository, index_of, location};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testing::images::{Blob, CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE};
use testing::{Client, Server, wait_until};

/// How long everything happens at once, in seconds.
const STRESS_SECS: u64 = 15;
const GRACE: Duration = Duration::from_secs(2);
/// A manifest that comes this long after the first word about its blobs is not refused. A HEAD leaves three quarters of the grace time.
const COUNTED_ON: Duration = Duration::from_millis(1300);
const REPOSITORIES: [&str; 3] = ["acme/one", "acme/two", "acme/three"];
const PUSHERS: u64 = 8;
const RETURNERS: u64 = 8;
/// Manifests that come back together, about when their blobs are due.
const RETURNING: usize = 12;
/// Blobs that everybody pushes, mounts and finds.
const POOL: usize = 20;

/// What everybody shares.
struct World {
    client: Client,
    pool: Vec<Blob>,
    over: AtomicBool,
    pushed: AtomicUsize,
    /// Manifests that had to be taken, because they came in time.
    in_time: AtomicUsize,
    /// Manifests that came back around the time at which their blobs were due: taken, and refused.
    returned: AtomicUsize,
    too_late: AtomicUsize,
}

/// Something that was acknowledged and not deleted since.
struct Acknowledged {
    repository: Repository,
    tag: String,
    manifest: Blob,
    blobs: Vec<Blob>,
}

impl Acknowledged {
    async fn is_whole(&self) -> Result<()> {
        let answer = self.repository.get(&format!("manifests/{}", self.tag)).await?;
        let what = format!("{}:{}", self.repository.name, self.tag);
        ensure!(answer.status == 200, "{what} was acknowledged, and is {}", answer.status);
        ensure!(answer.body == self.manifest.bytes, "{what} is not what was pushed");
        for blob in &self.blobs {
            let answer = self.repository.get(&format!("blobs/{}", blob.digest)).await?;
            ensure!(answer.status == 200, "{what} was acknowledged, and its blob {} is {}", blob.digest, answer.status);
            ensure!(answer.body == blob.bytes, "{what}: blob {} has other bytes", blob.digest);
        }
        Ok(())
    }
}

struct Player {
    world: Arc<World>,
    random: StdRng,
    number: usize,
    name: u64,
    acknowledged: Vec<Acknowledged>,
}

impl Player {
    fn new(world: &Arc<World>, seed: u64, name: u64) -> Self {
        Self { world: world.clone(), random: StdRng::seed_from_u64(seed ^ name), number: 0, name, acknowledged: Vec::new() }
    }

    fn repository(&mut self) -> Repository {
        let name = REPOSITORIES.choose(&mut self.random).copied().unwrap_or(REPOSITORIES[0]);
        Repository { client: self.world.client.clone(), name: name.into() }
    }

    fn next_tag(&mut self) -> String {
        self.number += 1;
        format!("p{}-{}", self.name, self.number)
    }

    /// A manifest over blobs of the pool that nobody else pushes.
    fn manifest(&mut self, tag: &str) -> (Blob, Vec<Blob>) {
        let blobs: Vec<Blob> = self.world.pool.sample(&mut self.random, 3).cloned().collect();
        (manifest_of(&blobs, tag), blobs)
    }

    /// One blob, in one of the ways in which a client comes to know that it is there.
    async fn provide(&mut self, repository: &Repository, blob: &Blob) -> Result<()> {
        let way = self.random.random_range(0..4);
        if way == 0 && repository.has_blob(&blob.digest).await? {
            return Ok(());
        }
        if way == 1 {
            let from = self.repository().name;
            let answer = repository.post(&format!("blobs/uploads/?mount={}&from={from}", blob.digest)).await?;
            match answer.status.as_u16() {
                201 => return Ok(()),
                202 => return repository.close(&location(&answer)?, &blob.digest, &blob.bytes).await?.expect(201).map(drop),
                other => bail!("a mount was answered with {other}: {}", answer.text()),
            }
        }
        if way == 2 {
            let path = format!("blobs/uploads/?digest={}", blob.digest);
            return repository.send(Method::POST, &path, &[OCTETS], blob.bytes.clone()).await?.expect(201).map(drop);
        }
        repository.push_blob(blob).await
    }

    async fn push(&mut self) -> Result<()> {
        let (repository, tag) = (self.repository(), self.next_tag());
        let (manifest, blobs) = self.manifest(&tag);
        let began = Instant::now();
        for blob in &blobs {
            self.provide(&repository, blob).await?;
        }
        let pause = self.random.random_range(Duration::ZERO..COUNTED_ON);
        tokio::time::sleep(pause).await;
        let answer = repository.put_manifest(&tag, MANIFEST_TYPE, manifest.bytes.clone()).await?;
        let took = began.elapsed();
        if took < COUNTED_ON {
            self.world.in_time.fetch_add(1, Ordering::Relaxed);
            ensure!(answer.status == 201, "{took:?} after its blobs were there, {}:{tag} was refused: {}", repository.name, answer.text());
        }
        match answer.status.as_u16() {
            201 => {
                self.acknowledge(Acknowledged { repository, tag, manifest, blobs });
                Ok(())
            }
            400 => Ok(()),
            other => bail!("a manifest was answered with {other}: {}", answer.text()),
        }
    }

    /// A manifest by digest, and an index over it in place of a tag of its own.
    async fn push_index(&mut self) -> Result<()> {
        let (repository, tag) = (self.repository(), self.next_tag());
        let (manifest, blobs) = self.manifest(&tag);
        for blob in &blobs {
            repository.push_blob(blob).await?;
        }
        let answer = repository.put_manifest(&manifest.digest, MANIFEST_TYPE, manifest.bytes.clone()).await?;
        let index = index_of(&[manifest.descriptor(MANIFEST_TYPE)]);
        if answer.status != 201 || repository.put_manifest(&tag, INDEX_TYPE, index.bytes.clone()).await?.status != 201 {
            return Ok(());
        }
        self.acknowledge(Acknowledged { repository, tag, manifest: index, blobs });
        Ok(())
    }

    fn acknowledge(&mut self, acknowledged: Acknowledged) {
        self.world.pushed.fetch_add(1, Ordering::Relaxed);
        self.acknowledged.push(acknowledged);
    }

    /// Deletes one of its own, by tag or by digest.
    async fn delete(&mut self) -> Result<()> {
        if self.acknowledged.is_empty() {
            return Ok(());
        }
        let at = self.random.random_range(0..self.acknowledged.len());
        let gone = self.acknowledged.swap_remove(at);
        let reference = if self.random.random() { &gone.tag } else { &gone.manifest.digest };
        gone.repository.delete(&format!("manifests/{reference}")).await?.expect(202).map(drop)
    }

    async fn look(&mut self) -> Result<()> {
        match self.acknowledged.choose(&mut self.random) {
            Some(one) => one.is_whole().await,
            None => Ok(()),
        }
    }

    /// Pushes, deletes and looks until it is over.
    async fn play(mut self) -> Result<Vec<Acknowledged>> {
        while !self.world.over.load(Ordering::Relaxed) {
            match self.random.random_range(0..10) {
                0..5 => self.push().await?,
                5 => self.push_index().await?,
                6..9 => self.delete().await?,
                _ => self.look().await?,
            }
        }
        Ok(self.acknowledged)
    }

    /// Pushes manifests, deletes them, and pushes them again without a look at their blobs, about when those are due.
    async fn come_back(mut self) -> Result<Vec<Acknowledged>> {
        let repository = self.repository();
        while !self.world.over.load(Ordering::Relaxed) {
            let mut waiting = Vec::new();
            for _ in 0..RETURNING {
                let tag = self.next_tag();
                let blobs = vec![Blob::made_up(self.random.random(), 900), Blob::made_up(self.random.random(), 500)];
                let manifest = manifest_of(&blobs, &tag);
                for blob in &blobs {
                    repository.push_blob(blob).await?;
                }
                repository.put_manifest(&tag, MANIFEST_TYPE, manifest.bytes.clone()).await?.expect(201)?;
                repository.delete(&format!("manifests/{}", manifest.digest)).await?.expect(202)?;
                let back = GRACE.saturating_sub(Duration::from_millis(30)) + Duration::from_millis(self.random.random_range(0..120));
                waiting.push(tokio::spawn(come_back(Acknowledged { repository: repository.clone(), tag, manifest, blobs }, back)));
            }
            for one in waiting {
                match one.await?? {
                    Some(back) => {
                        self.world.returned.fetch_add(1, Ordering::Relaxed);
                        self.acknowledged.push(back);
                    }
                    None => {
                        self.world.too_late.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(self.acknowledged)
    }
}

/// None when it was refused: its blobs were gone.
async fn come_back(gone: Acknowledged, after: Duration) -> Result<Option<Acknowledged>> {
    tokio::time::sleep(after).await;
    let answer = gone.repository.put_manifest(&gone.tag, MANIFEST_TYPE, gone.manifest.bytes.clone()).await?;
    match answer.status.as_u16() {
        201 => gone.is_whole().await.map(|()| Some(gone)),
        400 => Ok(None),
        other => bail!("a manifest that came back was answered with {other}: {}", answer.text()),
    }
}

fn manifest_of(blobs: &[Blob], unique: &str) -> Blob {
    let layers: Vec<_> = blobs[1..].iter().map(|blob| blob.descriptor(LAYER_TYPE)).collect();
    Blob::new(
        json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": blobs[0].descriptor(CONFIG_TYPE), "layers": layers,
            "annotations": {"org.example.unique": unique},
        })
        .to_string(),
    )
}

/// Asks for a collection again and again, beside those that the server begins by itself.
async fn collect(world: Arc<World>) -> Result<u64> {
    let mut blobs = 0;
    while !world.over.load(Ordering::Relaxed) {
        let done = world.client.post("/api/v1/registry/garbage/collect", &json!({})).await?.expect(200)?.json();
        blobs += done["blobs"].as_u64().context("a number of blobs")?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(blobs)
}

async fn play(world: &Arc<World>, seed: u64) -> Result<(Vec<Acknowledged>, u64)> {
    let collecting = tokio::spawn(collect(world.clone()));
    let pushing = (0..PUSHERS).map(|name| tokio::spawn(Player::new(world, seed, name).play()));
    let returning = (PUSHERS..PUSHERS + RETURNERS).map(|name| tokio::spawn(Player::new(world, seed, name).come_back()));
    let players: Vec<_> = pushing.chain(returning).collect();
    let secs = std::env::var("BERTH_TEST_STRESS_SECS").ok().and_then(|secs| secs.parse().ok()).unwrap_or(STRESS_SECS);
    tokio::time::sleep(Duration::from_secs(secs)).await;
    world.over.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for player in players {
        acknowledged.extend(player.await??);
    }
    Ok((acknowledged, collecting.await??))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_or_promised_is_collected() -> Result<()> {
    let seed: u64 = std::env::var("BERTH_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("BERTH_TEST_SEED={seed}");
    let secs = GRACE.as_secs().to_string();
    let server = Server::builder().env("BERTH_GC_GRACE_SECS", &secs).env("BERTH_UNTAGGED_SECS", &secs).start().await?;
    let pool = (0..POOL).map(|at| Blob::made_up(seed.wrapping_add(at as u64), 1000 + 700 * at)).collect();
    let world = Arc::new(World {
        client: server.admin_token().await?,
        pool,
        over: AtomicBool::new(false),
        pushed: AtomicUsize::default(),
        in_time: AtomicUsize::default(),
        returned: AtomicUsize::default(),
        too_late: AtomicUsize::default(),
    });
    let (acknowledged, collected) = play(&world, seed).await?;
    for each in &acknowledged {
        each.is_whole().await?;
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (pushed, in_time, returned, too_late) =
        (count(&world.pushed), count(&world.in_time), count(&world.returned), count(&world.too_late));
    println!(
        "{pushed} pushed, {in_time} of them in time; {returned} came back, {too_late} too late; {collected} blobs collected on demand; {} stand",
        acknowledged.len()
    );
    ensure!(in_time > 20 && returned > 5 && too_late > 5 && collected > 20, "too little happened for this to say anything");
    // In the end everything goes, and no file is left.
    for each in &acknowledged {
        each.repository.delete(&format!("manifests/{}", each.manifest.digest)).await?.expect(202)?;
    }
    wait_until("the last file to go", || async { (files(&server) == 0).then_some(()) }).await;
    Ok(())
}

fn files(server: &Server) -> usize {
    let folders = std::fs::read_dir(server.data_dir().join("blobs")).into_iter().flatten().flatten();
    folders.map(|folder| std::fs::read_dir(folder.path()).map_or(0, Iterator::count)).sum()
}
