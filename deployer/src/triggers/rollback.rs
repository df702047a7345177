//! Going back: a new deployment of an earlier revision that was COMPLETED, with the digests it ran, and the service's triggers held.

use super::manage::{self, sees};
use super::{Actor, TriggerError, authority, deploy, require};
use crate::store;
use model::access::{Resource, Role};
use model::ids::{ClusterName, DeploymentId, ServiceName, TaskDefinitionId};
use model::service::{Cause, CauseKind, Deployment, RolloutState, Service, ServiceDeployment};
use model::trigger::Trigger;
use model::{Reference, RepositoryName};
use platform::db::{DbError, Tx};
use std::collections::BTreeSet;

/// Deployments of a service that are looked through.
const HISTORY_MAX: i64 = 500;

/// What was done.
#[derive(Debug, Clone)]
pub struct RolledBack {
    pub from: TaskDefinitionId,
    pub deployment: ServiceDeployment,
    /// Triggers that were held by it.
    pub held: Vec<Trigger>,
}

/// Where to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// What was COMPLETED before what runs now.
    Before,
    Revision(TaskDefinitionId),
}

/// A deployment of the past.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    pub deployment: Deployment,
    /// Whether somebody went back to it.
    pub by_rollback: bool,
}

/// Why there is no way back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWayBack {
    #[error("nothing that was completed stands before what the service runs")]
    NothingBefore,
    #[error("the service never completed a deployment of {0}")]
    NeverCompleted(TaskDefinitionId),
    #[error("the service runs {0} already")]
    RunsAlready(TaskDefinitionId),
}

/// Chooses what to go back to; `history` has the newest first. Going back twice goes back further. Pure.
pub fn target<'a>(history: &'a [Past], primary: &DeploymentId, to: &To) -> Result<&'a Deployment, NoWayBack> {
    let mut at = history.iter().position(|past| past.deployment.id == *primary).ok_or(NoWayBack::NothingBefore)?;
    let now = &history[at].deployment;
    let differs = |past: &&Past| !is_same(&past.deployment, now) || now.rollout_state == RolloutState::Failed;
    let completed = |past: &&Past| past.deployment.rollout_state == RolloutState::Completed;
    if let To::Revision(id) = to {
        let of_revision = || history.iter().filter(|past| past.deployment.task_definition == *id);
        let found = of_revision().filter(completed).find(differs).map(|past| &past.deployment);
        let runs = of_revision().any(|past| past.deployment.id == *primary);
        let refusal = if runs { NoWayBack::RunsAlready(id.clone()) } else { NoWayBack::NeverCompleted(id.clone()) };
        return found.ok_or(refusal);
    }
    // What was gone back to stands where it first stood.
    while history[at].by_rollback {
        let earlier = |past: &Past| is_same(&past.deployment, &history[at].deployment);
        match history[at + 1..].iter().position(earlier) {
            Some(found) => at += 1 + found,
            None => break,
        }
    }
    let found = history[at + 1..].iter().filter(completed).find(differs);
    found.map(|past| &past.deployment).ok_or(NoWayBack::NothingBefore)
}

fn is_same(a: &Deployment, b: &Deployment) -> bool {
    a.task_definition == b.task_definition && a.images == b.images
}

/// Goes back. It takes of the caller what deploying the earlier revision by hand would take.
pub async fn rollback(actor: &Actor, cluster: &ClusterName, name: &ServiceName, to: To, reason: &str) -> Result<RolledBack, TriggerError> {
    let resource = Resource::service(cluster.as_str(), name.as_str());
    if !sees(actor, cluster, name) {
        return Err(TriggerError::NotFound(format!("there is no active service {cluster}/{name}")));
    }
    actor.require(Role::Deploy, &resource)?;
    if reason.len() > manage::REASON_BYTES_MAX {
        return Err(TriggerError::Invalid(format!("a reason has at most {} characters", manage::REASON_BYTES_MAX)));
    }
    let chosen = {
        let mut connection = actor.context.db.read().await?;
        let current = manage::active(&mut connection, cluster, name).await?;
        choose(&mut connection, &current.service, &current.primary.id, &to).await?
    };
    images_are_there(actor, &chosen).await?;
    let (cluster, name, reason) = (cluster.clone(), name.clone(), reason.to_owned());
    let (snapshot, caller, now) = (actor.snapshot.clone(), actor.caller.clone(), actor.now);
    let write = actor.context.db.write(move |tx| {
        let (cluster, name, to, reason, chosen) = (cluster.clone(), name.clone(), to.clone(), reason.clone(), chosen.id.clone());
        let (snapshot, caller) = (snapshot.clone(), caller.clone());
        Box::pin(async move {
            let current = manage::active(tx, &cluster, &name).await?;
            let target = choose(tx, &current.service, &current.primary.id, &to).await?;
            if target.id != chosen {
                let message = "the service was deployed at the same time";
                return Err(TriggerError::conflict("changed_meanwhile", message, "look at it, and ask again"));
            }
            let registered = store::task_definitions::get(tx, &target.task_definition).await?.ok_or_else(|| gone(&target))?;
            let repositories = target.images.values().filter_map(|image| image.repository.as_deref());
            for (role, resource) in authority::needed(&current.service, &registered.definition, repositories) {
                require(&snapshot, &caller, role, &resource)?;
            }
            let cause = Cause::asked(CauseKind::Rollback, caller.principal.clone());
            let (mut service, from) = (current.service, current.primary.task_definition);
            let deployment = deploy::begin(tx, &mut service, target.task_definition, target.images, &cause, now).await?;
            let why = if reason.is_empty() { format!("rolled back from {from} to {}", deployment.to) } else { reason };
            let triggers = store::triggers::of_service(tx, &service.id).await?;
            let held = manage::hold_all(tx, triggers, &caller.principal, &why, now).await?;
            Ok(RolledBack { from, deployment, held })
        })
    });
    let done = write.await?;
    actor.context.rollout_wake.wake();
    Ok(done)
}

async fn choose(tx: &mut Tx, service: &Service, primary: &DeploymentId, to: &To) -> Result<Deployment, TriggerError> {
    let history = history(tx, &service.id).await?;
    let found = target(&history, primary, to).cloned();
    found.map_err(|why| {
        let hint = format!("`berth service show {}/{}` says what it runs; `--to` names a revision", service.cluster, service.name);
        TriggerError::conflict("no_way_back", why.to_string(), hint)
    })
}

async fn history(tx: &mut Tx, service_id: &str) -> Result<Vec<Past>, DbError> {
    let attempts = store::service_deployments::of_service(tx, service_id, HISTORY_MAX).await?;
    let rolled_back: BTreeSet<DeploymentId> =
        attempts.into_iter().filter(|attempt| attempt.cause.kind == CauseKind::Rollback).map(|attempt| attempt.target).collect();
    let deployments = store::deployments::history(tx, service_id, HISTORY_MAX).await?;
    let past = |deployment: Deployment| Past { by_rollback: rolled_back.contains(&deployment.id), deployment };
    Ok(deployments.into_iter().map(past).collect())
}

/// An image that was deleted since is refused now, rather than by tasks that cannot start.
async fn images_are_there(actor: &Actor, target: &Deployment) -> Result<(), TriggerError> {
    for image in target.images.values() {
        let (Some(repository), Some(digest)) = (&image.repository, &image.digest) else { continue };
        let gone = || {
            let message = format!("{} ({}) is not in the registry any more", image.image, digest.short());
            TriggerError::conflict("image_is_gone", message, "choose another revision with `--to`, or push the image again")
        };
        let name: RepositoryName = repository.parse().map_err(|_| gone())?;
        let found = (actor.context.registry.resolve)(name, Reference::Digest(digest.clone())).await.map_err(TriggerError::Registry)?;
        found.ok_or_else(gone)?;
    }
    Ok(())
}

fn gone(target: &Deployment) -> TriggerError {
    TriggerError::NotFound(format!("there is no task definition {}", target.task_definition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;
    use model::service::DeploymentStatus;
    use std::collections::BTreeMap;

    /// `3!` failed, `3~` is under way, `3<` is a rollback to web:3; the newest stands last and is PRIMARY.
    fn history(text: &str) -> Vec<Past> {
        let parse = |(at, word): (usize, &str)| {
            let revision = word.trim_end_matches(['!', '~', '<']).parse().unwrap();
            let rollout_state = match word {
                _ if word.ends_with('!') => RolloutState::Failed,
                _ if word.ends_with('~') => RolloutState::InProgress,
                _ => RolloutState::Completed,
            };
            let deployment = Deployment {
                id: DeploymentId(at.to_string()),
                service_id: "s-1".into(),
                status: DeploymentStatus::Inactive,
                task_definition: TaskDefinitionId { family: "web".parse().unwrap(), revision },
                images: BTreeMap::new(),
                rollout_state,
                rollout_state_reason: String::new(),
                principal: None,
                failed_tasks: 0,
                breaker_failures: 0,
                breaker_consecutive: 0,
                consecutive_failures: 0,
                not_before: Timestamp::default(),
                created_at: Timestamp::from_secs(i64::try_from(at).unwrap()),
                updated_at: Timestamp::default(),
            };
            Past { deployment, by_rollback: word.ends_with('<') }
        };
        let mut history: Vec<Past> = text.split(' ').enumerate().map(parse).collect();
        history.reverse();
        history
    }

    fn go(text: &str, to: Option<i64>) -> Result<i64, NoWayBack> {
        let history = history(text);
        let id = |revision| TaskDefinitionId { family: "web".parse().unwrap(), revision };
        let to = to.map_or(To::Before, |revision| To::Revision(id(revision)));
        target(&history, &history[0].deployment.id, &to).map(|deployment| deployment.task_definition.revision)
    }

    #[test]
    fn back_is_what_was_completed_before() {
        for (history, expected) in [
            ("1 2", Some(1)),
            ("1 2 3", Some(2)),
            ("1 2! 3", Some(1)),
            ("1 2 3~", Some(2)),
            ("1 2 3!", Some(2)),
            ("1 2 2", Some(1)),
            // Going back twice goes back further.
            ("1 2 3 2<", Some(1)),
            ("1 2 3 2< 1<", None),
            // Forward again after going back: what was left stands before.
            ("1 2 1< 3", Some(1)),
            ("1 2 3 2", Some(3)),
            ("1", None),
            ("1! 2", None),
        ] {
            assert_eq!(go(history, None).ok(), expected, "{history}");
        }
    }

    #[test]
    fn a_revision_that_is_named_has_to_have_been_completed() {
        assert_eq!(go("1 2 3", Some(1)), Ok(1));
        assert!(matches!(go("1 2! 3", Some(2)), Err(NoWayBack::NeverCompleted(_))));
        assert!(matches!(go("1 2", Some(2)), Err(NoWayBack::RunsAlready(_))));
        assert!(matches!(go("1 2", Some(7)), Err(NoWayBack::NeverCompleted(_))));
        assert_eq!(go("1 2 1!", Some(1)), Ok(1), "what failed may be gone back to where it was completed before");
    }
}
