//! Where a watched deployment is shown: a live table on a terminal, a line per change in a pipe, JSON Lines, or nothing.

use super::board::{Board, Change, Failures, one_line};
use super::table::{self, Look};
use crate::output::{self, Output};
use api::v1::events::Progress;
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::Timestamp;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// Times a second that the terminal is drawn at most.
const DRAWS_PER_SEC: u8 = 10;
/// Last lines shown of a failure when it is over, and in lines as it happens.
const LOG_LINES_AT_END: usize = 20;
const LOG_LINES_IN_LINES: usize = 5;
/// Characters of a task id that people are shown.
const ID_SHOWN: usize = 12;

/// For whom a command shows a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is what was asked for: lines go to stdout.
    Watch,
    /// It passes the time until a command is done: lines go to stderr, and stdout is for the result.
    Wait,
}

pub enum Screen {
    Live { bar: ProgressBar, term: Term, colour: bool },
    Lines { to_stdout: bool, last: Option<String> },
    Json { last: Option<Value> },
    Silent,
}

impl Screen {
    pub fn new(out: Output, purpose: Purpose) -> Self {
        match purpose {
            Purpose::Watch if out.is_json() => Self::Json { last: None },
            Purpose::Wait if out.is_json() || out.is_quiet() => Self::Silent,
            Purpose::Watch if !std::io::stdout().is_terminal() => Self::Lines { to_stdout: true, last: None },
            _ if output::progress_is_live() => Self::live(),
            Purpose::Watch | Purpose::Wait => Self::Lines { to_stdout: purpose == Purpose::Watch, last: None },
        }
    }

    fn live() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SEC));
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        Self::Live { bar, term: Term::stderr(), colour }
    }

    /// The state now.
    pub fn show(&mut self, board: &Board, now: Timestamp) {
        match self {
            Self::Live { bar, term, colour } => {
                let lines = table::render(board, now, look(term, *colour));
                bar.set_message(lines.join("\n"));
                bar.tick();
            }
            Self::Lines { last, .. } => {
                let line = counts_line(board);
                if last.as_ref() != Some(&line) {
                    *last = Some(line.clone());
                    self.line(now, &line);
                }
            }
            Self::Json { last } => {
                let value = counts_value(board);
                if last.as_ref() != Some(&value) {
                    print_json(&value);
                    *last = Some(value);
                }
            }
            Self::Silent => {}
        }
    }

    /// Something happened.
    pub fn change(&mut self, board: &Board, change: &Change, now: Timestamp) {
        match self {
            Self::Live { .. } | Self::Silent => {}
            Self::Lines { .. } => self.line(now, &change_line(board, change)),
            Self::Json { .. } => print_json(&change_value(board, change, now)),
        }
    }

    /// The last lines of failed tasks came.
    pub fn log(&mut self, failure: &Failures, now: Timestamp) {
        match self {
            Self::Live { .. } | Self::Silent => {}
            Self::Lines { .. } => {
                let skipped = failure.log.len().saturating_sub(LOG_LINES_IN_LINES);
                let id: String = failure.task.chars().take(ID_SHOWN).collect();
                failure.log[skipped..].iter().for_each(|line| self.line(now, &format!("  {id} | {line}")));
            }
            Self::Json { .. } => print_json(&json!({
                "type": "failure", "at": now.to_rfc3339(), "task": failure.task, "taskDefinition": failure.definition,
                "reason": failure.reason, "count": failure.count, "log": failure.log,
            })),
        }
    }

    pub fn progress(&self, progress: &Progress) {
        if let Self::Json { .. } = self {
            let mut value = serde_json::to_value(progress).unwrap_or_default();
            value["type"] = "progress".into();
            print_json(&value);
        }
    }

    /// A remark about the watching itself.
    pub fn remark(&mut self, now: Timestamp, text: &str) {
        if let Self::Lines { .. } = self {
            self.line(now, text);
        }
    }

    /// It is over: the table goes, and what failed stays.
    pub fn finish(&mut self, board: &Board) {
        if let Self::Live { bar, term, colour } = self {
            bar.finish_and_clear();
            for line in table::summary(board, LOG_LINES_AT_END, look(term, *colour)) {
                output::remark(&line);
            }
        }
    }

    /// The verdict, where it is data.
    pub fn verdict(&self, word: &str, exit_code: u8, text: &str) {
        if let Self::Json { .. } = self {
            print_json(&json!({ "type": "verdict", "result": word, "exitCode": exit_code, "message": text }));
        }
    }

    fn line(&self, now: Timestamp, text: &str) {
        let text = format!("{}  {text}", now.to_rfc3339());
        match self {
            Self::Lines { to_stdout: true, .. } => output::print(&format!("{text}\n")),
            _ => output::remark(&text),
        }
    }
}

fn look(term: &Term, colour: bool) -> Look {
    let (rows, columns) = term.size();
    Look { columns: usize::from(columns), rows: usize::from(rows), colour }
}

fn print_json(value: &Value) {
    output::print(&format!("{value}\n"));
}

/// `new web:43 1/3 healthy, 2 pending; old web:42 3 left`
fn counts_line(board: &Board) -> String {
    let parts = board.deployments.iter().filter_map(|deployment| {
        let counts = board.counts(&deployment.id);
        let words = [
            (counts.running, "running"),
            (counts.unhealthy, "unhealthy"),
            (counts.pulling, "pulling"),
            (counts.pending, "pending"),
            (counts.stopping, "stopping"),
        ];
        let more: Vec<String> = words.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!(", {count} {word}")).collect();
        let more = more.concat();
        if deployment.is_primary {
            return Some(format!("{} {}/{} healthy{more}", deployment.definition, counts.healthy, board.desired));
        }
        (counts.total() + counts.stopping > 0).then(|| format!("{} {} left{more}", deployment.definition, counts.total()))
    });
    parts.collect::<Vec<_>>().join("; ")
}

fn counts_value(board: &Board) -> Value {
    let deployments = board.deployments.iter().map(|deployment| {
        json!({
            "deployment": deployment.id, "taskDefinition": deployment.definition,
            "status": if deployment.is_primary { "PRIMARY" } else { "ACTIVE" }, "rolloutState": deployment.state,
            "tasks": board.counts(&deployment.id),
        })
    });
    json!({ "type": "service", "service": board.service, "desired": board.desired, "deployments": deployments.collect::<Vec<_>>() })
}

fn change_line(board: &Board, change: &Change) -> String {
    let (task, mark) = match change {
        Change::Message(text) => return one_line(text),
        Change::Task(task) => (task, ""),
        Change::Failed(task) => (task, "! "),
    };
    let id: String = task.task.chars().take(ID_SHOWN).collect();
    let host = task.instance.as_ref().and_then(|instance| board.hosts.get(instance)).map(|host| format!(" on {host}"));
    let why = matches!(change, Change::Failed(_)).then(|| format!(": {}", super::board::why(task)));
    let state = task.state().as_str();
    format!("{mark}task {id} {} {state}{}{}", task.task_definition, host.unwrap_or_default(), why.unwrap_or_default())
}

fn change_value(board: &Board, change: &Change, now: Timestamp) -> Value {
    let at = now.to_rfc3339();
    match change {
        Change::Message(text) => json!({ "type": "message", "at": at, "message": text }),
        Change::Task(task) | Change::Failed(task) => {
            let mut value = serde_json::to_value(task).unwrap_or_default();
            value["type"] = "task".into();
            value["at"] = at.into();
            value["state"] = task.state().as_str().into();
            value["failed"] = matches!(change, Change::Failed(_)).into();
            value["host"] = task.instance.as_ref().and_then(|instance| board.hosts.get(instance)).cloned().into();
            value
        }
    }
}
