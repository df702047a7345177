//! `berth run`: one task, to its end. With `--wait` the exit code of the command is that of the task.

use super::describe::{self, short};
use super::service::parse_env;
use super::service::{ContainerArgs, document, register};
use super::tasks;
use crate::duration;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::session::Session;
use api::aws;
use clap::Args;
use std::time::Duration;

/// Time between two looks at the task.
const LOOK_MILLIS: u64 = 300;

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true),
    after_help = "\
Examples:
  berth run migrate:3 --wait
  berth run migrate --env DRY_RUN=1 --wait -- migrate --all      (other command and environment than defined)
  berth run --image acme/job:v1 --memory 256 --wait              (registers the task definition `job` first)

With --wait, the exit code is the task's own: 7 when its container ends with 7. A task that cannot start gives 1."
)]
pub struct RunArgs {
    /// Task definition: FAMILY or FAMILY:REVISION
    #[arg(group = "what")]
    pub task_definition: Option<String>,
    /// Registers a task definition with one container of this image, named like the image
    #[arg(long, group = "what")]
    pub image: Option<String>,
    /// Name of the task definition made by --image
    #[arg(long, requires = "image")]
    pub name: Option<String>,
    /// Hard memory limit in MiB
    #[arg(long, value_name = "MIB", requires = "image", value_parser = clap::value_parser!(i64).range(6..))]
    pub memory: Option<i64>,
    /// CPU units, 1024 per CPU
    #[arg(long, value_name = "UNITS", requires = "image", value_parser = clap::value_parser!(i64).range(0..))]
    pub cpu: Option<i64>,
    /// NAME=VALUE; may be given several times
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parse_env)]
    pub env: Vec<(String, String)>,
    /// Container that command and environment are for, when there are several
    #[arg(long)]
    pub container: Option<String>,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    /// Wait for the end and pass on the exit code
    #[arg(long)]
    pub wait: bool,
    /// Longest wait
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Command instead of the defined one
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

pub async fn run(session: &Session, args: RunArgs) -> Result<u8> {
    session.announce();
    let task_definition = definition(session, &args).await?;
    let request = aws::RunTaskRequest {
        cluster: args.cluster.clone(),
        overrides: overrides(session, &args, &task_definition).await?,
        task_definition,
        started_by: Some("berth run".into()),
        ..Default::default()
    };
    let answer = session.call(&request).await?;
    let Some(task) = answer.tasks.into_iter().next() else {
        return Err(not_placed(&answer.failures));
    };
    if !args.wait {
        let id = short(&task.task_arn);
        session.out.done(id, &format!("started task {id}"), &serde_json::json!({ "task": task }));
        return Ok(0);
    }
    let task = until_stopped(session, &task, args.timeout).await?;
    finish(session, &task)
}

async fn definition(session: &Session, args: &RunArgs) -> Result<String> {
    let Some(image) = &args.image else {
        return Ok(args.task_definition.clone().unwrap_or_default());
    };
    let family = args.name.clone().unwrap_or_else(|| family_of(image));
    let container = ContainerArgs { memory: args.memory, cpu: args.cpu, ..ContainerArgs::default() };
    register(session, document(&family, image, &container)?).await
}

/// A family named like the image: `host/acme/job:v1` becomes `job`.
fn family_of(image: &str) -> String {
    let path = image.split('@').next().unwrap_or(image);
    let last = path.rsplit('/').next().unwrap_or(path);
    let name = last.split(':').next().unwrap_or(last);
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect()
}

/// Command and environment as an override of one container; nothing when neither is given.
async fn overrides(session: &Session, args: &RunArgs, task_definition: &str) -> Result<Option<aws::TaskOverride>> {
    if args.command.is_empty() && args.env.is_empty() {
        return Ok(None);
    }
    let name = match &args.container {
        Some(name) => name.clone(),
        None => only_container(session, task_definition).await?,
    };
    let environment = args.env.iter().map(|(name, value)| aws::KeyValuePair { name: name.clone(), value: value.clone() });
    let container = aws::ContainerOverride {
        name,
        command: (!args.command.is_empty()).then(|| args.command.clone()),
        environment: (!args.env.is_empty()).then(|| environment.collect()),
        ..Default::default()
    };
    Ok(Some(aws::TaskOverride { container_overrides: Some(vec![container]) }))
}

async fn only_container(session: &Session, task_definition: &str) -> Result<String> {
    let request = aws::DescribeTaskDefinitionRequest { task_definition: task_definition.to_owned(), include: None };
    let described = session.call(&request).await?.task_definition;
    let typed = described.definition().map_err(|error| Failure::error("the server's task definition cannot be read").why(error))?;
    match &typed.container_definitions[..] {
        [only] => Ok(only.name.clone()),
        several => {
            Err(Failure::usage(format!("{task_definition} has {} containers", several.len())).next("say which one with --container NAME"))
        }
    }
}

fn not_placed(failures: &[aws::Failure]) -> Failure {
    let reasons: Vec<String> = failures
        .iter()
        .map(|failure| [failure.reason.clone(), failure.detail.clone()].into_iter().flatten().collect::<Vec<_>>().join(": "))
        .collect();
    Failure::new(Exit::Conflict, "no instance can take the task").why(reasons.join("; ")).next("`berth instances` shows what is free")
}

/// Looks until the task is STOPPED, also through restarts of the server.
async fn until_stopped(session: &Session, task: &aws::Task, timeout: Duration) -> Result<aws::Task> {
    let (cluster, arn) = (short(&task.cluster_arn).to_owned(), task.task_arn.clone());
    let id = short(&arn).to_owned();
    let quiet = session.out.is_json() || session.out.is_quiet();
    let watching = async {
        let mut status = String::new();
        loop {
            if let Ok(tasks) = describe::describe_tasks(session, &cluster, std::slice::from_ref(&arn)).await
                && let Some(task) = tasks.into_iter().next()
            {
                if task.last_status != status && !quiet {
                    output::remark(&format!("{} task {id} {}", session.now().to_rfc3339(), task.last_status));
                }
                status.clone_from(&task.last_status);
                if status == "STOPPED" {
                    return task;
                }
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MILLIS)).await;
        }
    };
    tokio::select! {
        // Cancel-safe: looking has no effects.
        task = watching => Ok(task),
        () = tokio::time::sleep(timeout) => Err(Failure::new(Exit::Timeout, format!("task {id} still runs after {}", duration::format(timeout)))
            .next(format!("`berth tasks` shows it, `berth stop {id}` stops it"))),
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Detached, format!("stopped watching; task {id} runs on"))
            .next(format!("`berth logs -f {id}` follows it, `berth stop {id}` stops it"))),
    }
}

fn finish(session: &Session, task: &aws::Task) -> Result<u8> {
    let id = short(&task.task_arn);
    let code = exit_code(task);
    let reason = tasks::reason(task);
    match code {
        Some(code) => {
            session.out.done(id, &format!("task {id} exited with {code}"), &serde_json::json!({ "task": task, "exit_code": code }));
            Ok(code)
        }
        None => Err(Failure::error(format!("task {id} ended without an exit code"))
            .why(reason)
            .next(format!("`berth logs {id}` shows what it printed"))),
    }
}

/// The first exit code that is not 0, or 0 when all containers that ran ended well; `None` when none ran.
fn exit_code(task: &aws::Task) -> Option<u8> {
    let failed_to_start = task.stop_code.as_deref() == Some("TaskFailedToStart");
    let codes: Vec<i64> = task.containers.iter().filter_map(|container| container.exit_code).collect();
    let worst = codes.iter().copied().find(|code| *code != 0);
    match (worst, codes.is_empty() || failed_to_start) {
        (Some(code), _) => Some(u8::try_from(code.clamp(1, 255)).unwrap_or(1)),
        (None, true) => None,
        (None, false) => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_containers_own() {
        let task = |codes: &[Option<i64>]| aws::Task {
            containers: codes.iter().map(|code| aws::Container { exit_code: *code, ..Default::default() }).collect(),
            ..Default::default()
        };
        for (codes, expected) in [
            (&[Some(7)][..], Some(7)),
            (&[Some(0)], Some(0)),
            (&[Some(0), Some(3)], Some(3)),
            (&[None], None),
            (&[None, Some(0)], Some(0)),
            (&[Some(300)], Some(255)),
        ] {
            assert_eq!(exit_code(&task(codes)), expected, "{codes:?}");
        }
    }

    #[test]
    fn families_are_named_like_images() {
        for (image, family) in [("acme/job:v1", "job"), ("127.0.0.1:5000/a/my.job@sha256:00", "my-job"), ("busybox", "busybox")] {
            assert_eq!(family_of(image), family);
        }
    }
}
