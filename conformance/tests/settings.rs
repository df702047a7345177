//! Settings of repositories as people make them: by the command line, by ECR's API, by the Berth API; and what docker then says.

use anyhow::{Context, Result, ensure};
use conformance::registry::{OCTETS, Repository, SmallImage, refused};
use reqwest::Method;
use serde_json::json;
use std::io::Write;
use std::process::Stdio;
use testing::berth::{Cli, CliOutput};
use testing::docker::Docker;
use testing::images::{Blob, MANIFEST_TYPE};
use testing::server::{ADMIN, ADMIN_PASSWORD};
use testing::{Image, Server, push};

/// The command line of the admin on another machine.
fn admin(server: &Server) -> Result<(tempfile::TempDir, Cli)> {
    let home = tempfile::tempdir()?;
    let mut command = testing::berth::command(home.path())?;
    command.args(["login", &server.url(), "--user", ADMIN, "--password-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("its input")?.write_all(ADMIN_PASSWORD.as_bytes())?;
    let login = CliOutput::from(child.wait_with_output()?);
    ensure!(login.code == Some(0), "{}", login.stderr);
    let cli = Cli::new(home.path());
    Ok((home, cli))
}

fn unique_image() -> Result<Image> {
    Ok(Image::busybox()?.file("unique", 0o644, format!("{:x}", rand::random::<u64>()).as_bytes()).command(&["cat", "/unique"]).build())
}

#[tokio::test]
async fn immutable_tags_by_the_command_line_and_by_ecr() -> Result<()> {
    let server = Server::start().await?;
    let (_home, cli) = admin(&server)?;
    let made = cli.ok(&["repository", "create", "acme/web", "--tag-overwrite", "nobody", "--except", "dev-*"])?;
    ensure!(made.contains("immutable, except dev-*"), "{made}");
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let first = repository.push_new("v1").await?;
    repository.push_new("dev-1").await?;
    repository.push_new("dev-1").await?;
    let moved = SmallImage::new();
    repository.push(moved.digest(), &moved).await?;
    let put = || repository.put_manifest("v1", MANIFEST_TYPE, moved.manifest.bytes.clone());
    refused(&put().await?, 400, "TAG_INVALID")?;
    refused(&repository.delete("manifests/v1").await?, 400, "TAG_INVALID")?;
    ensure!(repository.get("manifests/v1").await?.body == first.manifest.bytes);
    // What ECR says of it, and says anew.
    let aws = server.admin_by_access_key()?;
    let described = aws.ecr("DescribeRepositories", &json!({"repositoryNames": ["acme/web"]})).await?.expect(200)?.json();
    let described = &described["repositories"][0];
    ensure!(described["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION", "{described}");
    ensure!(described["imageTagMutabilityExclusionFilters"] == json!([{"filterType": "WILDCARD", "filter": "dev-*"}]), "{described}");
    let set = json!({"repositoryName": "acme/web", "imageTagMutability": "MUTABLE"});
    ensure!(aws.ecr("PutImageTagMutability", &set).await?.expect(200)?.json()["imageTagMutability"] == "MUTABLE");
    put().await?.expect(201)?;
    let absent = json!({"repositoryName": "acme/absent", "imageTagMutability": "MUTABLE"});
    ensure!(aws.ecr("PutImageTagMutability", &absent).await?.aws_error() == "RepositoryNotFoundException");
    let immutable = json!({"repositoryName": "acme/other", "imageTagMutability": "IMMUTABLE"});
    ensure!(aws.ecr("CreateRepository", &immutable).await?.expect(200)?.json()["repository"]["imageTagMutability"] == "IMMUTABLE");
    Ok(())
}

#[tokio::test]
async fn docker_is_told_that_a_tag_is_immutable() -> Result<()> {
    let server = Server::start().await?;
    let name = format!("{}/acme/web:v1", server.host());
    push::image(&server.admin()?, "acme/web", "v1", &unique_image()?).await?;
    let change = json!({"tag_overwrite": "nobody"});
    server.admin()?.json(Method::PATCH, "/api/v1/repositories/acme%2Fweb", &change).await?.expect(200)?;
    let docker = Docker::new()?;
    docker.login(&server.host(), ADMIN, ADMIN_PASSWORD)?;
    docker.load(&unique_image()?.docker_archive(&name))?;
    let pushed = docker.run(&["push", &name])?;
    docker.run(&["rmi", "--force", &name])?;
    ensure!(pushed.code != Some(0) && pushed.stderr.contains("immutable"), "{}{}", pushed.stdout, pushed.stderr);
    Ok(())
}

#[tokio::test]
async fn a_quota_is_enforced_while_bytes_come() -> Result<()> {
    let server = Server::start().await?;
    let (_home, cli) = admin(&server)?;
    cli.ok(&["repository", "create", "acme/web", "--quota", "1MB"])?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    repository.push_new("v1").await?;
    let large = Blob::made_up(rand::random(), 2_000_000);
    let single = format!("blobs/uploads/?digest={}", large.digest);
    refused(&repository.send(Method::POST, &single, &[OCTETS], large.bytes.clone()).await?, 403, "DENIED")?;
    // Without a length it is cut off.
    let upload = repository.begin().await?;
    let head = conformance::raw::head(&repository.client, "PATCH", &upload);
    let mut request = format!("{head}Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    request.extend(conformance::raw::chunked(&large.bytes, 50_000));
    let (status, answer) = conformance::raw::exchange(&repository.client, &request).await?;
    ensure!(status == 403 && answer.contains("may hold 1000000 bytes"), "{answer}");
    let shown = cli.ok(&["repository", "show", "acme/web"])?;
    ensure!(shown.contains("1.0 MB") && shown.contains("Holds"), "{shown}");
    cli.ok(&["repository", "set", "acme/web", "--quota", "none"])?;
    repository.push_blob(&large).await
}

#[tokio::test]
async fn docker_pulls_from_a_public_repository_without_a_login() -> Result<()> {
    let server = Server::start().await?;
    let (_home, cli) = admin(&server)?;
    let (name, image) = (format!("{}/acme/tools:v1", server.host()), unique_image()?);
    push::image(&server.admin()?, "acme/tools", "v1", &image).await?;
    push::image(&server.admin()?, "acme/private", "v1", &image).await?;
    let nobody = Docker::new()?;
    ensure!(nobody.run(&["pull", &name])?.code != Some(0), "pulled before it was public");
    cli.ok(&["repository", "set", "acme/tools", "--public"])?;
    nobody.ok(&["pull", &name])?;
    let private = nobody.run(&["pull", &format!("{}/acme/private:v1", server.host())])?;
    ensure!(private.code != Some(0) && private.stderr.contains("unauthorized"), "{}", private.stderr);
    let pushed = nobody.run(&["push", &name])?;
    nobody.run(&["rmi", "--force", &name])?;
    ensure!(pushed.code != Some(0), "pushed without a login");
    // A login that fails does not become nobody's.
    ensure!(nobody.login(&server.host(), ADMIN, "wrong")?.code != Some(0));
    let wrong = server.as_user(ADMIN, "wrong")?;
    ensure!(wrong.get("/v2/acme/tools/manifests/v1").await?.status == 401);
    // Who is known but holds no grant pulls as everybody does.
    let bob = server.new_user("bob").await?;
    bob.get("/v2/acme/tools/manifests/v1").await?.expect(200)?;
    cli.ok(&["repository", "set", "acme/tools", "--private"])?;
    ensure!(server.anonymous()?.get("/v2/acme/tools/manifests/v1").await?.status == 401);
    ensure!(bob.get("/v2/acme/tools/manifests/v1").await?.status == 404);
    Ok(())
}

#[tokio::test]
async fn only_admins_of_a_repository_change_it_and_the_audit_says_who_did() -> Result<()> {
    let server = Server::start().await?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    repository.push_new("v1").await?;
    let bob = server.new_user("bob").await?;
    let path = "/api/v1/repositories/acme%2Fweb";
    let change = |client: testing::Client, body: serde_json::Value| async move { client.json(Method::PATCH, path, &body).await };
    ensure!(bob.get(path).await?.status == 404, "he sees what he may not pull");
    server.grant("user:bob", "maintain", "repository", "acme/web").await?;
    ensure!(bob.get(path).await?.expect(200)?.json()["used_bytes"].as_u64().is_some_and(|used| used > 3000));
    ensure!(change(bob.clone(), json!({"public": true})).await?.status == 403);
    server.grant("user:bob", "admin", "repository", "acme/web").await?;
    change(bob.clone(), json!({"quota_bytes": 5_000_000, "sparse": "refuse"})).await?.expect(200)?;
    let changed = change(bob.clone(), json!({"quota_bytes": null})).await?.expect(200)?.json();
    ensure!(changed["settings"]["sparse"] == "refuse" && changed["settings"]["quota_bytes"].is_null(), "{changed}");
    for bad in [json!({"public": "yes"}), json!({"tag_exceptions": ["a/b"]}), json!({"quota": 1}), json!({"tag_overwrite": "all"})] {
        ensure!(change(bob.clone(), bad.clone()).await?.status == 400, "{bad}");
    }
    let listed = bob.get("/api/v1/repositories").await?.expect(200)?.json();
    ensure!(listed["items"][0]["name"] == "acme/web" && listed["items"].as_array().map(Vec::len) == Some(1), "{listed}");
    let events = server.admin()?.get("/api/v1/events?subject=repository:acme/web").await?.expect(200)?.text();
    ensure!(events.contains("repository.settings") && events.contains("user:bob"), "{events}");
    Ok(())
}
