//! `berth token`: bearer secrets, also good as the password of `docker login`.

use super::access::On;
use super::describe::all_pages;
use super::user::segment;
use crate::failure::Result;
use crate::output::Rows;
use crate::session::Session;
use api::v1::access::{CreatedToken, NewToken, ScopeRule, Token};
use clap::{Args, Subcommand};
use model::access::{Principal, Role};
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; its secret is shown once
    #[command(after_help = "\
Examples:
  berth token create --label laptop
  berth token create --for robot:ci --label github --scope push=repository:acme/web --expires 30d
  berth token create --scope deploy=service:default/web --scope pull=repository:acme/** -q | docker login -u alice --password-stdin 127.0.0.1:5000")]
    Create(CreateArgs),
    /// List tokens: yours, or somebody's
    #[command(after_help = "Examples:\n  berth token ls\n  berth token ls --for robot:ci")]
    Ls {
        #[arg(long = "for", value_name = "PRINCIPAL")]
        owner: Option<Principal>,
    },
    /// Revoke a token, from the next request on
    #[command(after_help = "Examples:\n  berth token revoke t-3f9a0c1d2e4b")]
    Revoke { id: String },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Whose token [default: yours]
    #[arg(long = "for", value_name = "PRINCIPAL")]
    pub owner: Option<Principal>,
    /// What it is for
    #[arg(long, default_value = "made by berth token create")]
    pub label: String,
    /// Narrow it to this, ROLE=KIND:PATTERN; may be given several times [default: everything the owner may]
    #[arg(long, value_name = "ROLE=ON")]
    pub scope: Vec<Scope>,
    /// How long it is good for, for example 12h or 30d [default: 90d]
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse, conflicts_with = "never_expires")]
    pub expires: Option<Duration>,
    /// Good until revoked
    #[arg(long)]
    pub never_expires: bool,
}

/// One rule of a scope, `push=repository:acme/web`.
#[derive(Debug, Clone)]
pub struct Scope(ScopeRule);

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, on) = text.split_once('=').ok_or_else(|| format!("`{text}` is not ROLE=KIND:PATTERN"))?;
        let role: Role = role.parse().map_err(|error: model::access::AccessError| error.to_string())?;
        let on: On = on.parse().map_err(|error: model::access::AccessError| error.to_string())?;
        Ok(Self(ScopeRule { role, kind: on.kind, pattern: on.pattern }))
    }
}

pub async fn run(session: &Session, command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Create(args) => create(session, args).await,
        TokenCommand::Ls { owner } => list(session, owner).await,
        TokenCommand::Revoke { id } => {
            session.announce();
            session.v1.delete(&format!("/api/v1/tokens/{}", segment(&id)?)).await?;
            session.out.done(&id, &format!("revoked {id}"), &serde_json::json!({ "revoked": id }));
            Ok(())
        }
    }
}

/// `-q` prints the secret, which is what a script wants of it.
async fn create(session: &Session, args: CreateArgs) -> Result<()> {
    session.announce();
    let scope = (!args.scope.is_empty()).then(|| args.scope.into_iter().map(|rule| rule.0).collect());
    let new = NewToken {
        principal: args.owner,
        label: args.label,
        scope,
        expires_in_secs: args.expires.map(|duration| duration.as_secs()),
        never_expires: args.never_expires,
    };
    let created: CreatedToken = session.v1.post("/api/v1/tokens", &new).await?;
    let until = created.token.expires_at.clone().unwrap_or_else(|| "it is revoked".into());
    let sentence =
        format!("{}\ntoken {} of {}, good until {until}; shown this once", created.secret, created.token.id, created.token.principal);
    session.out.done(&created.secret, &sentence, &created);
    Ok(())
}

async fn list(session: &Session, owner: Option<Principal>) -> Result<()> {
    let query: Vec<_> = owner.iter().map(|owner| ("principal", owner.to_string())).collect();
    let tokens: Vec<Token> = all_pages(session, "/api/v1/tokens", &query).await?;
    let mut rows = Rows::new(&["ID", "OWNER", "LABEL", "SCOPE", "CREATED", "EXPIRES"], "no tokens");
    for token in &tokens {
        let scope = token.scope.as_ref().map_or_else(
            || "everything".to_owned(),
            |rules| rules.iter().map(|rule| format!("{}={}:{}", rule.role, rule.kind, rule.pattern)).collect::<Vec<_>>().join(" "),
        );
        let expires = token.expires_at.clone().unwrap_or_else(|| "never".into());
        rows.push(
            &token.id,
            vec![token.id.clone(), token.principal.to_string(), token.label.clone(), scope, token.created_at.clone(), expires],
        );
    }
    session.out.list(&rows, &serde_json::json!({ "tokens": tokens }));
    Ok(())
}
