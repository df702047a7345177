//! What comes in is bounded: memory per upload, requests that never end, headers and bodies without end.

use anyhow::{Context, Result, ensure};
use conformance::raw;
use conformance::registry::Repository;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testing::images::{Blob, CONFIG_TYPE, MANIFEST_TYPE};
use testing::{Client, Server, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Uploads at once, bytes of each, and by how much the server may grow for all of them.
const UPLOADS: usize = 8;
const UPLOAD_BYTES: usize = 48 * 1024 * 1024;
const GROWTH_KIB_MAX: u64 = 48 * 1024;

/// Peak of the server's resident memory, in KiB.
fn peak_kib(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id().context("it runs")?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::test]
async fn memory_does_not_grow_with_the_size_of_uploads() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/large".into() };
    repository.push_blob(&Blob::made_up(0, 1_000_000)).await?;
    let before = peak_kib(&server)?;
    let pushes: Vec<_> = (1..=UPLOADS)
        .map(|seed| {
            let repository = repository.clone();
            tokio::spawn(async move {
                let blob = Blob::made_up(seed as u64, UPLOAD_BYTES);
                repository.push_blob(&blob).await?;
                let pulled = repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?;
                ensure!(pulled.body == blob.bytes, "other bytes came back");
                anyhow::Ok(())
            })
        })
        .collect();
    for push in pushes {
        push.await??;
    }
    let growth = peak_kib(&server)? - before;
    ensure!(growth < GROWTH_KIB_MAX, "it grew by {growth} KiB for {UPLOADS} uploads of {UPLOAD_BYTES} bytes");
    Ok(())
}

/// Referrers of one subject, the annotations of each in bytes, and by how much the server may grow to list them.
const REFERRERS: usize = 30;
const ANNOTATIONS_BYTES: usize = 3_900_000;
const LISTING_KIB_MAX: u64 = 64 * 1024;

#[tokio::test]
async fn memory_does_not_grow_with_the_annotations_of_referrers() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/large".into() };
    let subject = repository.push_new("v1").await?;
    let (config, padding) = (Blob::new("{}"), "x".repeat(ANNOTATIONS_BYTES));
    repository.push_blob(&config).await?;
    for number in 0..REFERRERS {
        let manifest = Blob::new(
            json!({
                "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config.descriptor(CONFIG_TYPE), "layers": [],
                "subject": subject.descriptor(), "annotations": {"number": number.to_string(), "padding": padding},
            })
            .to_string(),
        );
        repository.put_manifest(&manifest.digest, MANIFEST_TYPE, manifest.bytes.clone()).await?.expect(201)?;
    }
    let before = peak_kib(&server)?;
    // All of them are looked at for the second, which nothing matches.
    for query in ["", "?artifactType=application/x"] {
        let answer = repository.get(&format!("referrers/{}{query}", subject.digest())).await?.expect(200)?;
        ensure!(answer.body.len() <= 4 * 1024 * 1024, "a page of {} bytes", answer.body.len());
    }
    let growth = peak_kib(&server)? - before;
    ensure!(growth < LISTING_KIB_MAX, "it grew by {growth} KiB to list {REFERRERS} referrers");
    Ok(())
}

#[tokio::test]
async fn clients_that_send_nothing_more_keep_nobody_waiting() -> Result<()> {
    let server = Server::start().await?;
    let admin = server.admin()?;
    let repository = Repository { client: admin.clone(), name: "acme/slow".into() };
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = tokio::net::TcpStream::connect(admin.host()).await?;
        let upload = repository.begin().await?;
        let head = raw::head(&admin, "PATCH", &upload);
        let request = format!("{head}Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nsome");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await?;
        silent.push(stream);
    }
    let image = repository.push_new("v1").await?;
    ensure!(repository.get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
    drop(silent);
    Ok(())
}

/// Readers and writers that take a kibibyte a second, what they read and write, for how long, and by how much the server may grow.
const SLOW: usize = 64;
const SLOW_BYTES: usize = 32 * 1024 * 1024;
const SLOW_PIECE: usize = 1024;
const SLOW_SECS: u64 = 10;
const SLOW_KIB_MAX: u64 = 128 * 1024;
/// What others push and pull meanwhile, and how long one of each may take at most, in seconds.
const QUICK_BYTES: usize = 16 * 1024 * 1024;
const QUICK_SECS_MAX: u64 = 30;

/// Reads a kibibyte of a blob each second, as long as it is asked to. Gives how much it had of its body.
async fn read_slowly(client: Client, path: String, blob: Arc<Blob>, over: Arc<AtomicBool>) -> Result<usize> {
    let mut stream = tokio::net::TcpStream::connect(client.host()).await?;
    stream.write_all(format!("{}\r\n", raw::head(&client, "GET", &path)).as_bytes()).await?;
    let (mut answer, mut piece) = (Vec::new(), [0; SLOW_PIECE]);
    while !over.load(Ordering::Relaxed) {
        let read = stream.read(&mut piece).await?;
        ensure!(read > 0, "cut off after {} bytes", answer.len());
        answer.extend_from_slice(&piece[..read]);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").context("a head")? + 4;
    ensure!(blob.bytes.starts_with(&answer[head..]), "other bytes came");
    Ok(answer.len() - head)
}

/// Sends a kibibyte of a chunk each second. Gives the upload, and how much of the blob it sent.
async fn write_slowly(repository: Repository, blob: Arc<Blob>, over: Arc<AtomicBool>) -> Result<(String, usize)> {
    let upload = repository.begin().await?;
    let mut stream = tokio::net::TcpStream::connect(repository.client.host()).await?;
    let head = raw::head(&repository.client, "PATCH", &upload);
    let length = blob.bytes.len();
    stream.write_all(format!("{head}Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await?;
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        stream.write_all(&blob.bytes[sent..sent + SLOW_PIECE]).await?;
        sent += SLOW_PIECE;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok((upload, sent))
}

/// Pushes and pulls blobs until the time is over. Gives how many.
async fn push_and_pull(repository: &Repository) -> Result<usize> {
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed().as_secs() < SLOW_SECS {
        let (blob, began) = (Blob::made_up(rand::random(), QUICK_BYTES), Instant::now());
        repository.push_blob(&blob).await?;
        ensure!(repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes, "other bytes");
        ensure!(began.elapsed().as_secs() < QUICK_SECS_MAX, "a push and a pull beside slow ones took {:?}", began.elapsed());
        done += 1;
    }
    Ok(done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_and_slow_writers_hold_no_memory_and_starve_nobody() -> Result<()> {
    let server = Server::start().await?;
    let client = server.admin_token().await?;
    let repository = Repository { client: client.clone(), name: "acme/slow".into() };
    let blob = Arc::new(Blob::made_up(rand::random(), SLOW_BYTES));
    repository.push_blob(&blob).await?;
    repository.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?;
    push_and_pull(&repository).await.context("while nobody is slow")?;
    let (before, over) = (peak_kib(&server)?, Arc::new(AtomicBool::default()));
    let path = repository.path(&format!("blobs/{}", blob.digest));
    let readers: Vec<_> = (0..SLOW).map(|_| tokio::spawn(read_slowly(client.clone(), path.clone(), blob.clone(), over.clone()))).collect();
    let writers: Vec<_> = (0..SLOW).map(|_| tokio::spawn(write_slowly(repository.clone(), blob.clone(), over.clone()))).collect();
    let done = push_and_pull(&repository).await.context("beside slow ones")?;
    let image = repository.push_new("v1").await?;
    ensure!(repository.get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        let read = reader.await??;
        ensure!(read > 0, "a reader got nothing");
    }
    for writer in writers {
        let (upload, sent) = writer.await??;
        // What a slow one sent is on disk, and its upload can be gone on with.
        let held = wait_until("what was sent to be held", || async {
            let status = repository.status(&upload).await.ok()?;
            let last: usize = status.header("range").strip_prefix("0-")?.parse().ok()?;
            (status.status == 204 && last + 1 >= sent).then_some(last + 1)
        })
        .await;
        ensure!(held == sent, "{sent} bytes were sent, {held} are held");
    }
    let growth = peak_kib(&server)? - before;
    println!("{done} pushes and pulls of {QUICK_BYTES} bytes beside {SLOW} slow readers and {SLOW} slow writers; grown by {growth} KiB");
    ensure!(done > 0 && growth < SLOW_KIB_MAX, "it grew by {growth} KiB for {SLOW} slow readers and as many writers");
    Ok(())
}

#[tokio::test]
async fn bodies_without_end_are_cut_off() -> Result<()> {
    let server = Server::start().await?;
    let admin = server.admin()?;
    let large = "x".repeat(20 * 1024 * 1024);
    for (path, name) in [("/api/v1/users", "name"), ("/api/v1/grants", "principal"), ("/api/v1/tokens", "label")] {
        // The connection may end before everything was sent.
        if let Ok(answer) = admin.post(path, &json!({name: large})).await {
            ensure!(matches!(answer.status.as_u16(), 400 | 413 | 422), "{path}: {}", answer.status);
        }
    }
    if let Ok(answer) = server.admin_by_access_key()?.ecs("CreateCluster", &json!({"clusterName": large})).await {
        ensure!(matches!(answer.status.as_u16(), 400 | 413), "{}", answer.status);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let target = "AmazonEC2ContainerServiceV20141113.CreateCluster";
    let answer = server.admin_by_access_key()?.aws("ecs", target, deep.into_bytes()).await?;
    ensure!(answer.status == 400, "{}", answer.status);
    admin.get("/v2/").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn an_operation_of_the_agents_listener_needs_a_certificate() -> Result<()> {
    let server = Server::start().await?;
    // Plain HTTP on the agents' listener, and the agents' paths on the public one.
    let plain = testing::Client::new(&server.agent_url().replace("https", "http"), testing::Credentials::Anonymous)?;
    ensure!(plain.get("/agent/v1/poll").await.is_err(), "it speaks without TLS");
    for path in ["/agent/v1/poll", "/agent/v1/register", "/agent/v1/report", "/agent/v1/join"] {
        let answer = server.admin()?.post(path, &json!({})).await?;
        ensure!(matches!(answer.status.as_u16(), 404 | 405), "{path} is public: {}", answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn health_readiness_and_metrics_are_there_and_tell_nothing_private() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/hidden-name".into() };
    repository.push_new("v1").await?;
    let anonymous = server.anonymous()?;
    anonymous.get("/healthz").await?.expect(200)?;
    anonymous.get("/readyz").await?.expect(200)?;
    let metrics = anonymous.get("/metrics").await?.expect(200)?;
    ensure!(metrics.text().contains("# TYPE"), "{}", metrics.text());
    ensure!(!metrics.text().contains("hidden-name"), "names of repositories are in the metrics");
    Ok(())
}

#[tokio::test]
async fn passwords_tried_by_the_dozen_do_not_slow_down_who_is_logged_in() -> Result<()> {
    let server = Server::start().await?;
    server.new_user("bob").await?;
    let admin = server.admin()?;
    admin.get("/v2/").await?.expect(200)?;
    let guesses: Vec<_> = (0..30)
        .map(|number| {
            let guess = server.as_user("bob", &format!("guess-{number}"));
            tokio::spawn(async move { anyhow::Ok(guess?.get("/v2/").await?.status.as_u16()) })
        })
        .collect();
    let started = std::time::Instant::now();
    for _ in 0..20 {
        admin.get("/v2/").await?.expect(200)?;
    }
    ensure!(started.elapsed().as_secs() < 5, "20 requests of the admin took {:?}", started.elapsed());
    for guess in guesses {
        let status = guess.await??;
        ensure!(matches!(status, 401 | 429), "{status}");
    }
    // What becomes of bob himself: access.rs.
    Ok(())
}
