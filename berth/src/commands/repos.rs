//! `berth repos`.

use super::describe;
use crate::duration;
use crate::failure::Result;
use crate::output::Rows;
use crate::session::Session;
use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  berth repos\n  berth repos --json")]
pub struct ReposArgs {}

pub async fn list(session: &Session, _args: &ReposArgs) -> Result<()> {
    let repositories = describe::repositories(session).await?;
    let mut rows = Rows::new(&["NAME", "PULL AS", "CREATED"], "no repositories that you may pull; a push makes one");
    for repository in &repositories {
        let created = duration::ago(duration::from_epoch_secs(repository.created_at), session.now());
        rows.push(&repository.repository_name, vec![repository.repository_name.clone(), repository.repository_uri.clone(), created]);
    }
    session.out.list(&rows, &serde_json::json!({ "repositories": repositories }));
    Ok(())
}
