//! What attackers have done to registries elsewhere, tried on the real binary, as far as no other file does it already. `docs/security.md`
//! is the whole list.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conformance::fleet::Fleet;
use conformance::raw;
use conformance::registry::{OCTETS, Registry, Repository, SmallImage, refused};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use testing::images::{Blob, MANIFEST_TYPE};
use testing::{Client, Credentials, Image, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A place where nobody has any business to ask.
struct Trap(std::net::TcpListener);

impl Trap {
    fn set() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    fn url(&self) -> Result<String> {
        Ok(format!("http://{}/trap", self.0.local_addr()?))
    }

    fn is_untouched(&self) -> Result<()> {
        ensure!(self.0.accept().is_err(), "the server asked where it was led to");
        Ok(())
    }
}

/// HMAC with SHA-256 (RFC 2104) with a key of no more than one block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect::<Vec<u8>>();
    let inner = Sha256::digest([&padded(0x36), message].concat());
    Sha256::digest([padded(0x5c).as_slice(), inner.as_slice()].concat()).to_vec()
}

/// A JSON web token that its maker signed with a key of its own.
fn signed(header: &serde_json::Value, repository: &str, key: &[u8]) -> String {
    let claims = json!({
        "iss": "berth", "aud": "berth", "sub": "admin", "nbf": 1, "iat": 1, "exp": 9_999_999_999_u64,
        "access": [{"type": "repository", "name": repository, "actions": ["pull", "push", "delete"]}],
    });
    let text = [header, &claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = URL_SAFE_NO_PAD.encode(hmac(key, text.as_bytes()));
    format!("{text}.{signature}")
}

#[tokio::test]
async fn a_token_that_brings_its_own_key_is_401() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    repository.push_new("v1").await?;
    let (trap, key) = (Trap::set()?, b"a key of the attacker's own choice");
    let jwk = json!({"kty": "oct", "kid": "1", "k": URL_SAFE_NO_PAD.encode(key)});
    for header in [
        json!({"alg": "HS256", "typ": "JWT", "kid": "1", "jwk": jwk}),
        json!({"alg": "HS256", "typ": "JWT", "kid": "1", "jku": trap.url()?}),
        json!({"alg": "HS256", "typ": "JWT", "kid": "../../../dev/null"}),
        json!({"alg": "RS256", "typ": "JWT", "x5c": ["MIIB"], "x5u": trap.url()?}),
        json!({"alg": "none", "typ": "JWT"}),
    ] {
        let token = signed(&header, &repository.name, key);
        for token in [format!("brt_{token}"), token] {
            let forger = server.anonymous()?.with(Credentials::Bearer(token));
            for path in ["/v2/", "/v2/acme/web/manifests/v1", "/api/v1/whoami"] {
                let status = forger.get(path).await?.status;
                ensure!(status == 401, "{header} on {path}: {status}");
            }
        }
    }
    trap.is_untouched()
}

/// The first line of what is answered to a head that waits before it sends its body, and the connection.
async fn asked_to_go_on(client: &Client, method: &str, path: &str) -> Result<(String, TcpStream)> {
    let mut stream = TcpStream::connect(client.host()).await?;
    let head = raw::head(client, method, path);
    let head = format!("{head}Content-Type: application/octet-stream\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.context("the server closed")?);
    }
    Ok((String::from_utf8_lossy(&line).trim().to_owned(), stream))
}

#[tokio::test]
async fn who_may_not_push_is_not_asked_for_the_body() -> Result<()> {
    let server = Server::start().await?;
    let (admin, bob) = (server.admin()?, server.new_user("bob").await?);
    let repository = Repository { client: admin.clone(), name: "acme/web".into() };
    let (session, content) = (repository.begin().await?, Blob::new("body"));
    let single = repository.path(&format!("blobs/uploads/?digest={}", content.digest));
    let manifest = repository.path("manifests/v1");
    let wrong = admin.with(Credentials::Basic { user: "admin".into(), password: "wrong".into() });
    for (method, path) in [("POST", &single), ("PATCH", &session), ("PUT", &manifest)] {
        for (client, status) in [(server.anonymous()?, "401"), (wrong.clone(), "401"), (bob.clone(), "403")] {
            let (line, _) = asked_to_go_on(&client, method, path).await?;
            ensure!(line.starts_with(&format!("HTTP/1.1 {status}")), "{method}: {line}");
        }
    }
    let (line, mut stream) = asked_to_go_on(&admin, "POST", &single).await?;
    ensure!(line.starts_with("HTTP/1.1 100"), "{line}");
    stream.write_all(b"body").await?;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await?;
    ensure!(rest.contains("HTTP/1.1 201"), "{rest}");
    Ok(())
}

#[tokio::test]
async fn layers_that_are_elsewhere_are_noted_and_never_fetched() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let (trap, layer) = (Trap::set()?, Blob::made_up(rand::random(), 100));
    let url = trap.url()?;
    for kind in ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar"] {
        let image = SmallImage::changed(|manifest| {
            let mut elsewhere = layer.descriptor(kind);
            elsewhere["urls"] = json!([url]);
            manifest["layers"] = json!([elsewhere]);
        });
        repository.push("v1", &image).await?;
        ensure!(repository.get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
        let answer = repository.get(&format!("blobs/{}", layer.digest)).await?;
        refused(&answer, 404, "BLOB_UNKNOWN")?;
        ensure!(answer.header("location").is_empty(), "{:?}", answer.headers);
    }
    trap.is_untouched()
}

#[tokio::test]
async fn content_never_comes_by_a_redirect() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let image = repository.push_new("v1").await?;
    let nobody = repository.seen_by(&server.anonymous()?);
    for path in ["manifests/v1".to_owned(), format!("blobs/{}", image.layer.digest)] {
        for method in [Method::GET, Method::HEAD] {
            for (caller, status) in [(&repository, 200), (&nobody, 401)] {
                let answer = caller.send(method.clone(), &path, &[], "").await?.expect(status)?;
                ensure!(answer.header("location").is_empty(), "{method} {path}: {:?}", answer.headers);
            }
        }
    }
    Ok(())
}

/// `{"name":"zipped"}`, compressed.
const ZIPPED: &str = "1f8b0800000000000203ab56ca4bcc4d55b252aaca2c28484d51aa0500f52fb7d911000000";

#[tokio::test]
async fn what_comes_compressed_is_not_unpacked() -> Result<()> {
    let server = Server::start().await?;
    let admin = server.admin()?;
    let repository = Repository { client: admin.clone(), name: "acme/web".into() };
    let blob = Blob::new(hex::decode(ZIPPED)?);
    let zipped = [OCTETS, ("content-encoding", "gzip")];
    let path = format!("blobs/uploads/?digest={}", blob.digest);
    repository.send(Method::POST, &path, &zipped, blob.bytes.clone()).await?.expect(201)?;
    let answer = repository.send(Method::GET, &format!("blobs/{}", blob.digest), &[("accept-encoding", "gzip")], "").await?.expect(200)?;
    ensure!(answer.body == blob.bytes && answer.header("content-encoding").is_empty(), "{:?}", answer.headers);
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let answer = admin.send(Method::POST, "/api/v1/users", &headers, blob.bytes.clone()).await?;
    ensure!(matches!(answer.status.as_u16(), 400 | 415), "{}", answer.status);
    let answer = repository.send(Method::PUT, "manifests/v1", &[("content-type", MANIFEST_TYPE), zipped[1]], blob.bytes.clone()).await?;
    refused(&answer, 400, "MANIFEST_INVALID")
}

#[tokio::test]
async fn no_answer_is_a_page_sets_a_cookie_or_is_for_other_origins() -> Result<()> {
    let server = Server::start().await?;
    let admin = server.admin()?;
    let repository = Repository { client: admin.clone(), name: "acme/web".into() };
    let html = Blob::new("<html><script>alert(1)</script></html>");
    repository.push_blob(&html).await?;
    repository.push("v1", &SmallImage::changed(|manifest| manifest["annotations"] = json!({"x": "<script>alert(1)</script>"}))).await?;
    let blob = format!("/v2/acme/web/blobs/{}", html.digest);
    for path in [
        "/",
        "/healthz",
        "/metrics",
        "/v2/",
        "/v2/_catalog",
        "/v2/acme/web/manifests/v1",
        &blob,
        "/v2/acme/<script>/tags/list",
        "/v2/acme/web/manifests/<script>alert(1)<%2Fscript>",
        "/token?service=berth",
        "/token?service=<script>",
        "/api/v1/whoami",
        "/api/v1/users/<script>",
        "/api/v1/events",
        "/api/openapi.json",
        "/<script>alert(1)</script>",
    ] {
        for client in [&admin, &server.anonymous()?] {
            let origin = [("origin", "http://elsewhere.example"), ("accept", "text/html")];
            let answer = client.send(Method::GET, path, &origin, "".into()).await?;
            let kind = answer.header("content-type");
            ensure!(!kind.contains("html") && !kind.contains("svg") && !kind.contains("xml"), "{path} is a page: {kind}");
            ensure!(!kind.is_empty() || answer.body.is_empty(), "{path}: a browser would guess what this is");
            for header in ["set-cookie", "access-control-allow-origin", "access-control-allow-credentials"] {
                ensure!(answer.header(header).is_empty(), "{path}: {header}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn one_manifest_from_many_clients_at_once_is_taken_from_each() -> Result<()> {
    let registry = Registry::start().await?;
    let (repository, image) = (registry.repository(), SmallImage::new());
    repository.push_blob(&image.config).await?;
    repository.push_blob(&image.layer).await?;
    let pushes: Vec<_> = (0..8)
        .map(|number| {
            let (repository, bytes) = (repository.clone(), image.manifest.bytes.clone());
            let reference = if number % 2 == 0 { "v1".to_owned() } else { image.digest().to_owned() };
            tokio::spawn(async move { repository.put_manifest(&reference, MANIFEST_TYPE, bytes).await })
        })
        .collect();
    for push in pushes {
        push.await??.expect(201)?;
    }
    ensure!(repository.get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
    ensure!(repository.tags().await? == ["v1"]);
    Ok(())
}

/// The file below `folder` that holds exactly `bytes`.
fn file_of(folder: &Path, bytes: &[u8]) -> Result<PathBuf> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        for file in std::fs::read_dir(entry.path())?.flatten() {
            if file.metadata()?.len() == bytes.len() as u64 && std::fs::read(file.path())? == bytes {
                return Ok(file.path());
            }
        }
    }
    anyhow::bail!("no file holds the blob")
}

/// An image that the Docker Engine has not seen yet.
fn unseen() -> Result<Image> {
    let command = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"];
    Ok(Image::busybox()?.file("content", 0o644, &rand::random::<[u8; 16]>()).command(&command).build())
}

/// Runs one task, which has to fail, and describes it.
async fn failed_task(fleet: &Fleet, family: &str, image: &str) -> Result<String> {
    let definition = fleet.register(family, image).await?;
    let task = fleet.stopped(&fleet.run_task(&definition).await?).await?;
    ensure!(task.to_string().contains("CannotPullContainerError"), "{task}");
    ensure!(!fleet.containers()?.iter().any(|container| container.running), "it runs");
    Ok(task.to_string())
}

#[tokio::test]
async fn a_host_fetches_no_layer_from_elsewhere() -> Result<()> {
    let fleet = Fleet::up().await?;
    let (trap, mut image) = (Trap::set()?, unseen()?);
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest.bytes)?;
    manifest["layers"][0]["urls"] = json!([trap.url()?]);
    image.manifest = Blob::new(manifest.to_string());
    let name = fleet.push("conformance/elsewhere", "v1", &image).await?;
    let task = failed_task(&fleet, "elsewhere", &name).await?;
    ensure!(task.contains("push the image with all its layers"), "it does not say why: {task}");
    trap.is_untouched()
}

#[tokio::test]
async fn a_layer_that_is_not_what_its_digest_says_never_runs() -> Result<()> {
    let fleet = Fleet::up().await?;
    let image = unseen()?;
    let name = fleet.push("conformance/altered", "v1", &image).await?;
    let layer = image.layers.last().context("a layer")?;
    let file = file_of(&fleet.server.data_dir().join("blobs"), &layer.bytes)?;
    let mut altered = layer.bytes.to_vec();
    let at = altered.len() / 2;
    altered[at] ^= 1;
    std::fs::write(&file, altered)?;
    failed_task(&fleet, "altered", &name).await?;
    Ok(())
}
