//! Reads the instances of a cluster as placement sees them, all of them and in the caller's transaction: for RunTask. The planner
//! keeps them in memory instead (`fleet`).

use crate::placement::Candidate;
use crate::store;
use model::ids::ClusterName;
use platform::db::{DbError, Tx};
use std::sync::Arc;

/// The instances of `cluster` and what is taken of them; strategies spread the running tasks of `group`.
pub async fn read(tx: &mut Tx, cluster: &ClusterName, group: &str) -> Result<Vec<Candidate>, DbError> {
    let instances = store::instances::list(tx, cluster).await?;
    let mut held = store::held::in_cluster(tx, cluster).await?;
    let candidate = |instance: model::instance::Instance| {
        let held = held.remove(&instance.id).unwrap_or_default();
        Candidate {
            instance: Arc::new(instance),
            tasks: held.running.len(),
            of_group: held.running.iter().filter(|running| *running == group).count(),
            held: Arc::new(held.resources),
        }
    };
    Ok(instances.into_iter().map(candidate).collect())
}
