//! Which tasks to stop when there are too many: keep the rest as evenly spread as they were placed.

use model::Timestamp;
use model::ids::{InstanceId, TaskId};
use std::cmp::Reverse;
use std::collections::HashMap;

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
        let mut zones: HashMap<&str, usize> = HashMap::new();
        let mut instances: HashMap<Option<&InstanceId>, usize> = HashMap::new();
        for task in &tasks {
            *zones.entry(&task.zone).or_default() += 1;
            *instances.entry(task.instance.as_ref()).or_default() += 1;
        }
        let rank = |task: &Stoppable| {
            let (zone, instance) = (zones.get(task.zone.as_str()), instances.get(&task.instance.as_ref()));
            (Reverse(task.worth), task.room, zone.copied(), instance.copied(), task.created_at)
        };
        let better = |one: &usize, other: &usize| {
            let (one, other) = (&tasks[*one], &tasks[*other]);
            rank(one).cmp(&rank(other)).then_with(|| one.task.cmp(&other.task))
        };
        let best = (0..tasks.len()).max_by(better).unwrap_or(0);
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
