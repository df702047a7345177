//! CreateCluster, DescribeClusters, ListClusters, DeleteCluster.

use crate::context::Context;
use crate::store;
use model::cluster::{Cluster, ClusterSettings, ClusterStatus};
use model::ids::ClusterName;
use platform::db::DbError;

/// Makes the cluster `default`, unless it is there and active.
pub async fn ensure_default(context: &Context) -> Result<(), DbError> {
    let cluster = Cluster {
        name: ClusterName::default_cluster(),
        status: ClusterStatus::Active,
        created_at: context.clock.now(),
        tags: Vec::new(),
        client_settings: ClusterSettings::default(),
    };
    context
        .db
        .write(move |tx| {
            let cluster = cluster.clone();
            Box::pin(async move {
                match store::clusters::get(tx, &cluster.name).await? {
                    Some(found) if found.status == ClusterStatus::Active => Ok(()),
                    _ => store::clusters::put(tx, &cluster).await,
                }
            })
        })
        .await
}
