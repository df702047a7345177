//! `berth access-key`: for the aws command line and SDKs.

use super::describe::all_pages;
use super::user::segment;
use crate::failure::Result;
use crate::output::{self, Rows};
use crate::session::Session;
use api::v1::access::{AccessKey, CreatedAccessKey, NewAccessKey};
use clap::Subcommand;
use model::access::Principal;

#[derive(Debug, Subcommand)]
pub enum AccessKeyCommand {
    /// Make an access key; its secret is shown once
    #[command(
        after_help = "Examples:\n  berth access-key create\n  berth access-key create --for robot:ci\n  aws --endpoint-url http://127.0.0.1:5000 ecs list-services"
    )]
    Create {
        /// Whose key [default: yours]
        #[arg(long = "for", value_name = "PRINCIPAL")]
        owner: Option<Principal>,
    },
    /// List access keys: yours, or somebody's
    #[command(after_help = "Examples:\n  berth access-key ls --for robot:ci")]
    Ls {
        #[arg(long = "for", value_name = "PRINCIPAL")]
        owner: Option<Principal>,
    },
    /// Revoke an access key, from the next request on
    #[command(after_help = "Examples:\n  berth access-key revoke AKIAIOSFODNN7EXAMPLE")]
    Revoke { id: String },
}

pub async fn run(session: &Session, command: AccessKeyCommand) -> Result<()> {
    match command {
        AccessKeyCommand::Create { owner } => create(session, owner).await,
        AccessKeyCommand::Ls { owner } => list(session, owner).await,
        AccessKeyCommand::Revoke { id } => {
            session.announce();
            session.v1.delete(&format!("/api/v1/access-keys/{}", segment(&id)?)).await?;
            session.out.done(&id, &format!("revoked {id}"), &serde_json::json!({ "revoked": id }));
            Ok(())
        }
    }
}

async fn create(session: &Session, owner: Option<Principal>) -> Result<()> {
    session.announce();
    let created: CreatedAccessKey = session.v1.post("/api/v1/access-keys", &NewAccessKey { principal: owner }).await?;
    let (id, secret) = (&created.access_key.id, &created.secret_access_key);
    let sentence = format!("export AWS_ACCESS_KEY_ID={id}\nexport AWS_SECRET_ACCESS_KEY={secret}");
    session.out.done(id, &sentence, &created);
    if !session.out.is_json() {
        let server = &session.context.server;
        output::remark(&format!(
            "of {}; the secret is shown this once. For example: aws --endpoint-url {server} ecs list-services",
            created.access_key.principal
        ));
    }
    Ok(())
}

async fn list(session: &Session, owner: Option<Principal>) -> Result<()> {
    let query: Vec<_> = owner.iter().map(|owner| ("principal", owner.to_string())).collect();
    let keys: Vec<AccessKey> = all_pages(session, "/api/v1/access-keys", &query).await?;
    let mut rows = Rows::new(&["ID", "OWNER", "CREATED"], "no access keys");
    for key in &keys {
        rows.push(&key.id, vec![key.id.clone(), key.principal.to_string(), key.created_at.clone()]);
    }
    session.out.list(&rows, &serde_json::json!({ "access_keys": keys }));
    Ok(())
}
