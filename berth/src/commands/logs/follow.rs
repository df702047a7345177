//! `berth logs -f`: the output of tasks as it comes. Of a service: of all its tasks, those that come with a deployment too. The server
//! may go away meanwhile; each task is read on from where it was.

use super::line::{Lines, Printer};
use super::tail::Tail;
use super::{TASKS_MAX, tasks};
use crate::commands::describe::{self, ServiceTarget, short};
use crate::commands::follow::{self, News};
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::session::Session;
use api::v1::client::ClientError;
use api::v1::deployer::LogQuery;
use api::v1::events::{EventPage, EventQuery, TASK_CHANGED, TaskChanges, TaskState};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use std::collections::BTreeSet;
use std::time::Duration;

/// Pause before a task's output is asked for again.
const RETRY: Duration = Duration::from_millis(500);
/// Times in a row that the output of a running task may be missing.
const MISSES_MAX: u32 = 600;

/// One task, to its end.
pub(super) async fn task(session: &Session, query: &LogQuery, cluster: &str, id: &str) -> Result<()> {
    let printer = Printer::new(session.out, query.timestamps, false);
    tokio::select! {
        // Cancel-safe: Ctrl-C ends the command.
        done = read(session, query, cluster, id, printer) => done,
        _ = tokio::signal::ctrl_c() => Err(follow::stopped()),
    }
}

/// All tasks of a service, until told to stop.
pub(super) async fn service(session: &Session, query: &LogQuery, target: &ServiceTarget) -> Result<()> {
    let subject = Some(format!("service:{}", target.full_name()));
    let of_tasks = EventQuery { subject, kind: Some(TASK_CHANGED.into()), ..EventQuery::default() };
    // Before the list, so that no task falls between the list and the stream.
    let page: EventPage = session.v1.get("/api/v1/events", &EventQuery { limit: Some(1), ..of_tasks.clone() }).await?;
    let cluster = target.cluster.clone().unwrap_or_else(|| "default".into());
    let printer = Printer::new(session.out, query.timestamps, true);
    let mut known = BTreeSet::new();
    let mut reading = FuturesUnordered::new();
    for task in tasks(session, target, "RUNNING").await?.iter().filter(|task| task.last_status == "RUNNING").take(TASKS_MAX) {
        let id = short(&task.task_arn).to_owned();
        known.insert(id.clone());
        reading.push(read_owned(session, query.clone(), cluster.clone(), id, printer).boxed_local());
    }
    if known.is_empty() {
        output::remark(&format!("no task of {} runs yet", target.full_name()));
    }
    let mut news = follow::start(session, of_tasks, Some(page.next));
    // Of tasks that come, everything.
    let whole = LogQuery { tail: None, since: None, ..query.clone() };
    loop {
        tokio::select! {
            // Cancel-safe: futures in a FuturesUnordered keep their state, a channel keeps what is not taken.
            Some(done) = reading.next() => {
                if let Err(failure) = done && failure.exit() != Exit::NotFound {
                    output::remark(&failure.to_string());
                }
            }
            heard = news.recv() => {
                for id in started(heard.unwrap_or(News::Ended(follow::stopped())))? {
                    if reading.len() < TASKS_MAX && known.insert(id.clone()) {
                        reading.push(read_owned(session, whole.clone(), cluster.clone(), id, printer).boxed_local());
                    }
                }
            }
            _ = tokio::signal::ctrl_c() => return Err(follow::stopped()),
        }
    }
}

/// Tasks that have output from now on.
fn started(news: News) -> Result<Vec<String>> {
    match news {
        News::Event(event) => {
            let changes: TaskChanges = serde_json::from_value(event.detail).unwrap_or_default();
            // One that has failed already may have said why; one that was stopped on order before it ran has nothing to say.
            let has_output = |state: TaskState| state >= TaskState::Running;
            Ok(changes.tasks.into_iter().filter(|task| has_output(task.state()) && task.instance.is_some()).map(|task| task.task).collect())
        }
        News::Lost(why) => {
            output::remark(&format!("{why}; waiting for the server"));
            Ok(Vec::new())
        }
        News::Connected | News::Progress(_) => Ok(Vec::new()),
        News::Ended(failure) => Err(failure),
    }
}

async fn read_owned(session: &Session, query: LogQuery, cluster: String, id: String, printer: Printer) -> Result<()> {
    read(session, &query, &cluster, &id, printer).await
}

/// Reads a task's output to the end of the task.
async fn read(session: &Session, query: &LogQuery, cluster: &str, id: &str, printer: Printer) -> Result<()> {
    let mut tail: Option<Tail> = None;
    let mut misses = 0;
    loop {
        // Looked at before it is read: what a task prints before it stops is then read in any case.
        let described = match describe::describe_tasks(session, cluster, &[id.to_owned()]).await {
            Ok(mut tasks) => tasks.pop().ok_or_else(|| Failure::new(Exit::NotFound, format!("task {id} is gone"))),
            Err(failure) => Err(failure),
        };
        let result = match described {
            Ok(task) => {
                let tail = tail.get_or_insert_with(|| Tail::new(&task, query));
                let stopped = task.last_status == "STOPPED";
                read_once(session, id, tail, printer).await.map(|()| stopped)
            }
            Err(failure) => Err(failure),
        };
        match result {
            Ok(true) => return Ok(()),
            Ok(false) => misses = 0,
            Err(failure) if may_pass(&failure) && misses < MISSES_MAX => misses += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A server or agent that is away, or a task whose containers are not made yet.
fn may_pass(failure: &Failure) -> bool {
    matches!(failure.exit(), Exit::Error | Exit::Conflict)
}

/// Reads what there is until it ends or breaks off.
async fn read_once(session: &Session, id: &str, tail: &mut Tail, printer: Printer) -> Result<()> {
    let mut response = session.v1.stream(&format!("/api/v1/tasks/{id}/logs"), &tail.query()).await?;
    let mut lines = Lines::default();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|error| Failure::from(ClientError::Unreachable { url: session.context.server.clone(), message: error.to_string() }))?;
        let Some(chunk) = chunk else { break };
        lines.push(&chunk);
        while let Some(line) = lines.next_line() {
            if let Some(line) = tail.take(&line) {
                printer.print(id, &line);
            }
        }
    }
    if let Some(line) = lines.rest().and_then(|rest| tail.take(&rest)) {
        printer.print(id, &line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::events::{Event, TaskGlance};

    #[test]
    fn tasks_are_read_from_when_they_run() {
        let glance = |task: &str, last: &str, instance: Option<&str>| TaskGlance {
            task: task.into(),
            last_status: last.into(),
            desired_status: "RUNNING".into(),
            instance: instance.map(str::to_owned),
            ..TaskGlance::default()
        };
        let tasks = vec![glance("a", "PENDING", Some("i")), glance("b", "RUNNING", Some("i")), glance("c", "STOPPED", None)];
        let event = Event {
            sequence: 1,
            at: String::new(),
            kind: TASK_CHANGED.into(),
            principal: None,
            subject: String::new(),
            message: String::new(),
            detail: serde_json::to_value(TaskChanges { tasks }).unwrap(),
        };
        assert_eq!(started(News::Event(Box::new(event))).unwrap(), ["b"]);
        assert!(started(News::Ended(follow::stopped())).is_err());
    }
}
