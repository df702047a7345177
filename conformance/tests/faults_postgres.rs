//! PostgreSQL stops and starts again under pushes and pulls, as after a crash: who asks meanwhile is told so and when to come back,
//! nothing that was acknowledged is lost, nothing is half there, and the server goes on without anybody's hand.
//!
//! The test has a PostgreSQL server of its own, with everything synced as in production. It runs in the round that is for PostgreSQL.

use anyhow::{Context, Result, bail, ensure};
use conformance::registry::{Repository, SmallImage};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testing::images::{Blob, MANIFEST_TYPE};
use testing::{Answer, Database, Process, Server, free_port, wait_until_for};

const PUSHERS: usize = 4;
const PULLERS: usize = 2;
/// How long PostgreSQL is away each time, in milliseconds: shorter, and longer, than requests wait for it.
const AWAY_MS: [u64; 3] = [100, 2_000, 12_000];
/// How long it is there before it goes.
const THERE: Duration = Duration::from_secs(2);
/// Longest time until everything goes on again, and longest time for an answer while it is away.
const RECOVERY: Duration = Duration::from_mins(1);
const ANSWER_SECS_MAX: u64 = 45;

/// A PostgreSQL server in a folder of its own.
struct Postgres {
    // Before the folder that it writes to.
    process: Option<Process>,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    fn start_new() -> Result<Self> {
        // Not where TMPDIR says: that may be closed to the user that PostgreSQL runs as.
        let folder = tempfile::Builder::new().prefix("berth-postgres").tempdir_in("/tmp")?;
        if is_root()? {
            run(Command::new("chown").arg("postgres:").arg(folder.path()))?;
        }
        let mut postgres = Self { process: None, folder, port: free_port()? };
        let auth = ["--username", "berth", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"];
        run(postgres.program("initdb")?.args(auth).arg("--pgdata").arg(postgres.data()))?;
        postgres.start()?;
        Ok(postgres)
    }

    fn start(&mut self) -> Result<()> {
        let mut command = self.program("postgres")?;
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-k"]).arg(self.folder.path());
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50", "-c", "shared_buffers=32MB"]);
        self.process = Some(Process::start(command, &self.folder.path().join("log"))?);
        Ok(())
    }

    /// As a crash would end it: no client is waited for, nothing is written.
    async fn stop_at_once(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it runs")?;
        process.quit()?;
        process.wait(RECOVERY).await.map(drop)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn database(&self) -> Database {
        Database::Postgres { url: format!("postgres://berth@127.0.0.1:{}/postgres", self.port) }
    }

    /// One of its programs. PostgreSQL refuses to run as root; its package brings a user of that name.
    fn program(&self, name: &str) -> Result<Command> {
        let path = newest(Path::new("/usr/lib/postgresql"))?.join("bin").join(name);
        let mut command = Command::new(&path);
        if is_root()? {
            command = Command::new("setpriv");
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).arg(path);
        }
        command.current_dir(self.folder.path());
        Ok(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // With its children: a killed parent would leave them at work in the folder.
        if let Some(process) = &self.process
            && process.quit().is_ok()
        {
            let until = Instant::now() + Duration::from_secs(10);
            while self.data().join("postmaster.pid").exists() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The folder of the highest version.
fn newest(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("PostgreSQL's programs are not below {}", folder.display()))?;
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists());
    folders.max_by_key(version).context("no version of PostgreSQL")
}

fn is_root() -> Result<bool> {
    Ok(String::from_utf8_lossy(&Command::new("id").arg("-u").output()?.stdout).trim() == "0")
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// What the clients share.
struct World {
    repository: Repository,
    /// There from the beginning.
    standing: SmallImage,
    over: AtomicBool,
    refused: AtomicUsize,
    pulled: AtomicUsize,
}

/// A push that was begun: acknowledged or not.
struct Pushed {
    tag: String,
    image: SmallImage,
    acknowledged: bool,
}

impl World {
    /// Whether it was done; if not it has to have been refused in the one way that says what the matter is.
    fn judge(&self, answer: &Answer, done: u16) -> Result<bool> {
        if answer.status == done {
            return Ok(true);
        }
        is_unavailable(answer)?;
        self.refused.fetch_add(1, Ordering::Relaxed);
        Ok(false)
    }

    async fn push(&self, pushed: &mut Pushed) -> Result<()> {
        for blob in [&pushed.image.config, &pushed.image.layer] {
            let begun = self.repository.post("blobs/uploads/").await?;
            if !self.judge(&begun, 202)? {
                return Ok(());
            }
            let upload = conformance::registry::location(&begun)?;
            if !self.judge(&self.repository.close(&upload, &blob.digest, &blob.bytes).await?, 201)? {
                return Ok(());
            }
        }
        let manifest = pushed.image.manifest.bytes.clone();
        let answer = self.repository.put_manifest(&pushed.tag, MANIFEST_TYPE, manifest).await?;
        pushed.acknowledged = self.judge(&answer, 201)?;
        Ok(())
    }

    async fn keep_pushing(self: Arc<Self>, name: usize) -> Result<Vec<Pushed>> {
        let mut all = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            let mut pushed = Pushed { tag: format!("p{name}-{}", all.len()), image: SmallImage::new(), acknowledged: false };
            let began = Instant::now();
            self.push(&mut pushed).await.with_context(|| format!("pushing {}", pushed.tag))?;
            ensure!(began.elapsed().as_secs() < 3 * ANSWER_SECS_MAX, "a push took {:?}", began.elapsed());
            if !pushed.acknowledged {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            all.push(pushed);
        }
        Ok(all)
    }

    async fn keep_pulling(self: Arc<Self>) -> Result<()> {
        let layer = format!("blobs/{}", self.standing.layer.digest);
        while !self.over.load(Ordering::Relaxed) {
            for (path, bytes) in [("manifests/v1", &self.standing.manifest.bytes), (layer.as_str(), &self.standing.layer.bytes)] {
                let answer = self.repository.get(path).await?;
                if self.judge(&answer, 200)? {
                    ensure!(answer.body == *bytes, "{path} has other bytes");
                    self.pulled.fetch_add(1, Ordering::Relaxed);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// 503, with the error's body and when to try again.
fn is_unavailable(answer: &Answer) -> Result<()> {
    ensure!(answer.status == 503, "{}: {}", answer.status, answer.text());
    ensure!(answer.json()["errors"][0]["code"] == "UNAVAILABLE", "{}", answer.text());
    ensure!(answer.text().contains("try again") || answer.text().contains("cannot be checked"), "{}", answer.text());
    ensure!(answer.header("retry-after").parse::<u64>().is_ok(), "it does not say when to try again: {:?}", answer.headers);
    Ok(())
}

/// Each face says that it is not able to answer now.
async fn says_so_everywhere(server: &Server) -> Result<()> {
    let (admin, key) = (server.admin()?, server.admin_by_access_key()?);
    wait_until_for("the server not to be ready", RECOVERY, || async {
        let ready = server.anonymous().ok()?.get("/readyz").await.ok()?;
        (ready.status == 503).then_some(())
    })
    .await;
    server.anonymous()?.get("/healthz").await?.expect(200)?;
    let api = admin.get("/api/v1/repositories").await?;
    ensure!(api.status == 503 && !api.header("retry-after").is_empty(), "{} {:?} {}", api.status, api.headers, api.text());
    let ecs = key.ecs("ListClusters", &json!({})).await?;
    ensure!(ecs.status.is_server_error() && !ecs.aws_error().is_empty(), "{} {}", ecs.status, ecs.text());
    let token = admin.get("/token?service=berth&scope=repository:acme/web:pull").await?;
    ensure!(token.status == 503 && !token.header("retry-after").is_empty(), "{} {}", token.status, token.text());
    is_unavailable(&admin.get("/v2/acme/web/manifests/v1").await?)
}

/// PostgreSQL goes and comes back; then pushes do.
async fn restart(postgres: &mut Postgres, server: &Server, repository: &Repository, away: Duration) -> Result<()> {
    tokio::time::sleep(THERE).await;
    postgres.stop_at_once().await?;
    let began = Instant::now();
    if away > THERE {
        says_so_everywhere(server).await.context("while it was away")?;
    }
    tokio::time::sleep(away.saturating_sub(began.elapsed())).await;
    postgres.start()?;
    let tag = format!("after-{}", away.as_millis());
    let image = SmallImage::new();
    wait_until_for("pushes to go on", RECOVERY, || async { repository.push(&tag, &image).await.ok() }).await;
    wait_until_for("the server to be ready", RECOVERY, || async {
        let ready = server.anonymous().ok()?.get("/readyz").await.ok()?;
        (ready.status == 200).then_some(())
    })
    .await;
    is_whole(repository, &tag, &image).await
}

async fn is_whole(repository: &Repository, tag: &str, image: &SmallImage) -> Result<()> {
    for reference in [tag, image.digest()] {
        let manifest = repository.get(&format!("manifests/{reference}")).await?.expect(200).with_context(|| tag.to_owned())?;
        ensure!(manifest.body == image.manifest.bytes, "{tag} is another manifest");
    }
    for blob in [&image.config, &image.layer] {
        let answer = repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200).with_context(|| tag.to_owned())?;
        ensure!(answer.body == blob.bytes, "{tag}: {} has other bytes", blob.digest);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_restarts_under_pushes_and_pulls_and_nothing_acknowledged_is_lost() -> Result<()> {
    if !matches!(std::env::var(testing::database::KIND_VARIABLE).as_deref(), Ok("postgres")) {
        return Ok(());
    }
    let mut postgres = Postgres::start_new()?;
    wait_until_for("PostgreSQL to take connections", RECOVERY, || async { reachable(&postgres).await }).await;
    let server = Server::builder().database(postgres.database()).start().await?;
    let id = server.id();
    let repository = Repository { client: server.admin_token().await?, name: "acme/web".into() };
    let standing = repository.push_new("v1").await?;
    let (upload, open) = (repository.begin().await?, Blob::made_up(rand::random(), 600_000));
    repository.chunk(&upload, 0, &open.bytes[..200_000]).await?.expect(202)?;
    let world = Arc::new(World {
        repository: repository.clone(),
        standing,
        over: AtomicBool::default(),
        refused: AtomicUsize::default(),
        pulled: AtomicUsize::default(),
    });
    let pushing: Vec<_> = (0..PUSHERS).map(|name| tokio::spawn(world.clone().keep_pushing(name))).collect();
    let pulling: Vec<_> = (0..PULLERS).map(|_| tokio::spawn(world.clone().keep_pulling())).collect();
    for away in AWAY_MS {
        restart(&mut postgres, &server, &repository, Duration::from_millis(away)).await.with_context(|| format!("away for {away} ms"))?;
    }
    tokio::time::sleep(THERE).await;
    world.over.store(true, Ordering::Relaxed);
    let mut pushed = Vec::new();
    for pusher in pushing {
        pushed.extend(pusher.await??);
    }
    for puller in pulling {
        puller.await??;
    }
    ensure!(server.id() == id, "the server was started again");
    all_sound(&repository, &pushed).await?;
    let status = repository.status(&upload).await?.expect(204)?;
    ensure!(status.header("range") == "0-199999", "{:?}", status.headers);
    repository.close(&upload, &open.digest, &open.bytes[200_000..]).await?.expect(201)?;
    ensure!(repository.get(&format!("blobs/{}", open.digest)).await?.expect(200)?.body == open.bytes);
    let acknowledged = pushed.iter().filter(|pushed| pushed.acknowledged).count();
    let (refused, pulled) = (world.refused.load(Ordering::Relaxed), world.pulled.load(Ordering::Relaxed));
    println!("{} pushes, {acknowledged} acknowledged; {pulled} pulls; {refused} answers of 503", pushed.len());
    ensure!(acknowledged > 20 && pulled > 20 && refused > 5, "too little happened for this to say anything");
    Ok(())
}

async fn reachable(postgres: &Postgres) -> Option<()> {
    tokio::net::TcpStream::connect(("127.0.0.1", postgres.port)).await.ok().map(drop)
}

/// What was acknowledged is whole, and what was not is whole or absent.
async fn all_sound(repository: &Repository, pushed: &[Pushed]) -> Result<()> {
    for Pushed { tag, image, acknowledged } in pushed {
        let (by_tag, by_digest) = (repository.has_manifest(tag).await?, repository.has_manifest(image.digest()).await?);
        if by_tag != by_digest {
            bail!("{tag}: by tag {by_tag}, by digest {by_digest}");
        }
        ensure!(by_tag || !acknowledged, "{tag} was acknowledged and is not there");
        if by_tag {
            is_whole(repository, tag, image).await?;
        }
    }
    Ok(())
}
