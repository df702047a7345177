//! Reports by table, and by properties: any order and any repetition of an agent's reports end in the same task.

use super::*;
use model::ids::{ClusterName, InstanceId, TaskDefinitionId, TaskId};
use model::instance::Resources;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn task() -> Task {
    Task {
        id: TaskId::from_random(1),
        cluster: ClusterName::default_cluster(),
        service_id: Some("s".into()),
        deployment_id: None,
        task_definition: TaskDefinitionId { family: "web".parse().unwrap(), revision: 1 },
        group: "service:web".into(),
        started_by: None,
        instance_id: Some(InstanceId::from_random(1)),
        reserved: Resources::default(),
        overrides: vec![],
        images: BTreeMap::new(),
        principal: "user:admin".parse().unwrap(),
        client_token: None,
        tags: vec![],
        desired_status: DesiredStatus::Running,
        stop_code: None,
        stopped_reason: None,
        last_status: TaskStatus::Pending,
        health_status: HealthStatus::Unknown,
        containers: vec![container(TaskStatus::Pending, None)],
        report_sequence: 0,
        connected: true,
        version: 1,
        created_at: Timestamp::from_secs(100),
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        stopped_at: None,
        healthy_at: None,
    }
}

fn container(last_status: TaskStatus, exit_code: Option<i64>) -> ContainerState {
    ContainerState {
        name: "web".into(),
        runtime_id: None,
        last_status,
        health_status: HealthStatus::Unknown,
        exit_code,
        reason: None,
        network_bindings: vec![],
    }
}

fn report(sequence: i64, last_status: TaskStatus, health_status: HealthStatus, exit_code: Option<i64>) -> TaskReport {
    let started = last_status >= TaskStatus::Running;
    TaskReport {
        task_id: TaskId::from_random(1),
        sequence,
        last_status,
        health_status,
        containers: vec![container(last_status, exit_code)],
        stop_code: exit_code.map(|_| StopCode::EssentialContainerExited),
        stopped_reason: exit_code.map(|_| "Essential container in task exited".into()),
        pull_started_at: Some(Timestamp::from_secs(101)),
        pull_stopped_at: started.then(|| Timestamp::from_secs(102)),
        started_at: started.then(|| Timestamp::from_secs(103)),
        stopped_at: (last_status == TaskStatus::Stopped).then(|| Timestamp::from_secs(104)),
        log_tails: Vec::new(),
    }
}

const NOW: Timestamp = Timestamp::from_secs(200);

#[test]
fn an_exit_is_kept_with_its_code_and_reason() {
    let running = merge(&task(), &report(1, TaskStatus::Running, HealthStatus::Healthy, None), NOW);
    assert_eq!((running.last_status, running.healthy_at), (TaskStatus::Running, Some(NOW)));
    let stopped = merge(&running, &report(2, TaskStatus::Stopped, HealthStatus::Unknown, Some(7)), NOW);
    assert_eq!(stopped.containers[0].exit_code, Some(7));
    assert_eq!(stopped.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!((stopped.desired_status, stopped.stopped_at), (DesiredStatus::Stopped, Some(Timestamp::from_secs(104))));
    let late = merge(&stopped, &report(3, TaskStatus::Running, HealthStatus::Healthy, None), NOW);
    assert_eq!(late, stopped, "stopped is final");
}

#[test]
fn the_reason_of_an_order_stays() {
    let ordered = Task {
        desired_status: DesiredStatus::Stopped,
        stop_code: Some(StopCode::UserInitiated),
        stopped_reason: Some("because".into()),
        ..task()
    };
    let stopped = merge(&ordered, &report(1, TaskStatus::Stopped, HealthStatus::Unknown, Some(137)), NOW);
    assert_eq!((stopped.stop_code, stopped.stopped_reason.as_deref()), (Some(StopCode::UserInitiated), Some("because")));
}

#[test]
fn a_wrong_clock_on_the_host_moves_nothing_outside_the_life_of_the_task() {
    let mut early = report(1, TaskStatus::Running, HealthStatus::Unknown, None);
    early.started_at = Some(Timestamp::from_secs(1));
    assert_eq!(merge(&task(), &early, NOW).started_at, Some(Timestamp::from_secs(100)));
    early.started_at = Some(Timestamp::from_secs(1_000_000));
    assert_eq!(merge(&task(), &early, NOW).started_at, Some(NOW));
}

#[test]
fn a_task_that_never_ran_failed_to_start() {
    let mut failed = report(1, TaskStatus::Stopped, HealthStatus::Unknown, None);
    failed.started_at = None;
    failed.stopped_reason = Some("CannotPullContainerError: no such image".into());
    let stopped = merge(&task(), &failed, NOW);
    assert_eq!(stopped.stop_code, Some(StopCode::TaskFailedToStart));
    assert_eq!(stopped.stopped_reason.as_deref(), Some("CannotPullContainerError: no such image"));
}

/// What one agent observes of one task, in order: statuses only grow, health comes and goes while it runs.
fn history() -> impl Strategy<Value = Vec<TaskReport>> {
    let steps = proptest::collection::vec((0..3_usize, 0..3_usize), 1..12);
    (steps, any::<bool>(), 0..256_i64).prop_map(|(steps, ends, code)| {
        let mut at = 1;
        let mut reports = Vec::new();
        for (sequence, (step, health)) in (1..).zip(steps) {
            at = (at + step).min(5);
            let status = TaskStatus::ALL[at];
            let health = [HealthStatus::Unknown, HealthStatus::Healthy, HealthStatus::Unhealthy][health];
            reports.push(report(sequence, status, if status == TaskStatus::Running { health } else { HealthStatus::Unknown }, None));
        }
        if ends {
            reports.push(report(100, TaskStatus::Stopped, HealthStatus::Unknown, Some(code)));
        }
        reports
    })
}

/// What must not depend on the order. When it first counted as healthy does: a report that comes after the end is not looked at.
fn settled(mut task: Task) -> Task {
    task.healthy_at = None;
    task
}

proptest! {
    #[test]
    fn any_order_and_any_repetition_end_the_same(
        (reports, shuffled) in history().prop_flat_map(|reports| {
            let twice: Vec<_> = reports.iter().chain(&reports).cloned().collect();
            (Just(reports), Just(twice).prop_shuffle())
        })
    ) {
        let in_order = reports.iter().fold(task(), |task, report| merge(&task, report, NOW));
        let mut before = task();
        for report in &shuffled {
            let after = merge(&before, report, NOW);
            prop_assert!(after.last_status >= before.last_status);
            prop_assert!(after.report_sequence >= before.report_sequence);
            before = after;
        }
        prop_assert_eq!(settled(before), settled(in_order));
    }
}
