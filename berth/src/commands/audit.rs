//! `berth audit`: who did what, from where, with which credential.

use super::describe::all_pages;
use crate::duration;
use crate::failure::{Failure, Result};
use crate::output::{self, Rows};
use crate::session::Session;
use api::v1::audit::{Actor, AuditOutcome, AuditPage, AuditQuery, AuditRecord, LastPull};
use clap::{Args, Subcommand};
use model::Timestamp;
use model::access::Principal;

/// Records asked for at once by an export.
const EXPORT_PAGE: usize = 1000;
/// Digits of a digest that a table shows.
const DIGEST_SHOWN: usize = 19;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show the newest records
    #[command(after_help = "\
Examples:
  berth audit ls                                   the newest 50
  berth audit ls --people --since 1h               what people did in the last hour
  berth audit ls --action pull --on acme/web       who pulled it
  berth audit ls --principal robot:ci --outcome denied
  berth audit ls --on acme/web --reference v1.2 --outcome refused --since 24h     who tried to move an immutable tag
  berth audit ls --action grant. --json

Actions: pull, pull.blob, push, push.manifest, push.blob, tag.deleted, manifest.deleted, blob.deleted, grant.created, grant.revoked,
team.member-added, token.created, login (a wrong password), service.…; a beginning is enough.")]
    Ls(ListArgs),
    /// Print all records as JSON Lines, oldest first
    #[command(
        after_help = "Examples:\n  berth audit export --since 30d > audit.jsonl\n  berth audit export --robots --action pull --since 2026-11-01T00:00:00Z"
    )]
    Export(FilterArgs),
    /// When tags of a repository were last pulled and by whom, or what somebody last pulled
    #[command(after_help = "Examples:\n  berth audit last-pulls acme/web\n  berth audit last-pulls --principal robot:ci")]
    LastPulls(LastPullsArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How many of the newest
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub tail: u64,
}

#[derive(Debug, Args)]
pub struct FilterArgs {
    /// From then on: 15m, 12h or 30d ago, or a time like 2026-11-26T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Up to then
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only this one: user:NAME, robot:NAME, instance:ID
    #[arg(long, value_name = "WHO")]
    pub principal: Option<String>,
    /// Only people
    #[arg(long, group = "actor")]
    pub people: bool,
    /// Only robots
    #[arg(long, group = "actor")]
    pub robots: bool,
    /// Only agents: pulls for tasks
    #[arg(long, group = "actor")]
    pub agents: bool,
    /// Only actions that begin with this
    #[arg(long)]
    pub action: Option<String>,
    /// Only what was done to this: KIND:NAME; without a kind, a repository is meant
    #[arg(long, value_name = "RESOURCE")]
    pub on: Option<String>,
    /// Only this tag or digest
    #[arg(long, value_name = "TAG|DIGEST")]
    pub reference: Option<String>,
    /// Only from this address
    #[arg(long, value_name = "IP")]
    pub address: Option<String>,
    /// Only done, denied (not granted), refused (a setting of the repository forbids it) or failed (wrong credentials)
    #[arg(long, value_parser = outcome, value_name = "done|denied|refused|failed")]
    pub outcome: Option<AuditOutcome>,
}

#[derive(Debug, Args)]
pub struct LastPullsArgs {
    /// Repository
    #[arg(required_unless_present = "principal")]
    pub repository: Option<String>,
    /// user:NAME, robot:NAME
    #[arg(long, conflicts_with = "repository")]
    pub principal: Option<Principal>,
}

pub async fn run(session: &Session, command: AuditCommand) -> Result<()> {
    match command {
        AuditCommand::Ls(args) => list(session, args).await,
        AuditCommand::Export(filter) => export(session, filter).await,
        AuditCommand::LastPulls(args) => last_pulls(session, args).await,
    }
}

async fn list(session: &Session, args: ListArgs) -> Result<()> {
    let wanted = usize::try_from(args.tail).unwrap_or(usize::MAX);
    let mut query = query(args.filter, session.now())?;
    let mut records: Vec<AuditRecord> = Vec::new();
    while records.len() < wanted {
        query.limit = Some(wanted - records.len());
        let page: AuditPage = session.v1.get("/api/v1/audit", &query).await?;
        records.splice(0..0, page.items);
        match page.previous.filter(|_| page.more) {
            Some(previous) => query.before = Some(previous),
            None => break,
        }
    }
    let mut rows = Rows::new(&["AT", "WHO", "DID", "WHAT", "RESULT", "WITH", "FROM"], "no records");
    for record in &records {
        rows.push(&record.id, cells(record));
    }
    session.out.list(&rows, &serde_json::json!({ "records": records }));
    Ok(())
}

async fn export(session: &Session, filter: FilterArgs) -> Result<()> {
    let now = session.now();
    let mut query = AuditQuery { after: Some("0".into()), limit: Some(EXPORT_PAGE), ..query(filter, now)? };
    // What comes while this runs is for the next export.
    query.until = query.until.or_else(|| Some(now.to_rfc3339()));
    loop {
        let page: AuditPage = session.v1.get("/api/v1/audit", &query).await?;
        for record in &page.items {
            output::print(&format!("{}\n", serde_json::to_string(record).unwrap_or_default()));
        }
        if !page.more {
            return Ok(());
        }
        query.after = Some(page.next);
    }
}

async fn last_pulls(session: &Session, args: LastPullsArgs) -> Result<()> {
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(args.repository.map(|repository| ("repository", repository)));
    query.extend(args.principal.map(|principal| ("principal", principal.to_string())));
    let pulls: Vec<LastPull> = all_pages(session, "/api/v1/audit/last-pulls", &query).await?;
    let mut rows = Rows::new(&["REPOSITORY", "TAG", "DIGEST", "LAST PULL", "BY", "WITH", "FROM"], "no pulls");
    for pull in &pulls {
        let tag = pull.tag.clone().unwrap_or_else(|| "(by digest)".into());
        let from = pull.address.clone().unwrap_or_default();
        let cells =
            vec![pull.repository.clone(), tag, short(&pull.digest), pull.at.clone(), pull.principal.clone(), pull.credential.clone(), from];
        rows.push(format!("{}:{}", pull.repository, pull.tag.as_deref().unwrap_or(&pull.digest)), cells);
    }
    session.out.list(&rows, &serde_json::json!({ "last_pulls": pulls }));
    Ok(())
}

fn query(filter: FilterArgs, now: Timestamp) -> Result<AuditQuery> {
    let actor = match (filter.people, filter.robots, filter.agents) {
        (true, ..) => Some(Actor::Person),
        (_, true, _) => Some(Actor::Robot),
        (.., true) => Some(Actor::Agent),
        _ => None,
    };
    Ok(AuditQuery {
        since: time(filter.since, now)?,
        until: time(filter.until, now)?,
        principal: filter.principal,
        actor,
        action: filter.action,
        target: filter.on.map(|on| if on.contains(':') { on } else { format!("repository:{on}") }),
        reference: filter.reference,
        address: filter.address,
        outcome: filter.outcome,
        ..AuditQuery::default()
    })
}

/// RFC 3339, of a time or of how long ago it was.
fn time(text: Option<String>, now: Timestamp) -> Result<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(ago) = duration::parse(&text) {
        return Ok(Some(now.minus(ago).to_rfc3339()));
    }
    if Timestamp::parse_rfc3339(&text).is_some() {
        return Ok(Some(text));
    }
    Err(Failure::usage(format!("`{text}` is not a time")).next("write 15m, 12h or 30d for how long ago, or 2026-11-26T12:00:00Z"))
}

fn outcome(text: &str) -> Result<AuditOutcome, String> {
    match text {
        "done" => Ok(AuditOutcome::Done),
        "denied" => Ok(AuditOutcome::Denied),
        "refused" => Ok(AuditOutcome::Refused),
        "failed" => Ok(AuditOutcome::Failed),
        _ => Err("write done, denied, refused or failed".into()),
    }
}

fn cells(record: &AuditRecord) -> Vec<String> {
    let did = if record.times > 1 { format!("{} ({} times)", record.action, record.times) } else { record.action.clone() };
    let what = match (&record.message, &record.reference, &record.digest) {
        (Some(message), ..) => message.clone(),
        (None, Some(reference), _) => format!("{} {}", record.target, short(reference)),
        (None, None, Some(digest)) => format!("{} {}", record.target, short(digest)),
        (None, None, None) => record.target.clone(),
    };
    let outcome = match record.outcome {
        AuditOutcome::Done => "done",
        AuditOutcome::Denied => "denied",
        AuditOutcome::Refused => "refused",
        AuditOutcome::Failed => "failed",
    };
    let result = match &record.reason {
        Some(reason) => format!("{outcome}: {}", reason.replace('_', " ")),
        None => outcome.to_owned(),
    };
    let or_nobody = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let (who, with, from) = (or_nobody(&record.principal), or_nobody(&record.credential), or_nobody(&record.address));
    vec![record.at.clone(), who, did, what, result, with, from]
}

/// A digest by its beginning; anything else as it is.
fn short(text: &str) -> String {
    if text.contains(':') { text.chars().take(DIGEST_SHOWN).collect() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_an_age_or_in_full() {
        let now = Timestamp::from_secs(1_900_000_000);
        let of = |text: &str| time(Some(text.into()), now);
        assert_eq!(of("1h").unwrap().unwrap(), Timestamp::from_secs(1_900_000_000 - 3600).to_rfc3339());
        assert_eq!(of("2026-11-26T12:00:00+01:00").unwrap().unwrap(), "2026-11-26T12:00:00+01:00");
        assert!(of("yesterday").is_err());
        assert_eq!(time(None, now).unwrap(), None);
    }
}
