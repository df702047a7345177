//! `berth clusters`.

use super::describe;
use crate::failure::Result;
use crate::output::Rows;
use crate::session::Session;
use api::aws;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  berth clusters\n  berth clusters create prod\n  berth clusters rm prod"
)]
pub struct ClustersArgs {
    #[command(subcommand)]
    pub command: Option<ClustersCommand>,
}

#[derive(Debug, Subcommand)]
pub enum ClustersCommand {
    /// Create a cluster
    #[command(after_help = "Examples:\n  berth clusters create prod")]
    Create { name: String },
    /// Remove a cluster without services, tasks and instances
    #[command(after_help = "Examples:\n  berth clusters rm prod")]
    Rm { name: String },
}

pub async fn run(session: &Session, args: ClustersArgs) -> Result<()> {
    match args.command {
        None => list(session).await,
        Some(ClustersCommand::Create { name }) => {
            session.announce();
            let request = aws::CreateClusterRequest { cluster_name: Some(name.clone()), ..Default::default() };
            let cluster = session.call(&request).await?.cluster;
            session.out.done(&cluster.cluster_arn, &format!("created cluster {name}"), &serde_json::json!({ "cluster": cluster }));
            Ok(())
        }
        Some(ClustersCommand::Rm { name }) => {
            session.announce();
            let cluster = session.call(&aws::DeleteClusterRequest { cluster: name.clone() }).await?.cluster;
            session.out.done(&cluster.cluster_arn, &format!("removed cluster {name}"), &serde_json::json!({ "cluster": cluster }));
            Ok(())
        }
    }
}

async fn list(session: &Session) -> Result<()> {
    let names = describe::clusters(session, None).await?;
    let clusters = describe::describe_clusters(session, &names).await?;
    let mut rows = Rows::new(&["NAME", "STATUS", "INSTANCES", "SERVICES", "RUNNING", "PENDING"], "no clusters that you may see");
    for cluster in &clusters {
        rows.push(
            &cluster.cluster_name,
            vec![
                cluster.cluster_name.clone(),
                cluster.status.clone(),
                cluster.registered_container_instances_count.to_string(),
                cluster.active_services_count.to_string(),
                cluster.running_tasks_count.to_string(),
                cluster.pending_tasks_count.to_string(),
            ],
        );
    }
    session.out.list(&rows, &serde_json::json!({ "clusters": clusters }));
    Ok(())
}
