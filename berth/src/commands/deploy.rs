//! `berth deploy`: deployments as people see them.

use super::describe::ServiceTarget;
use super::watch;
use crate::duration;
use crate::failure::Result;
use crate::session::Session;
use clap::{Args, Subcommand};
use std::time::Duration;

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

pub async fn run(session: &Session, command: DeployCommand) -> Result<()> {
    match command {
        DeployCommand::Watch(args) => {
            let target = ServiceTarget::parse(&args.service, args.cluster.as_deref())?;
            watch::deployment(session, &target, args.timeout).await.map(drop)
        }
    }
}
