//! What comes in is bounded: memory per upload, requests that never end, headers and bodies without end.

use anyhow::{Context, Result, ensure};
use conformance::raw;
use conformance::registry::Repository;
use serde_json::json;
use testing::Server;
use testing::images::{Blob, CONFIG_TYPE, MANIFEST_TYPE};

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
