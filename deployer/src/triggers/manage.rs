//! Making and removing triggers, asking what they would do, holding and resuming them.

use super::filter::{self, Answer, TagFilter};
use super::view::Current;
use super::{Actor, TriggerError, record};
use crate::store;
use model::access::{Principal, Resource, Role};
use model::ids::{ClusterName, ServiceName};
use model::service::{Service, ServiceStatus};
use model::trigger::{DecisionStatus, Hold, TagKind, Trigger};
use model::{RepositoryName, Tag, Timestamp};
use platform::db::{DbError, Tx};
use platform::{events, exchange};
use std::sync::Arc;

/// Most triggers of one service.
pub const TRIGGERS_MAX: usize = 20;
/// Longest reason that somebody gives, in bytes.
pub const REASON_BYTES_MAX: usize = 500;

/// A trigger as somebody asks for it.
#[derive(Debug, Clone)]
pub struct Wish {
    pub cluster: ClusterName,
    pub service: ServiceName,
    /// May be absent when the definition has one container.
    pub container: Option<String>,
    pub repository: RepositoryName,
    pub tag: String,
    pub kind: Option<TagKind>,
    pub exclude: Vec<String>,
}

/// What is held or resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Service(ClusterName, ServiceName),
    Trigger(String),
}

/// Makes a trigger. It takes `deploy` on the service, and `pull` on the repository: deploying does not bypass pulling.
pub async fn create(actor: &Actor, wish: Wish) -> Result<Trigger, TriggerError> {
    let resource = Resource::service(wish.cluster.as_str(), wish.service.as_str());
    actor.require(Role::Deploy, &resource)?;
    actor.require(Role::Pull, &Resource::repository(wish.repository.as_str()))?;
    let rule = filter::rule(&wish.tag, wish.kind);
    let exclude: Vec<_> = wish.exclude.iter().map(|text| filter::rule(text, None)).collect();
    TagFilter::new(&rule, &exclude)?;
    let (by, now) = (actor.caller.principal.clone(), actor.now);
    let event = actor.event("trigger.created", &resource, String::new());
    let write = actor.context.db.write(move |tx| {
        let (wish, rule, exclude, by, mut event) = (wish.clone(), rule.clone(), exclude.clone(), by.clone(), event.clone());
        Box::pin(async move {
            let current = active(tx, &wish.cluster, &wish.service).await?;
            let others = store::triggers::of_service(tx, &current.service.id).await?;
            if others.len() >= TRIGGERS_MAX {
                let message = format!("a service has at most {TRIGGERS_MAX} triggers");
                return Err(TriggerError::conflict("limit_reached", message, "remove some first"));
            }
            let trigger = Trigger {
                id: platform::random::short_id("t"),
                service_id: current.service.id.clone(),
                container: container(&current, wish.container.as_deref())?,
                cluster: wish.cluster,
                service: wish.service,
                repository: wish.repository,
                tag: rule,
                exclude,
                held: None,
                created_by: by,
                created_at: now,
                after_push: exchange::last_push(tx).await?,
            };
            is_new(&others, &trigger)?;
            store::triggers::insert(tx, &trigger).await?;
            event.message = format!("trigger {} created: {}", trigger.id, sentence(&trigger));
            events::append(tx, now, event).await?;
            Ok(trigger)
        })
    });
    write.await
}

/// What a trigger does, in words.
pub fn sentence(trigger: &Trigger) -> String {
    let Trigger { repository, tag, container, cluster, service, .. } = trigger;
    let but: Vec<&str> = trigger.exclude.iter().map(|rule| rule.pattern.as_str()).collect();
    let but = if but.is_empty() { String::new() } else { format!(" but {}", but.join(", ")) };
    format!("{repository} at {} {}{but} deploys container {container} of {cluster}/{service}", tag.kind.as_str(), tag.pattern)
}

/// The service with what it runs; one that is not ACTIVE is not found.
pub(super) async fn active(tx: &mut Tx, cluster: &ClusterName, name: &ServiceName) -> Result<Current, TriggerError> {
    let service = store::services::get(tx, cluster, name).await?;
    let current = Current::load(tx, service).await?;
    current.ok_or_else(|| TriggerError::NotFound(format!("there is no active service {cluster}/{name}")))
}

/// The container that is named, or the only one.
fn container(current: &Current, name: Option<&str>) -> Result<String, TriggerError> {
    let names: Vec<&str> = current.registered.definition.container_definitions.iter().map(|each| each.name.as_str()).collect();
    let has = || format!("{} has {}", current.registered.id, names.join(", "));
    match (name, names.as_slice()) {
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(TriggerError::Invalid(format!("say which container the image is for: {}", has()))),
        (Some(name), names) if names.contains(&name) => Ok(name.to_owned()),
        (Some(name), _) => {
            let name: String = name.chars().take(100).collect();
            Err(TriggerError::Invalid(format!("there is no container {name}: {}", has())))
        }
    }
}

fn is_new(others: &[Trigger], trigger: &Trigger) -> Result<(), TriggerError> {
    let says = |of: &Trigger| (of.container.clone(), of.repository.clone(), of.tag.clone(), of.exclude.clone());
    match others.iter().find(|other| says(other) == says(trigger)) {
        Some(other) => {
            let message = format!("trigger {} says the same", other.id);
            Err(TriggerError::conflict("already_exists", message, format!("`berth trigger rm {}` removes it", other.id)))
        }
        None => Ok(()),
    }
}

/// The trigger, when the caller may see its service.
pub async fn get(actor: &Actor, id: &str) -> Result<Trigger, TriggerError> {
    let found = store::triggers::get(&mut *actor.context.db.read().await?, id).await?;
    found.filter(|trigger| sees(actor, &trigger.cluster, &trigger.service)).ok_or_else(|| missing(id))
}

/// Whether the caller may see a service: it, or its cluster.
pub fn sees(actor: &Actor, cluster: &ClusterName, service: &ServiceName) -> bool {
    actor.may(Role::View, &Resource::service(cluster.as_str(), service.as_str()))
        || actor.may(Role::View, &Resource::cluster(cluster.as_str()))
}

fn missing(id: &str) -> TriggerError {
    TriggerError::NotFound(format!("there is no trigger {}", id.chars().take(64).collect::<String>()))
}

/// Whether the trigger follows `tag`, or why not.
pub async fn test(actor: &Actor, id: &str, tag: &Tag) -> Result<Answer, TriggerError> {
    let trigger = get(actor, id).await?;
    Ok(TagFilter::new(&trigger.tag, &trigger.exclude)?.test(tag))
}

/// Removes a trigger. What waited for approval is rejected with it.
pub async fn remove(actor: &Actor, id: &str) -> Result<(), TriggerError> {
    let trigger = get(actor, id).await?;
    let resource = Resource::service(trigger.cluster.as_str(), trigger.service.as_str());
    actor.require(Role::Deploy, &resource)?;
    let event = actor.event("trigger.removed", &resource, format!("trigger {} removed: {}", trigger.id, sentence(&trigger)));
    let (by, now) = (actor.caller.principal.clone(), actor.now);
    let write = actor.context.db.write(move |tx| {
        let (trigger, event, by) = (trigger.clone(), event.clone(), by.clone());
        Box::pin(async move {
            if !forget(tx, &trigger, "the trigger was removed", &by, now).await? {
                return Err(missing(&trigger.id));
            }
            events::append(tx, now, event).await?;
            Ok(())
        })
    });
    write.await
}

/// In the transaction that deletes a service: its triggers go with it.
pub async fn forget_service(tx: &mut Tx, service: &Service, by: &Principal, now: Timestamp) -> Result<(), DbError> {
    for trigger in store::triggers::of_service(tx, &service.id).await? {
        forget(tx, &trigger, "the service was deleted", by, now).await?;
    }
    Ok(())
}

async fn forget(tx: &mut Tx, trigger: &Trigger, reason: &str, by: &Principal, now: Timestamp) -> Result<bool, DbError> {
    for mut decision in store::decisions::unfinished(tx, &trigger.id).await? {
        decision.status = if decision.status == DecisionStatus::Waiting { DecisionStatus::Rejected } else { DecisionStatus::Skipped };
        reason.clone_into(&mut decision.reason);
        decision.decided_by = Some(by.clone());
        decision.decided_at = now;
        record::write(tx, decision, Some(by), false, now).await?;
    }
    store::triggers::remove(tx, &trigger.id).await
}

/// Keeps triggers from deploying until they are resumed. Gives those that were not held before.
pub async fn hold(actor: &Actor, which: Which, reason: &str) -> Result<Vec<Trigger>, TriggerError> {
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        return Err(TriggerError::Invalid(format!("a reason has 1 to {REASON_BYTES_MAX} characters")));
    }
    let (by, now, reason) = (actor.caller.principal.clone(), actor.now, reason.to_owned());
    let named = named(actor, which).await?;
    let write = actor.context.db.write(move |tx| {
        let (by, reason, named) = (by.clone(), reason.clone(), named.clone());
        Box::pin(async move {
            let triggers = still_there(tx, &named).await?;
            Ok::<_, TriggerError>(hold_all(tx, triggers, &by, &reason, now).await?)
        })
    });
    write.await
}

/// Holds those of `triggers` that are not held, in the caller's transaction; gives them.
pub(super) async fn hold_all(
    tx: &mut Tx,
    triggers: Vec<Trigger>,
    by: &Principal,
    reason: &str,
    now: Timestamp,
) -> Result<Vec<Trigger>, DbError> {
    let push = exchange::last_push(tx).await?;
    let mut held = Vec::new();
    for mut trigger in triggers.into_iter().filter(|trigger| trigger.held.is_none()) {
        trigger.held = Some(Hold { reason: reason.to_owned(), by: by.clone(), at: now, push });
        store::triggers::hold(tx, &trigger.id, trigger.held.as_ref()).await?;
        events::append(tx, now, changed("trigger.held", &trigger, by, format!("trigger {} held: {reason}", trigger.id))).await?;
        held.push(trigger);
    }
    Ok(held)
}

/// Lets triggers deploy again. Of what was pushed while they were held, only the newest that matches is deployed.
pub async fn resume(actor: &Actor, which: Which) -> Result<Vec<Trigger>, TriggerError> {
    let (by, now) = (actor.caller.principal.clone(), actor.now);
    let named = named(actor, which).await?;
    let write = actor.context.db.write(move |tx| {
        let (by, named) = (by.clone(), named.clone());
        Box::pin(async move {
            let mut resumed = Vec::new();
            for mut trigger in still_there(tx, &named).await?.into_iter().filter(|trigger| trigger.held.is_some()) {
                store::triggers::hold(tx, &trigger.id, None).await?;
                events::append(tx, now, changed("trigger.resumed", &trigger, &by, format!("trigger {} resumed", trigger.id))).await?;
                trigger.held = None;
                resumed.push(trigger);
            }
            Ok::<_, TriggerError>(resumed)
        })
    });
    let resumed = write.await?;
    actor.context.intake_wake.wake();
    Ok(resumed)
}

fn changed(kind: &'static str, trigger: &Trigger, by: &Principal, message: String) -> events::NewEvent {
    events::NewEvent {
        kind,
        principal: Some(by.to_string()),
        subject: Resource::service(trigger.cluster.as_str(), trigger.service.as_str()).to_string(),
        message,
        detail: serde_json::json!({ "trigger": trigger.id }),
    }
}

/// Ids of the triggers that are meant, when the caller may deploy their service.
async fn named(actor: &Actor, which: Which) -> Result<Arc<[String]>, TriggerError> {
    let (cluster, service, ids) = match which {
        Which::Trigger(id) => {
            let trigger = get(actor, &id).await?;
            (trigger.cluster, trigger.service, vec![trigger.id])
        }
        Which::Service(cluster, name) => {
            let mut connection = actor.context.db.read().await?;
            let service = store::services::get(&mut connection, &cluster, &name).await?;
            let service = service.filter(|found| found.status == ServiceStatus::Active && sees(actor, &cluster, &name));
            let service = service.ok_or_else(|| TriggerError::NotFound(format!("there is no active service {cluster}/{name}")))?;
            let triggers = store::triggers::of_service(&mut connection, &service.id).await?;
            (cluster, name, triggers.into_iter().map(|trigger| trigger.id).collect())
        }
    };
    actor.require(Role::Deploy, &Resource::service(cluster.as_str(), service.as_str()))?;
    Ok(ids.into())
}

async fn still_there(tx: &mut Tx, ids: &[String]) -> Result<Vec<Trigger>, DbError> {
    let mut triggers = Vec::new();
    for id in ids {
        triggers.extend(store::triggers::get(tx, id).await?);
    }
    Ok(triggers)
}
