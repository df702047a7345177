//! The command line as a person and as CI use it, against a server that it was never told about: `berth up` writes the context.

use anyhow::{Context, Result, ensure};
use conformance::fleet::Fleet;
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;
use testing::berth::{Cli, CliOutput};
use testing::server::{ADMIN, ADMIN_PASSWORD};
use testing::{Image, Server, wait_until};

/// Exit codes that `berth --help` promises.
const USAGE: Option<i32> = Some(2);
const NOT_FOUND: Option<i32> = Some(3);
const NOT_ALLOWED: Option<i32> = Some(4);
const CONFLICT: Option<i32> = Some(5);
const FAILED: Option<i32> = Some(7);
const TIME_IS_UP: Option<i32> = Some(8);

fn json(cli: &Cli, arguments: &[&str]) -> Result<Value> {
    let said = cli.ok(&[arguments, &["--json"]].concat())?;
    serde_json::from_str(&said).with_context(|| format!("berth {}: {said}", arguments.join(" ")))
}

/// The list that an answer holds under its noun.
fn list<'a>(value: &'a Value, noun: &str) -> Result<&'a Vec<Value>> {
    value[noun].as_array().with_context(|| format!("no list of {noun}: {value}"))
}

fn refused(output: &CliOutput, code: Option<i32>, words: &str) -> Result<()> {
    ensure!(output.code == code, "expected {code:?}, got {:?}: {}{}", output.code, output.stdout, output.stderr);
    ensure!(output.stdout.is_empty(), "an error on standard output: {}", output.stdout);
    ensure!(output.stderr.contains(words), "`{words}` is not in {}", output.stderr);
    Ok(())
}

/// Runs with something on standard input.
fn with_input(cli: &Cli, arguments: &[&str], input: &str) -> Result<CliOutput> {
    let mut command = testing::berth::command(cli.home())?;
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?.into())
}

/// A person on another machine: logged in by password.
fn person(server: &Server, user: &str, password: &str) -> Result<(tempfile::TempDir, Cli)> {
    let home = tempfile::tempdir()?;
    let cli = Cli::new(home.path());
    let login = with_input(&cli, &["login", &server.url(), "--user", user, "--password-stdin"], password)?;
    ensure!(login.code == Some(0), "{}", login.stderr);
    Ok((home, cli))
}

#[tokio::test]
async fn a_service_from_image_to_end() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    let image = fleet.push("acme/web", "v1", &Image::web("one")?).await?;
    ensure!(cli.ok(&["whoami"])?.contains("user:admin"));
    let created =
        cli.run(["service", "create", "web", "--image", &image, "--count", "2", "--port", "8080", "--health-cmd", "true", "--wait"])?;
    ensure!(created.code == Some(0), "{}{}", created.stdout, created.stderr);
    let again = cli.run(["service", "create", "web", "--image", &image])?;
    refused(&again, CONFLICT, "web")?;
    let tasks = json(&cli, &["ps", "web"])?;
    ensure!(list(&tasks, "tasks")?.len() == 2, "{tasks}");
    let urls = cli.ok(&["ps", "web"])?;
    let url = urls.split_whitespace().find(|word| word.starts_with("http://")).with_context(|| format!("no URL in {urls}"))?;
    let page = reqwest_get(url).await?;
    ensure!(page == "one\n", "{page}");
    let services = json(&cli, &["services"])?;
    ensure!(services.to_string().contains("web"), "{services}");
    cli.ok(&["service", "scale", "web", "1", "--wait"])?;
    ensure!(list(&json(&cli, &["ps", "web"])?, "tasks")?.len() == 1);
    ensure!(cli.ok(&["events", "web"])?.contains("steady state"));
    let task = cli.ok(&["ps", "web", "-q"])?.trim().to_owned();
    cli.ok(&["stop", &task[..12], "--reason", "tried out"])?;
    wait_until("the replacement", || async {
        cli.ok(&["ps", "web", "-q"]).ok().filter(|now| !now.trim().is_empty() && now.trim() != task)
    })
    .await;
    ensure!(cli.ok(&["tasks", "web", "--stopped"])?.contains("tried out"));
    refused(&cli.run(["service", "rm", "nothing"])?, NOT_FOUND, "Service not found")?;
    cli.ok(&["service", "rm", "web", "--wait"])?;
    ensure!(cli.ok(&["ps", "-q"])?.trim().is_empty(), "tasks are left");
    Ok(())
}

async fn reqwest_get(url: &str) -> Result<String> {
    let (base, path) = url.split_at(url[7..].find('/').map_or(url.len(), |at| at + 7));
    let client = testing::Client::new(base, testing::Credentials::Anonymous)?;
    Ok(client.get(if path.is_empty() { "/" } else { path }).await?.expect(200)?.text())
}

#[tokio::test]
async fn tasks_pass_on_their_exit_code_and_show_what_they_print() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    let image = fleet.push("acme/job", "v1", &Image::shell("echo hello from $WHO; exit ${CODE:-0}")?).await?;
    let run = |code: &str| cli.run(["run", "--image", &image, "--env", "WHO=the task", "--env", code, "--wait"]);
    let seven = run("CODE=7")?;
    ensure!(seven.code == Some(7), "{:?} {}{}", seven.code, seven.stdout, seven.stderr);
    ensure!(run("CODE=0")?.code == Some(0));
    let stopped = json(&cli, &["tasks", "--family", "job", "--stopped"])?;
    ensure!(list(&stopped, "tasks")?.len() == 2 && stopped.to_string().contains('7'), "{stopped}");
    let ids = cli.ok(&["tasks", "--family", "job", "--stopped", "-q"])?;
    let logs = cli.ok(&["logs", ids.lines().next().context("an id")?])?;
    ensure!(logs.contains("hello from the task"), "{logs}");
    Ok(())
}

#[tokio::test]
async fn a_deployment_that_fails_or_takes_too_long_says_so_by_its_exit_code() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    let image = fleet.push("acme/crash", "v1", &Image::exits(3)?).await?;
    let crashing = cli.run(["service", "create", "crash", "--image", &image, "--wait", "--timeout", "30s"])?;
    ensure!(crashing.code == FAILED, "{:?} {}{}", crashing.code, crashing.stdout, crashing.stderr);
    let large = fleet.push("acme/large", "v1", &Image::sleeps()?).await?;
    let waiting = cli.run(["service", "create", "large", "--image", &large, "--memory", "30000000", "--wait", "--timeout", "2s"])?;
    ensure!(waiting.code == TIME_IS_UP, "{:?} {}{}", waiting.code, waiting.stdout, waiting.stderr);
    ensure!((waiting.stdout + &waiting.stderr).contains("memory"), "it does not say what is short");
    let missing = cli.run(["service", "create", "none", "--image", &format!("{}/acme/none:v1", fleet.server.host())])?;
    ensure!(missing.code != Some(0) && missing.stderr.contains("acme/none"), "{}", missing.stderr);
    Ok(())
}

#[tokio::test]
async fn people_grants_and_tokens() -> Result<()> {
    let server = Server::start().await?;
    let (_home, admin) = person(&server, ADMIN, ADMIN_PASSWORD)?;
    let made = with_input(&admin, &["user", "create", "bob", "--password-stdin"], "password-of-bob\n")?;
    ensure!(made.code == Some(0), "{}", made.stderr);
    refused(&with_input(&admin, &["user", "create", "bob", "--password-stdin"], "password-of-bob")?, CONFLICT, "bob")?;
    let (_his_home, bob) = person(&server, "bob", "password-of-bob")?;
    refused(&bob.run(["user", "create", "eve"])?, NOT_ALLOWED, "admin")?;
    ensure!(bob.run(["access", "check", "pull", "acme/web"])?.code == NOT_ALLOWED);
    admin.ok(&["access", "grant", "user:bob", "pull", "repository:acme/**"])?;
    ensure!(bob.run(["access", "check", "pull", "acme/web"])?.code == Some(0));
    let who = admin.ok(&["access", "who-can", "pull", "acme/web"])?;
    ensure!(who.contains("user:bob") && who.contains("acme/**") && who.contains("user:admin"), "{who}");
    admin.ok(&["access", "revoke", "user:bob", "pull", "repository:acme/**"])?;
    ensure!(bob.run(["access", "check", "pull", "acme/web"])?.code == NOT_ALLOWED);
    refused(&admin.run(["access", "grant", "user:nobody", "pull", "repository:acme/**"])?, NOT_FOUND, "nobody")?;
    refused(&admin.run(["access", "grant", "user:bob", "deploy", "repository:acme/**"])?, USAGE, "deploy")?;
    let token = bob.ok(&["token", "create", "--label", "ci", "-q"])?.trim().to_owned();
    let by_token = |token: &str| Cli::new("/nonexistent").run(["whoami", "--server", &server.url(), "--token", token]);
    ensure!(by_token(&token)?.stdout.contains("user:bob"), "{}", by_token(&token)?.stderr);
    let id =
        list(&json(&bob, &["token", "ls"])?, "tokens")?.iter().find(|each| each["label"] == "ci").context("it is listed")?["id"].clone();
    bob.ok(&["token", "revoke", id.as_str().context("an id")?])?;
    ensure!(by_token(&token)?.code == NOT_ALLOWED);
    admin.ok(&["user", "disable", "bob"])?;
    ensure!(bob.run(["whoami"])?.code == NOT_ALLOWED);
    Ok(())
}

#[tokio::test]
async fn errors_say_what_why_and_what_next() -> Result<()> {
    let home = tempfile::tempdir()?;
    let nobody = Cli::new(home.path());
    let nowhere = nobody.run(["services"])?;
    ensure!(nowhere.code != Some(0) && nowhere.stderr.contains("berth login"), "{}", nowhere.stderr);
    let dead = nobody.run(["services", "--server", "http://127.0.0.1:1", "--token", "x"])?;
    ensure!(dead.code == Some(1) && dead.stderr.contains("127.0.0.1:1") && dead.stderr.contains("next:"), "{}", dead.stderr);
    refused(&nobody.run(["nonsense"])?, USAGE, "nonsense")?;
    let server = Server::start().await?;
    let wrong = with_input(&nobody, &["login", &server.url(), "--user", ADMIN, "--password-stdin"], "wrong")?;
    refused(&wrong, NOT_ALLOWED, "password")?;
    ensure!(!home.path().join(".config/berth/config.toml").exists(), "a context was written");
    Ok(())
}
