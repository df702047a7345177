//! `berth services` and `berth service`.

mod create;
mod definition;

pub(super) use definition::{ContainerArgs, document, register, with_image};

pub use create::CreateArgs;

use super::describe::{self, ServiceTarget, short};
use super::watch;
use crate::duration;
use crate::failure::{Failure, Result};
use crate::output::{self, Format, Rows};
use crate::session::Session;
use api::aws;
use clap::{Args, Subcommand};
use std::time::Duration;

/// Attempts that `show` lists.
const ATTEMPTS_SHOWN: i64 = 5;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  berth services\n  berth services --cluster prod --json\n  berth services -q")]
pub struct ListArgs {
    /// Only this cluster [default: all]
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// List services
    #[command(after_help = "Examples:\n  berth service ls")]
    Ls(ListArgs),
    /// Create a service from an image, or from a task definition that stands
    Create(Box<CreateArgs>),
    /// Change how many tasks a service runs
    #[command(after_help = "Examples:\n  berth service scale web 5\n  berth service scale prod/web 0 --wait")]
    Scale(ScaleArgs),
    /// Replace a service's tasks: by another image, another task definition, or as they are
    #[command(after_help = "\
Examples:
  berth service update web --image acme/web:v2 --wait
  berth service update web --task-definition web:7
  berth service update web --force                       (same definition, new tasks)")]
    Update(UpdateArgs),
    /// Show one service: deployments, events
    #[command(after_help = "Examples:\n  berth service show web\n  berth service show prod/web --json")]
    Show {
        service: String,
        #[arg(long, env = "BERTH_CLUSTER")]
        cluster: Option<String>,
    },
    /// Remove a service and stop its tasks
    #[command(after_help = "Examples:\n  berth service rm web\n  berth service rm prod/web --wait")]
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Wait until the service is stable, and show how it gets there [default: on a terminal]
    #[arg(long)]
    pub wait: bool,
    /// Do not wait, on a terminal either
    #[arg(long, conflicts_with = "wait")]
    pub detach: bool,
    /// Longest wait
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct ScaleArgs {
    pub service: String,
    #[arg(value_parser = clap::value_parser!(i64).range(0..=5000))]
    pub count: i64,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct UpdateArgs {
    pub service: String,
    /// The definition that runs, with this image
    #[arg(long, group = "what")]
    pub image: Option<String>,
    /// Container whose image is replaced, when there are several
    #[arg(long, requires = "image")]
    pub container: Option<String>,
    /// FAMILY or FAMILY:REVISION
    #[arg(long, group = "what")]
    pub task_definition: Option<String>,
    /// The same definition with new tasks
    #[arg(long, group = "what")]
    pub force: bool,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    pub service: String,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    /// Wait until its tasks are gone
    #[arg(long)]
    pub wait: bool,
    /// Longest wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    pub timeout: Duration,
}

pub async fn run(session: &Session, command: ServiceCommand) -> Result<()> {
    match command {
        ServiceCommand::Ls(args) => list(session, &args).await,
        ServiceCommand::Create(args) => Box::pin(create::run(session, *args)).await,
        ServiceCommand::Scale(args) => Box::pin(scale(session, args)).await,
        ServiceCommand::Update(args) => Box::pin(update(session, args)).await,
        ServiceCommand::Show { service, cluster } => show(session, &ServiceTarget::parse(&service, cluster.as_deref())?).await,
        ServiceCommand::Rm(args) => remove(session, args).await,
    }
}

pub async fn list(session: &Session, args: &ListArgs) -> Result<()> {
    let mut all = Vec::new();
    for cluster in describe::clusters(session, args.cluster.as_ref()).await? {
        all.extend(describe::services(session, &cluster).await?);
    }
    let mut rows = Rows::new(
        &["NAME", "CLUSTER", "STATUS", "RUNNING", "TASK DEFINITION", "DEPLOYMENT", "AGE"],
        "no services; `berth service create NAME --image IMAGE` makes one",
    );
    for service in &all {
        rows.push(&service.service_name, service_cells(session, service));
    }
    session.out.list(&rows, &serde_json::json!({ "services": all }));
    Ok(())
}

fn service_cells(session: &Session, service: &aws::Service) -> Vec<String> {
    let age = duration::format(session.now().since(duration::from_epoch_secs(service.created_at)));
    vec![
        service.service_name.clone(),
        short(&service.cluster_arn).to_owned(),
        service.status.clone(),
        format!("{}/{}", service.running_count, service.desired_count),
        short(&service.task_definition).to_owned(),
        service.deployments.first().map_or_else(|| "-".into(), |deployment| deployment.rollout_state.clone()),
        age,
    ]
}

async fn scale(session: &Session, args: ScaleArgs) -> Result<()> {
    session.announce();
    let target = ServiceTarget::parse(&args.service, args.cluster.as_deref())?;
    let request = aws::UpdateServiceRequest {
        cluster: target.cluster.clone(),
        service: target.name.clone(),
        desired_count: Some(args.count),
        ..Default::default()
    };
    let service = session.call(&request).await?.service;
    finish(session, &target, service, &args.wait, &format!("scaled {} to {}", target.full_name(), args.count)).await
}

async fn update(session: &Session, args: UpdateArgs) -> Result<()> {
    session.announce();
    let target = ServiceTarget::parse(&args.service, args.cluster.as_deref())?;
    let task_definition = match (&args.image, args.task_definition) {
        (Some(image), _) => {
            let service = describe::service(session, &target).await?;
            Some(definition::with_image(session, &service.task_definition, args.container.as_deref(), image).await?)
        }
        (None, given) => given,
    };
    let request = aws::UpdateServiceRequest {
        cluster: target.cluster.clone(),
        service: target.name.clone(),
        force_new_deployment: args.force.then_some(true),
        task_definition,
        ..Default::default()
    };
    let service = session.call(&request).await?.service;
    let sentence = format!("updating {} to {}", target.full_name(), short(&service.task_definition));
    finish(session, &target, service, &args.wait, &sentence).await
}

impl WaitArgs {
    /// Whether to wait: when asked to, and by default where somebody looks.
    fn is_wanted(&self, session: &Session) -> bool {
        self.wait || !self.detach && session.out.format == Format::Table && output::progress_is_live()
    }
}

/// Says what was done, after waiting for it when that is wanted.
async fn finish(session: &Session, target: &ServiceTarget, service: aws::Service, wait: &WaitArgs, sentence: &str) -> Result<()> {
    let service = if wait.is_wanted(session) { watch::until_stable(session, target, &service, wait.timeout).await? } else { service };
    session.out.done(&service.service_arn, sentence, &serde_json::json!({ "service": service }));
    Ok(())
}

async fn show(session: &Session, target: &ServiceTarget) -> Result<()> {
    let service = describe::service(session, target).await?;
    let value = serde_json::json!({ "service": service });
    if session.out.is_json() || session.out.is_quiet() {
        session.out.done(&service.service_arn, "", &value);
        return Ok(());
    }
    let now = session.now();
    let mut pairs = vec![
        ("service", target.full_name()),
        ("status", service.status.clone()),
        ("tasks", format!("{} running, {} pending, {} desired", service.running_count, service.pending_count, service.desired_count)),
        ("task definition", short(&service.task_definition).to_owned()),
        ("created", duration::ago(duration::from_epoch_secs(service.created_at), now)),
        ("arn", service.service_arn.clone()),
    ];
    pairs.extend(service.created_by.clone().map(|by| ("pulls as", by)));
    for deployment in &service.deployments {
        pairs.push(("deployment", deployment_line(deployment)));
    }
    for attempt in attempts(session, target).await? {
        pairs.push(("history", attempt_line(&attempt, now)));
    }
    for event in service.events.iter().take(10) {
        pairs.push(("event", format!("{}  {}", duration::ago(duration::from_epoch_secs(event.created_at), now), event.message)));
    }
    session.out.details(&service.service_arn, &pairs, &value);
    Ok(())
}

/// The last attempts to bring the service to a revision, newest first.
async fn attempts(session: &Session, target: &ServiceTarget) -> Result<Vec<aws::ServiceDeploymentBrief>> {
    let request = aws::ListServiceDeploymentsRequest {
        cluster: target.cluster.clone(),
        service: target.name.clone(),
        max_results: Some(ATTEMPTS_SHOWN),
        ..Default::default()
    };
    Ok(session.call(&request).await?.service_deployments)
}

/// `2m ago  ecs-svc/123 SUCCESSFUL: user:alice updated the service.`
fn attempt_line(attempt: &aws::ServiceDeploymentBrief, now: model::Timestamp) -> String {
    let ago = duration::ago(duration::from_epoch_secs(attempt.created_at), now);
    let (id, status) = (short(&attempt.target_service_revision_arn), &attempt.status);
    format!("{ago}  ecs-svc/{id} {status}: {}", attempt.status_reason)
}

fn deployment_line(deployment: &aws::Deployment) -> String {
    format!(
        "{} {} {}: {}/{} running, {} failed, {} {}",
        deployment.id,
        deployment.status,
        short(&deployment.task_definition),
        deployment.running_count,
        deployment.desired_count,
        deployment.failed_tasks,
        deployment.rollout_state,
        deployment.rollout_state_reason
    )
}

async fn remove(session: &Session, args: RemoveArgs) -> Result<()> {
    session.announce();
    let target = ServiceTarget::parse(&args.service, args.cluster.as_deref())?;
    let request = aws::DeleteServiceRequest { cluster: target.cluster.clone(), service: target.name.clone(), force: Some(true) };
    let service = session.call(&request).await?.service;
    if args.wait {
        watch::until_gone(session, &target, args.timeout).await?;
    }
    let sentence = format!("removed {}{}", target.full_name(), if args.wait { "" } else { "; its tasks are stopping" });
    session.out.done(&service.service_arn, &sentence, &serde_json::json!({ "service": service }));
    Ok(())
}

/// Environment as people type it, `NAME=VALUE`.
pub fn parse_env(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

/// A port as people type it: `8080` (any free host port), or `80:8080` (host port 80).
pub fn parse_port(text: &str) -> Result<(Option<u16>, u16), String> {
    let refuse = || format!("`{text}` is not PORT or HOSTPORT:PORT");
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refuse);
    match text.split_once(':') {
        None => Ok((None, port(text)?)),
        Some((host, container)) => Ok((Some(port(host)?), port(container)?)),
    }
}

pub(super) fn no_such_container(name: &str, of: &str) -> Failure {
    Failure::usage(format!("{of} has no container `{name}`")).next(format!("`berth task-definition show {of}` lists its containers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_environment_are_parsed() {
        assert_eq!(parse_port("8080"), Ok((None, 8080)));
        assert_eq!(parse_port("80:8080"), Ok((Some(80), 8080)));
        for bad in ["", "0", "x", "1:2:3", "70000", ":80"] {
            assert!(parse_port(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_env("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(parse_env("A").is_err() && parse_env("=b").is_err());
    }
}
