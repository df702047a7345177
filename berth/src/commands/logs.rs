//! `berth logs`: what the containers of a task, or of all tasks of a service, print; with `-f` also of the tasks that come.

mod follow;
mod line;
mod tail;

use super::describe::{self, ServiceTarget, short};
use super::tasks::{looks_like_task, resolve};
use crate::duration;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::session::Session;
use api::aws;
use api::v1::deployer::{LOG_SOURCE_HEADER, LogQuery};
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use line::{Lines, Printer};
use std::time::Duration;
use tail::Tail;

/// Most tasks whose output is shown at once.
const TASKS_MAX: usize = 50;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  berth logs web                       all running tasks of the service (or the one that stopped last)
  berth logs -f --tail 20 web          and what comes, of new tasks too: stays across deployments
  berth logs -f --since 10m -t web
  berth logs 3f9a0c1d2e4b --container sidecar
  berth logs prod/web --json           one JSON object per line

Of a task that stopped, its whole output is there for some minutes, and its last 50 lines for an hour.")]
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
    /// Only what was printed in this time, for example 10m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub since: Option<Duration>,
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
    let query = LogQuery {
        container: args.container.clone(),
        follow: args.follow,
        tail: args.tail,
        timestamps: args.timestamps,
        since: args.since.map(|since| session.now().minus(since).as_secs()),
        kept: false,
    };
    match named_task(session, args).await? {
        Some((cluster, id)) if args.follow => follow::task(session, &query, &cluster, &id).await,
        Some((cluster, id)) => of_tasks(session, &query, &describe::describe_tasks(session, &cluster, &[id]).await?).await,
        None => {
            let target = ServiceTarget::parse(&args.of, args.cluster.as_deref())?;
            describe::service(session, &target).await?;
            if args.follow { follow::service(session, &query, &target).await } else { of_service(session, &query, &target).await }
        }
    }
}

/// The cluster and id of the task that is meant, if it is one.
async fn named_task(session: &Session, args: &LogsArgs) -> Result<Option<(String, String)>> {
    if !looks_like_task(&args.of) {
        return Ok(None);
    }
    match resolve(session, &args.of, args.cluster.as_ref(), true).await {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.exit() == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The running tasks of a service, else the one of it that stopped last.
async fn of_service(session: &Session, query: &LogQuery, target: &ServiceTarget) -> Result<()> {
    let running: Vec<aws::Task> =
        tasks(session, target, "RUNNING").await?.into_iter().filter(|task| task.last_status != "PENDING").collect();
    if !running.is_empty() {
        return of_tasks(session, query, &running[..running.len().min(TASKS_MAX)]).await;
    }
    let stopped = tasks(session, target, "STOPPED").await?;
    let last = stopped.iter().max_by(|a, b| a.created_at.total_cmp(&b.created_at));
    let last =
        last.ok_or_else(|| Failure::new(Exit::NotFound, format!("{} has no tasks", target.full_name())).next("`berth events` says why"))?;
    of_tasks(session, query, std::slice::from_ref(last)).await
}

/// Tasks of the service that are to run, or not any more.
async fn tasks(session: &Session, target: &ServiceTarget, desired_status: &str) -> Result<Vec<aws::Task>> {
    let request = aws::ListTasksRequest {
        cluster: target.cluster.clone(),
        service_name: Some(target.name.clone()),
        desired_status: Some(desired_status.into()),
        ..Default::default()
    };
    let ids = describe::task_arns(session, request).await?;
    describe::describe_tasks(session, target.cluster.as_deref().unwrap_or("default"), &ids).await
}

/// The output of tasks to its end, beside each other.
async fn of_tasks(session: &Session, query: &LogQuery, tasks: &[aws::Task]) -> Result<()> {
    let printer = Printer::new(session.out, query.timestamps, tasks.len() > 1);
    let mut streams: FuturesUnordered<_> = tasks.iter().map(|task| show(session, task, query, &printer)).collect();
    let mut failed = None;
    while let Some(result) = tokio::select! {
        // Cancel-safe: a stream that is not polled keeps what it has; Ctrl-C ends the command.
        next = streams.next() => next,
        _ = tokio::signal::ctrl_c() => return Err(super::follow::stopped()),
    } {
        if let Err(failure) = result {
            failed = Some(failure);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Shows the output of one task: as it is when it is alone, else line by line.
async fn show(session: &Session, task: &aws::Task, query: &LogQuery, printer: &Printer) -> Result<()> {
    let id = short(&task.task_arn);
    let raw = !printer.prefixes() && !session.out.is_json();
    let query = LogQuery { timestamps: query.timestamps || !raw, ..query.clone() };
    let mut response = session.v1.stream(&format!("/api/v1/tasks/{id}/logs"), &query).await?;
    if response.headers().get(LOG_SOURCE_HEADER).is_some_and(|source| source == "kept") && output::progress_is_live() {
        output::remark(&format!("the containers of task {} are gone; these are its last lines", printer.short(id)));
    }
    let mut lines = Lines::default();
    let tail = Tail::new(task, &query);
    let broken = |error: reqwest::Error| Failure::error(format!("the output of task {id} broke off")).why(error);
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if raw {
            output::raw(&chunk);
            continue;
        }
        lines.push(&chunk);
        while let Some(line) = lines.next_line() {
            printer.print(id, &tail.parse(&line));
        }
    }
    if let Some(rest) = lines.rest() {
        printer.print(id, &tail.parse(&rest));
    }
    Ok(())
}
