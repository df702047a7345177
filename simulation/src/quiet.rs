//! The end of a run: faults stop, the last word is one that can be fulfilled, and within a bounded time everything is as it was asked
//! for; a while later nothing is left of what is over.

use crate::kinds::{KINDS, Kind};
use crate::network::{Cut, Quality};
use crate::oracle::Oracle;
use crate::server::HEARTBEAT;
use crate::world::World;
use anyhow::Result;
use model::service::{RolloutState, ServiceStatus};
use rand::RngExt;
use serde_json::json;
use std::time::Duration;

/// Longest virtual time until everything has settled.
const SETTLE_MAX: Duration = Duration::from_mins(6);
/// Agents keep the containers of settled tasks this long, and look for them every ten seconds.
const KEEP: Duration = Duration::from_secs(630);
/// Most tasks of a service at the end, on one host and on more: what there is room for, twice over while they are replaced.
const DESIRED_MAX: (i64, i64) = (2, 3);
/// Most CPU of a task at the end.
const CPU_MAX: i64 = 128;

/// Everything that was broken works again.
pub fn heal(world: &mut World) -> Result<()> {
    world.arena.say("everything is healed");
    world.set_quality(Quality::default());
    world.start_server();
    for host in 0..world.hosts.len() {
        world.set_cut(host, Cut::None);
        world.set_weather(host, None);
        world.hosts[host].docker.set_silent(false);
        world.start_agent(host)?;
        let instance = world.arena.members[host].instance.as_str().to_owned();
        world.ecs("UpdateContainerInstancesState", json!({"containerInstances": [instance], "status": "ACTIVE"}));
    }
    Ok(())
}

/// The last word about every service: one that can be fulfilled.
pub fn last_word(world: &mut World) {
    let picture = world.arena.picture();
    for service in picture.services.values().filter(|service| service.status == ServiceStatus::Active) {
        let kind = Kind::of_revision(service.task_definition.revision);
        let mut request = json!({"service": service.name.as_str()});
        let fulfillable = is_modest(kind);
        if !fulfillable || world.random.random_ratio(1, 4) {
            let good: Vec<usize> = (0..KINDS.len()).filter(|at| is_modest(&KINDS[*at])).collect();
            request["taskDefinition"] = json!(Kind::definition_of(good[world.random.random_range(0..good.len())]));
        }
        let completed = picture.primary(&service.id).is_some_and(|primary| primary.rollout_state == RolloutState::Completed);
        if !completed {
            // What failed before may have failed for good.
            request["forceNewDeployment"] = json!(true);
        }
        let desired = service.desired_count.min(if world.hosts.len() == 1 { DESIRED_MAX.0 } else { DESIRED_MAX.1 });
        request["desiredCount"] = json!(desired);
        // So few tasks that the bounds leave no room to move, as in ECS.
        let maximum = desired * service.maximum_percent / 100;
        let minimum = (desired * service.minimum_healthy_percent + 99) / 100;
        if maximum == desired && minimum == desired {
            request["deploymentConfiguration"] = json!({"minimumHealthyPercent": 50, "maximumPercent": 200});
        }
        world.ecs("UpdateService", request);
    }
}

/// Whether tasks of it come up wherever there is a little room.
fn is_modest(kind: &Kind) -> bool {
    kind.good && kind.port.is_none() && kind.cpu <= CPU_MAX
}

/// Waits until everything is as it was asked for.
pub async fn settle(world: &World) -> Result<(), String> {
    let begun = world.arena.elapsed();
    loop {
        world.pass(Duration::from_secs(2)).await?;
        let now = world.arena.now();
        let left = {
            let state = world.arena.state();
            state.oracle.unfinished(&state.dockers, now)
        };
        if left.is_empty() {
            return Ok(());
        }
        if world.arena.elapsed().saturating_sub(begun) > SETTLE_MAX {
            return Err(format!("it does not settle: {}", left.join("; ")));
        }
    }
}

/// Long afterwards nothing of what is over is left.
pub async fn clean(world: &World) -> Result<(), String> {
    let mut waited = Duration::ZERO;
    while waited < KEEP {
        world.pass(HEARTBEAT).await?;
        waited += HEARTBEAT;
    }
    let state = world.arena.state();
    let left = Oracle::leftovers(&state.dockers, &world.strangers);
    if left.is_empty() { Ok(()) } else { Err(format!("it is not cleaned up: {}", left.join("; "))) }
}
