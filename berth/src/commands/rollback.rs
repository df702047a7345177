//! `berth rollback`: back to what a service ran before, with its triggers held.

use super::describe::ServiceTarget;
use super::watch;
use crate::duration;
use crate::failure::Result;
use crate::output;
use crate::session::Session;
use api::v1::triggers::{NewRollback, Rollback};
use clap::Args;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  berth rollback web                          what was completed before what runs
  berth rollback web --to 7 --reason 'checkout is broken'
  berth rollback prod/web --no-wait
  berth trigger resume web                    pushes deploy again

The service's triggers are held, so that the next push does not undo it. Going back twice goes back further.
Exit codes: 0 completed; 6 failed, rolled back; 7 failed; 5 replaced by another deployment; 8 still running when the time was up.")]
pub struct RollbackArgs {
    pub service: String,
    /// Revision to go back to: FAMILY:REVISION, or REVISION of the family that runs
    #[arg(long, value_name = "REVISION")]
    pub to: Option<String>,
    /// Why, for the others
    #[arg(long, default_value = "")]
    pub reason: String,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    #[command(flatten)]
    pub wait: WaitFlags,
}

/// Waiting, unless it is not wanted.
#[derive(Debug, Args)]
pub struct WaitFlags {
    /// Wait until it is completed or has failed; this is the default
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Come back as soon as it has begun
    #[arg(long)]
    pub no_wait: bool,
    /// Longest wait
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub timeout: Duration,
}

impl WaitFlags {
    pub fn wanted(&self) -> bool {
        !self.no_wait
    }
}

pub async fn run(session: &Session, args: RollbackArgs) -> Result<()> {
    session.announce();
    let target = ServiceTarget::parse(&args.service, args.cluster.as_deref())?;
    let wish = NewRollback { service: target.full_name(), to: args.to, reason: args.reason };
    let done: Rollback = session.v1.post("/api/v1/rollbacks", &wish).await?;
    if !done.held.is_empty() && !session.out.is_json() && !session.out.is_quiet() {
        let (held, service) = (done.held.join(", "), &done.service);
        output::remark(&format!("held {held}: pushes do not deploy {service} until `berth trigger resume {service}`"));
    }
    let sentence = format!("rolled {} back from {} to {}", done.service, done.from, done.to);
    if args.wait.wanted() {
        let target = ServiceTarget::parse(&done.service, None)?;
        watch::until_ended(session, &target, &done.deployment, args.wait.timeout).await?;
    }
    session.out.done(&done.deployment, &sentence, &serde_json::json!({ "rollback": done }));
    Ok(())
}
