//! A push that waits is taken or rejected by somebody who may deploy.

use super::manage::sees;
use super::revision::{self, Replacement};
use super::view::Current;
use super::{Actor, TriggerError, deploy, record, require};
use crate::store;
use model::access::{Resource, Role};
use model::service::{Cause, CauseKind};
use model::trigger::{DecisionStatus, TriggerDecision};
use platform::db::{DbError, Tx};
use std::sync::Arc;

/// Deploys what waits, on the authority of the caller: they must be allowed to do it by hand. Older pushes that wait for the same
/// trigger are superseded.
pub async fn approve(actor: &Actor, id: &str) -> Result<TriggerDecision, TriggerError> {
    let decision = find(actor, id).await?;
    let (snapshot, caller, now) = (actor.snapshot.clone(), actor.caller.clone(), actor.now);
    let context = actor.context.clone();
    let write = actor.context.db.write(move |tx| {
        let (snapshot, caller, context, id) = (snapshot.clone(), caller.clone(), context.clone(), decision.id.clone());
        Box::pin(async move {
            let decision = waiting(tx, &id).await?;
            let service = store::services::by_id(tx, &decision.service_id).await?;
            let current = Current::load(tx, service).await?.ok_or_else(|| gone(&decision))?;
            for (role, resource) in current.needed(&decision.container, decision.push.repository.as_str()) {
                require(&snapshot, &caller, role, &resource)?;
            }
            if current.runs(&decision.container, &decision.push) {
                let hint = format!("`berth deploy reject {}` puts it away", decision.id);
                return Err(TriggerError::conflict("runs_already", record::RUNS_ALREADY, hint));
            }
            let by = caller.principal;
            let cause = Cause {
                kind: CauseKind::Trigger,
                principal: by.clone(),
                trigger: Some(decision.trigger_id.clone()),
                push: Some(decision.push.sequence),
            };
            let Current { mut service, primary, registered } = current;
            let replacement = Replacement { container: &decision.container, push: &decision.push };
            let host = &context.config.image_host;
            let revision = revision::copy(&registered, &primary.images, &[replacement], host, &by, now)?;
            let begun = deploy::register(tx, &mut service, revision, &cause, now).await?;
            let approved = TriggerDecision { status: DecisionStatus::Approved, decided_by: Some(by.clone()), decided_at: now, ..decision };
            let approved = record::with_deployment(approved, begun.into());
            record::write(tx, approved.clone(), Some(&by), false, now).await?;
            supersede_older(tx, &approved).await?;
            Ok(approved)
        })
    });
    let approved = write.await?;
    actor.context.rollout_wake.wake();
    Ok(approved)
}

/// Puts away what waits.
pub async fn reject(actor: &Actor, id: &str, reason: &str) -> Result<TriggerDecision, TriggerError> {
    if reason.len() > super::manage::REASON_BYTES_MAX {
        return Err(TriggerError::Invalid(format!("a reason has at most {} characters", super::manage::REASON_BYTES_MAX)));
    }
    let decision = find(actor, id).await?;
    let (id, by, now) = (decision.id, actor.caller.principal.clone(), actor.now);
    let reason: Arc<str> = if reason.is_empty() { decision.reason.into() } else { reason.into() };
    let write = actor.context.db.write(move |tx| {
        let (id, by, reason) = (id.clone(), by.clone(), reason.to_string());
        Box::pin(async move {
            let decision = waiting(tx, &id).await?;
            let (status, decided_by) = (DecisionStatus::Rejected, Some(by.clone()));
            let rejected = TriggerDecision { status, reason, decided_by, decided_at: now, ..decision };
            record::write(tx, rejected.clone(), Some(&by), false, now).await?;
            Ok(rejected)
        })
    });
    write.await
}

/// The decision, when the caller may see its service and deploy it.
async fn find(actor: &Actor, id: &str) -> Result<TriggerDecision, TriggerError> {
    let found = store::decisions::get(&mut *actor.context.db.read().await?, id).await?;
    let found = found.filter(|decision| sees(actor, &decision.cluster, &decision.service));
    let decision =
        found.ok_or_else(|| TriggerError::NotFound(format!("there is no decision {}", id.chars().take(64).collect::<String>())))?;
    actor.require(Role::Deploy, &Resource::service(decision.cluster.as_str(), decision.service.as_str()))?;
    Ok(decision)
}

async fn waiting(tx: &mut Tx, id: &str) -> Result<TriggerDecision, TriggerError> {
    let decision = store::decisions::get(tx, id).await?.ok_or_else(|| TriggerError::NotFound(format!("there is no decision {id}")))?;
    if decision.status == DecisionStatus::Waiting {
        return Ok(decision);
    }
    let message = format!("{} does not wait for approval: it is {}", decision.id, decision.status.as_str());
    let hint = format!("`berth trigger history --service {}/{}` shows what waits", decision.cluster, decision.service);
    Err(TriggerError::conflict("not_waiting", message, hint))
}

fn gone(decision: &TriggerDecision) -> TriggerError {
    TriggerError::NotFound(format!("there is no active service {}/{}", decision.cluster, decision.service))
}

async fn supersede_older(tx: &mut Tx, approved: &TriggerDecision) -> Result<(), DbError> {
    for decision in store::decisions::unfinished(tx, &approved.trigger_id).await? {
        if decision.status != DecisionStatus::Waiting || decision.push.sequence > approved.push.sequence {
            continue;
        }
        let (status, superseded_by) = (DecisionStatus::Superseded, Some(approved.push.sequence));
        let superseded = TriggerDecision { status, superseded_by, reason: String::new(), decided_at: approved.decided_at, ..decision };
        record::write(tx, superseded, None, false, approved.decided_at).await?;
    }
    Ok(())
}
