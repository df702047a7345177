//! A push deploys: real pushes against the real binary, with its agent on a real Docker Engine, asked for and watched through the
//! command line as people and CI use it.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use conformance::fleet::{Fleet, task_id};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use testing::berth::{Cli, CliOutput};
use testing::docker::Docker;
use testing::images::MANIFEST_TYPE;
use testing::server::{ADMIN, ADMIN_PASSWORD};
use testing::{Image, push};

const NOT_FOUND: Option<i32> = Some(3);
const CONFLICT: Option<i32> = Some(5);
const ROLLED_BACK: Option<i32> = Some(6);
const WAITING: Option<i32> = Some(9);

/// A service `web` of `count` tasks from `acme/web:v1`, which a trigger keeps at `v*`. Gives the trigger's id.
async fn web(fleet: &Fleet, count: usize) -> Result<String> {
    let image = fleet.push("acme/web", "v1", &image("one")?).await?;
    let task_definition = fleet.register("web", &image).await?;
    fleet.create_service("web", &task_definition, count).await?;
    fleet.running(count).await?;
    settled(fleet).await?;
    let cli = fleet.server.cli()?;
    let id = cli.ok(&["trigger", "create", "--service", "web", "--repository", "acme/web", "--tag", "v*", "--exclude", "v*-rc*", "-q"])?;
    Ok(id.trim().to_owned())
}

/// Runs until it is told to stop; other bytes for each `content`.
fn image(content: &str) -> Result<Image> {
    let command = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"];
    Ok(Image::busybox()?.file("content", 0o644, content.as_bytes()).command(&command).build())
}

/// Waits until one completed deployment is left.
async fn settled(fleet: &Fleet) -> Result<Value> {
    fleet
        .eventually("a completed deployment", async || {
            let service = fleet.service("web").await?;
            let deployments = service["deployments"].as_array().context("deployments")?;
            Ok(deployments.len() == 1 && deployments[0]["rolloutState"] == "COMPLETED")
        })
        .await?;
    fleet.service("web").await
}

/// The digests that the wanted tasks of the fleet run.
async fn digests(fleet: &Fleet) -> Result<BTreeSet<String>> {
    let tasks = fleet.tasks("RUNNING").await?;
    Ok(tasks.iter().filter_map(|task| task["containers"][0]["imageDigest"].as_str().map(str::to_owned)).collect())
}

async fn runs(fleet: &Fleet, image: &Image) -> Result<()> {
    settled(fleet).await?;
    let (running, expected) = (digests(fleet).await?, BTreeSet::from([image.digest().to_owned()]));
    ensure!(running == expected, "{running:?} run, and {expected:?} should:\n{}", fleet.state().await?);
    Ok(())
}

/// `7 taken, 6 superseded`: what became of pushes, newest first.
fn history(cli: &Cli) -> Result<String> {
    let said: Value = serde_json::from_str(&cli.ok(&["trigger", "history", "--service", "web", "--json"])?)?;
    let word =
        |decision: &Value| format!("{} {}", decision["push"]["tag"].as_str().unwrap_or("?"), decision["status"].as_str().unwrap_or("?"));
    Ok(said["decisions"].as_array().context("decisions")?.iter().map(word).collect::<Vec<_>>().join(", "))
}

fn ended(output: &CliOutput, code: Option<i32>) -> Result<()> {
    ensure!(output.code == code, "expected {code:?}, got {:?}: {}{}", output.code, output.stdout, output.stderr);
    Ok(())
}

#[tokio::test]
async fn docker_push_deploys_and_wait_says_so() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    let trigger = web(&fleet, 2).await?;
    let docker = Docker::new()?;
    ended(&docker.login(&fleet.server.host(), ADMIN, ADMIN_PASSWORD)?, Some(0))?;
    let (name, second) = (format!("{}/acme/web:v2", fleet.server.host()), image("two")?);
    docker.load(&second.docker_archive(&name))?;
    docker.ok(&["push", &name])?;
    let pushed = Instant::now();
    let waited = cli.run(["wait", &name, "--timeout", "60s"])?;
    ended(&waited, Some(0))?;
    println!("docker push acknowledged -> `berth wait` says completed: {:?}", pushed.elapsed());
    let service = settled(&fleet).await?;
    ensure!(service["taskDefinition"].as_str().is_some_and(|arn| arn.ends_with("web:2")), "{service}");
    let definition = fleet.ecs("DescribeTaskDefinition", &json!({"taskDefinition": "web:2"})).await?;
    let written = definition["taskDefinition"]["containerDefinitions"][0]["image"].as_str().context("an image")?;
    let digest = written.split_once('@').map(|(_, digest)| digest).context("by digest")?;
    ensure!(written == format!("{name}@{digest}"), "{written}");
    ensure!(digests(&fleet).await? == BTreeSet::from([digest.to_owned()]), "{}", fleet.state().await?);
    ensure!(cli.ok(&["trigger", "test", &trigger, "v3-rc1"])?.contains("left out"));
    // What no trigger follows is told at once.
    push::manifest(&fleet.server.admin()?, "acme/web", "main", &image("one")?.manifest, MANIFEST_TYPE).await?;
    let asked = Instant::now();
    ended(&cli.run(["wait", "acme/web:main", "--timeout", "60s"])?, NOT_FOUND)?;
    ensure!(asked.elapsed() < Duration::from_secs(5));
    Ok(())
}

#[tokio::test]
async fn fifty_pushes_in_two_seconds_end_on_the_last_with_few_deployments() -> Result<()> {
    let fleet = Fleet::up().await?;
    web(&fleet, 2).await?;
    let admin = fleet.server.admin()?;
    // Fifty images that share their layer and differ by an annotation.
    let base = image("storm")?;
    for blob in base.blobs() {
        push::blob(&admin, "acme/web", blob).await?;
    }
    let manifest = |number: usize| -> Result<testing::images::Blob> {
        let mut manifest: Value = serde_json::from_slice(&base.manifest.bytes)?;
        manifest["annotations"] = json!({ "number": number.to_string() });
        Ok(testing::images::Blob::new(Bytes::from(serde_json::to_vec(&manifest)?)))
    };
    let manifests: Vec<_> = (1..=50).map(manifest).collect::<Result<_>>()?;
    let started = Instant::now();
    for (number, manifest) in manifests.iter().enumerate() {
        push::manifest(&admin, "acme/web", &format!("v2.{number}"), manifest, MANIFEST_TYPE).await?;
        tokio::time::sleep(Duration::from_millis(40).saturating_sub(started.elapsed() / 50)).await;
    }
    println!("50 pushes took {:?}", started.elapsed());
    let last = manifests.last().context("the last")?.digest.clone();
    fleet
        .eventually("the last push to be deployed", async || {
            let service = fleet.service("web").await?;
            let settled = service["deployments"].as_array().is_some_and(|all| all.len() == 1 && all[0]["rolloutState"] == "COMPLETED");
            Ok(settled && digests(&fleet).await? == BTreeSet::from([last.clone()]))
        })
        .await?;
    let history = history(&fleet.server.cli()?)?;
    let (taken, superseded) = (history.matches("taken").count(), history.matches("superseded").count());
    println!("{taken} deployments, {superseded} superseded");
    ensure!(taken + superseded == 50 && (1..=8).contains(&taken), "{history}");
    ensure!(history.starts_with("v2.49 taken"), "{history}");
    none_started_after_the_cut(&fleet).await
}

/// No task of a revision was made after the next revision's deployment had begun.
async fn none_started_after_the_cut(fleet: &Fleet) -> Result<()> {
    let attempts = fleet.ecs("ListServiceDeployments", &json!({"service": "web"})).await?;
    let attempts = attempts["serviceDeployments"].as_array().context("attempts")?.clone();
    let begun = |digits: &str| {
        let is_it = |attempt: &&Value| attempt["targetServiceRevisionArn"].as_str().is_some_and(|arn| arn.ends_with(digits));
        attempts.iter().find(is_it).and_then(|attempt| attempt["createdAt"].as_f64())
    };
    let starts: Vec<f64> = attempts.iter().filter_map(|attempt| attempt["createdAt"].as_f64()).collect();
    for task in [fleet.tasks("RUNNING").await?, fleet.tasks("STOPPED").await?].concat() {
        let deployment = task["startedBy"].as_str().unwrap_or_default().trim_start_matches("ecs-svc/").to_owned();
        let (Some(own), Some(made)) = (begun(&deployment), task["createdAt"].as_f64()) else { continue };
        let next = starts.iter().copied().filter(|at| *at > own).fold(f64::INFINITY, f64::min);
        ensure!(made <= next, "task {} was made {made} after its revision was superseded at {next}", task_id(&task));
    }
    Ok(())
}

#[tokio::test]
async fn who_may_not_deploy_waits_for_somebody_who_may() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    web(&fleet, 1).await?;
    let bob = fleet.server.new_user("bob").await?;
    fleet.server.grant("user:bob", "push", "repository", "acme/web").await?;
    let second = image("two")?;
    push::image(&bob, "acme/web", "v2", &second).await?;
    ended(&cli.run(["wait", "acme/web:v2", "--timeout", "60s"])?, WAITING)?;
    let before = digests(&fleet).await?;
    ensure!(fleet.service("web").await?["deployments"].as_array().is_some_and(|all| all.len() == 1), "it waits outside of deployments[]");
    ensure!(!before.contains(second.digest()));
    let listed = cli.ok(&["trigger", "history", "--service", "web", "--status", "waiting"])?;
    ensure!(listed.contains("user:bob") && listed.contains("deploy on service:default/web"), "{listed}");
    ended(&cli.run(["deploy", "approve", "web", "--timeout", "60s"])?, Some(0))?;
    runs(&fleet, &second).await?;
    ensure!(history(&cli)? == "v2 approved", "{}", history(&cli)?);
    push::image(&bob, "acme/web", "v3", &image("three")?).await?;
    ended(&cli.run(["wait", "acme/web:v3", "--timeout", "60s"])?, WAITING)?;
    ended(&cli.run(["deploy", "reject", "web", "--reason", "not on a Friday"])?, Some(0))?;
    ended(&cli.run(["wait", "acme/web:v3", "--timeout", "60s"])?, CONFLICT)?;
    runs(&fleet, &second).await
}

#[tokio::test]
async fn a_rollback_holds_and_resuming_takes_the_newest() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    web(&fleet, 1).await?;
    let admin = fleet.server.admin()?;
    push::image(&admin, "acme/web", "v2", &image("two")?).await?;
    ended(&cli.run(["wait", "acme/web:v2", "--timeout", "60s"])?, Some(0))?;
    let back = cli.run(["rollback", "web", "--reason", "checkout is broken", "--timeout", "60s"])?;
    ended(&back, Some(0))?;
    ensure!(back.stderr.contains("berth trigger resume"), "{}", back.stderr);
    runs(&fleet, &image("one")?).await?;
    let (third, fourth) = (image("three")?, image("four")?);
    push::image(&admin, "acme/web", "v3", &third).await?;
    push::image(&admin, "acme/web", "v4", &fourth).await?;
    ended(&cli.run(["wait", "acme/web:v4", "--timeout", "60s"])?, WAITING)?;
    runs(&fleet, &image("one")?).await?;
    cli.ok(&["trigger", "resume", "web"])?;
    ended(&cli.run(["wait", "acme/web:v4", "--timeout", "60s"])?, Some(0))?;
    runs(&fleet, &fourth).await?;
    ensure!(history(&cli)? == "v4 taken, v3 superseded, v2 taken", "{}", history(&cli)?);
    Ok(())
}

#[tokio::test]
async fn pushing_the_failed_digest_again_tries_it_again() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    web(&fleet, 1).await?;
    let breaker = json!({"enable": true, "rollback": true});
    fleet.ecs("UpdateService", &json!({"service": "web", "deploymentConfiguration": {"deploymentCircuitBreaker": breaker}})).await?;
    let (admin, crashing) = (fleet.server.admin()?, Image::exits(3)?);
    for taken in 1..=2 {
        push::image(&admin, "acme/web", "v2", &crashing).await?;
        ended(&cli.run(["wait", "acme/web:v2", "--timeout", "120s"])?, ROLLED_BACK)?;
        runs(&fleet, &image("one")?).await?;
        ensure!(history(&cli)?.matches("taken").count() == taken, "{}", history(&cli)?);
    }
    // By hand, the same ends in the same way.
    let name = format!("{}/acme/web:v2", fleet.server.host());
    ended(&cli.run(["deploy", "web", "--image", &name, "--timeout", "120s"])?, ROLLED_BACK)?;
    ended(&cli.run(["deploy", "web", "--image", &format!("{}/acme/web:v1", fleet.server.host()), "--timeout", "60s"])?, Some(0))?;
    runs(&fleet, &image("one")?).await
}

#[tokio::test]
async fn a_server_that_dies_between_push_and_decision_decides_after_its_start() -> Result<()> {
    let mut fleet = Fleet::up().await?;
    web(&fleet, 1).await?;
    let second = image("two")?;
    push::image(&fleet.server.admin()?, "acme/web", "v2", &second).await?;
    fleet.server.kill_child("server")?;
    fleet.server.ready().await?;
    runs_eventually(&fleet, &second).await
}

async fn runs_eventually(fleet: &Fleet, image: &Image) -> Result<()> {
    let expected = BTreeSet::from([image.digest().to_owned()]);
    fleet.eventually("the pushed image to run", async || Ok(digests(fleet).await? == expected)).await
}

#[tokio::test]
async fn a_push_may_name_several_tags_and_deploys_once() -> Result<()> {
    let fleet = Fleet::up().await?;
    web(&fleet, 1).await?;
    let (admin, second) = (fleet.server.admin()?, image("two")?);
    for blob in second.blobs() {
        push::blob(&admin, "acme/web", blob).await?;
    }
    let path = format!("/v2/acme/web/manifests/{}?tag=v2&tag=v2.0&tag=v2.0.0", second.digest());
    admin.send(Method::PUT, &path, &[("content-type", MANIFEST_TYPE)], second.manifest.bytes.clone()).await?.expect(201)?;
    runs_eventually(&fleet, &second).await?;
    ensure!(history(&fleet.server.cli()?)?.matches("taken").count() == 1, "{}", history(&fleet.server.cli()?)?);
    Ok(())
}
