//! `berth deploy`: an image to a service, without a task definition made by hand; a deployment as it goes; and what waits for approval.

use super::describe::{self, ServiceTarget, short};
use super::rollback::WaitFlags;
use super::user::segment;
use super::{service, trigger, watch};
use crate::duration;
use crate::failure::Result;
use crate::session::Session;
use api::aws;
use api::v1::triggers::{Decision, Reject};
use clap::{Args, Subcommand};
use std::time::Duration;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  berth deploy web --image acme/web:v2
  berth deploy prod/web --image acme/web:v2 --container app --no-wait
  berth deploy watch web
  berth deploy approve web
  berth deploy reject d-3f9a0c1d2e4b --reason 'not on a Friday'

Exit codes: 0 completed; 6 failed, rolled back; 7 failed; 5 replaced by another deployment; 8 still running when the time was up."
)]
pub struct DeployArgs {
    #[command(subcommand)]
    pub command: Option<DeployCommand>,
    #[command(flatten)]
    pub image: ImageArgs,
}

#[derive(Debug, Args)]
pub struct ImageArgs {
    /// NAME, or CLUSTER/NAME
    #[arg(required = true)]
    pub service: Option<String>,
    /// What the service is to run: its definition is copied with this image
    #[arg(long, required = true)]
    pub image: Option<String>,
    /// Container whose image is replaced, when there are several
    #[arg(long)]
    pub container: Option<String>,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    #[command(flatten)]
    pub wait: WaitFlags,
}

#[derive(Debug, Subcommand)]
pub enum DeployCommand {
    /// Show a deployment as it goes, to its end; or how the last one ended
    #[command(after_help = "\
Examples:
  berth deploy watch web
  berth deploy watch prod/web --timeout 1h
  berth deploy watch web --json          one JSON object per line, the last one of type \"verdict\"

Exit codes: 0 completed; 5 another deployment took its place; 6 failed and rolled back; 7 failed; 8 still running when the
time was up; 130 stopped watching with Ctrl-C, which cancels nothing.")]
    Watch(WatchArgs),
    /// Deploy a push that waits for approval
    #[command(after_help = "\
Examples:
  berth deploy approve web                     the push that waits, when there is one
  berth deploy approve d-3f9a0c1d2e4b --no-wait")]
    Approve {
        /// SERVICE, CLUSTER/SERVICE, or the id of a decision
        what: String,
        #[command(flatten)]
        wait: WaitFlags,
    },
    /// Put away a push that waits for approval
    #[command(after_help = "Examples:\n  berth deploy reject web\n  berth deploy reject d-3f9a0c1d2e4b --reason 'not on a Friday'")]
    Reject {
        /// SERVICE, CLUSTER/SERVICE, or the id of a decision
        what: String,
        /// Why, for who pushed
        #[arg(long, default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// NAME, or CLUSTER/NAME
    pub service: String,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    /// Longest time to watch
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    pub timeout: Duration,
}

pub async fn run(session: &Session, args: DeployArgs) -> Result<()> {
    session.announce();
    match args.command {
        None => Box::pin(image(session, args.image)).await,
        Some(DeployCommand::Watch(args)) => {
            let target = ServiceTarget::parse(&args.service, args.cluster.as_deref())?;
            watch::deployment(session, &target, args.timeout).await.map(drop)
        }
        Some(DeployCommand::Approve { what, wait }) => approve(session, &what, &wait).await,
        Some(DeployCommand::Reject { what, reason }) => reject(session, &what, reason).await,
    }
}

async fn image(session: &Session, args: ImageArgs) -> Result<()> {
    let target = ServiceTarget::parse(args.service.as_deref().unwrap_or_default(), args.cluster.as_deref())?;
    let image = args.image.unwrap_or_default();
    let running = describe::service(session, &target).await?;
    let task_definition = service::with_image(session, &running.task_definition, args.container.as_deref(), &image).await?;
    let request = aws::UpdateServiceRequest {
        cluster: target.cluster.clone(),
        service: target.name.clone(),
        task_definition: Some(task_definition),
        ..Default::default()
    };
    let updated = session.call(&request).await?.service;
    let deployment = updated.deployments.first().map(|deployment| deployment.id.clone()).unwrap_or_default();
    let sentence = format!("deploying {image} to {} as {}", target.full_name(), short(&updated.task_definition));
    if args.wait.wanted() {
        watch::until_stable(session, &target, &updated, args.wait.timeout).await?;
    }
    session.out.done(&deployment, &sentence, &serde_json::json!({ "service": updated }));
    Ok(())
}

async fn approve(session: &Session, what: &str, wait: &WaitFlags) -> Result<()> {
    let id = trigger::waiting(session, what).await?;
    let path = format!("/api/v1/trigger-decisions/{}/approve", segment(&id)?);
    let approved: Decision = session.v1.post(&path, &serde_json::json!({})).await?;
    if let Some(deployment) = approved.deployment.as_ref().filter(|_| wait.wanted()) {
        let target = ServiceTarget::parse(&approved.service, None)?;
        watch::until_ended(session, &target, deployment, wait.timeout).await?;
    }
    let (push, to) = (&approved.push, approved.task_definition.clone().unwrap_or_default());
    let sentence = format!("approved {}:{} by {}: {} runs {to}", push.repository, push.tag, push.principal, approved.service);
    session.out.done(&approved.id, &sentence, &serde_json::json!({ "decision": approved }));
    Ok(())
}

async fn reject(session: &Session, what: &str, reason: String) -> Result<()> {
    let id = trigger::waiting(session, what).await?;
    let path = format!("/api/v1/trigger-decisions/{}/reject", segment(&id)?);
    let rejected: Decision = session.v1.post(&path, &Reject { reason }).await?;
    let push = &rejected.push;
    let sentence = format!("rejected {}:{} by {} for {}", push.repository, push.tag, push.principal, rejected.service);
    session.out.done(&rejected.id, &sentence, &serde_json::json!({ "decision": rejected }));
    Ok(())
}
