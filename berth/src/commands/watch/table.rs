//! A watched deployment as lines of text. Pure: the board, the time and the size of the terminal in, lines out.
//!
//! The same state always gives the same lines; what does not fit is summed up, not cut off in the middle.

use super::board::{Board, Counts, Deployment, Failures, Row, one_line};
use crate::duration;
use api::v1::events::{Progress, TaskState};
use console::{Style, measure_text_width, truncate_str};
use model::Timestamp;
use std::collections::BTreeMap;

/// Narrowest and widest table, in columns.
const WIDTH_MIN: usize = 40;
const WIDTH_MAX: usize = 110;
/// Columns of a bar.
const BAR: usize = 20;
/// Groups of failures, and last lines of each, while there is more to come.
const FAILURES_SHOWN: usize = 3;
const LOG_LINES_SHOWN: usize = 3;
/// Characters of a task id that people are shown.
const ID_SHOWN: usize = 12;
/// Columns of a state.
const STATE: usize = 9;
/// Lines of one note.
const NOTE_LINES_MAX: usize = 3;

/// How lines are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub columns: usize,
    pub rows: usize,
    pub colour: bool,
}

/// The lines of `board` at `now`.
pub fn render(board: &Board, now: Timestamp, look: Look) -> Vec<String> {
    let pen = Pen { width: look.columns.saturating_sub(1).clamp(WIDTH_MIN, WIDTH_MAX), colour: look.colour };
    let mut lines = vec![heading(board, now, pen)];
    lines.extend(groups(board).into_iter().map(|group| group_line(board, &group, pen)));
    let failures = failure_lines(&board.failures, FAILURES_SHOWN, LOG_LINES_SHOWN, pen);
    let below = failures.len() + notes(board, pen).len() + 3;
    let room = look.rows.saturating_sub(lines.len() + below + 1).max(3);
    lines.extend(task_lines(board, now, room, pen));
    lines.extend(failures);
    lines.extend(notes(board, pen));
    lines.iter().map(|line| pen.fit(line)).collect()
}

/// What is left to say when it is over: how many run what, and what failed with its last lines.
pub fn summary(board: &Board, log_lines: usize, look: Look) -> Vec<String> {
    let pen = Pen { width: look.columns.saturating_sub(1).max(WIDTH_MIN), colour: look.colour };
    let mut lines = failure_lines(&board.failures, usize::MAX, log_lines, pen);
    if lines.first().is_some_and(String::is_empty) {
        lines.remove(0);
    }
    lines.iter().map(|line| pen.fit(line)).collect()
}

/// Colour where it is wanted, and nothing wider than the terminal.
#[derive(Debug, Clone, Copy)]
struct Pen {
    width: usize,
    colour: bool,
}

impl Pen {
    fn ink(self, style: &Style, text: &str) -> String {
        if self.colour && !text.is_empty() { style.clone().force_styling(true).apply_to(text).to_string() } else { text.to_owned() }
    }

    fn dim(self, text: &str) -> String {
        self.ink(&Style::new().dim(), text)
    }

    fn state(self, state: TaskState, text: &str) -> String {
        let style = match state {
            TaskState::Healthy => Style::new().green(),
            TaskState::Running => Style::new().cyan(),
            TaskState::Unhealthy => Style::new().red(),
            TaskState::Pulling => Style::new().blue(),
            TaskState::Pending => Style::new().yellow(),
            TaskState::Stopping | TaskState::Stopped => Style::new().dim(),
        };
        self.ink(&style, text)
    }

    fn fit(self, line: &str) -> String {
        truncate_str(line.trim_end(), self.width, "…").into_owned()
    }
}

/// `default/web  web:42 → web:43                                 ROLLING BACK  41s`
fn heading(board: &Board, now: Timestamp, pen: Pen) -> String {
    let old = board.deployments.iter().find(|deployment| !deployment.is_primary);
    let primary = board.primary().map_or(board.definition.as_str(), |primary| primary.definition.as_str());
    let what = match old {
        Some(old) if old.definition != primary => format!("{} → {primary}", old.definition),
        _ => primary.to_owned(),
    };
    let state = match board.primary() {
        _ if board.is_rolling_back() => "ROLLING BACK".to_owned(),
        Some(primary) => primary.state.replace('_', " "),
        None => String::new(),
    };
    let left = format!("{}  {what}", board.service);
    let right = format!("{state}  {}", duration::format(now.since(board.began)));
    let gap = pen.width.saturating_sub(measure_text_width(&left) + measure_text_width(&right)).max(2);
    let state = match state.as_str() {
        "COMPLETED" => pen.ink(&Style::new().green(), &state),
        "FAILED" | "ROLLING BACK" => pen.ink(&Style::new().red(), &state),
        _ => pen.ink(&Style::new().cyan(), &state),
    };
    let clock = pen.dim(&duration::format(now.since(board.began)));
    format!("{}  {what}{}{state}  {clock}", pen.ink(&Style::new().bold(), &board.service), " ".repeat(gap))
}

/// The tasks of one deployment.
struct Group<'a> {
    deployment: &'a Deployment,
    name: &'static str,
    counts: Counts,
}

fn groups(board: &Board) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    for deployment in &board.deployments {
        let counts = board.counts(&deployment.id);
        let name = match deployment.is_primary {
            true if board.is_rolling_back() => "back",
            true => "new",
            false if board.is_rolling_back() && deployment.id == board.watched => "failed",
            false => "old",
        };
        if deployment.is_primary || counts.total() + counts.stopping > 0 {
            groups.push(Group { deployment, name, counts });
        }
    }
    groups
}

/// `  new  web:43  ━━━━━━━━━━──────────  3/6 healthy  1 running  1 pulling`
fn group_line(board: &Board, group: &Group<'_>, pen: Pen) -> String {
    let counts = group.counts;
    let definitions = board.deployments.iter().map(|deployment| measure_text_width(&deployment.definition)).max().unwrap_or(0);
    let (done, all) = if group.deployment.is_primary {
        (counts.healthy, usize::try_from(board.desired).unwrap_or(0))
    } else {
        (counts.total(), usize::try_from(board.desired).unwrap_or(0).max(counts.total()))
    };
    let filled = if all == 0 { BAR } else { (done.min(all) * BAR).div_ceil(all) };
    let ink = if group.deployment.is_primary { Style::new().green() } else { Style::new().blue() };
    let bar = format!("{}{}", pen.ink(&ink, &"━".repeat(filled)), pen.dim(&"─".repeat(BAR - filled)));
    let mut said = vec![if group.deployment.is_primary { format!("{done}/{all} healthy") } else { format!("{done} left") }];
    let parts = if group.deployment.is_primary {
        vec![(counts.running, "running"), (counts.unhealthy, "unhealthy"), (counts.pulling, "pulling"), (counts.pending, "pending")]
    } else {
        vec![(counts.unhealthy, "unhealthy")]
    };
    let parts = parts.into_iter().chain([(counts.stopping, "stopping")]);
    said.extend(parts.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
    format!("  {:<6}  {:definitions$}  {bar}  {}", group.name, group.deployment.definition, said.join(", "))
}

/// One line per task: those on their way first when there is not room for all.
fn task_lines(board: &Board, now: Timestamp, room: usize, pen: Pen) -> Vec<String> {
    let mut rows: Vec<&Row> = board.tasks.values().collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let group = |row: &Row| board.deployments.iter().position(|deployment| Some(&deployment.id) == row.glance.deployment.as_ref());
    let order = |row: &&Row| (group(row).unwrap_or(usize::MAX), row.came, row.glance.task.clone());
    let mut rest = Vec::new();
    if rows.len() > room {
        rows.sort_by_key(|row| (row.glance.state() == TaskState::Healthy, order(row)));
        rest = rows.split_off(room.saturating_sub(1));
    }
    rows.sort_by_key(order);
    let host = |row: &Row| host(board, row);
    let widths = Widths {
        definition: rows.iter().map(|row| measure_text_width(&row.glance.task_definition)).max().unwrap_or(0).max(8),
        host: rows.iter().map(|row| measure_text_width(&host(row))).max().unwrap_or(0).clamp(4, 20),
    };
    let mut lines = vec![String::new(), pen.dim(&columns("TASK", "REVISION", "STATE", "HOST", "FOR", widths))];
    lines.extend(rows.iter().map(|row| task_line(board, row, now, widths, pen)));
    if !rest.is_empty() {
        lines.push(pen.dim(&format!("  {}", sum_up(&rest))));
    }
    lines
}

#[derive(Debug, Clone, Copy)]
struct Widths {
    definition: usize,
    host: usize,
}

fn columns(task: &str, definition: &str, state: &str, host: &str, time: &str, widths: Widths) -> String {
    let Widths { definition: of_definition, host: of_host } = widths;
    format!("  {task:ID_SHOWN$}  {definition:of_definition$}  {state:STATE$}  {host:of_host$}  {time:>7}")
}

fn task_line(board: &Board, row: &Row, now: Timestamp, widths: Widths, pen: Pen) -> String {
    let state = row.glance.state();
    let id: String = row.glance.task.chars().take(ID_SHOWN).collect();
    let host: String = host(board, row).chars().take(widths.host).collect();
    let time = duration::format(now.since(row.since));
    let (before, after) = (columns(&id, &row.glance.task_definition, "\0", &host, &time, widths), format!("{:STATE$}", state.as_str()));
    let line = before.replacen(&format!("{:STATE$}", "\0"), &pen.state(state, &after), 1);
    format!("{line}  {}", detail(board, row, state, pen))
}

/// What there is to add: how far a pull is, or why a task stops.
fn detail(board: &Board, row: &Row, state: TaskState, pen: Pen) -> String {
    if !row.glance.connected {
        return pen.ink(&Style::new().yellow(), "its host is not heard");
    }
    match state {
        TaskState::Pulling => board.pulls.get(&row.glance.task).map(pull).unwrap_or_default(),
        TaskState::Stopping => pen.dim(&row.glance.reason.as_deref().map(|reason| short_reason(&one_line(reason))).unwrap_or_default()),
        _ => String::new(),
    }
}

/// ` 61% of 18.2 MB`; how many layers when their sizes are not known.
fn pull(progress: &Progress) -> String {
    match (progress.bytes_done * 100).checked_div(progress.bytes) {
        Some(percent) => format!("{percent:>3}% of {}", megabytes(progress.bytes)),
        None => format!("{} of {} layers", progress.layers_done, progress.layers),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// `Scaling activity initiated by (deployment ecs-svc/1)` says no more than its beginning.
fn short_reason(reason: &str) -> String {
    reason.split(" (deployment").next().unwrap_or(reason).to_owned()
}

fn host(board: &Board, row: &Row) -> String {
    let id = row.glance.instance.as_deref().unwrap_or("-");
    board.hosts.get(id).cloned().unwrap_or_else(|| id.chars().take(ID_SHOWN).collect())
}

/// `and 12 more: 10 HEALTHY, 2 PENDING`
fn sum_up(rows: &[&Row]) -> String {
    let mut counts: BTreeMap<TaskState, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.glance.state()).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().rev().map(|(state, count)| format!("{count} {}", state.as_str())).collect();
    format!("and {} more: {}", rows.len(), parts.join(", "))
}

/// Failures by reason, the most frequent first, each with the last lines of its last task.
fn failure_lines(failures: &[Failures], groups_max: usize, lines_max: usize, pen: Pen) -> Vec<String> {
    let mut sorted: Vec<&Failures> = failures.iter().collect();
    sorted.sort_by_key(|group| std::cmp::Reverse(group.count));
    let mut lines = Vec::new();
    for group in sorted.iter().take(groups_max) {
        let red = Style::new().red();
        let count = pen.ink(&red, &format!("{} failed", group.count));
        lines.push(String::new());
        lines.push(format!("  {count}  {}  {}", group.definition, group.reason));
        let skipped = group.log.len().saturating_sub(lines_max);
        let id: String = group.task.chars().take(ID_SHOWN).collect();
        lines.extend(group.log[skipped..].iter().map(|line| format!("    {} {line}", pen.dim(&format!("{id} |")))));
    }
    if sorted.len() > groups_max {
        lines.push(pen.dim(&format!("  and {} more reasons", sorted.len() - groups_max)));
    }
    lines
}

/// Why nothing moves, when something says so.
fn notes(board: &Board, pen: Pen) -> Vec<String> {
    let yellow = Style::new().yellow();
    let away = board.away.as_ref().map(|why| format!("the server is away, waiting for it: {}", one_line(why)));
    let notes: Vec<String> = board.remark.iter().map(|remark| one_line(remark)).chain(away).collect();
    if notes.is_empty() {
        return notes;
    }
    let lines = notes.into_iter().flat_map(|note| wrap(&note, pen.width.saturating_sub(4)));
    std::iter::once(String::new()).chain(lines.map(|line| format!("  {}", pen.ink(&yellow, &line)))).collect()
}

/// Words in lines of at most `width` columns; at most three lines.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let full = lines.len() == NOTE_LINES_MAX;
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + measure_text_width(word) < width => *line = format!("{line} {word}"),
            _ if full => break,
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests;
