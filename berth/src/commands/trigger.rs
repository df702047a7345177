//! `berth trigger`: which pushes deploy which services, and what became of them.

use super::describe::{ServiceTarget, all_pages};
use super::user::segment;
use crate::failure::{Failure, Result};
use crate::output::Rows;
use crate::session::Session;
use api::v1::triggers::{
    Decision, DecisionStatus, HoldTriggers, NewTrigger, ResumeTriggers, TagKind, TagTest, TestQuery, Trigger, TriggerList,
};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum TriggerCommand {
    /// Let pushes of a repository deploy a service
    #[command(after_help = "\
Examples:
  berth trigger create --service web --repository acme/web --tag 'v*' --exclude 'v*-rc*'
  berth trigger create --service prod/web --container app --repository acme/web --tag '^1.2'
  berth trigger create --service web --repository acme/web --tag main
  berth trigger create --service web --repository acme/web --tag '/release-[0-9]+/'

A tag with `*` or `?` is a glob, one that begins with `^`, `~`, `>`, `<` or `=` a range of versions (the highest is taken, never a
lower one), one between slashes a regular expression for the whole tag. --kind says it otherwise.
A push deploys when who pushed may deploy the service; otherwise it waits for `berth deploy approve`.")]
    Create(CreateArgs),
    /// List triggers
    #[command(alias = "list", after_help = "Examples:\n  berth trigger ls\n  berth trigger ls --service web\n  berth trigger ls --json")]
    Ls(ListArgs),
    /// Whether a trigger follows a tag, or why not
    #[command(after_help = "Examples:\n  berth trigger test t-3f9a0c1d2e4b v1.4.0")]
    Test { trigger: String, tag: String },
    /// Show what became of pushes
    #[command(after_help = "\
Examples:
  berth trigger history                              the newest pushes
  berth trigger history t-3f9a0c1d2e4b
  berth trigger history --service web --status waiting")]
    History(HistoryArgs),
    /// Keep triggers from deploying until they are resumed
    #[command(after_help = "Examples:\n  berth trigger hold web --reason 'release freeze'\n  berth trigger hold t-3f9a0c1d2e4b --reason x")]
    Hold {
        /// SERVICE, CLUSTER/SERVICE, or the id of a trigger
        what: String,
        #[arg(long)]
        reason: String,
    },
    /// Let held triggers deploy again; of what was pushed meanwhile the newest is deployed
    #[command(after_help = "Examples:\n  berth trigger resume web\n  berth trigger resume t-3f9a0c1d2e4b")]
    Resume {
        /// SERVICE, CLUSTER/SERVICE, or the id of a trigger
        what: String,
    },
    /// Remove a trigger; what waits for approval because of it is rejected
    #[command(after_help = "Examples:\n  berth trigger rm t-3f9a0c1d2e4b")]
    Rm { trigger: String },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Service that is deployed: NAME, or CLUSTER/NAME
    #[arg(long)]
    pub service: String,
    /// Container whose image is replaced, when there are several
    #[arg(long)]
    pub container: Option<String>,
    /// Repository that is followed
    #[arg(long)]
    pub repository: String,
    /// Tags that are followed
    #[arg(long, value_name = "PATTERN")]
    pub tag: String,
    /// Tags that are left out; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// How --tag is read [default: what it looks like]
    #[arg(long, value_parser = parse_kind, value_name = "exact|glob|semver|regex")]
    pub kind: Option<TagKind>,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those of this service
    #[arg(long)]
    pub service: Option<String>,
    /// Only those that follow this repository
    #[arg(long)]
    pub repository: Option<String>,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only this trigger
    pub trigger: Option<String>,
    /// Only this service
    #[arg(long)]
    pub service: Option<String>,
    /// Only this repository
    #[arg(long)]
    pub repository: Option<String>,
    /// Only this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// Only what is taken, skipped, waiting, held, superseded, approved or rejected
    #[arg(long, value_parser = parse_status)]
    pub status: Option<DecisionStatus>,
    /// How many of the newest
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub limit: u64,
}

pub async fn run(session: &Session, command: TriggerCommand) -> Result<()> {
    match command {
        TriggerCommand::Create(args) => create(session, args).await,
        TriggerCommand::Ls(args) => list(session, &args).await,
        TriggerCommand::Test { trigger, tag } => test(session, &trigger, tag).await,
        TriggerCommand::History(args) => history(session, &args).await,
        TriggerCommand::Hold { what, reason } => hold(session, &what, reason).await,
        TriggerCommand::Resume { what } => resume(session, &what).await,
        TriggerCommand::Rm { trigger } => {
            session.announce();
            session.v1.delete(&format!("/api/v1/triggers/{}", segment(&trigger)?)).await?;
            session.out.done(&trigger, &format!("removed {trigger}"), &serde_json::json!({ "removed": trigger }));
            Ok(())
        }
    }
}

async fn create(session: &Session, args: CreateArgs) -> Result<()> {
    session.announce();
    let target = ServiceTarget::parse(&args.service, args.cluster.as_deref())?;
    let CreateArgs { container, repository, tag, exclude, kind, .. } = args;
    let new = NewTrigger { service: target.full_name(), container, repository, tag, kind, exclude };
    let made: Trigger = session.v1.post("/api/v1/triggers", &new).await?;
    let sentence = format!("{}: pushes of {}:{} deploy {} ({})", made.id, made.repository, made.tag, made.service, made.container);
    session.out.done(&made.id, &sentence, &serde_json::json!({ "trigger": made }));
    Ok(())
}

async fn list(session: &Session, args: &ListArgs) -> Result<()> {
    let service = args.service.as_deref().map(full_name).transpose()?;
    let triggers: Vec<Trigger> =
        all_pages(session, "/api/v1/triggers", &query(&[("service", &service), ("repository", &args.repository)])).await?;
    let headers = &["ID", "SERVICE", "CONTAINER", "REPOSITORY", "TAG", "KIND", "EXCLUDE", "STATE"];
    let mut rows = Rows::new(headers, "no triggers; `berth trigger create` lets pushes deploy a service");
    for trigger in &triggers {
        let state = trigger.held.as_ref().map_or_else(|| "follows".into(), |held| format!("held: {}", held.reason));
        let (container, repository) = (trigger.container.clone(), trigger.repository.clone());
        let (tag, kind) = (trigger.tag.clone(), trigger.kind.as_str().to_owned());
        let cells = vec![trigger.id.clone(), trigger.service.clone(), container, repository, tag, kind, trigger.exclude.join(" "), state];
        rows.push(&trigger.id, cells);
    }
    session.out.list(&rows, &serde_json::json!({ "triggers": triggers }));
    Ok(())
}

async fn test(session: &Session, trigger: &str, tag: String) -> Result<()> {
    let path = format!("/api/v1/triggers/{}/test", segment(trigger)?);
    let answer: TagTest = session.v1.get(&path, &TestQuery { tag: tag.clone() }).await?;
    let sentence = match &answer.reason {
        None => format!("{trigger} follows {tag}"),
        Some(reason) => format!("{trigger} does not follow {tag}: {reason}"),
    };
    session.out.done(if answer.matches { "match" } else { "no match" }, &sentence, &answer);
    Ok(())
}

async fn history(session: &Session, args: &HistoryArgs) -> Result<()> {
    let service = args.service.as_deref().map(full_name).transpose()?;
    let status = args.status.map(|status| status.as_str().to_owned());
    let narrowed = [
        ("trigger", &args.trigger),
        ("service", &service),
        ("repository", &args.repository),
        ("tag", &args.tag),
        ("status", &status),
        ("limit", &Some(args.limit.to_string())),
    ];
    let page: api::v1::Page<Decision> = session.v1.get("/api/v1/trigger-decisions", &query(&narrowed)).await?;
    let headers = &["PUSH", "IMAGE", "DIGEST", "BY", "SERVICE", "TRIGGER", "DECISION", "WHY", "ID"];
    let mut rows = Rows::new(headers, "no pushes that a trigger looked at");
    for decision in &page.items {
        rows.push(&decision.id, decision_cells(decision));
    }
    session.out.list(&rows, &serde_json::json!({ "decisions": page.items }));
    Ok(())
}

fn decision_cells(decision: &Decision) -> Vec<String> {
    let push = &decision.push;
    let digest = push.digest.split_once(':').map_or(push.digest.as_str(), |(_, hex)| hex);
    vec![
        push.sequence.to_string(),
        format!("{}:{}", push.repository, push.tag),
        digest.chars().take(12).collect(),
        push.principal.clone(),
        decision.service.clone(),
        decision.trigger.clone(),
        decision.status.as_str().into(),
        why(decision),
        decision.id.clone(),
    ]
}

/// Why a decision is what it is, or what it made.
pub(super) fn why(decision: &Decision) -> String {
    let by = decision.decided_by.as_ref().map(|by| format!("by {by}"));
    let instead = decision.superseded_by.map(|push| format!("push {push} took its place"));
    let made = decision.task_definition.as_ref().filter(|_| decision.reason.is_empty()).map(|id| format!("deployed {id}"));
    let reason = Some(decision.reason.clone()).filter(|reason| !reason.is_empty());
    [by, instead, made, reason].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

async fn hold(session: &Session, what: &str, reason: String) -> Result<()> {
    session.announce();
    let (service, trigger) = service_or_trigger(what)?;
    let changed: TriggerList = session.v1.post("/api/v1/triggers/hold", &HoldTriggers { service, trigger, reason }).await?;
    changed_sentence(session, "held", "there was nothing to hold", &changed);
    Ok(())
}

async fn resume(session: &Session, what: &str) -> Result<()> {
    session.announce();
    let (service, trigger) = service_or_trigger(what)?;
    let changed: TriggerList = session.v1.post("/api/v1/triggers/resume", &ResumeTriggers { service, trigger }).await?;
    changed_sentence(session, "resumed", "nothing was held", &changed);
    Ok(())
}

fn changed_sentence(session: &Session, verb: &str, nothing: &str, changed: &TriggerList) {
    let ids: Vec<&str> = changed.items.iter().map(|trigger| trigger.id.as_str()).collect();
    let sentence = if ids.is_empty() { nothing.to_owned() } else { format!("{verb} {}", ids.join(", ")) };
    session.out.done(&ids.join("\n"), &sentence, &serde_json::json!({ "triggers": changed.items }));
}

/// A trigger by its id, or a service.
fn service_or_trigger(text: &str) -> Result<(Option<String>, Option<String>)> {
    let is_id = text.strip_prefix("t-").is_some_and(|hex| hex.len() == 12 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_id { Ok((None, Some(text.to_owned()))) } else { Ok((Some(full_name(text)?), None)) }
}

pub(super) fn full_name(service: &str) -> Result<String> {
    Ok(ServiceTarget::parse(service, None)?.full_name())
}

/// What is given, as a query.
pub(super) fn query(parts: &[(&'static str, &Option<String>)]) -> Vec<(&'static str, String)> {
    parts.iter().filter_map(|(name, value)| Some((*name, (*value).clone()?))).collect()
}

fn parse_kind(text: &str) -> Result<TagKind, String> {
    TagKind::parse(text).ok_or_else(|| "write exact, glob, semver or regex".into())
}

fn parse_status(text: &str) -> Result<DecisionStatus, String> {
    DecisionStatus::parse(text).ok_or_else(|| "write taken, skipped, waiting, held, superseded, approved or rejected".into())
}

/// The one decision of a service that waits, or the decision of that id.
pub(super) async fn waiting(session: &Session, what: &str) -> Result<String> {
    if what.strip_prefix("d-").is_some_and(|hex| hex.len() == 12 && hex.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Ok(what.to_owned());
    }
    let service = full_name(what)?;
    let narrowed = query(&[("service", &Some(service.clone())), ("status", &Some("waiting".into()))]);
    let page: api::v1::Page<Decision> = session.v1.get("/api/v1/trigger-decisions", &narrowed).await?;
    match page.items.as_slice() {
        [] => Err(Failure::new(crate::failure::Exit::NotFound, format!("nothing waits for approval at {service}"))
            .next(format!("`berth trigger history --service {service}` shows what became of pushes"))),
        [only] => Ok(only.id.clone()),
        several => {
            let named = |each: &Decision| format!("{} ({}:{} by {})", each.id, each.push.repository, each.push.tag, each.push.principal);
            let list: Vec<String> = several.iter().map(named).collect();
            Err(Failure::usage(format!("several pushes wait for approval at {service}")).why(list.join(", ")).next("name one by its id"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_told_from_services() {
        assert_eq!(service_or_trigger("t-3f9a0c1d2e4b").unwrap(), (None, Some("t-3f9a0c1d2e4b".into())));
        assert_eq!(service_or_trigger("t-shirts").unwrap(), (Some("default/t-shirts".into()), None));
        assert_eq!(service_or_trigger("prod/web").unwrap(), (Some("prod/web".into()), None));
    }
}
