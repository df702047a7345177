//! `berth logs`: what the containers of a task, or of all tasks of a service, print.

use super::describe::{self, ServiceTarget, short};
use super::tasks::{looks_like_task, resolve};
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::session::Session;
use api::aws;
use api::v1::deployer::LogQuery;
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Most tasks whose output is shown at once.
const TASKS_MAX: usize = 50;
/// Longest line put together before it is shown in parts, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  berth logs web                       all running tasks of the service (or the one that stopped last)
  berth logs -f --tail 20 web
  berth logs 3f9a0c1d2e4b --container sidecar
  berth logs prod/web --json           one JSON object per line")]
pub struct LogsArgs {
    /// Id of a task (or its beginning), or a service
    #[arg(value_name = "TASK|SERVICE")]
    pub of: String,
    /// Stay and show what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Last lines to begin with, of each task [default: everything]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=i64::from(api::v1::deployer::LOG_TAIL_MAX)))]
    pub tail: Option<u32>,
    /// Only this container
    #[arg(long)]
    pub container: Option<String>,
    /// Each line begins with its time
    #[arg(long, short)]
    pub timestamps: bool,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
}

pub async fn run(session: &Session, args: &LogsArgs) -> Result<()> {
    let tasks = tasks_of(session, args).await?;
    let query = LogQuery { container: args.container.clone(), follow: args.follow, tail: args.tail, timestamps: args.timestamps };
    let prefixed = tasks.len() > 1;
    let mut streams: FuturesUnordered<_> = tasks.iter().map(|task| show(session, task, &query, prefixed)).collect();
    let mut failed = None;
    while let Some(result) = tokio::select! {
        // Cancel-safe: a stream that is not polled keeps what it has; Ctrl-C ends the command.
        next = streams.next() => next,
        _ = tokio::signal::ctrl_c() => return Err(Failure::new(Exit::Detached, "stopped watching")),
    } {
        if let Err(failure) = result {
            failed = Some(failure);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// The tasks meant: one by its id, else the running ones of a service, else the one of it that stopped last.
async fn tasks_of(session: &Session, args: &LogsArgs) -> Result<Vec<String>> {
    if looks_like_task(&args.of) {
        match resolve(session, &args.of, args.cluster.as_ref(), true).await {
            Ok((_, id)) => return Ok(vec![id]),
            Err(failure) if failure.exit() == Exit::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    let target = ServiceTarget::parse(&args.of, args.cluster.as_deref())?;
    describe::service(session, &target).await?;
    let running = ids(session, &target, "RUNNING").await?;
    if !running.is_empty() {
        return Ok(running.into_iter().take(TASKS_MAX).collect());
    }
    let stopped = ids(session, &target, "STOPPED").await?;
    let cluster = target.cluster.clone().unwrap_or_else(|| "default".into());
    let tasks = describe::describe_tasks(session, &cluster, &stopped).await?;
    let last = tasks.iter().max_by(|a, b| a.created_at.total_cmp(&b.created_at));
    let last =
        last.ok_or_else(|| Failure::new(Exit::NotFound, format!("{} has no tasks", target.full_name())).next("`berth events` says why"))?;
    Ok(vec![short(&last.task_arn).to_owned()])
}

async fn ids(session: &Session, target: &ServiceTarget, status: &str) -> Result<Vec<String>> {
    let request = aws::ListTasksRequest {
        cluster: target.cluster.clone(),
        service_name: Some(target.name.clone()),
        desired_status: Some(status.into()),
        ..Default::default()
    };
    Ok(describe::task_arns(session, request).await?.iter().map(|arn| short(arn).to_owned()).collect())
}

/// Shows the output of one task to its end: as it is, or line by line when there are several or JSON is wanted.
async fn show(session: &Session, task: &str, query: &LogQuery, prefixed: bool) -> Result<()> {
    let mut response = session.v1.stream(&format!("/api/v1/tasks/{task}/logs"), query).await?;
    let raw = !prefixed && !session.out.is_json();
    let mut lines = Lines::default();
    let broken = |error: reqwest::Error| Failure::error(format!("the output of task {task} broke off")).why(error);
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if raw {
            output::raw(&chunk);
            continue;
        }
        lines.push(&chunk);
        while let Some(line) = lines.next_line() {
            print_line(session, task, &line);
        }
    }
    if let Some(rest) = lines.rest() {
        print_line(session, task, &rest);
    }
    Ok(())
}

fn print_line(session: &Session, task: &str, line: &str) {
    let text = format!("{}  {line}", task.get(..12).unwrap_or(task));
    session.out.line(&text, &serde_json::json!({ "task": task, "line": line }));
}

/// Bytes that arrive in pieces, given back in lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    fn next_line(&mut self) -> Option<String> {
        let (end, skip) = match self.0.iter().position(|byte| *byte == b'\n') {
            Some(at) if at <= LINE_BYTES_MAX => (at, 1),
            _ if self.0.len() > LINE_BYTES_MAX => (LINE_BYTES_MAX, 0),
            _ => return None,
        };
        let line = String::from_utf8_lossy(&self.0[..end]).trim_end_matches('\r').to_owned();
        self.0.drain(..end + skip);
        Some(line)
    }

    fn rest(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines() {
        let mut lines = Lines::default();
        lines.push(b"one\r\ntw");
        assert_eq!(lines.next_line().as_deref(), Some("one"));
        assert_eq!(lines.next_line(), None);
        lines.push(b"o\n\nrest");
        assert_eq!(lines.next_line().as_deref(), Some("two"));
        assert_eq!(lines.next_line().as_deref(), Some(""));
        assert_eq!(lines.next_line(), None);
        assert_eq!(lines.rest().as_deref(), Some("rest"));
        lines.push(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert_eq!(lines.next_line().map(|line| line.len()), Some(LINE_BYTES_MAX));
    }
}
