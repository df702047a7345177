//! The instances as placement sees them, kept in memory by the planner, and by RunTask: what it costs to look follows what changed,
//! not the fleet.
//!
//! Every transaction that changes an instance, or what tasks hold there, leaves a number in `changes`; a refresh reads the instances
//! with numbers that were not seen yet. So the picture is as new as the refresh, on SQLite and on PostgreSQL alike. It saves work and
//! nothing else: placement is guarded by the instances' versions when it is written.

use crate::placement::Candidate;
use crate::store;
use model::ids::{ClusterName, InstanceId};
use model::instance::{Instance, InstanceStatus, Resources};
use platform::db::{DbError, Tx};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Changes read in one go; a refresh reads on until there are no more.
const BATCH: i64 = 500;

#[derive(Debug, Default)]
pub struct Fleet {
    /// Changes up to this one are seen.
    seen: i64,
    clusters: HashMap<ClusterName, BTreeMap<InstanceId, Host>>,
}

#[derive(Debug)]
struct Host {
    instance: Arc<Instance>,
    held: Arc<Resources>,
    /// Group of each task there that is to run.
    running: Vec<String>,
}

impl Fleet {
    /// Reads what changed since the last refresh.
    pub async fn refresh(&mut self, tx: &mut Tx) -> Result<(), DbError> {
        loop {
            let changes = store::changes::instances_after(tx, self.seen, BATCH).await?;
            for change in &changes {
                self.read(tx, &change.id).await?;
                self.seen = change.sequence;
            }
            if changes.is_empty() {
                return Ok(());
            }
        }
    }

    /// The instance's row first: what is claimed between the two reads then shows as a version that is no more.
    async fn read(&mut self, tx: &mut Tx, id: &InstanceId) -> Result<(), DbError> {
        let instance = store::instances::get(tx, id).await?;
        match instance.filter(|instance| instance.status != InstanceStatus::Inactive) {
            Some(instance) => {
                let held = store::held::on_instance(tx, id).await?;
                let of_cluster = self.clusters.entry(instance.cluster.clone()).or_default();
                let host = Host { instance: Arc::new(instance), held: Arc::new(held.resources), running: held.running };
                of_cluster.insert(id.clone(), host);
            }
            // An instance never changes its cluster, and its end is rare.
            None => self.clusters.values_mut().for_each(|of_cluster| {
                of_cluster.remove(id);
            }),
        }
        Ok(())
    }

    /// The instances of `cluster` by id; `of_group` counts the running tasks there that strategies spread, of which it is given the
    /// groups.
    pub fn candidates(&self, cluster: &ClusterName, of_group: impl Fn(&InstanceId, &[String]) -> usize) -> Vec<Candidate> {
        let candidate = |(id, host): (&InstanceId, &Host)| Candidate {
            instance: host.instance.clone(),
            held: host.held.clone(),
            tasks: host.running.len(),
            of_group: of_group(id, &host.running),
        };
        self.clusters.get(cluster).into_iter().flatten().map(candidate).collect()
    }
}
