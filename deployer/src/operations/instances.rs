//! Container instances: ListContainerInstances and DescribeContainerInstances; what changes them is in the files below.

pub mod deregister;
pub mod drain;

use super::call::Call;
use super::services::require_cluster;
use super::{missing, paging, references, tags};
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::store;
use api::aws::{
    Attribute, ContainerInstance, DescribeContainerInstancesRequest, DescribeContainerInstancesResponse, ListContainerInstancesRequest,
    ListContainerInstancesResponse, Resource as WireResource, VersionInfo,
};
use model::access::{Resource, Role};
use model::ids::Partition;
use model::instance::{ADDRESS_ATTRIBUTE, Instance, InstanceStatus, Protocol, Resources};
use model::task::{Task, TaskStatus};
use platform::db::{DbError, Tx};

pub const LIST: &[Field] = &[("cluster", Rule::Taken), ("status", Rule::Taken), ("nextToken", Rule::Taken), ("maxResults", Rule::Taken)];
pub const DESCRIBE: &[Field] = &[("cluster", Rule::Taken), ("containerInstances", Rule::Required), ("include", Rule::Taken)];

/// Most instances described in one call.
const DESCRIBED_MAX: usize = 100;

pub async fn list(call: &Call, request: ListContainerInstancesRequest) -> Result<ListContainerInstancesResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    call.require(Role::View, &Resource::cluster(cluster.as_str()))?;
    let status = match request.status.as_deref() {
        None | Some("") => None,
        // States of ECS that no instance here is ever in.
        Some("REGISTERING" | "DEREGISTERING" | "REGISTRATION_FAILED") => Some(InstanceStatus::Inactive),
        Some("ACTIVE") => Some(InstanceStatus::Active),
        Some("DRAINING") => Some(InstanceStatus::Draining),
        Some(_) => return Err(EcsError::invalid("status can be ACTIVE, DRAINING, REGISTERING, DEREGISTERING or REGISTRATION_FAILED.")),
    };
    let mut tx = call.context.db.read().await?;
    require_cluster(&mut tx, &cluster).await?;
    let instances = store::instances::list(&mut tx, &cluster).await?;
    let listed = instances
        .into_iter()
        .filter(|instance| instance.status != InstanceStatus::Inactive && status.is_none_or(|status| instance.status == status));
    let arns =
        listed.map(|instance| (instance.id.to_string(), call.context.partition.container_instance(&cluster, &instance.id))).collect();
    let page = paging::page(arns, request.next_token.as_deref(), request.max_results, paging::ECS)?;
    Ok(ListContainerInstancesResponse { container_instance_arns: page.items, next_token: page.next_token })
}

pub async fn describe(call: &Call, request: DescribeContainerInstancesRequest) -> Result<DescribeContainerInstancesResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    call.require(Role::View, &Resource::cluster(cluster.as_str()))?;
    tags::included(request.include.as_ref(), "TAGS", &["TAGS", "CONTAINER_INSTANCE_HEALTH"])?;
    if request.container_instances.is_empty() || request.container_instances.len() > DESCRIBED_MAX {
        return Err(EcsError::invalid(format!("containerInstances has to name 1 to {DESCRIBED_MAX} instances.")));
    }
    let mut tx = call.context.db.read().await?;
    require_cluster(&mut tx, &cluster).await?;
    let mut response = DescribeContainerInstancesResponse::default();
    for text in &request.container_instances {
        let id = references::instance(text, &cluster)?;
        let found = store::instances::get(&mut tx, &id).await?.filter(|instance| instance.cluster == cluster);
        if let Some(instance) = found {
            response.container_instances.push(view(&mut tx, &call.context.partition, &instance).await?);
        } else {
            response.failures.push(missing(call.context.partition.container_instance(&cluster, &id)));
        }
    }
    Ok(response)
}

/// The instance with what its tasks take of it.
async fn view(tx: &mut Tx, partition: &Partition, instance: &Instance) -> Result<ContainerInstance, DbError> {
    let tasks = store::tasks::of_instance_unsettled(tx, &instance.id).await?;
    Ok(wire(partition, instance, &tasks))
}

fn wire(partition: &Partition, instance: &Instance, tasks: &[Task]) -> ContainerInstance {
    let mut remaining = instance.registered.clone();
    for task in tasks.iter().filter(|task| task.holds_resources()) {
        remaining.cpu -= task.reserved.cpu;
        remaining.memory -= task.reserved.memory;
        // As in ECS, the ports of the remaining resources are the ones that are taken.
        remaining.ports.extend(task.reserved.ports.iter().copied());
    }
    let count =
        |wanted: fn(TaskStatus) -> bool| i64::try_from(tasks.iter().filter(|task| wanted(task.last_status)).count()).unwrap_or(i64::MAX);
    let own = instance.attributes.iter().filter(|(name, _)| *name != ADDRESS_ATTRIBUTE);
    let all = own.map(|(name, value)| (name.as_str(), value)).chain([(ADDRESS_ATTRIBUTE, &instance.address)]);
    let attributes = all.map(|(name, value)| Attribute { name: name.to_owned(), value: Some(value.clone()) });
    ContainerInstance {
        container_instance_arn: partition.container_instance(&instance.cluster, &instance.id),
        ec2_instance_id: instance.name.clone(),
        version: instance.version,
        version_info: VersionInfo {
            agent_version: instance.agent_version.clone(),
            docker_version: format!("DockerVersion: {}", instance.docker_version),
        },
        remaining_resources: resources(&remaining),
        registered_resources: resources(&instance.registered),
        status: instance.status.as_str().into(),
        agent_connected: instance.agent_connected,
        running_tasks_count: count(|status| status == TaskStatus::Running),
        pending_tasks_count: count(|status| status < TaskStatus::Running),
        attributes: attributes.collect(),
        registered_at: instance.registered_at.as_secs_f64(),
        tags: Vec::new(),
    }
}

fn resources(resources: &Resources) -> Vec<WireResource> {
    let integer =
        |name: &str, value: i64| WireResource { name: name.into(), kind: "INTEGER".into(), integer_value: value, ..Default::default() };
    let ports = |name: &str, protocol: Protocol| {
        let ports = resources.ports.iter().filter(|(of, _)| *of == protocol).map(|(_, port)| port.to_string());
        WireResource { name: name.into(), kind: "STRINGSET".into(), string_set_value: Some(ports.collect()), ..Default::default() }
    };
    vec![
        integer("CPU", resources.cpu),
        integer("MEMORY", resources.memory),
        ports("PORTS", Protocol::Tcp),
        ports("PORTS_UDP", Protocol::Udp),
    ]
}
