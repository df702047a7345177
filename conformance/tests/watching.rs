//! What a person sees of a deployment, through the real command line on a real engine: a watch over a roll, over a crash loop, over the
//! death of the server; and the output of a service across a roll.

use anyhow::{Context, Result, ensure};
use conformance::fleet::Fleet;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use testing::{Image, Process, wait_until_for};

/// Longest wait for a deployment, or for what it prints.
const WAIT: Duration = Duration::from_secs(90);
/// Exit codes that `berth --help` promises.
const DETACHED: Option<i32> = Some(130);
/// A container that takes its time until it is healthy, so that a watch has something to watch.
const SLOW: &str = "trap 'exit 0' TERM; sleep 3 & wait; touch /tmp/ok; while :; do sleep 1 & wait; done";

/// Prints `word` again and again, and ends when it is told to.
fn talks(word: &str) -> Result<Image> {
    Image::shell(&format!("trap 'exit 0' TERM; while :; do echo saying {word}; sleep 0.3 & wait $!; done"))
}

/// A command of the line that stays, with all it prints in a file.
fn spawn(fleet: &Fleet, arguments: &[&str], log: &str) -> Result<(Process, PathBuf)> {
    let mut command = testing::berth::command(fleet.server.cli()?.home())?;
    command.args(arguments);
    let path = fleet.server.folder().join(log);
    Ok((Process::start(command, &path)?, path))
}

async fn printed(process: &Process, what: &str, is_there: impl Fn(&str) -> bool) -> String {
    wait_until_for(what, WAIT, || {
        let log = process.log();
        let found = is_there(&log).then_some(log);
        async move { found }
    })
    .await
}

fn service(fleet: &Fleet, name: &str, image: &str, more: &[&str]) -> Result<()> {
    let cli = fleet.server.cli()?;
    let arguments = [&["service", "create", name, "--image", image, "--health-cmd", "test -f /tmp/ok || true"], more].concat();
    cli.ok(&arguments).map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_is_watched_to_its_verdict() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    let (one, two) = (fleet.push("acme/web", "v1", &talks("one")?).await?, fleet.push("acme/web", "v2", &talks("two")?).await?);
    service(&fleet, "web", &one, &["--count", "2", "--wait"])?;
    cli.ok(&["service", "update", "web", "--image", &two])?;
    let watched = cli.run(["deploy", "watch", "web"])?;
    ensure!(watched.code == Some(0), "{:?}\n{}{}", watched.code, watched.stdout, watched.stderr);
    for words in ["web:2 HEALTHY", "web:1 STOPPED", "web:2 2/2 healthy", "default/web (web:2) is stable: 2/2 tasks run"] {
        ensure!(watched.stdout.contains(words), "`{words}` is not in\n{}", watched.stdout);
    }
    ensure!(!watched.stdout.contains('\u{1b}'), "a pipe gets no colours");
    let again = cli.run(["deploy", "watch", "web", "--json"])?;
    ensure!(again.code == Some(0), "{}{}", again.stdout, again.stderr);
    let lines: Vec<Value> = again.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("JSON Lines")?;
    let verdict = lines.last().context("a verdict")?;
    ensure!(
        (&verdict["type"], &verdict["result"], &verdict["exitCode"]) == (&"verdict".into(), &"completed".into(), &0.into()),
        "{verdict}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_shows_its_reason_and_its_last_lines() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    // One stream: between two, Docker keeps no order.
    let image = fleet.push("acme/crash", "v1", &Image::shell("exec >&2; echo starting; echo missing DATABASE_URL; exit 3")?).await?;
    cli.ok(&["service", "create", "crash", "--image", &image])?;
    let (mut watch, _) = spawn(&fleet, &["deploy", "watch", "crash"], "watch.log")?;
    let said = printed(&watch, "the failure with its last lines", |log| log.contains("missing DATABASE_URL")).await;
    ensure!(said.contains("! task ") && said.contains("exit 3: Essential container in task exited"), "{said}");
    ensure!(said.contains("| starting"), "{said}");
    watch.interrupt()?;
    let status = watch.wait(Duration::from_secs(10)).await?;
    ensure!(status.code() == DETACHED && watch.log().contains("nothing was cancelled"), "{status}\n{}", watch.log());
    let stopped = fleet.tasks("STOPPED").await?;
    let id = conformance::fleet::task_id(stopped.first().context("a task that stopped")?);
    let kept = fleet.server.admin()?.get(&format!("/api/v1/tasks/{id}/logs?kept=true")).await?.expect(200)?.text();
    ensure!(kept == "starting\nmissing DATABASE_URL\n", "{kept}");
    ensure!(cli.ok(&["logs", &id])?.contains("missing DATABASE_URL"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_the_server_is_killed() -> Result<()> {
    let fleet = Fleet::up().await?;
    let image = fleet.push("acme/slow", "v1", &Image::shell(SLOW)?).await?;
    let cli = fleet.server.cli()?;
    cli.ok(&["service", "create", "slow", "--image", &image, "--count", "2", "--health-cmd", "test -f /tmp/ok"])?;
    let (mut watch, _) = spawn(&fleet, &["deploy", "watch", "slow"], "watch.log")?;
    let (events, _) = spawn(&fleet, &["events", "-f", "slow", "--kind", "task."], "events.log")?;
    printed(&watch, "a task that runs", |log| log.contains("RUNNING")).await;
    fleet.server.kill_child("server")?;
    let status = watch.wait(WAIT).await?;
    let said = watch.log();
    ensure!(status.code() == Some(0), "{status}\n{said}");
    ensure!(said.contains("waiting for the server") && said.contains("the server is back"), "{said}");
    ensure!(said.contains("slow (slow:1) is stable"), "{said}");
    let followed = printed(&events, "both tasks to be healthy", |log| log.matches("is HEALTHY").count() >= 2).await;
    let lines: Vec<&str> = followed.lines().filter(|line| line.contains("task.changed")).collect();
    let distinct: BTreeSet<&&str> = lines.iter().collect();
    ensure!(distinct.len() == lines.len(), "an event came twice:\n{followed}");
    Ok(())
}

/// The ids before the lines that contain `words`.
fn tasks_saying<'a>(log: &'a str, words: &str) -> BTreeSet<&'a str> {
    log.lines().filter(|line| line.contains(words)).filter_map(|line| line.split(" | ").next()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_followed_across_a_roll_and_a_restart_of_the_server() -> Result<()> {
    let fleet = Fleet::up().await?;
    let cli = fleet.server.cli()?;
    let (one, two) = (fleet.push("acme/web", "v1", &talks("one")?).await?, fleet.push("acme/web", "v2", &talks("two")?).await?);
    service(&fleet, "web", &one, &["--count", "2", "--wait"])?;
    let (logs, _) = spawn(&fleet, &["logs", "-f", "web", "-t"], "logs.log")?;
    printed(&logs, "both old tasks", |log| tasks_saying(log, "saying one").len() == 2).await;
    fleet.server.kill_child("server")?;
    let before = logs.log().lines().count();
    printed(&logs, "more of them after the server came back", |log| log.lines().count() > before + 10).await;
    cli.ok(&["service", "update", "web", "--image", &two])?;
    let all = printed(&logs, "both new tasks", |log| tasks_saying(log, "saying two").len() == 2).await;
    let (old, new) = (tasks_saying(&all, "saying one"), tasks_saying(&all, "saying two"));
    ensure!(old.len() == 2 && old.is_disjoint(&new), "{old:?} {new:?}");
    let lines: Vec<&str> = all.lines().filter(|line| line.contains("saying")).collect();
    let distinct: BTreeSet<&&str> = lines.iter().collect();
    ensure!(distinct.len() == lines.len(), "a line came twice");
    Ok(())
}
