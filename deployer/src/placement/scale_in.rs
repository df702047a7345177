//! Which tasks to stop when there are too many: keep the rest as evenly spread as they were placed.

use model::Timestamp;
use model::ids::{InstanceId, TaskId};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A task that may be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stoppable {
    pub task: TaskId,
    /// Lower is stopped first, before any thought of balance: not running yet, running, healthy.
    pub worth: u8,
    /// With a binpack strategy: what its instance has free, so that the emptiest is emptied. Otherwise 0.
    pub room: i64,
    /// What is to stay even: the zone, or the value of the strategy's attribute.
    pub zone: String,
    pub instance: Option<InstanceId>,
    pub created_at: Timestamp,
}

/// `count` of `tasks`, in the order to stop them: the least worth first; then from the emptiest instance where tasks are packed, or
/// from the zone with most, there from the instance with most, there the newest.
pub fn choose_stops(mut tasks: Vec<Stoppable>, count: usize) -> Vec<TaskId> {
    let mut chosen = Vec::new();
    while chosen.len() < count && !tasks.is_empty() {
        let mut zones: BTreeMap<String, usize> = BTreeMap::new();
        let mut instances: BTreeMap<Option<InstanceId>, usize> = BTreeMap::new();
        for task in &tasks {
            *zones.entry(task.zone.clone()).or_default() += 1;
            *instances.entry(task.instance.clone()).or_default() += 1;
        }
        let rank = |task: &Stoppable| {
            (Reverse(task.worth), task.room, zones[&task.zone], instances[&task.instance], task.created_at, task.task.clone())
        };
        let best = (0..tasks.len()).max_by_key(|at| rank(&tasks[*at])).unwrap_or(0);
        chosen.push(tasks.swap_remove(best).task);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u128, zone: &str, instance: u128, worth: u8) -> Stoppable {
        Stoppable {
            task: TaskId::from_random(number),
            worth,
            room: 0,
            zone: zone.into(),
            instance: Some(InstanceId::from_random(instance)),
            created_at: Timestamp::from_secs(i64::try_from(number).unwrap()),
        }
    }

    fn numbers(tasks: Vec<Stoppable>, count: usize) -> Vec<u128> {
        choose_stops(tasks, count).iter().map(|id| u128::from_str_radix(id.as_str(), 16).unwrap()).collect()
    }

    #[test]
    fn the_zone_with_most_gives_first_then_the_instance_with_most() {
        let tasks = vec![task(1, "a", 1, 2), task(2, "a", 2, 2), task(3, "a", 2, 2), task(4, "b", 3, 2)];
        assert_eq!(numbers(tasks.clone(), 1), [3]);
        assert_eq!(numbers(tasks.clone(), 2), [3, 2]);
        assert_eq!(numbers(tasks, 9).len(), 4);
    }

    #[test]
    fn packed_tasks_leave_the_emptiest_instance_first() {
        let on = |number, instance, room| Stoppable { room, ..task(number, "a", instance, 2) };
        assert_eq!(numbers(vec![on(1, 1, 100), on(2, 1, 100), on(3, 2, 900)], 1), [3]);
    }

    #[test]
    fn what_does_not_run_goes_before_what_does() {
        assert_eq!(numbers(vec![task(1, "a", 1, 2), task(2, "a", 1, 2), task(3, "b", 2, 0)], 1), [3]);
    }
}
