//! docker, skopeo, podman, buildah, helm, oras and `aws ecr get-login-password`, as people type them.

use anyhow::{Context, Result, ensure};
use conformance::registry::Repository;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testing::berth::CliOutput;
use testing::docker::Docker;
use testing::server::{ADMIN, ADMIN_ACCESS_KEY_ID, ADMIN_PASSWORD, ADMIN_SECRET_ACCESS_KEY, REGION};
use testing::{Image, Server, push};

/// Folder with the `aws` command line; without it, the one on the PATH.
const AWS_VARIABLE: &str = "BERTH_TEST_AWS_BIN";
/// Folder with `helm` and a `python` that has the oras library; without it, where `scripts/registry-clients` puts them.
const CLIENTS_VARIABLE: &str = "BERTH_TEST_CLIENTS_BIN";

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

fn run(command: &mut Command) -> Result<CliOutput> {
    let output = command.stdin(Stdio::null()).output();
    Ok(output.with_context(|| format!("{command:?}: scripts/registry-clients installs it"))?.into())
}

fn ok(command: &mut Command) -> Result<String> {
    let output = run(command)?;
    ensure!(output.code == Some(0), "{command:?}: {}{}", output.stdout, output.stderr);
    Ok(output.stdout.trim().to_owned())
}

/// podman or buildah with storage of its own, which needs no other privilege than this user's.
struct Daemonless {
    program: &'static str,
    folder: tempfile::TempDir,
}

impl Daemonless {
    fn new(program: &'static str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Nobody's signatures are wanted here; this machine may have no policy at all.
        std::fs::write(folder.path().join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
        Ok(Self { program, folder })
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(self.program);
        let path = self.folder.path();
        command.arg("--root").arg(path.join("root")).arg("--runroot").arg(path.join("run")).args(["--storage-driver", "vfs"]);
        // Logins, caches and settings of whoever runs the test are not this test's.
        command.env("HOME", path).env("XDG_RUNTIME_DIR", path).env("REGISTRY_AUTH_FILE", path.join("auth.json")).arg(subcommand);
        command
    }

    fn login(&self, server: &Server, password: &str) -> Result<CliOutput> {
        run(self.command("login").args(["--tls-verify=false", "--username", ADMIN, "--password", password, &server.host()]))
    }

    fn push(&self, name: &str) -> Result<String> {
        ok(self.command("push").args(["--tls-verify=false", name]))
    }

    fn pull(&self, name: &str) -> Result<String> {
        let policy = self.folder.path().join("policy.json");
        ok(self.command("pull").args(["--quiet", "--tls-verify=false", "--signature-policy"]).arg(policy).arg(name))
    }
}

#[tokio::test]
async fn buildah_builds_pushes_pulls_and_runs() -> Result<()> {
    let server = Server::start().await?;
    let buildah = Daemonless::new("buildah")?;
    ensure!(buildah.login(&server, "wrong")?.code != Some(0), "a wrong password");
    ensure!(buildah.login(&server, ADMIN_PASSWORD)?.code == Some(0));
    let context = tempfile::tempdir()?;
    std::fs::copy(testing::images::BUSYBOX, context.path().join("busybox"))?;
    let unique = format!("{:x}", rand::random::<u64>());
    std::fs::write(context.path().join("unique"), &unique)?;
    std::fs::write(context.path().join("Dockerfile"), "FROM scratch\nCOPY busybox /bin/busybox\nCOPY unique /unique\n")?;
    let name = format!("{}/acme/built:v1", server.host());
    ok(buildah.command("bud").args(["--isolation", "chroot", "--tag", &name]).arg(context.path()))?;
    buildah.push(&name)?;
    ok(buildah.command("rmi").arg(&name))?;
    buildah.pull(&name)?;
    let policy = buildah.folder.path().join("policy.json");
    let container = ok(buildah.command("from").args(["--pull-never", "--signature-policy"]).arg(policy).arg(&name))?;
    let said = ok(buildah.command("run").args(["--isolation", "chroot", &container, "--", "/bin/busybox", "cat", "/unique"]))?;
    ensure!(said == unique, "{said}");
    ok(buildah.command("rm").arg(&container))?;
    ok(buildah.command("rmi").args(["--all"]))?;
    Ok(())
}

#[tokio::test]
async fn podman_pulls_what_docker_pushed_and_pushes_it_elsewhere() -> Result<()> {
    let server = Server::start().await?;
    let image = unique_image()?;
    let digest = push::image(&server.admin()?, "acme/web", "v1", &image).await?;
    let podman = Daemonless::new("podman")?;
    let name = format!("{}/acme/web:v1", server.host());
    let pull = |name: &str| run(podman.command("pull").args(["--quiet", "--tls-verify=false", name]));
    ensure!(pull(&name)?.code != Some(0), "pulled without a login");
    ensure!(podman.login(&server, "wrong")?.code != Some(0), "a wrong password");
    ensure!(podman.login(&server, ADMIN_PASSWORD)?.code == Some(0));
    let id = podman.pull(&name)?;
    ensure!(ok(podman.command("image").args(["inspect", "--format", "{{.Digest}}", &id]))? == digest);
    let other = format!("{}/acme/other:v1", server.host());
    ok(podman.command("tag").args([&name, &other]))?;
    podman.push(&other)?;
    let repository = Repository { client: server.admin()?, name: "acme/other".into() };
    ensure!(repository.has_manifest("v1").await?);
    let by_digest = format!("{}/acme/other@{}", server.host(), repository.head("manifests/v1").await?.header("docker-content-digest"));
    podman.pull(&by_digest)?;
    ok(podman.command("rmi").args(["--all", "--force"]))?;
    Ok(())
}

fn clients_bin() -> PathBuf {
    let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/registry-clients/bin");
    std::env::var_os(CLIENTS_VARIABLE).map_or_else(installed, PathBuf::from)
}

#[tokio::test]
async fn helm_pushes_and_pulls_a_chart() -> Result<()> {
    let server = Server::start().await?;
    let folder = tempfile::tempdir()?;
    let helm = |arguments: &[&str]| {
        let mut command = Command::new(clients_bin().join("helm"));
        command.current_dir(folder.path()).env("HOME", folder.path()).args(arguments);
        command
    };
    let logins = |password: &str| -> Result<()> {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{ADMIN}:{password}"));
        let config = serde_json::json!({"auths": {server.host(): {"auth": auth}}}).to_string();
        Ok(std::fs::write(folder.path().join("config.json"), config)?)
    };
    ok(&mut helm(&["create", "demo"]))?;
    ok(&mut helm(&["package", "demo"]))?;
    let (charts, chart) = (format!("oci://{}/charts", server.host()), format!("oci://{}/charts/demo", server.host()));
    // This version logs in over TLS only: the file that a login writes is written here.
    let remote = ["--plain-http", "--registry-config", "config.json"];
    logins("wrong")?;
    ensure!(run(&mut helm(&[&["push", "demo-0.1.0.tgz", &charts], &remote[..]].concat()))?.code != Some(0), "a wrong password");
    logins(ADMIN_PASSWORD)?;
    ok(&mut helm(&[&["push", "demo-0.1.0.tgz", &charts], &remote[..]].concat()))?;
    std::fs::create_dir_all(folder.path().join("pulled"))?;
    ok(&mut helm(&[&["pull", &chart, "--version", "0.1.0", "--destination", "pulled"], &remote[..]].concat()))?;
    let read = |file: &str| std::fs::read(folder.path().join(file));
    ensure!(read("demo-0.1.0.tgz")? == read("pulled/demo-0.1.0.tgz")?, "another chart came back");
    let shown = ok(&mut helm(&[&["show", "chart", &chart], &remote[..]].concat()))?;
    ensure!(shown.contains("name: demo") && shown.contains("version: 0.1.0"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn oras_pushes_and_pulls_an_artifact() -> Result<()> {
    let server = Server::start().await?;
    let folder = tempfile::tempdir()?;
    let content = format!("{:x}", rand::random::<u64>());
    std::fs::write(folder.path().join("a.txt"), &content)?;
    std::fs::create_dir(folder.path().join("pulled"))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oras-push-pull.py");
    let oras = |password: &str| {
        let mut command = Command::new(clients_bin().join("python"));
        command.current_dir(folder.path()).env("HOME", folder.path()).arg(&script);
        command.args([&server.host(), ADMIN, password, "acme/artifact:v1", "a.txt", "pulled"]);
        command
    };
    ensure!(run(&mut oras("wrong"))?.code != Some(0), "a wrong password");
    let said = ok(&mut oras(ADMIN_PASSWORD))?;
    ensure!(said.lines().last() == Some("v1"), "{said}");
    ensure!(std::fs::read_to_string(folder.path().join("pulled/a.txt"))? == content, "another artifact came back");
    Ok(())
}
