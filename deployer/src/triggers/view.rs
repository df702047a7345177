//! Reads a service as its triggers see it.

use super::authority;
use super::decide::{Candidate, Running, TriggerView, View};
use crate::store;
use crate::store::task_definitions::Registered;
use identity::Snapshot;
use model::ImageReference;
use model::access::{Resource, Role};
use model::service::{Deployment, DeploymentStatus, RolloutState, Service, ServiceStatus};
use model::task::ResolvedImage;
use model::trigger::{DecisionStatus, Push, Trigger};
use platform::db::{DbError, Tx};
use std::collections::BTreeMap;

/// Pushes looked at in one pass, for each trigger.
const PUSHES_MAX: i64 = 1000;

/// A service with what it runs.
#[derive(Debug, Clone)]
pub struct Current {
    pub service: Service,
    pub primary: Deployment,
    pub registered: Registered,
}

impl Current {
    /// The service when it is ACTIVE, with its PRIMARY deployment.
    pub async fn load(tx: &mut Tx, service: Option<Service>) -> Result<Option<Self>, DbError> {
        let Some(service) = service.filter(|service| service.status == ServiceStatus::Active) else { return Ok(None) };
        let deployments = store::deployments::of_service(tx, &service.id).await?;
        let Some(primary) = deployments.into_iter().find(|deployment| deployment.status == DeploymentStatus::Primary) else {
            return Ok(None);
        };
        let registered = store::task_definitions::get(tx, &primary.task_definition).await?;
        Ok(registered.map(|registered| Self { service, primary, registered }))
    }

    /// What deploying an image of `repository` in `container` takes.
    pub fn needed(&self, container: &str, repository: &str) -> Vec<(Role, Resource)> {
        let others = self.primary.images.iter().filter(|(name, _)| name.as_str() != container);
        let repositories = others.filter_map(|(_, image)| image.repository.as_deref()).chain([repository]);
        authority::needed(&self.service, &self.registered.definition, repositories)
    }

    /// Whether `container` runs the content of `push`, as far as the control plane knows.
    pub fn runs(&self, container: &str, push: &Push) -> bool {
        let image = self.primary.images.get(container);
        self.primary.rollout_state != RolloutState::Failed
            && image.is_some_and(|image| {
                image.repository.as_deref() == Some(push.repository.as_str()) && image.digest.as_ref() == Some(&push.digest)
            })
    }
}

/// The view that is decided from; up to the push `after` all are known to be decided.
pub async fn view(tx: &mut Tx, snapshot: &Snapshot, current: &Current, after: i64) -> Result<View, DbError> {
    let mut running = BTreeMap::new();
    for (container, image) in &current.primary.images {
        running.insert(container.clone(), running_of(tx, &current.service, container, image).await?);
    }
    let mut triggers = Vec::new();
    for trigger in store::triggers::of_service(tx, &current.service.id).await? {
        triggers.push(of_trigger(tx, snapshot, current, trigger, after).await?);
    }
    Ok(View {
        running,
        failed: current.primary.rollout_state == RolloutState::Failed,
        last_at: store::decisions::last_deployed(tx, &current.service.id).await?,
        triggers,
    })
}

async fn running_of(tx: &mut Tx, service: &Service, container: &str, image: &ResolvedImage) -> Result<Running, DbError> {
    let written = image.image.parse::<ImageReference>().ok().and_then(|reference| reference.tag);
    let pushed = match &image.digest {
        Some(digest) => store::decisions::tags_of(tx, &service.id, container, digest.as_str()).await?,
        None => Vec::new(),
    };
    let tags = written.into_iter().chain(pushed.iter().filter_map(|tag| tag.parse().ok())).collect();
    Ok(Running { repository: image.repository.clone(), digest: image.digest.clone(), tags })
}

async fn of_trigger(tx: &mut Tx, snapshot: &Snapshot, current: &Current, trigger: Trigger, after: i64) -> Result<TriggerView, DbError> {
    let mut pushes = store::decisions::undecided(tx, &trigger.id, after, PUSHES_MAX).await?;
    if trigger.held.is_none() {
        pushes.extend(store::decisions::pushes(tx, &trigger.id, DecisionStatus::Held).await?);
        pushes.sort_by_key(|push| push.sequence);
    }
    let needed = current.needed(&trigger.container, trigger.repository.as_str());
    let candidate = |push| Candidate { missing: authority::lacking(snapshot, &push, &needed), push };
    let open = pushes.into_iter().map(candidate).collect();
    let waiting = store::decisions::pushes(tx, &trigger.id, DecisionStatus::Waiting).await?;
    Ok(TriggerView { trigger, open, waiting })
}
