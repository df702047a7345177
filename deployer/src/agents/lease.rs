//! Who is lost: an agent that is not heard for one lease. Leases live in memory; only changes are written.
//!
//! After a start nobody is lost before one full lease. The tasks of a lost instance are marked, and the planner makes up for them.

use super::join::event;
use crate::context::Context;
use crate::rollout::brake::{self, Hosts, Verdict, Why};
use crate::store::hosts::Brake;
use crate::{store, task_events};
use model::Timestamp;
use model::access::Resource;
use model::ids::{ClusterName, InstanceId};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use platform::lifecycle::Lifecycle;
use platform::wake::Wake;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SWEEP_PERIOD: Duration = Duration::from_secs(1);

pub(super) fn start(context: &Arc<Context>, lifecycle: &Lifecycle) {
    let (context, expected) = (context.clone(), Arc::new(AtomicBool::new(false)));
    lifecycle.every(Wake::default(), SWEEP_PERIOD, move || {
        let (context, expected) = (context.clone(), expected.clone());
        async move {
            let first = !expected.load(Ordering::Relaxed);
            match if first { expect_connected(&context).await } else { sweep(&context).await.map(|_| ()) } {
                Ok(()) => expected.store(true, Ordering::Relaxed),
                Err(error) => tracing::error!(%error, "looking for lost instances failed"),
            }
        }
    });
}

/// At start: every instance on record as connected has one lease to be heard again.
pub async fn expect_connected(context: &Context) -> Result<(), DbError> {
    let now = context.clock.now();
    let mut connection = context.db.read().await?;
    for instance in store::instances::connected(&mut connection).await? {
        context.agents.expect(&instance, now);
    }
    Ok(())
}

/// Marks the instances that are lost, and returns them. Pulls the brake where they are many, and lets it go when its time has come.
pub async fn sweep(context: &Context) -> Result<Vec<InstanceId>, DbError> {
    let now = context.clock.now();
    let lost = context.agents.sweep(now, context.config.lease);
    let swept = write_sweep(context, &lost, now).await;
    if let Err(error) = swept {
        for id in &lost {
            // Heard of or not, it is in the table as connected: the next sweep marks it.
            context.agents.expect(id, now.minus(context.config.lease));
        }
        return Err(error);
    }
    for id in &lost {
        tracing::warn!(instance.id = %id, "instance {id} was not heard for {} s and counts as lost", context.config.lease.as_secs());
    }
    if !lost.is_empty() {
        context.rollout_wake.wake();
    }
    Ok(lost)
}

/// One transaction, so that the planner never sees many lost instances without the brake.
async fn write_sweep(context: &Context, lost: &[InstanceId], now: Timestamp) -> Result<(), DbError> {
    if lost.is_empty() && store::hosts::brakes(&mut *context.db.read().await?).await?.is_empty() {
        return Ok(());
    }
    let lost = lost.to_vec();
    let lately = context.agents.lost_within(context.config.lease, now);
    let pause = context.config.brake;
    let released = context
        .db
        .write(move |tx| {
            let (lost, lately) = (lost.clone(), lately.clone());
            Box::pin(async move {
                let mut clusters: BTreeSet<ClusterName> = store::hosts::brakes(tx).await?.into_iter().map(|brake| brake.cluster).collect();
                for id in &lost {
                    clusters.extend(mark_lost(tx, id, now).await?);
                }
                let mut released = false;
                for cluster in clusters {
                    released |= review_brake(tx, &cluster, &lately, pause, now).await?;
                }
                Ok::<_, DbError>(released)
            })
        })
        .await?;
    if released {
        context.rollout_wake.wake();
    }
    Ok(())
}

/// The cluster of the instance, when it was marked now.
async fn mark_lost(tx: &mut Tx, id: &InstanceId, now: Timestamp) -> Result<Option<ClusterName>, DbError> {
    let Some(mut instance) = store::instances::get(tx, id).await?.filter(|instance| instance.agent_connected) else { return Ok(None) };
    instance.agent_connected = false;
    if !store::instances::update(tx, &instance).await? {
        return Err(DbError::Conflict);
    }
    store::tasks::set_connected(tx, id, false).await?;
    let tasks = store::tasks::of_instance_unsettled(tx, id).await?;
    task_events::append(tx, now, &tasks).await?;
    events::append(tx, now, event(&instance, "instance.lost", format!("instance {id} ({}) is lost", instance.name))).await?;
    Ok(Some(instance.cluster))
}

/// Whether the brake of the cluster was let go.
async fn review_brake(
    tx: &mut Tx,
    cluster: &ClusterName,
    lately: &BTreeSet<InstanceId>,
    pause: Duration,
    now: Timestamp,
) -> Result<bool, DbError> {
    let brake = store::hosts::brake(tx, cluster).await?;
    let (heard, lost) = store::hosts::heard_and_lost(tx, cluster).await?;
    let hosts = Hosts { heard, lost, lost_lately: lately.clone() };
    match brake::judge(cluster, brake.as_ref(), &hosts, pause, now) {
        Verdict::Keep => Ok(false),
        Verdict::Engage(brake) => {
            store::hosts::set_brake(tx, &brake).await?;
            events::append(tx, now, brake_event(cluster, "cluster.brake-engaged", engaged(&brake, heard))).await?;
            Ok(false)
        }
        Verdict::Release(why) => {
            store::hosts::release_brake(tx, cluster).await?;
            let why = match why {
                Why::Returned => "most of them are heard again",
                Why::TimeIsUp => "they were waited for long enough",
            };
            let message = format!("tasks of lost instances of cluster {cluster} are replaced again: {why}");
            events::append(tx, now, brake_event(cluster, "cluster.brake-released", message)).await?;
            Ok(true)
        }
    }
}

fn engaged(brake: &Brake, heard: usize) -> String {
    let (lost, cluster) = (brake.lost.len(), &brake.cluster);
    format!(
        "{lost} of {} instances of cluster {cluster} were lost at once: their tasks are not replaced before {}, unless the instances \
         return or somebody decides (`berth instance replace-lost --cluster {cluster}`)",
        lost + heard,
        brake.until.to_rfc3339()
    )
}

fn brake_event(cluster: &ClusterName, kind: &'static str, message: String) -> NewEvent {
    let subject = Resource::cluster(cluster.as_str()).to_string();
    NewEvent { kind, principal: None, subject, message, detail: serde_json::json!({}) }
}
