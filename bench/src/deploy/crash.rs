//! An image that exits at once, under a circuit breaker that rolls back.

use super::ours::{pause, up};
use super::{Promise, Row};
use anyhow::{Result, ensure};
use conformance::fleet::{Fleet, container};
use serde_json::json;
use std::time::Instant;
use testing::Image;

const SERVICE: &str = "crash";
const TASKS: usize = 3;

/// From the order to run the crashing image to the service COMPLETED on the one before, with no look at fewer than all healthy.
pub async fn measure(rounds: usize) -> Result<Row> {
    let mut row = Row::new("crashing image -> rolled back", Promise::Secs(6.0));
    let fleet = up().await?;
    let good = fleet.push("bench/crash", "good", &Image::sleeps()?).await?;
    let good = fleet.register_container(SERVICE, container(&good)).await?;
    let configuration = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    let request = json!({"serviceName": SERVICE, "taskDefinition": good, "desiredCount": TASKS, "deploymentConfiguration": configuration});
    fleet.ecs("CreateService", &request).await?;
    completed(&fleet, &good, false).await?;
    for round in 0..rounds {
        let bad = Image::shell(&format!("exit 7 # {round}"))?;
        let bad = fleet.push("bench/crash", &format!("bad{round}"), &bad).await?;
        let bad = fleet.register_container(SERVICE, container(&bad)).await?;
        let began = Instant::now();
        fleet.ecs("UpdateService", &json!({"service": SERVICE, "taskDefinition": bad})).await?;
        completed(&fleet, &good, true).await?;
        row.ours.push(began.elapsed().as_secs_f64());
    }
    Ok(row)
}

/// Waits until the service is COMPLETED on `definition` again; with `guarded`, each look must find the minimum healthy.
async fn completed(fleet: &Fleet, definition: &str, guarded: bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let service = fleet.service(SERVICE).await?;
        let primary = &service["deployments"][0];
        let is_it = primary["taskDefinition"].as_str().is_some_and(|arn| arn.ends_with(&format!("/{definition}")));
        if is_it && primary["rolloutState"] == "COMPLETED" {
            return Ok(());
        }
        if guarded {
            let tasks = fleet.tasks("RUNNING").await?;
            let healthy = tasks.iter().filter(|task| task["healthStatus"] == "HEALTHY" && task["lastStatus"] == "RUNNING").count();
            ensure!(healthy >= TASKS, "{healthy} healthy tasks of {TASKS} in a rollback");
        }
        pause(began, "the rollback").await?;
    }
}
