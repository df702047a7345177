//! Begins a deployment in the caller's transaction: for a push that was taken or approved, and for a rollback.

use super::revision::Revision;
use crate::operations::images::Images;
use crate::operations::services::deployment;
use crate::{pins, store};
use model::Timestamp;
use model::ids::{DeploymentId, TaskDefinitionId};
use model::service::{Cause, Service, ServiceDeployment};
use platform::db::{DbError, Tx};

/// Registers `revision` and deploys it. Its images are kept from the registry's garbage collector for as long as it stands.
pub async fn register(
    tx: &mut Tx,
    service: &mut Service,
    mut revision: Revision,
    cause: &Cause,
    now: Timestamp,
) -> Result<ServiceDeployment, DbError> {
    let registered = &mut revision.registered;
    registered.id.revision = store::task_definitions::next_revision(tx, &registered.id.family).await?;
    store::task_definitions::insert(tx, registered).await?;
    pins::task_definition(tx, now, &registered.id, &revision.images).await?;
    begin(tx, service, revision.registered.id, revision.images, cause, now).await
}

/// Deploys a revision that stands, with these images, on the authority of who asked.
pub async fn begin(
    tx: &mut Tx,
    service: &mut Service,
    task_definition: TaskDefinitionId,
    images: Images,
    cause: &Cause,
    now: Timestamp,
) -> Result<ServiceDeployment, DbError> {
    service.task_definition = task_definition;
    service.principal = cause.principal.clone();
    let id = DeploymentId::from_random(platform::random::bits64());
    let begun = deployment::begin(tx, service, &deployment::new(service, id, images, now), cause, now).await?;
    // Read in this very transaction, so only a write beside it can have come between: run it again.
    if !store::services::update(tx, service).await? {
        return Err(DbError::Conflict);
    }
    service.version += 1;
    Ok(begun)
}
