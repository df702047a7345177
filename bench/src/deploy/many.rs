//! Many tasks on one host, beside the bare Engine API.

use super::ours::{pause, up};
use super::{Promise, Row, engine};
use anyhow::Result;
use conformance::fleet::Fleet;
use serde_json::json;
use std::time::{Duration, Instant};
use testing::Image;

const SERVICE: &str = "many";
/// Looks at so many tasks are further apart: each costs the server, and with it the engine beside it, what the other side does not pay.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// A service goes from nothing to `count` tasks RUNNING and back, in turn with as many bare containers of the same image.
pub async fn measure(count: usize, rounds: usize) -> Result<Row> {
    let mut row = Row::new("50 tasks RUNNING on one host", Promise::Times(1.1));
    let fleet = up().await?;
    let image = fleet.push("bench/many", "v1", &Image::sleeps()?).await?;
    let container = json!({"name": "app", "image": image, "cpu": 10, "memory": 32, "essential": true, "stopTimeout": 2});
    let definition = fleet.register_container(SERVICE, container).await?;
    fleet.create_service(SERVICE, &definition, 1).await?;
    running(&fleet, 1).await?;
    // The agent pulled it, so the engine has it under this name or that of the relay.
    let on_host = fleet.docker.ok(&[
        "ps",
        "--no-trunc",
        "--filter",
        &format!("label=io.berth.control-plane={}", fleet.control_plane()?),
        "--format",
        "{{.Image}}",
    ])?;
    for _ in 0..rounds {
        scale(&fleet, 0).await?;
        let began = Instant::now();
        fleet.scale(SERVICE, count).await?;
        running(&fleet, count).await?;
        row.ours.push(began.elapsed().as_secs_f64());
        scale(&fleet, 0).await?;
        row.swarm.push(engine::start_many(&on_host, count)?);
    }
    Ok(row)
}

async fn running(fleet: &Fleet, count: usize) -> Result<()> {
    let began = Instant::now();
    while fleet.service(SERVICE).await?["runningCount"] != count {
        pause(began, "the tasks to run").await?;
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    Ok(())
}

/// To `count` tasks, with no container of another left running.
async fn scale(fleet: &Fleet, count: usize) -> Result<()> {
    fleet.scale(SERVICE, count).await?;
    let began = Instant::now();
    while fleet.containers()?.iter().filter(|container| container.running).count() != count {
        pause(began, "the tasks to stop").await?;
    }
    Ok(())
}
