//! State in, lines out.

use super::*;
use crate::commands::watch::board::tests::{board, failed, service, task};
use api::v1::events::{Event, TaskGlance};
use serde_json::json;

const LOOK: Look = Look { columns: 80, rows: 40, colour: false };

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// Three old tasks of which one stops, two new ones of which one is pulled.
fn rolling() -> Board {
    let mut board = board();
    board.began = at(100);
    board.hosts.insert("host".into(), "node-a".into());
    for (id, desired) in [("0a", "RUNNING"), ("0b", "RUNNING"), ("0c", "STOPPED")] {
        let reason = (desired == "STOPPED").then(|| "Scaling activity initiated by (deployment ecs-svc/2)".to_owned());
        board.see_task(TaskGlance { healthy: true, reason, ..task(id, 1, "RUNNING", desired) }, at(10));
    }
    board.see_task(TaskGlance { healthy: true, ..task("1a", 2, "RUNNING", "RUNNING") }, at(130));
    board.see_task(TaskGlance { pulling: true, ..task("1b", 2, "PENDING", "RUNNING") }, at(138));
    board.see_progress(Progress {
        subject: String::new(),
        task: task("1b", 2, "", "").task,
        container: "app".into(),
        layers_done: 3,
        layers: 9,
        bytes_done: 11_200_000,
        bytes: 18_200_000,
    });
    board
}

#[test]
fn a_roll_is_a_table_that_fits_eighty_columns() {
    let lines = render(&rolling(), at(141), LOOK);
    let expected = "\
default/web  web:1 → web:2                                     IN PROGRESS  41s
  new     web:2  ━━━━━━━─────────────  1/3 healthy, 1 pulling
  old     web:1  ━━━━━━━━━━━━━━──────  2 left, 1 stopping

  TASK          REVISION  STATE      HOST        FOR
  1a0000000000  web:2     HEALTHY    node-a      11s
  1b0000000000  web:2     PULLING    node-a       3s   61% of 18.2 MB
  0a0000000000  web:1     HEALTHY    node-a   2m 11s
  0b0000000000  web:1     HEALTHY    node-a   2m 11s
  0c0000000000  web:1     STOPPING   node-a   2m 11s  Scaling activity initiat…";
    assert_eq!(lines.join("\n"), expected);
    assert!(lines.iter().all(|line| measure_text_width(line) < 80));
}

#[test]
fn colour_changes_nothing_but_colour() {
    let plain = render(&rolling(), at(141), LOOK);
    let coloured = render(&rolling(), at(141), Look { colour: true, ..LOOK });
    assert!(plain.iter().all(|line| !line.contains('\u{1b}')));
    assert!(coloured.iter().any(|line| line.contains('\u{1b}')));
    let stripped: Vec<String> = coloured.iter().map(|line| console::strip_ansi_codes(line).trim_end().to_owned()).collect();
    assert_eq!(stripped, plain);
}

#[test]
fn what_does_not_fit_is_summed_up_and_those_on_their_way_stay() {
    let mut board = board();
    for n in 0..40 {
        board.see_task(TaskGlance { healthy: true, ..task(&format!("{n:02}"), 2, "RUNNING", "RUNNING") }, at(n));
    }
    board.see_task(task("ff", 2, "PENDING", "RUNNING"), at(99));
    let lines = render(&board, at(141), Look { rows: 20, ..LOOK });
    assert!(lines.len() < 20, "{} lines", lines.len());
    assert!(lines.iter().any(|line| line.contains("ff0000000000") && line.contains("PENDING")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("more: ") && line.contains("HEALTHY")), "{lines:#?}");
}

#[test]
fn failures_show_their_reason_and_last_lines() {
    let mut board = board();
    let event = |glances: &[TaskGlance]| Event {
        sequence: 1,
        at: "2026-01-01T00:00:00Z".into(),
        kind: "task.changed".into(),
        principal: None,
        subject: String::new(),
        message: String::new(),
        detail: json!({ "tasks": glances }),
    };
    board.see_event(&event(&[failed("a", 3), failed("b", 3)]));
    board.see_log(&failed("b", 3), (1..=10).map(|n| format!("line {n}")).collect());
    let lines = render(&board, at(141), LOOK);
    let failed = lines.iter().position(|line| line.contains("2 failed  web:2  exit 3: Essential container in task exited"));
    let failed = failed.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(lines[failed + 1], "    b00000000000 | line 8");
    assert_eq!(lines.len(), failed + 4, "three lines while it goes on");
    assert_eq!(summary(&board, 20, LOOK).len(), 11, "all of them at the end");
    assert!(summary(&Board::default(), 20, LOOK).is_empty());
}

#[test]
fn a_rollback_and_a_server_that_is_away_are_said() {
    let mut board = board();
    board.see_service(&service(&[("ecs-svc/3", "PRIMARY", "IN_PROGRESS"), ("ecs-svc/2", "ACTIVE", "FAILED")]));
    board.attempt = "ROLLBACK_IN_PROGRESS".into();
    board.see_task(task("1a", 2, "RUNNING", "RUNNING"), at(130));
    board.away = Some("cannot reach http://127.0.0.1:5000: connection refused".into());
    let text = render(&board, at(141), LOOK).join("\n");
    assert!(text.contains("ROLLING BACK") && text.contains("  back    web:3") && text.contains("  failed  web:2"), "{text}");
    assert!(text.contains("the server is away, waiting for it: cannot reach"), "{text}");
}
