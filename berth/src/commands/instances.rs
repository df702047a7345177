//! `berth instances`: the Docker hosts.

use super::describe::{self, short};
use crate::failure::Result;
use crate::output::Rows;
use crate::session::Session;
use api::aws;
use api::v1::deployer::UnknownContainer;
use clap::Args;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  berth instances\n  berth instances --cluster prod --json\n  berth instances --unknown         (containers that no task here explains, as after the loss of a database)"
)]
pub struct InstancesArgs {
    /// Only this cluster [default: all]
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    /// List containers that agents found and that no task here explains; they are kept until you remove them with Docker
    #[arg(long, conflicts_with = "cluster")]
    pub unknown: bool,
}

pub async fn list(session: &Session, args: &InstancesArgs) -> Result<()> {
    if args.unknown {
        return unknown(session).await;
    }
    let mut all = Vec::new();
    for cluster in describe::clusters(session, args.cluster.as_ref()).await? {
        for instance in describe::instances(session, &cluster).await? {
            all.push((cluster.clone(), instance));
        }
    }
    let mut rows = Rows::new(
        &["NAME", "CLUSTER", "STATUS", "AGENT", "ZONE", "TASKS", "CPU USED", "MEMORY USED", "VERSIONS", "ID"],
        "no instances; `berth join-token create` says how a Docker host joins",
    );
    for (cluster, instance) in &all {
        let id = short(&instance.container_instance_arn);
        rows.push(id, cells(cluster, instance, id));
    }
    let values: Vec<_> = all.iter().map(|(_, instance)| instance).collect();
    session.out.list(&rows, &serde_json::json!({ "container_instances": values }));
    Ok(())
}

async fn unknown(session: &Session) -> Result<()> {
    let found: Vec<UnknownContainer> = describe::all_pages(session, "/api/v1/unknown-containers", &[]).await?;
    let mut rows = Rows::new(&["CONTAINER", "NAME", "IMAGE", "STATUS", "INSTANCE", "SEEN"], "no unknown containers");
    for container in &found {
        let id = container.runtime_id.chars().take(12).collect();
        let cells = vec![
            id,
            container.name.clone(),
            container.image.clone(),
            container.status.clone(),
            container.instance_id.clone(),
            container.seen_at.clone(),
        ];
        rows.push(&container.runtime_id, cells);
    }
    session.out.list(&rows, &serde_json::json!({ "unknown_containers": found }));
    Ok(())
}

fn cells(cluster: &str, instance: &aws::ContainerInstance, id: &str) -> Vec<String> {
    let used = |name: &str| {
        let registered = amount(&instance.registered_resources, name);
        format!("{}/{registered}", registered - amount(&instance.remaining_resources, name))
    };
    let docker = instance.version_info.docker_version.trim_start_matches("DockerVersion: ");
    vec![
        instance.ec2_instance_id.clone(),
        cluster.to_owned(),
        instance.status.clone(),
        if instance.agent_connected { "connected" } else { "LOST" }.into(),
        attribute(instance, model::instance::ZONE_ATTRIBUTE).unwrap_or_default(),
        (instance.running_tasks_count + instance.pending_tasks_count).to_string(),
        used("CPU"),
        format!("{} MiB", used("MEMORY")),
        format!("berth {}, docker {docker}", instance.version_info.agent_version),
        id.to_owned(),
    ]
}

fn amount(resources: &[aws::Resource], name: &str) -> i64 {
    resources.iter().find(|resource| resource.name == name).map_or(0, |resource| resource.integer_value)
}

fn attribute(instance: &aws::ContainerInstance, name: &str) -> Option<String> {
    instance.attributes.iter().find(|attribute| attribute.name == name).and_then(|attribute| attribute.value.clone())
}

/// Where ports published on the instance are reached: its address, else its name.
pub fn address(instance: &aws::ContainerInstance) -> String {
    attribute(instance, model::instance::ADDRESS_ATTRIBUTE).unwrap_or_else(|| instance.ec2_instance_id.clone())
}
