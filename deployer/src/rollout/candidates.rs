//! Reads the instances of a cluster as placement sees them.

use crate::placement::Candidate;
use crate::store;
use model::ids::{ClusterName, DeploymentId};
use platform::db::{DbError, Tx};

/// The instances of `cluster` and what is taken of them; `of_group` says which running tasks strategies spread.
pub async fn read(
    tx: &mut Tx,
    cluster: &ClusterName,
    of_group: impl Fn(Option<&DeploymentId>, &str) -> bool,
) -> Result<Vec<Candidate>, DbError> {
    let instances = store::instances::list(tx, cluster).await?;
    let mut held = store::tasks::held(tx, cluster).await?;
    let candidate = |instance: model::instance::Instance| {
        let held = held.remove(&instance.id).unwrap_or_default();
        Candidate {
            instance,
            tasks: held.running.len(),
            of_group: held.running.iter().filter(|(deployment, group)| of_group(deployment.as_ref(), group)).count(),
            held: held.resources,
        }
    };
    Ok(instances.into_iter().map(candidate).collect())
}
