//! `berth join-token`: single-use secrets with which agents join a cluster.

use crate::failure::Result;
use crate::output::{self, Rows};
use crate::session::Session;
use api::v1::access::{CreatedJoinToken, JoinToken, NewJoinToken};
use api::v1::deployer::AgentListener;
use clap::{Args, Subcommand};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum JoinTokenCommand {
    /// Make a join token; its secret is shown once
    #[command(
        after_help = "Examples:\n  berth join-token create\n  berth join-token create --cluster prod --expires 1h -q > token\n  berth agent join https://10.0.0.5:5001 --token-file token"
    )]
    Create(CreateArgs),
    /// List join tokens that are neither used nor expired
    #[command(after_help = "Examples:\n  berth join-token ls")]
    Ls,
    /// Revoke a join token that nobody has used yet
    #[command(after_help = "Examples:\n  berth join-token revoke j-3f9a0c1d2e4b")]
    Revoke { id: String },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Cluster the agent joins
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    /// How long it is good for [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub expires: Option<Duration>,
}

pub async fn run(session: &Session, command: JoinTokenCommand) -> Result<()> {
    match command {
        JoinTokenCommand::Create(args) => create(session, args).await,
        JoinTokenCommand::Ls => list(session).await,
        JoinTokenCommand::Revoke { id } => {
            session.announce();
            session.v1.delete(&format!("/api/v1/join-tokens/{}", super::user::segment(&id)?)).await?;
            session.out.done(&id, &format!("revoked {id}"), &serde_json::json!({ "revoked": id }));
            Ok(())
        }
    }
}

/// `-q` prints the secret, which is what a script wants of it.
async fn create(session: &Session, args: CreateArgs) -> Result<()> {
    session.announce();
    let new = NewJoinToken { cluster: args.cluster, expires_in_secs: args.expires.map(|duration| duration.as_secs()) };
    let created: CreatedJoinToken = session.v1.post("/api/v1/join-tokens", &new).await?;
    session.out.done(&created.secret, &created.secret, &created);
    if !session.out.is_json() && !session.out.is_quiet() {
        let token = &created.join_token;
        output::remark(&format!("good once, until {}, for cluster {}; shown this once", token.expires_at, token.cluster));
        let listener: AgentListener = session.v1.get("/api/v1/agent-listener", &()).await?;
        output::remark(&format!("on the Docker host: berth agent join {} --token TOKEN", listener.url));
    }
    Ok(())
}

async fn list(session: &Session) -> Result<()> {
    let tokens: Vec<JoinToken> = super::describe::all_pages(session, "/api/v1/join-tokens", &[]).await?;
    let mut rows = Rows::new(&["ID", "CLUSTER", "CREATED", "BY", "EXPIRES", "USED"], "no join tokens");
    for token in &tokens {
        let used = token.used_at.clone().unwrap_or_else(|| "no".into());
        let (created, expires) = (token.created_at.clone(), token.expires_at.clone());
        rows.push(&token.id, vec![token.id.clone(), token.cluster.clone(), created, token.created_by.clone(), expires, used]);
    }
    session.out.list(&rows, &serde_json::json!({ "join_tokens": tokens }));
    Ok(())
}
