//! `berth access`: grants, and questions about them.

use super::describe::all_pages;
use super::user::segment;
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, Rows};
use crate::session::Session;
use api::v1::access::{AccessAnswer, AccessQuestion, Grant, NearReason, NewGrant, WhoCan};
use api::v1::teams::{Preview, PreviewQuestion, WhatCan};
use clap::{Args, Subcommand};
use model::access::{Pattern, Principal, ResourceKind, Role};
use std::str::FromStr;

#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Allow somebody something
    #[command(after_help = "\
Examples:
  berth access grant user:alice push 'repository:acme/**'
  berth access grant robot:ci deploy service:default/web
  berth access grant team:backend view 'cluster:**'
  berth access grant user:bob push 'repository:**' --dry-run      (who would gain what)

Roles: repository: pull < push < maintain < admin. service, cluster, family: view < deploy < operate < admin. server: admin.
Patterns: acme/web; acme/* (one component); acme/** (everything below); ** (all). Without a kind, a repository is meant.")]
    Grant(GrantArgs),
    /// Take a grant back, from the next request on: by its id, or by the same words that gave it
    #[command(after_help = "Examples:\n  berth access revoke g-3f9a0c1d2e4b\n  berth access revoke user:alice push 'repository:acme/**'")]
    Revoke(RevokeArgs),
    /// List grants
    #[command(
        after_help = "Examples:\n  berth access ls\n  berth access ls --principal user:alice\n  berth access ls --kind repository --json"
    )]
    Ls(ListArgs),
    /// Who may do it, through which grants
    #[command(after_help = "Examples:\n  berth access who-can pull acme/web\n  berth access who-can deploy service:default/web")]
    WhoCan {
        role: Role,
        #[arg(value_parser = parse_resource)]
        resource: String,
    },
    /// What somebody can, through which grants and teams; yourself when nobody is named
    #[command(
        after_help = "Examples:\n  berth access what-can user:alice\n  berth access what-can team:backend --json\n  berth access what-can"
    )]
    WhatCan { principal: Option<Principal> },
    /// May this one do it? Exit code 0 when allowed, 4 when not
    #[command(
        after_help = "Examples:\n  berth access check pull acme/web\n  berth access check deploy service:default/web --principal robot:ci"
    )]
    Check {
        role: Role,
        #[arg(value_parser = parse_resource)]
        resource: String,
        /// Somebody else than yourself
        #[arg(long)]
        principal: Option<Principal>,
    },
}

#[derive(Debug, Args)]
pub struct GrantArgs {
    /// user:NAME, robot:NAME or team:NAME
    pub principal: Principal,
    pub role: Role,
    /// KIND:PATTERN
    #[arg(value_name = "ON")]
    pub on: On,
    /// Only say who would gain what
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Id of the grant, or user:NAME, robot:NAME or team:NAME
    #[arg(value_name = "ID|PRINCIPAL")]
    pub first: String,
    #[arg(requires = "on")]
    pub role: Option<Role>,
    /// KIND:PATTERN
    #[arg(value_name = "ON")]
    pub on: Option<On>,
    /// Only say who would lose what
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[arg(long)]
    pub principal: Option<Principal>,
    #[arg(long)]
    pub role: Option<Role>,
    #[arg(long)]
    pub kind: Option<ResourceKind>,
    /// Exactly this pattern
    #[arg(long)]
    pub pattern: Option<Pattern>,
}

/// What a grant is on, `repository:acme/**`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct On {
    pub kind: ResourceKind,
    pub pattern: Pattern,
}

impl FromStr for On {
    type Err = model::access::AccessError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, pattern) = text.split_once(':').unwrap_or(("repository", text));
        Ok(Self { kind: kind.parse()?, pattern: pattern.parse()? })
    }
}

fn parse_resource(text: &str) -> Result<String, model::access::AccessError> {
    let full = if text.contains(':') { text.to_owned() } else { format!("repository:{text}") };
    full.parse::<model::access::Resource>().map(|_| full)
}

/// The exit code of `check` is its answer.
pub async fn run(session: &Session, command: AccessCommand) -> Result<u8> {
    match command {
        AccessCommand::Grant(args) => grant(session, args).await?,
        AccessCommand::Revoke(args) => revoke(session, args).await?,
        AccessCommand::Ls(args) => list(session, &args).await?,
        AccessCommand::WhoCan { role, resource } => who_can(session, role, resource).await?,
        AccessCommand::WhatCan { principal } => what_can(session, principal).await?,
        AccessCommand::Check { role, resource, principal } => return check(session, role, resource, principal).await,
    }
    Ok(0)
}

async fn grant(session: &Session, args: GrantArgs) -> Result<()> {
    let new = NewGrant { principal: args.principal, role: args.role, kind: args.on.kind, pattern: args.on.pattern };
    if args.dry_run {
        return preview(session, &PreviewQuestion { grant: vec![new], ..PreviewQuestion::default() }).await;
    }
    session.announce();
    let grant: Grant = session.v1.post("/api/v1/grants", &new).await?;
    session.out.done(&grant.id, &sentence(&grant), &grant);
    Ok(())
}

async fn revoke(session: &Session, args: RevokeArgs) -> Result<()> {
    let id = match (args.role, args.on) {
        (Some(role), Some(on)) => {
            let principal: Principal = args.first.parse().map_err(|error: model::access::AccessError| Failure::usage(error.to_string()))?;
            find(session, &principal, role, &on).await?
        }
        _ => args.first,
    };
    if args.dry_run {
        return preview(session, &PreviewQuestion { revoke: vec![id], ..PreviewQuestion::default() }).await;
    }
    session.announce();
    session.v1.delete(&format!("/api/v1/grants/{}", segment(&id)?)).await?;
    session.out.done(&id, &format!("revoked {id}"), &serde_json::json!({ "revoked": id }));
    Ok(())
}

async fn find(session: &Session, principal: &Principal, role: Role, on: &On) -> Result<String> {
    let query = [
        ("principal", principal.to_string()),
        ("role", role.to_string()),
        ("kind", on.kind.to_string()),
        ("pattern", on.pattern.to_string()),
    ];
    let grants: Vec<Grant> = all_pages(session, "/api/v1/grants", &query).await?;
    grants.first().map(|grant| grant.id.clone()).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{principal} has no grant of {role} on exactly {}:{}", on.kind, on.pattern))
            .next(format!("`berth access ls --principal {principal}` lists what it has"))
    })
}

async fn list(session: &Session, args: &ListArgs) -> Result<()> {
    let mut query = Vec::new();
    query.extend(args.principal.iter().map(|value| ("principal", value.to_string())));
    query.extend(args.role.iter().map(|value| ("role", value.to_string())));
    query.extend(args.kind.iter().map(|value| ("kind", value.to_string())));
    query.extend(args.pattern.iter().map(|value| ("pattern", value.to_string())));
    let grants: Vec<Grant> = all_pages(session, "/api/v1/grants", &query).await?;
    session.out.list(&grant_rows(&grants), &serde_json::json!({ "grants": grants }));
    Ok(())
}

fn grant_rows(grants: &[Grant]) -> Rows {
    let mut rows = Rows::new(&["ID", "WHO", "ROLE", "ON", "GIVEN", "BY"], "no grants");
    for grant in grants {
        let on = format!("{}:{}", grant.kind, grant.pattern);
        let cells = vec![
            grant.id.clone(),
            grant.principal.to_string(),
            grant.role.to_string(),
            on,
            grant.created_at.clone(),
            grant.created_by.clone(),
        ];
        rows.push(&grant.id, cells);
    }
    rows
}

async fn who_can(session: &Session, role: Role, resource: String) -> Result<()> {
    let answer: WhoCan = session.v1.get("/api/v1/access/who-can", &[("role", role.to_string()), ("resource", resource)]).await?;
    let mut rows = Rows::new(&["WHO", "THROUGH", "GIVEN BY"], "nobody");
    for entry in &answer.principals {
        let who = if entry.disabled { format!("{} (disabled)", entry.principal) } else { entry.principal.to_string() };
        for grant in &entry.via {
            let team = if grant.principal == entry.principal { String::new() } else { format!("{} ", grant.principal) };
            let through = format!("{} {team}{} on {}:{}", grant.id, grant.role, grant.kind, grant.pattern);
            rows.push(entry.principal.to_string(), vec![who.clone(), through, format!("{} {}", grant.created_by, grant.created_at)]);
        }
    }
    session.out.list(&rows, &answer);
    Ok(())
}

async fn what_can(session: &Session, principal: Option<Principal>) -> Result<()> {
    let query: Vec<_> = principal.iter().map(|principal| ("principal", principal.to_string())).collect();
    let answer: WhatCan = session.v1.get("/api/v1/access/what-can", &query).await?;
    let mut rows = Rows::new(&["ROLE", "ON", "THROUGH", "GIVEN BY"], "nothing");
    for grant in &answer.grants {
        let through = if grant.principal == answer.principal { grant.id.clone() } else { format!("{} {}", grant.id, grant.principal) };
        let given = format!("{} {}", grant.created_by, grant.created_at);
        rows.push(&grant.id, vec![grant.role.to_string(), format!("{}:{}", grant.kind, grant.pattern), through, given]);
    }
    session.out.list(&rows, &answer);
    if answer.disabled && !session.out.is_json() {
        output::remark(&format!("{} is disabled: nothing of this holds until it is enabled", answer.principal));
    }
    Ok(())
}

/// Shows who would gain and who would lose; changes nothing.
pub async fn preview(session: &Session, question: &PreviewQuestion) -> Result<()> {
    let answer: Preview = session.v1.post("/api/v1/access/preview", question).await?;
    let mut rows = Rows::new(&["WHO", "WOULD", "ROLE", "ON", "THROUGH", "OTHERWISE"], "nobody would gain or lose anything");
    for (would, lines) in [("gain", &answer.gains), ("lose", &answer.loses)] {
        for line in lines {
            let through = if line.via.principal == line.principal { String::new() } else { line.via.principal.to_string() };
            let otherwise = line.otherwise.map_or_else(|| "nothing".to_owned(), |role| role.to_string());
            let on = format!("{}:{}", line.via.kind, line.via.pattern);
            let cells = vec![line.principal.to_string(), would.to_owned(), line.via.role.to_string(), on, through, otherwise];
            rows.push(line.principal.to_string(), cells);
        }
    }
    session.out.list(&rows, &answer);
    Ok(())
}

async fn check(session: &Session, role: Role, resource: String, principal: Option<Principal>) -> Result<u8> {
    let answer: AccessAnswer = session.v1.post("/api/v1/access/check", &AccessQuestion { principal, role, resource }).await?;
    let mut text = format!("{}: {}", if answer.allowed { "allowed" } else { "not allowed" }, answer.reason);
    for near in &answer.nearest {
        let why = match near.why {
            NearReason::RoleTooLow => "its role is too low",
            NearReason::PatternDoesNotMatch => "its pattern does not match",
        };
        text = format!("{text}\n  close: {} ({why})", sentence(&near.grant));
    }
    let id = answer.via.as_ref().map_or_else(String::new, |grant| grant.id.clone());
    session.out.done(&id, &text, &answer);
    Ok(if answer.allowed { 0 } else { Exit::Denied as u8 })
}

fn sentence(grant: &Grant) -> String {
    format!("{}: {} has {} on {}:{}", grant.id, grant.principal, grant.role, grant.kind, grant.pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_without_kind_is_a_repository() {
        assert_eq!(parse_resource("acme/web").unwrap(), "repository:acme/web");
        assert_eq!(parse_resource("service:default/web").unwrap(), "service:default/web");
        assert!(parse_resource("planet:mars").is_err());
        let on: On = "acme/**".parse().unwrap();
        assert_eq!((on.kind, on.pattern.as_str()), (ResourceKind::Repository, "acme/**"));
        assert!("service:".parse::<On>().is_err());
    }
}
