//! What comes of descriptions and events.

use super::*;
use api::v1::events::ContainerEnd;
use serde_json::json;

/// A board that watches `ecs-svc/2` of web:2 while `ecs-svc/1` of web:1 is replaced.
pub(in crate::commands::watch) fn board() -> Board {
    let mut board = Board::new("default/web".into(), "ecs-svc/2".into(), Timestamp::default());
    board.see_service(&service(&[("ecs-svc/2", "PRIMARY", "IN_PROGRESS"), ("ecs-svc/1", "ACTIVE", "COMPLETED")]));
    board
}

pub(in crate::commands::watch) fn service(deployments: &[(&str, &str, &str)]) -> aws::Service {
    let deployments = deployments.iter().map(|(id, status, state)| aws::Deployment {
        id: (*id).into(),
        status: (*status).into(),
        rollout_state: (*state).into(),
        task_definition: format!("arn:aws:ecs:r:1:task-definition/web:{}", id.rsplit('/').next().unwrap()),
        ..Default::default()
    });
    aws::Service { status: "ACTIVE".into(), desired_count: 3, running_count: 3, deployments: deployments.collect(), ..Default::default() }
}

/// A task of `ecs-svc/N`.
pub(in crate::commands::watch) fn task(id: &str, deployment: u32, last: &str, desired: &str) -> TaskGlance {
    TaskGlance {
        task: format!("{id:0<32}"),
        task_definition: format!("web:{deployment}"),
        deployment: Some(format!("ecs-svc/{deployment}")),
        instance: Some("host".into()),
        last_status: last.into(),
        desired_status: desired.into(),
        connected: true,
        ..TaskGlance::default()
    }
}

pub(in crate::commands::watch) fn failed(id: &str, code: i64) -> TaskGlance {
    TaskGlance {
        stop_code: Some("EssentialContainerExited".into()),
        reason: Some("Essential container in task exited".into()),
        containers: vec![ContainerEnd { name: "app".into(), exit_code: Some(code), reason: None }],
        ..task(id, 2, "STOPPED", "STOPPED")
    }
}

fn event(kind: &str, message: &str, detail: serde_json::Value) -> Event {
    Event {
        sequence: 1,
        at: "2026-01-01T00:00:00Z".into(),
        kind: kind.into(),
        principal: None,
        subject: "service:default/web".into(),
        message: message.into(),
        detail,
    }
}

fn tasks(glances: &[TaskGlance]) -> Event {
    event(TASK_CHANGED, "", json!({ "tasks": glances }))
}

const T: Timestamp = Timestamp::from_secs(100);

#[test]
fn tasks_move_forward_whatever_comes_late() {
    let mut board = board();
    assert!(board.see_task(task("a", 2, "RUNNING", "RUNNING"), T));
    assert!(!board.see_task(task("a", 2, "PENDING", "RUNNING"), T), "old news");
    let healthy = TaskGlance { healthy: true, ..task("a", 2, "RUNNING", "RUNNING") };
    assert!(board.see_task(healthy.clone(), T));
    assert!(!board.see_task(healthy, T), "no news");
    board.see_task(task("b", 1, "RUNNING", "STOPPED"), T);
    assert_eq!(board.counts("ecs-svc/2"), Counts { healthy: 1, ..Counts::default() });
    assert_eq!(board.counts("ecs-svc/1"), Counts { stopping: 1, ..Counts::default() });
    board.see_task(task("b", 1, "STOPPED", "STOPPED"), T);
    assert_eq!(board.counts("ecs-svc/1"), Counts::default());
}

#[test]
fn failures_are_grouped_by_reason_and_counted_once() {
    let mut board = board();
    let changes = board.see_event(&tasks(&[failed("a", 3), failed("b", 3), failed("c", 4)]));
    assert_eq!(changes.len(), 3);
    assert!(board.see_event(&tasks(&[failed("a", 3)])).is_empty(), "heard twice");
    assert!(!board.see_task(task("a", 2, "RUNNING", "RUNNING"), T), "what stopped does not run again");
    board.see_log(&failed("b", 3), vec!["boom".into()]);
    board.see_log(&failed("b", 3), Vec::new());
    let groups: Vec<_> = board.failures.iter().map(|group| (group.count, group.reason.as_str(), group.log.len())).collect();
    let reason = |code| format!("exit {code}: Essential container in task exited");
    assert_eq!(groups, [(2, reason(3).as_str(), 1), (1, reason(4).as_str(), 0)]);
    let ordered = TaskGlance { stop_code: Some("ServiceSchedulerInitiated".into()), ..failed("d", 143) };
    assert_eq!(board.see_event(&tasks(std::slice::from_ref(&ordered))), [Change::Task(ordered)], "no failure");
}

#[test]
fn what_blocks_a_deployment_is_remarked_until_it_moves_again() {
    let mut board = board();
    board.see_event(&event("service.event", "(service web) was unable to place a task because of memory.", json!({})));
    assert_eq!(board.remark.as_deref(), Some("was unable to place a task because of memory."));
    board.see_event(&event("service.event", "(service web) has stopped 1 running tasks: (task 1).", json!({})));
    assert!(board.remark.is_some());
    board.see_event(&event("service.event", "(service web) has started 1 tasks: (task 1).", json!({})));
    assert_eq!(board.remark, None);
}

fn attempt(status: &str) -> Event {
    event("deployment.failed", "", json!({ "deployment": "ecs-svc/2", "status": status, "reason": "tasks failed to start" }))
}

fn verdict(deployments: &[(&str, &str, &str)], status: Option<&str>) -> Option<(Verdict, bool)> {
    let mut board = board();
    board.see_service(&service(deployments));
    status.map(|status| board.see_event(&attempt(status)));
    board.ended().map(|ended| (ended.verdict, ended.certain))
}

#[test]
fn a_deployment_ends_in_one_of_five_ways() {
    let alone = |state| [("ecs-svc/2", "PRIMARY", state)];
    assert_eq!(verdict(&alone("COMPLETED"), None), Some((Verdict::Completed, true)));
    assert_eq!(verdict(&alone("IN_PROGRESS"), Some("IN_PROGRESS")), None);
    assert_eq!(verdict(&[("ecs-svc/2", "PRIMARY", "COMPLETED"), ("ecs-svc/1", "ACTIVE", "COMPLETED")], None), None);
    assert_eq!(verdict(&alone("FAILED"), Some("STOPPED")), Some((Verdict::Failed, true)));
    assert_eq!(verdict(&alone("FAILED"), Some("IN_PROGRESS")), Some((Verdict::Failed, false)), "a rollback may follow");
    let back = [("ecs-svc/3", "PRIMARY", "IN_PROGRESS"), ("ecs-svc/2", "ACTIVE", "FAILED")];
    assert_eq!(verdict(&back, Some("ROLLBACK_IN_PROGRESS")), None);
    assert_eq!(verdict(&[("ecs-svc/3", "PRIMARY", "COMPLETED")], Some("ROLLBACK_SUCCESSFUL")), Some((Verdict::RolledBack, true)));
    assert_eq!(verdict(&back, Some("ROLLBACK_FAILED")), Some((Verdict::Failed, true)));
    assert_eq!(verdict(&back, Some("STOPPED")), Some((Verdict::Superseded, true)));
    assert_eq!(verdict(&back, Some("IN_PROGRESS")), Some((Verdict::Superseded, false)), "an event may explain it");
    let mut board = board();
    board.see_service(&aws::Service { status: "DRAINING".into(), ..service(&alone("IN_PROGRESS")) });
    assert_eq!(board.ended().map(|ended| ended.verdict), Some(Verdict::Gone));
}

#[test]
fn counts_of_the_service_decide_whether_it_is_stable() {
    let mut board = board();
    let done = service(&[("ecs-svc/2", "PRIMARY", "COMPLETED")]);
    board.see_service(&aws::Service { running_count: 2, ..done.clone() });
    assert_eq!(board.ended(), None);
    board.see_service(&aws::Service { pending_count: 1, ..done });
    assert_eq!(board.ended(), None);
}

#[test]
fn reasons_of_containers_are_told_with_their_codes() {
    let two = TaskGlance {
        containers: vec![
            ContainerEnd { name: "app".into(), exit_code: Some(1), reason: None },
            ContainerEnd { name: "side".into(), exit_code: None, reason: Some("CannotPullContainerError: \u{1b}[31mno".into()) },
        ],
        ..failed("a", 1)
    };
    assert_eq!(why(&two), "app exit 1: Essential container in task exited; CannotPullContainerError:  [31mno");
    assert_eq!(why(&TaskGlance::default()), "no reason was given");
}
