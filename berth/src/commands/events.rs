//! `berth events`: what happened, to a service or at all.

use super::describe::ServiceTarget;
use crate::failure::{Exit, Failure, Result};
use crate::session::Session;
use api::v1::deployer::{Event, EventPage, EventQuery};
use clap::Args;
use std::time::Duration;

/// Time between two looks for new events, in milliseconds.
const LOOK_MILLIS: u64 = 500;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  berth events web                     what happened to the service
  berth events -f                      everything you may see, as it happens
  berth events --subject user:alice --json")]
pub struct EventsArgs {
    /// Only this service
    pub service: Option<String>,
    /// Only what is about this: service:CLUSTER/NAME, user:NAME, repository:PATTERN
    #[arg(long, conflicts_with = "service")]
    pub subject: Option<String>,
    /// Stay and show what comes
    #[arg(long, short)]
    pub follow: bool,
    /// How many of the newest to begin with
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub tail: u64,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
}

pub async fn run(session: &Session, args: &EventsArgs) -> Result<()> {
    let subject = match &args.service {
        Some(service) => Some(format!("service:{}", ServiceTarget::parse(service, args.cluster.as_deref())?.full_name())),
        None => args.subject.clone(),
    };
    let limit = usize::try_from(args.tail).ok();
    let mut page = look(session, &EventQuery { after: None, subject: subject.clone(), limit }).await?;
    loop {
        page.items.iter().for_each(|event| session.out.line(&line(event), event));
        if !args.follow {
            return Ok(());
        }
        tokio::select! {
            // Cancel-safe per docs: both hold nothing.
            () = tokio::time::sleep(Duration::from_millis(LOOK_MILLIS)) => {}
            _ = tokio::signal::ctrl_c() => return Err(Failure::new(Exit::Detached, "stopped watching")),
        }
        let query = EventQuery { after: Some(page.next), subject: subject.clone(), limit: None };
        // A server that restarts is no reason to stop watching.
        page = match look(session, &query).await {
            Err(failure) if failure.exit() == Exit::Error => EventPage { items: Vec::new(), next: page.next },
            other => other?,
        };
    }
}

async fn look(session: &Session, query: &EventQuery) -> Result<EventPage> {
    Ok(session.v1.get("/api/v1/events", query).await?)
}

fn line(event: &Event) -> String {
    let by = event.principal.as_ref().map(|principal| format!("  by {principal}")).unwrap_or_default();
    format!("{}  {}  {}  {}{by}", event.at, event.kind, event.subject, event.message)
}
