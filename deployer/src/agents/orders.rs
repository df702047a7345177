//! What the tasks of an instance are as orders, and which of them are news to its agent.

use crate::context::Context;
use crate::store;
use crate::store::tasks::Unsettled;
use api::agent::{PollRequest, TaskOrder};
use model::ids::{InstanceId, TaskId};
use model::task::{DesiredStatus, Task};
use model::task_definition::TaskDefinition;
use platform::db::{DbError, Tx};
use std::collections::{BTreeMap, BTreeSet};

/// What is news to an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    pub complete: bool,
    pub changed: BTreeSet<TaskId>,
    /// Known to the agent, and not among the unsettled: settled, or without a row.
    pub gone: Vec<TaskId>,
}

/// Version of an order. A task's order changes once, when it is to stop: everything else is fixed when the task is made.
pub const fn version(desired: DesiredStatus) -> i64 {
    match desired {
        DesiredStatus::Running => 1,
        DesiredStatus::Stopped => 2,
    }
}

/// Compares what the agent knows with what there is. An agent of another epoch gets everything.
pub fn news(request: &PollRequest, epoch: i64, unsettled: &[Unsettled]) -> News {
    let complete = request.epoch != epoch;
    let is_new = |task: &&Unsettled| complete || request.known.get(&task.id) != Some(&version(task.desired_status));
    let there: BTreeSet<&TaskId> = unsettled.iter().map(|task| &task.id).collect();
    News {
        complete,
        changed: unsettled.iter().filter(is_new).map(|task| task.id.clone()).collect(),
        gone: request.known.keys().filter(|id| !there.contains(id)).cloned().collect(),
    }
}

/// The orders of the changed tasks, oldest task first.
pub async fn read(context: &Context, tx: &mut Tx, instance: &InstanceId, changed: &BTreeSet<TaskId>) -> Result<Vec<TaskOrder>, DbError> {
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let mut definitions = BTreeMap::new();
    let mut orders = Vec::new();
    for task in store::tasks::of_instance_unsettled(tx, instance).await? {
        if !changed.contains(&task.id) {
            continue;
        }
        if !definitions.contains_key(&task.task_definition) {
            let registered = store::task_definitions::get(tx, &task.task_definition).await?;
            let Some(registered) = registered else {
                tracing::error!(task.id = %task.id, "task {} has no task definition {}", task.id, task.task_definition);
                continue;
            };
            definitions.insert(task.task_definition.clone(), registered.definition);
        }
        orders.push(order(context, &definitions[&task.task_definition], task));
    }
    Ok(orders)
}

fn order(context: &Context, definition: &TaskDefinition, task: Task) -> TaskOrder {
    TaskOrder {
        version: version(task.desired_status),
        desired_status: task.desired_status,
        stop_code: task.stop_code,
        stopped_reason: task.stopped_reason,
        cluster: task.cluster.to_string(),
        task_arn: context.partition.task(&task.cluster, &task.id),
        task_definition: task.task_definition.to_string(),
        group: task.group,
        definition: definition.clone(),
        overrides: task.overrides,
        images: task.images,
        task_id: task.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_news_within_an_epoch() {
        let id = TaskId::from_random;
        let running = |n| Unsettled { id: id(n), desired_status: DesiredStatus::Running };
        let stopped = |n| Unsettled { id: id(n), desired_status: DesiredStatus::Stopped };
        let known = BTreeMap::from([(id(1), 1), (id(2), 1), (id(9), 1)]);
        let unsettled = [running(1), stopped(2), running(3)];
        let request = PollRequest { epoch: 5, known };
        let found = news(&request, 5, &unsettled);
        assert_eq!(found, News { complete: false, changed: [id(2), id(3)].into(), gone: vec![id(9)] });
        let found = news(&request, 6, &unsettled);
        assert_eq!((found.complete, found.changed.len()), (true, 3));
    }
}
