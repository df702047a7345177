//! What to do next: orders × what was seen of their containers × what is already under way → steps. Pure.
//!
//! The rule that everything rests on: a step that stops a container exists only for a task whose order says STOPPED, whose essential
//! container has ended, or which could not be brought up. A task that is not listed, or that the server does not know, yields nothing.

use crate::config::{SETTLED_KEEP, SETTLED_KEPT_MAX};
use crate::record::{Goal, TaskRecord};
use crate::runtime::Found;
use api::agent::UnknownContainer;
use model::Timestamp;
use model::ids::TaskId;
use std::collections::BTreeMap;

/// What is under way for a task; at most one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Launch,
    Stop,
    /// Its last lines are read.
    Finish,
    Remove,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Pull, create and start what is missing of the task's containers.
    Launch(TaskId),
    /// End a launch that is under way: the task is not wanted any more.
    CancelLaunch(TaskId),
    /// Stop what runs of it.
    Stop(TaskId),
    /// Nothing runs and nothing is under way: it is STOPPED.
    Finish(TaskId),
    /// Remove its containers and forget it.
    Remove(TaskId),
}

/// A task with what is under way for it.
pub struct View<'a> {
    pub record: &'a TaskRecord,
    pub action: Option<Action>,
}

/// The steps for all tasks of the host.
pub fn diff<'a>(tasks: impl Iterator<Item = View<'a>>, now: Timestamp) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut settled = Vec::new();
    for task in tasks {
        match (task.record.settled_at, task.action) {
            // A start that an agent asked for before it was killed can happen after the task was finished and settled.
            (Some(_), None) if is_stray(task.record) => steps.push(Step::Stop(task.record.order.task_id.clone())),
            (Some(at), None) => settled.push((at, &task.record.order.task_id)),
            (Some(_), Some(_)) => {}
            (None, _) => steps.extend(next(&task)),
        }
    }
    steps.extend(removals(settled, now));
    steps
}

/// The next step of one task that is not settled.
fn next(task: &View<'_>) -> Option<Step> {
    let record = task.record;
    let id = || record.order.task_id.clone();
    if record.unknown {
        return None;
    }
    match (record.goal(), task.action) {
        (Goal::Run, None) if !record.is_up() => Some(Step::Launch(id())),
        (Goal::Stop, Some(Action::Launch)) => Some(Step::CancelLaunch(id())),
        // Also after it counted as STOPPED: a start that got no answer may have happened late.
        (Goal::Stop, None) if record.has_running() => Some(Step::Stop(id())),
        (Goal::Stop, None) if record.stopped_at.is_none() => Some(Step::Finish(id())),
        _ => None,
    }
}

/// Whether something runs of a task that was ordered to stop, or has ended, and that the server knows.
fn is_stray(record: &TaskRecord) -> bool {
    !record.unknown && record.goal() == Goal::Stop && record.has_running()
}

/// Settled tasks that are old enough, and the oldest of those that are too many.
fn removals(mut settled: Vec<(Timestamp, &TaskId)>, now: Timestamp) -> impl Iterator<Item = Step> {
    settled.sort_unstable();
    let surplus = settled.len().saturating_sub(SETTLED_KEPT_MAX);
    let due = settled.into_iter().enumerate().filter(move |(at, (when, _))| *at < surplus || now.since(*when) >= SETTLED_KEEP);
    due.map(|(_, (_, id))| Step::Remove(id.clone())).collect::<Vec<_>>().into_iter()
}

/// Which control planes' containers this agent may speak about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planes {
    pub current: String,
    /// Those it belonged to before: their containers are reported, never touched.
    pub former: Vec<String>,
}

/// Containers that belong to no task of the ledger that the server knows. Those of other control planes are nobody's business.
pub fn unknown(found: &BTreeMap<String, Found>, is_known: impl Fn(&TaskId) -> bool, planes: &Planes) -> Vec<UnknownContainer> {
    let foreign = |container: &&Found| match &container.owner.task_id {
        _ if planes.former.contains(&container.owner.control_plane) => true,
        _ if planes.current != container.owner.control_plane => false,
        Some(task) => !is_known(task),
        None => true,
    };
    found.values().filter(foreign).map(unknown_container).collect()
}

fn unknown_container(container: &Found) -> UnknownContainer {
    UnknownContainer {
        runtime_id: container.id.clone(),
        name: container.name.clone(),
        task_id: container.owner.task_id.clone(),
        image: container.image.clone(),
        status: container.status.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::order_of_two;
    use crate::runtime::{Owner, Sighting};
    use model::task::DesiredStatus;
    use proptest::prelude::*;

    const T: Timestamp = Timestamp::from_secs(1);

    fn steps(record: &TaskRecord, action: Option<Action>) -> Vec<Step> {
        diff([View { record, action }].into_iter(), T)
    }

    #[test]
    fn each_situation_has_its_one_step() {
        let id = order_of_two(1).task_id;
        let fresh = TaskRecord::new(order_of_two(1));
        let mut up = fresh.clone();
        up.see("app", "a", &Sighting::Running { bindings: Vec::new() }, T);
        up.see("side", "b", &Sighting::Running { bindings: Vec::new() }, T);
        let mut stopping = up.clone();
        stopping.take(api::agent::TaskOrder { version: 2, desired_status: DesiredStatus::Stopped, ..order_of_two(1) });
        let mut unwanted = fresh.clone();
        unwanted.take(api::agent::TaskOrder { version: 2, desired_status: DesiredStatus::Stopped, ..order_of_two(1) });
        let unknown = TaskRecord { unknown: true, ..stopping.clone() };
        let stopped = TaskRecord { stopped_at: Some(T), ..unwanted.clone() };
        let settled = TaskRecord { settled_at: Some(T), ..stopped.clone() };
        let mut stray = settled.clone();
        stray.see("app", "a", &Sighting::Running { bindings: Vec::new() }, T);
        for (name, record, action, expected) in [
            ("new", &fresh, None, Some(Step::Launch(id.clone()))),
            ("being launched", &fresh, Some(Action::Launch), None),
            ("up", &up, None, None),
            ("to stop", &stopping, None, Some(Step::Stop(id.clone()))),
            ("being stopped", &stopping, Some(Action::Stop), None),
            ("to stop while it is launched", &unwanted, Some(Action::Launch), Some(Step::CancelLaunch(id.clone()))),
            ("to stop and nothing runs", &unwanted, None, Some(Step::Finish(id.clone()))),
            ("stopped", &stopped, None, None),
            ("unknown to the server", &unknown, None, None),
            ("settled", &settled, None, None),
            ("settled and started late", &stray, None, Some(Step::Stop(id.clone()))),
            ("settled, started late, being stopped", &stray, Some(Action::Stop), None),
        ] {
            assert_eq!(steps(record, action), expected.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn settled_tasks_go_after_ten_minutes_or_when_they_are_too_many() {
        let settled = |id: u128, at: i64| {
            let mut record = TaskRecord::new(order_of_two(id));
            record.settled_at = Some(Timestamp::from_secs(at));
            record
        };
        let records: Vec<TaskRecord> = (0..60).map(|n| settled(n, 1000 + i64::try_from(n).unwrap())).collect();
        let at = |now: i64| diff(records.iter().map(|record| View { record, action: None }), Timestamp::from_secs(now)).len();
        assert_eq!(at(1100), 10, "the ten oldest of sixty");
        assert_eq!(at(1000 + 600 + 20), 21);
        assert_eq!(at(10_000), 60);
    }

    #[test]
    fn only_containers_of_our_control_planes_are_reported_as_unknown() {
        let planes = Planes { current: "now".into(), former: vec!["before".into()] };
        let container = |id: &str, plane: &str, task: Option<u128>| {
            let owner = Owner { control_plane: plane.into(), task_id: task.map(TaskId::from_random), container: "app".into() };
            let found = Found {
                id: id.into(),
                name: id.into(),
                owner,
                image: "x".into(),
                status: "Up".into(),
                sighting: Sighting::Running { bindings: Vec::new() },
            };
            (id.to_owned(), found)
        };
        let found = BTreeMap::from([
            container("ours", "now", Some(1)),
            container("lost", "now", Some(2)),
            container("nameless", "now", None),
            container("old", "before", Some(1)),
            container("neighbour", "other", Some(3)),
        ]);
        let names: Vec<String> =
            unknown(&found, |task| *task == TaskId::from_random(1), &planes).into_iter().map(|container| container.name).collect();
        assert_eq!(names, ["lost", "nameless", "old"]);
    }

    proptest! {
        /// A stop is only ever a step for a task that was ordered to stop, lost an essential container, or could not start.
        #[test]
        fn nothing_stops_without_a_cause(
            sightings in proptest::collection::vec((prop_oneof![Just("app"), Just("side")], 0..4_u8), 0..20),
            ordered: bool,
            unknown: bool,
            action in prop_oneof![Just(None), Just(Some(Action::Launch)), Just(Some(Action::Stop))],
        ) {
            let mut record = TaskRecord::new(order_of_two(1));
            for (container, what) in &sightings {
                match what {
                    0 => record.see(container, "i", &Sighting::Created, T),
                    1 => record.see(container, "i", &Sighting::Running { bindings: Vec::new() }, T),
                    2 => record.see(container, "i", &Sighting::Exited { exit_code: Some(0), out_of_memory: false }, T),
                    _ => record.see_gone(container, T),
                };
            }
            if ordered {
                record.take(api::agent::TaskOrder { version: 2, desired_status: DesiredStatus::Stopped, ..order_of_two(1) });
            }
            record.unknown = unknown;
            let app_ended = record.containers["app"].phase == crate::record::Phase::Exited;
            let steps = steps(&record, action);
            prop_assert!(steps.len() <= 1);
            let stops = steps.iter().any(|step| matches!(step, Step::Stop(_) | Step::CancelLaunch(_) | Step::Finish(_)));
            prop_assert!(!stops || ((ordered || app_ended) && !unknown));
            let launches = steps.iter().any(|step| matches!(step, Step::Launch(_)));
            prop_assert!(!launches || (!ordered && !app_ended && !unknown && action.is_none()));
        }
    }
}
