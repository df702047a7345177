//! Who is lost: an agent that is not heard for one lease. Leases live in memory; only changes are written.
//!
//! After a start nobody is lost before one full lease. The tasks of a lost instance are marked, and the planner makes up for them.

use super::join::event;
use crate::context::Context;
use crate::{store, task_events};
use model::Timestamp;
use model::ids::InstanceId;
use platform::db::{DbError, Tx};
use platform::events;
use platform::lifecycle::Lifecycle;
use platform::wake::Wake;
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

/// Marks the instances that are lost, and returns them.
pub async fn sweep(context: &Context) -> Result<Vec<InstanceId>, DbError> {
    let now = context.clock.now();
    let lost = context.agents.sweep(now, context.config.lease);
    for id in &lost {
        let instance = id.clone();
        let marked = context.db.write(move |tx| {
            let instance = instance.clone();
            Box::pin(async move { mark_lost(tx, &instance, now).await })
        });
        if let Err(error) = marked.await {
            // Heard of or not, it is in the table as connected: the next sweep marks it.
            context.agents.expect(id, now.minus(context.config.lease));
            return Err(error);
        }
        tracing::warn!(instance.id = %id, "instance {id} was not heard for {} s and counts as lost", context.config.lease.as_secs());
    }
    if !lost.is_empty() {
        context.rollout_wake.wake();
    }
    Ok(lost)
}

async fn mark_lost(tx: &mut Tx, id: &InstanceId, now: Timestamp) -> Result<(), DbError> {
    let Some(mut instance) = store::instances::get(tx, id).await?.filter(|instance| instance.agent_connected) else { return Ok(()) };
    instance.agent_connected = false;
    if !store::instances::update(tx, &instance).await? {
        return Err(DbError::Conflict);
    }
    store::tasks::set_connected(tx, id, false).await?;
    let tasks = store::tasks::of_instance_unsettled(tx, id).await?;
    task_events::append(tx, now, &tasks).await?;
    events::append(tx, now, event(&instance, "instance.lost", format!("instance {id} ({}) is lost", instance.name))).await?;
    Ok(())
}
