//! `berth events`: what happened, to a service or at all, and what happens.

use super::describe::ServiceTarget;
use super::follow::{self, News};
use crate::failure::Result;
use crate::output;
use crate::session::Session;
use api::v1::events::{Event, EventPage, EventQuery};
use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  berth events web                     what happened to the service
  berth events -f                      everything you may see, as it happens
  berth events -f web --kind task.     only what becomes of its tasks
  berth events --subject user:alice --json")]
pub struct EventsArgs {
    /// Only this service
    pub service: Option<String>,
    /// Only what is about this: service:CLUSTER/NAME, user:NAME, repository:PATTERN
    #[arg(long, conflicts_with = "service")]
    pub subject: Option<String>,
    /// Only kinds that begin with this: task., service., grant.created
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
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
    let query = EventQuery { after: None, subject, kind: args.kind.clone(), limit: usize::try_from(args.tail).ok() };
    let page: EventPage = session.v1.get("/api/v1/events", &query).await?;
    page.items.iter().for_each(|event| session.out.line(&line(event), event));
    if !args.follow {
        return Ok(());
    }
    let mut news = follow::start(session, EventQuery { limit: None, ..query }, Some(page.next));
    let mut away = false;
    loop {
        let heard = tokio::select! {
            // Cancel-safe per docs: both hold nothing.
            heard = news.recv() => heard,
            _ = tokio::signal::ctrl_c() => return Err(follow::stopped()),
        };
        match heard {
            Some(News::Event(event)) => session.out.line(&line(&event), &event),
            Some(News::Lost(why)) => {
                away = true;
                output::remark(&format!("{why}; waiting for the server"));
            }
            Some(News::Connected) if std::mem::take(&mut away) => output::remark("the server is back"),
            Some(News::Connected | News::Progress(_)) => {}
            Some(News::Ended(failure)) => return Err(failure),
            None => return Ok(()),
        }
    }
}

fn line(event: &Event) -> String {
    let by = event.principal.as_ref().map(|principal| format!("  by {principal}")).unwrap_or_default();
    format!("{}  {}  {}  {}{by}", event.at, event.kind, event.subject, event.message)
}
