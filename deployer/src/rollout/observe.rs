//! Reads what the planner needs to see of one service.

use super::observed::{Observed, Profile};
use super::pass::Memory;
use super::plan::wants_instances;
use super::verdict::wants_way_back;
use crate::context::Context;
use crate::{placement, store};
use identity::Snapshot;
use model::Timestamp;
use model::access::{Principal, Resource, Role};
use model::ids::{InstanceId, TaskDefinitionId};
use model::service::{Deployment, Service};
use model::task::{DesiredStatus, ResolvedImage, ServiceTask};
use platform::db::{DbError, Tx};
use platform::events;
use std::collections::{BTreeMap, BTreeSet};

/// Kind of the events that `services[].events` shows.
pub const SERVICE_EVENT: &str = "service.event";
/// Events that are searched for a message said before.
const EVENTS_SEARCHED: i64 = 30;
/// Profiles of task definitions kept in memory; all are forgotten beyond.
const PROFILES_MAX: usize = 10_000;

/// `service:CLUSTER/NAME`
pub fn subject(service: &Service) -> String {
    Resource::service(service.cluster.as_str(), service.name.as_str()).to_string()
}

/// What there is to see of `service` in `tx`.
pub async fn observe(
    context: &Context,
    tx: &mut Tx,
    snapshot: &Snapshot,
    memory: &mut Memory,
    service: Service,
    now: Timestamp,
) -> Result<Observed, DbError> {
    let deployments = store::deployments::of_service(tx, &service.id).await?;
    let tasks = store::tasks::of_service(tx, &service.id).await?;
    let definitions =
        deployments.iter().map(|deployment| &deployment.task_definition).chain(tasks.iter().map(|task| &task.task_definition));
    let profiles = profiles(tx, memory, definitions.cloned().collect()).await?;
    let under_way = store::service_deployments::current(tx, &service.id).await?;
    let mut observed = Observed {
        draining: store::hosts::draining(tx, &service.cluster).await?,
        braked_until: store::hosts::brake(tx, &service.cluster).await?.map(|brake| brake.until),
        missing_grant: None,
        under_way,
        way_back: None,
        recent_events: events::messages(tx, &subject(&service), SERVICE_EVENT, EVENTS_SEARCHED).await?,
        instances: Vec::new(),
        healthy_after: context.config.healthy_after,
        random: platform::random::bits64(),
        service,
        deployments,
        tasks,
        profiles,
    };
    let Some(primary) = observed.primary().cloned() else { return Ok(observed) };
    observed.missing_grant = missing_grant(snapshot, &observed.service.principal, &primary.images);
    if wants_way_back(&observed) {
        observed.way_back = store::deployments::last_completed(tx, &observed.service.id, &primary.id).await?;
    }
    if wants_instances(&observed, now) {
        memory.fleet.refresh(tx).await?;
        let of_primary = running_by_instance(&observed.tasks, &primary);
        let count = |instance: &InstanceId, _: &[String]| of_primary.get(instance).copied().unwrap_or(0);
        observed.instances = memory.fleet.candidates(&observed.service.cluster, count);
    }
    Ok(observed)
}

/// Where the tasks of `deployment` are that are to run.
fn running_by_instance<'a>(tasks: &'a [ServiceTask], deployment: &Deployment) -> BTreeMap<&'a InstanceId, usize> {
    let of_deployment =
        |task: &&ServiceTask| task.deployment_id.as_ref() == Some(&deployment.id) && task.desired_status == DesiredStatus::Running;
    let mut counts = BTreeMap::new();
    for instance in tasks.iter().filter(of_deployment).filter_map(|task| task.instance_id.as_ref()) {
        *counts.entry(instance).or_default() += 1;
    }
    counts
}

/// Why `principal` may not pull one of the images, in words that name the grant; nothing when it may pull them all.
pub fn missing_grant(snapshot: &Snapshot, principal: &Principal, images: &BTreeMap<String, ResolvedImage>) -> Option<String> {
    images.values().filter_map(|image| image.repository.as_ref()).find_map(|repository| {
        let resource = Resource::repository(repository.as_str());
        let allowed = identity::may(snapshot, principal, Role::Pull, &resource).allowed;
        (!allowed).then(|| format!("{principal} may not pull {repository}, because no grant gives pull on {resource}"))
    })
}

/// Task definitions never change, so what was read once is remembered.
async fn profiles(
    tx: &mut Tx,
    memory: &mut Memory,
    wanted: BTreeSet<TaskDefinitionId>,
) -> Result<BTreeMap<TaskDefinitionId, Profile>, DbError> {
    let mut found = BTreeMap::new();
    for id in wanted {
        if let Some(profile) = memory.profiles.get(&id) {
            found.insert(id, profile.clone());
            continue;
        }
        let Some(registered) = store::task_definitions::get(tx, &id).await? else { continue };
        let definition = &registered.definition;
        let profile = Profile { need: placement::need(definition, &[]), has_health_check: definition.has_health_check() };
        if memory.profiles.len() >= PROFILES_MAX {
            memory.profiles.clear();
        }
        memory.profiles.insert(id.clone(), profile.clone());
        found.insert(id, profile);
    }
    Ok(found)
}
