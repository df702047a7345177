//! Reports to the server: the latest of each task wins, none goes back, and each is sent again until it is accepted.
//!
//! What waits is in the [`Outbox`]. One request is under way at a time; what changes meanwhile goes with the next, so that a storm
//! becomes a few batches and a single change goes out at once.

use crate::client::Server;
use crate::config::REVOKED_RETRY;
use crate::failpoint::Failpoint;
use crate::random;
use api::agent::{AgentErrorCode, REPORTS_MAX, ReportRequest, TaskReport, UnknownContainer};
use model::ids::TaskId;
use model::task::ContainerState;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Changes of one moment (a task of several containers) go together; far below the 100 ms a report may wait.
const GATHER: Duration = Duration::from_millis(3);
/// Last lines of tasks in one request, in bytes; one task more may be over it. JSON makes up to six bytes of one.
const TAIL_BYTES_MAX: usize = 1024 * 1024;
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Reports that wait to be sent.
pub struct Outbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
    failpoint: Failpoint,
}

#[derive(Default)]
struct Waiting {
    reports: BTreeMap<TaskId, TaskReport>,
    /// The last published of each task.
    published: BTreeMap<TaskId, TaskReport>,
    unknown: Vec<UnknownContainer>,
    unknown_changed: bool,
}

impl Outbox {
    pub fn new(failpoint: Failpoint) -> Self {
        Self { waiting: Mutex::default(), wake: Notify::new(), failpoint }
    }

    /// Queues a report in place of an older one of the same task, if it tells the server anything new.
    pub fn publish(&self, report: TaskReport) {
        let last = self.lock().published.get(&report.task_id).cloned();
        if last.is_none_or(|last| report.last_status >= last.last_status && is_news(&last, &report)) {
            self.insert(report);
        }
    }

    /// Queues a report whether it is news or not: a server that just started may have missed it.
    pub fn repeat(&self, report: TaskReport) {
        let last = self.lock().published.get(&report.task_id).map(|last| last.last_status);
        if last.is_none_or(|last| report.last_status >= last) {
            self.insert(report);
        }
    }

    fn insert(&self, report: TaskReport) {
        let mut waiting = self.lock();
        waiting.published.insert(report.task_id.clone(), report.clone());
        waiting.reports.insert(report.task_id.clone(), report);
        drop(waiting);
        self.wake.notify_one();
    }

    /// The complete list of unknown containers; sent when it changed.
    pub fn publish_unknown(&self, unknown: Vec<UnknownContainer>) {
        let mut waiting = self.lock();
        let same = |(a, b): (&UnknownContainer, &UnknownContainer)| a.runtime_id == b.runtime_id;
        if waiting.unknown.len() == unknown.len() && waiting.unknown.iter().zip(&unknown).all(same) {
            return;
        }
        (waiting.unknown, waiting.unknown_changed) = (unknown, true);
        drop(waiting);
        self.wake.notify_one();
    }

    /// Sends the unknown containers again, to a server that may not have heard of them.
    pub fn repeat_unknown(&self) {
        let mut waiting = self.lock();
        waiting.unknown_changed |= !waiting.unknown.is_empty();
        drop(waiting);
        self.wake.notify_one();
    }

    /// The server has the last word of a task on record.
    pub fn forget(&self, task: &TaskId) {
        let mut waiting = self.lock();
        waiting.reports.remove(task);
        waiting.published.remove(task);
    }

    /// What to send next, if anything waits.
    fn next(&self) -> Option<(Vec<TaskReport>, Vec<UnknownContainer>)> {
        let mut waiting = self.lock();
        if waiting.reports.is_empty() && !waiting.unknown_changed {
            return None;
        }
        waiting.unknown_changed = false;
        let mut tail_bytes = 0;
        let fits = |report: &&TaskReport| {
            let before = tail_bytes;
            tail_bytes += report.log_tails.iter().map(|tail| tail.text.len()).sum::<usize>();
            before < TAIL_BYTES_MAX
        };
        let ids: Vec<TaskId> = waiting.reports.values().take(REPORTS_MAX).take_while(fits).map(|report| report.task_id.clone()).collect();
        let reports = ids.iter().filter_map(|id| waiting.reports.remove(id)).collect();
        Some((reports, waiting.unknown.clone()))
    }

    /// Reports that were not accepted wait again, unless a newer one came meanwhile.
    fn give_back(&self, reports: Vec<TaskReport>) {
        let mut waiting = self.lock();
        waiting.unknown_changed = true;
        for report in reports {
            if waiting.published.get(&report.task_id).is_some_and(|last| last.sequence <= report.sequence) {
                waiting.reports.entry(report.task_id.clone()).or_insert(report);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a report says more than that time went by: steps on the way to RUNNING are for the ledger, not for the server.
fn is_news(last: &TaskReport, report: &TaskReport) -> bool {
    let told = |report: &TaskReport| {
        let containers: Vec<_> = report.containers.iter().map(|c| ContainerState { runtime_id: None, ..c.clone() }).collect();
        (report.last_status, report.health_status, report.pull_started_at.is_some(), report.started_at, report.stop_code, containers)
    };
    told(last) != told(report)
}

/// Sends what waits, until aborted. `epoch` is the server's as last heard.
pub async fn run<S: Server>(server: S, outbox: std::sync::Arc<Outbox>, epoch: impl Fn() -> i64 + Send) {
    let mut retry = RETRY_MIN;
    loop {
        let Some((tasks, unknown)) = outbox.next() else {
            outbox.wake.notified().await;
            tokio::time::sleep(GATHER).await;
            continue;
        };
        outbox.failpoint.hit("before-report");
        let request = ReportRequest { epoch: epoch(), tasks, unknown };
        let Err(error) = server.report(&request).await else {
            retry = RETRY_MIN;
            continue;
        };
        tracing::warn!(reports = request.tasks.len(), "{} task reports wait: {error}", request.tasks.len());
        if error.code() == Some(AgentErrorCode::Invalid) {
            one_by_one(&server, &outbox, request).await;
        } else {
            outbox.give_back(request.tasks);
        }
        let pause = if error.code() == Some(AgentErrorCode::Revoked) { REVOKED_RETRY } else { retry };
        tokio::time::sleep(random::jitter(pause)).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}

/// A batch that the server calls invalid: one bad report must not hold up the others for ever.
async fn one_by_one<S: Server>(server: &S, outbox: &Outbox, batch: ReportRequest) {
    for report in batch.tasks {
        let request = ReportRequest { epoch: batch.epoch, tasks: vec![report], unknown: batch.unknown.clone() };
        match server.report(&request).await {
            Ok(_) => {}
            Err(error) if error.code() == Some(AgentErrorCode::Invalid) => {
                let task = &request.tasks[0].task_id;
                tracing::error!(task.id = %task, "the server does not understand the report of task {task}, which is dropped: {error}");
            }
            Err(_) => outbox.give_back(request.tasks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TaskRecord;
    use crate::record::tests::order_of_two;
    use model::Timestamp;
    use model::task::TaskStatus;

    #[test]
    fn the_latest_report_wins_and_none_goes_back() {
        let outbox = Outbox::new(Failpoint::default());
        let mut record = TaskRecord::new(order_of_two(1));
        let pending = record.report();
        outbox.publish(pending.clone());
        record.finish(Timestamp::from_secs(2));
        record.number(Timestamp::from_secs(2));
        outbox.publish(record.report());
        outbox.publish(pending.clone());
        let (sent, _) = outbox.next().unwrap();
        assert_eq!(sent.iter().map(|report| report.last_status).collect::<Vec<_>>(), [TaskStatus::Stopped]);
        assert!(outbox.next().is_none());

        outbox.give_back(sent);
        assert_eq!(outbox.next().unwrap().0.len(), 1, "not accepted: sent again");
        outbox.give_back(vec![pending]);
        assert!(outbox.next().unwrap().0.is_empty(), "old news is not sent again");
    }

    #[test]
    fn unknown_containers_are_sent_whole_and_only_when_they_change() {
        let outbox = Outbox::new(Failpoint::default());
        let unknown =
            |id: &str| UnknownContainer { runtime_id: id.into(), name: id.into(), task_id: None, image: "x".into(), status: "Up".into() };
        outbox.publish_unknown(Vec::new());
        assert!(outbox.next().is_none());
        outbox.publish_unknown(vec![unknown("a"), unknown("b")]);
        assert_eq!(outbox.next().unwrap().1.len(), 2);
        outbox.publish_unknown(vec![unknown("a"), unknown("b")]);
        assert!(outbox.next().is_none());
        outbox.publish_unknown(Vec::new());
        assert!(outbox.next().unwrap().1.is_empty());
    }
}
