//! What a report makes of a task. Pure.
//!
//! Latest wins, by the agent's sequence; a status never goes back, and a STOPPED task is final. So reports may come late, twice or in
//! any order, and the task ends the same. Times are the agent's, kept between the task's creation and now by the server's clock, so
//! that a host with a wrong clock does no harm.

use api::agent::TaskReport;
use model::Timestamp;
use model::task::{ContainerState, DesiredStatus, HealthStatus, StopCode, Task, TaskStatus};

/// Longest reason kept, in characters.
const REASON_CHARS_MAX: usize = 1024;
/// Most containers of one task, and most bindings of one container, taken from a report.
const CONTAINERS_MAX: usize = 100;
const BINDINGS_MAX: usize = 200;

/// The task after `report`; equal to `task` when it says nothing new.
pub fn merge(task: &Task, report: &TaskReport, now: Timestamp) -> Task {
    let mut merged = task.clone();
    if task.last_status == TaskStatus::Stopped {
        return merged;
    }
    // Late news of a better time still tells that the task once ran, or once was healthy.
    note_milestones(&mut merged, report, now);
    if report.sequence <= task.report_sequence && task.report_sequence > 0 {
        return merged;
    }
    merged.report_sequence = report.sequence;
    merged.last_status = task.last_status.max(report.last_status);
    merged.health_status = if merged.last_status == TaskStatus::Stopped { HealthStatus::Unknown } else { report.health_status };
    merge_containers(&mut merged, report);
    let kept = |at: Option<Timestamp>| at.map(|at| at.clamp(task.created_at, now.max(task.created_at)));
    merged.pull_started_at = task.pull_started_at.or(kept(report.pull_started_at));
    merged.pull_stopped_at = task.pull_stopped_at.or(kept(report.pull_stopped_at));
    if merged.last_status > TaskStatus::Running {
        merged.stopping_at = task.stopping_at.or(Some(now));
    }
    if merged.last_status == TaskStatus::Stopped {
        stop(&mut merged, report, kept(report.stopped_at).unwrap_or(now));
    }
    merged
}

fn note_milestones(merged: &mut Task, report: &TaskReport, now: Timestamp) {
    let (created_at, last) = (merged.created_at, now.max(merged.created_at));
    if merged.started_at.is_none() {
        let running = report.last_status == TaskStatus::Running;
        merged.started_at = report.started_at.or(running.then_some(now)).map(|at| at.clamp(created_at, last));
    }
    if report.last_status == TaskStatus::Running && report.health_status == HealthStatus::Healthy && merged.healthy_at.is_none() {
        merged.healthy_at = Some(now);
    }
}

/// By name; containers that the report leaves out stay as they were.
fn merge_containers(merged: &mut Task, report: &TaskReport) {
    for new in report.containers.iter().take(CONTAINERS_MAX) {
        let (new, full) = (bounded(new), merged.containers.len() >= CONTAINERS_MAX);
        match merged.containers.iter_mut().find(|container| container.name == new.name) {
            Some(old) => {
                *old = ContainerState {
                    last_status: old.last_status.max(new.last_status),
                    runtime_id: new.runtime_id.or(old.runtime_id.take()),
                    exit_code: old.exit_code.or(new.exit_code),
                    reason: new.reason.or(old.reason.take()),
                    ..new
                };
            }
            None if full => {}
            None => merged.containers.push(new),
        }
    }
}

fn bounded(container: &ContainerState) -> ContainerState {
    let mut bounded = container.clone();
    bounded.network_bindings.truncate(BINDINGS_MAX);
    bounded.reason = bounded.reason.map(cut);
    bounded
}

/// The first cause stays: an order's, or the one that the agent saw.
fn stop(merged: &mut Task, report: &TaskReport, stopped_at: Timestamp) {
    merged.desired_status = DesiredStatus::Stopped;
    merged.stopped_at = Some(stopped_at);
    for container in &mut merged.containers {
        container.last_status = TaskStatus::Stopped;
    }
    if merged.stop_code.is_none() {
        let fallback = if merged.started_at.is_some() { StopCode::EssentialContainerExited } else { StopCode::TaskFailedToStart };
        merged.stop_code = Some(report.stop_code.unwrap_or(fallback));
        merged.stopped_reason = report.stopped_reason.clone().map(cut);
    }
}

fn cut(text: String) -> String {
    if text.chars().nth(REASON_CHARS_MAX).is_none() { text } else { text.chars().take(REASON_CHARS_MAX).collect() }
}

#[cfg(test)]
mod tests;
