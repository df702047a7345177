//! docker, skopeo and `aws ecr get-login-password`, as people type them, against a real Docker Engine.

use anyhow::{Context, Result, ensure};
use conformance::registry::Repository;
use std::process::{Command, Stdio};
use testing::berth::CliOutput;
use testing::docker::Docker;
use testing::server::{ADMIN, ADMIN_ACCESS_KEY_ID, ADMIN_PASSWORD, ADMIN_SECRET_ACCESS_KEY, REGION};
use testing::{Image, Server, push};

/// Folder with the `aws` command line; without it, the one on the PATH.
const AWS_VARIABLE: &str = "BERTH_TEST_AWS_BIN";

/// Removes its image from the engine when the test is over.
struct Tagged<'a>(&'a Docker, String);

impl Drop for Tagged<'_> {
    fn drop(&mut self) {
        self.0.run(&["rmi", "--force", &self.1]).ok();
    }
}

fn unique_image() -> Result<Image> {
    Ok(Image::busybox()?.file("unique", 0o644, format!("{:x}", rand::random::<u64>()).as_bytes()).command(&["cat", "/unique"]).build())
}

fn refused_login(output: &CliOutput) -> bool {
    output.code != Some(0) && output.stderr.contains("unauthorized")
}

#[tokio::test]
async fn docker_login_push_and_pull() -> Result<()> {
    let server = Server::start().await?;
    let docker = Docker::new()?;
    ensure!(refused_login(&docker.login(&server.host(), ADMIN, "wrong")?), "a wrong password");
    let login = docker.login(&server.host(), ADMIN, ADMIN_PASSWORD)?;
    ensure!(login.code == Some(0), "{}", login.stderr);
    let name = format!("{}/acme/web:v1", server.host());
    let image = unique_image()?;
    docker.load(&image.docker_archive(&name))?;
    let _tagged = Tagged(&docker, name.clone());
    let pushed = docker.ok(&["push", &name])?;
    let repository = Repository { client: server.admin()?, name: "acme/web".into() };
    let digest = repository.head("manifests/v1").await?.expect(200)?.header("docker-content-digest").to_owned();
    ensure!(pushed.contains(&digest), "{pushed}");
    // Again: everything is there already. Another repository: the layers are mounted.
    docker.ok(&["push", &name])?;
    let other = format!("{}/acme/other:v1", server.host());
    docker.ok(&["tag", &name, &other])?;
    let _other = Tagged(&docker, other.clone());
    let mounted = docker.ok(&["push", &other])?;
    ensure!(mounted.contains("Mounted from acme/web"), "{mounted}");
    docker.ok(&["rmi", "--force", &name, &other])?;
    docker.ok(&["pull", &name])?;
    let said = docker.ok(&["run", "--rm", "--network", "none", &name])?;
    let expected = docker.ok(&["run", "--rm", "--network", "none", &format!("{}/acme/web@{digest}", server.host())])?;
    ensure!(!said.is_empty() && said == expected, "{said} {expected}");
    Ok(())
}

#[tokio::test]
async fn docker_is_refused_granted_and_refused_again() -> Result<()> {
    let server = Server::start().await?;
    let name = format!("{}/acme/private:v1", server.host());
    push::image(&server.admin()?, "acme/private", "v1", &unique_image()?).await?;
    server.new_user("bob").await?;
    let bob = Docker::new()?;
    let nobody = bob.run(&["pull", &name])?;
    ensure!(nobody.code != Some(0), "pulled without a login");
    bob.login(&server.host(), "bob", "password-of-bob")?;
    let refused = bob.run(&["pull", &name])?;
    ensure!(refused.code != Some(0), "pulled without a grant");
    let grant = server.grant("user:bob", "pull", "repository", "acme/private").await?;
    let _tagged = Tagged(&bob, name.clone());
    bob.ok(&["pull", &name])?;
    bob.ok(&["rmi", "--force", &name])?;
    let pushed = bob.run(&["push", &name])?;
    ensure!(pushed.code != Some(0), "pushed with a grant to pull");
    server.revoke(&grant).await?;
    let refused = bob.run(&["pull", &name])?;
    ensure!(refused.code != Some(0), "pulled after the grant was removed");
    Ok(())
}

#[tokio::test]
async fn docker_takes_a_token_as_password() -> Result<()> {
    let server = Server::start().await?;
    let bob = server.new_user("bob").await?;
    let answer = bob.post("/api/v1/tokens", &serde_json::json!({"label": "docker"})).await?.expect(201)?.json();
    let (secret, id) = (answer["secret"].as_str().context("a secret")?, answer["token"]["id"].as_str().context("an id")?);
    let docker = Docker::new()?;
    ensure!(docker.login(&server.host(), "bob", secret)?.code == Some(0));
    bob.delete(&format!("/api/v1/tokens/{id}")).await?.expect(204)?;
    ensure!(refused_login(&docker.login(&server.host(), "bob", secret)?), "a revoked token logs in");
    Ok(())
}

fn skopeo(arguments: &[&str]) -> Result<CliOutput> {
    Ok(Command::new("skopeo").args(arguments).output().context("skopeo is missing: scripts/docker-engine installs it")?.into())
}

fn skopeo_ok(arguments: &[&str]) -> Result<String> {
    let output = skopeo(arguments)?;
    ensure!(output.code == Some(0), "skopeo {}: {}{}", arguments.join(" "), output.stdout, output.stderr);
    Ok(output.stdout)
}

#[tokio::test]
async fn skopeo_copies_both_ways_and_keeps_every_digest() -> Result<()> {
    let server = Server::start().await?;
    let folder = tempfile::tempdir()?;
    let image = unique_image()?;
    image.write_layout(&folder.path().join("from"), "v1")?;
    let (from, to) = (format!("oci:{}:v1", folder.path().join("from").display()), format!("oci:{}:v1", folder.path().join("to").display()));
    let remote = format!("docker://{}/acme/skopeo:v1", server.host());
    let credentials = format!("{ADMIN}:{ADMIN_PASSWORD}");
    skopeo_ok(&["copy", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds", &credentials, &from, &remote])?;
    skopeo_ok(&["copy", "--preserve-digests", "--src-tls-verify=false", "--src-creds", &credentials, &remote, &to])?;
    let digest = |layout: &str| skopeo_ok(&["inspect", "--format", "{{.Digest}}", layout]);
    ensure!(digest(&from)?.trim() == image.digest() && digest(&to)?.trim() == image.digest(), "{} {}", digest(&from)?, digest(&to)?);
    let inspected = skopeo_ok(&["inspect", "--tls-verify=false", "--creds", &credentials, &remote])?;
    ensure!(inspected.contains(image.digest()) && inspected.contains("\"v1\""), "{inspected}");
    let refused = skopeo(&["inspect", "--tls-verify=false", "--creds", "admin:wrong", &remote])?;
    ensure!(refused.code != Some(0), "{}", refused.stdout);
    skopeo_ok(&["delete", "--tls-verify=false", "--creds", &credentials, &remote])?;
    ensure!(skopeo(&["inspect", "--tls-verify=false", "--creds", &credentials, &remote])?.code != Some(0));
    Ok(())
}

#[tokio::test]
async fn skopeo_copies_images_of_several_platforms() -> Result<()> {
    let server = Server::start().await?;
    let (one, two) = (unique_image()?, unique_image()?);
    let digest = push::index(&server.admin()?, "acme/multi", "v1", &[(&one, "amd64"), (&two, "arm64")]).await?;
    let credentials = format!("{ADMIN}:{ADMIN_PASSWORD}");
    let (from, to) = (format!("docker://{}/acme/multi:v1", server.host()), format!("docker://{}/acme/copy:v1", server.host()));
    let flags = ["--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", &credentials, "--dest-creds", &credentials];
    skopeo_ok(&[&["copy", "--all", "--preserve-digests"], &flags[..], &[&from, &to]].concat())?;
    let copy = Repository { client: server.admin()?, name: "acme/copy".into() };
    ensure!(copy.head("manifests/v1").await?.header("docker-content-digest") == digest);
    ensure!(copy.has_manifest(one.digest()).await? && copy.has_manifest(two.digest()).await?);
    Ok(())
}

fn aws(server: &Server, arguments: &[&str], secret: &str) -> Result<CliOutput> {
    let program = std::env::var(AWS_VARIABLE).map_or_else(|_| "aws".into(), |folder| format!("{folder}/aws"));
    let home = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command.args(["--endpoint-url", &server.url(), "--region", REGION]).args(arguments).stdin(Stdio::null());
    command.env("HOME", home.path()).env("AWS_ACCESS_KEY_ID", ADMIN_ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", secret);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    Ok(command.output().context("the aws command line is missing: scripts/aws-clients installs it")?.into())
}

#[tokio::test]
async fn aws_ecr_get_login_password_logs_docker_in() -> Result<()> {
    let server = Server::start().await?;
    let password = aws(&server, &["ecr", "get-login-password"], ADMIN_SECRET_ACCESS_KEY)?;
    ensure!(password.code == Some(0), "{}", password.stderr);
    let docker = Docker::new()?;
    let login = docker.login(&server.host(), "AWS", password.stdout.trim())?;
    ensure!(login.code == Some(0), "{}", login.stderr);
    let name = format!("{}/acme/ecr:v1", server.host());
    docker.load(&unique_image()?.docker_archive(&name))?;
    let _tagged = Tagged(&docker, name.clone());
    docker.ok(&["push", &name])?;
    docker.ok(&["rmi", "--force", &name])?;
    docker.ok(&["pull", &name])?;
    let wrong = aws(&server, &["ecr", "get-login-password"], "not/the/secret")?;
    ensure!(wrong.code != Some(0) && wrong.stdout.trim().is_empty(), "{}", wrong.stderr);
    Ok(())
}
