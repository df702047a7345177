//! `berth team`: people and machines that share what the team is granted.

use super::access::preview;
use super::describe::all_pages;
use super::user::segment;
use crate::failure::Result;
use crate::output::{self, Rows};
use crate::session::Session;
use api::v1::teams::{Member, MembershipChange, NewTeam, PreviewQuestion, Team};
use clap::{Args, Subcommand};
use model::access::{Principal, PrincipalKind};

#[derive(Debug, Subcommand)]
pub enum TeamCommand {
    /// Make a team
    #[command(
        after_help = "Examples:\n  berth team create backend\n  berth access grant team:backend push 'repository:acme/**'\n  berth team add backend user:alice"
    )]
    Create { name: String },
    /// List teams: all for server admins, your own otherwise
    #[command(after_help = "Examples:\n  berth team ls\n  berth team ls --json")]
    Ls,
    /// Who is in a team
    #[command(after_help = "Examples:\n  berth team members backend\n  berth team members backend -q")]
    Members { name: String },
    /// Put users and robots into a team: they may what the team may, from the next request on
    #[command(after_help = "Examples:\n  berth team add backend user:alice robot:ci\n  berth team add backend user:alice --dry-run")]
    Add(MembersArgs),
    /// Take users and robots out of a team, from the next request on
    #[command(after_help = "Examples:\n  berth team remove backend user:alice\n  berth team remove backend user:alice --dry-run")]
    Remove(MembersArgs),
    /// Remove a team with its grants; its members stay
    #[command(after_help = "Examples:\n  berth team rm backend\n  berth team rm backend --dry-run")]
    Rm {
        name: String,
        /// Only say who would lose what
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub struct MembersArgs {
    #[arg(value_name = "TEAM")]
    pub name: String,
    /// user:NAME or robot:NAME
    #[arg(required = true, value_name = "PRINCIPAL")]
    pub members: Vec<Principal>,
    /// Only say who would gain or lose what
    #[arg(long)]
    pub dry_run: bool,
}

pub async fn run(session: &Session, command: TeamCommand) -> Result<()> {
    match command {
        TeamCommand::Create { name } => create(session, name).await,
        TeamCommand::Ls => list(session).await,
        TeamCommand::Members { name } => members(session, &name).await,
        TeamCommand::Add(args) => add(session, args).await,
        TeamCommand::Remove(args) => remove(session, args).await,
        TeamCommand::Rm { name, dry_run: true } => {
            preview(session, &PreviewQuestion { remove: vec![team(&name)?], ..PreviewQuestion::default() }).await
        }
        TeamCommand::Rm { name, dry_run: false } => {
            session.announce();
            session.v1.delete(&path(&name)?).await?;
            session.out.done(&name, &format!("removed team:{name}"), &serde_json::json!({ "removed": format!("team:{name}") }));
            Ok(())
        }
    }
}

async fn create(session: &Session, name: String) -> Result<()> {
    session.announce();
    let team: Team = session.v1.post("/api/v1/teams", &NewTeam { name }).await?;
    session.out.done(&team.name, &format!("created team:{}", team.name), &team);
    if !session.out.is_json() {
        output::remark(&format!("next: berth access grant team:{0} …, berth team add {0} user:NAME", team.name));
    }
    Ok(())
}

async fn list(session: &Session) -> Result<()> {
    let teams: Vec<Team> = all_pages(session, "/api/v1/teams", &[]).await?;
    let mut rows = Rows::new(&["NAME", "MEMBERS", "CREATED", "BY"], "no teams");
    for team in &teams {
        rows.push(&team.name, vec![team.name.clone(), team.members.to_string(), team.created_at.clone(), team.created_by.clone()]);
    }
    session.out.list(&rows, &serde_json::json!({ "teams": teams }));
    Ok(())
}

async fn members(session: &Session, name: &str) -> Result<()> {
    let members: Vec<Member> = all_pages(session, &format!("{}/members", path(name)?), &[]).await?;
    let mut rows = Rows::new(&["WHO"], "nobody");
    for member in &members {
        rows.push(member.principal.to_string(), vec![member.principal.to_string()]);
    }
    session.out.list(&rows, &serde_json::json!({ "members": members }));
    Ok(())
}

async fn add(session: &Session, args: MembersArgs) -> Result<()> {
    if args.dry_run {
        return preview(session, &PreviewQuestion { join: changes(&args)?, ..PreviewQuestion::default() }).await;
    }
    session.announce();
    for member in &args.members {
        session.v1.put(&member_path(&args.name, member)?, &serde_json::json!({})).await?;
        let value = serde_json::json!({ "team": format!("team:{}", args.name), "added": member });
        session.out.done(&member.to_string(), &format!("{member} is in team:{}", args.name), &value);
    }
    Ok(())
}

async fn remove(session: &Session, args: MembersArgs) -> Result<()> {
    if args.dry_run {
        return preview(session, &PreviewQuestion { leave: changes(&args)?, ..PreviewQuestion::default() }).await;
    }
    session.announce();
    for member in &args.members {
        session.v1.delete(&member_path(&args.name, member)?).await?;
        let value = serde_json::json!({ "team": format!("team:{}", args.name), "removed": member });
        session.out.done(&member.to_string(), &format!("{member} is no longer in team:{}", args.name), &value);
    }
    Ok(())
}

fn changes(args: &MembersArgs) -> Result<Vec<MembershipChange>> {
    let team = team(&args.name)?;
    Ok(args.members.iter().map(|member| MembershipChange { team: team.clone(), member: member.clone() }).collect())
}

fn team(name: &str) -> Result<Principal> {
    Ok(Principal { kind: PrincipalKind::Team, name: segment(name)?.to_owned() })
}

fn path(name: &str) -> Result<String> {
    Ok(format!("/api/v1/teams/{}", segment(name)?))
}

/// A principal was parsed: it holds nothing that needs escaping in a path.
fn member_path(name: &str, member: &Principal) -> Result<String> {
    Ok(format!("{}/members/{member}", path(name)?))
}
