//! A task as ECS describes it: row, containers of its definition with what the agent last said, zone of its instance.

use crate::error::EcsError;
use crate::operations::tags;
use crate::store;
use crate::store::task_definitions::Registered;
use api::aws;
use model::Timestamp;
use model::ids::{InstanceId, Partition, TaskDefinitionId};
use model::task::{ContainerOverride, ContainerState, DesiredStatus, Task, TaskStatus};
use model::task_definition::ContainerDefinition;
use platform::db::Tx;
use std::collections::BTreeMap;

/// Describes tasks; definitions and instances that several share are read once.
pub struct View<'a> {
    partition: &'a Partition,
    definitions: BTreeMap<TaskDefinitionId, Option<Registered>>,
    zones: BTreeMap<InstanceId, Option<String>>,
}

impl<'a> View<'a> {
    pub fn new(partition: &'a Partition) -> Self {
        Self { partition, definitions: BTreeMap::new(), zones: BTreeMap::new() }
    }

    pub async fn task(&mut self, tx: &mut Tx, task: &Task, with_tags: bool) -> Result<aws::Task, EcsError> {
        let zone = self.zone(tx, task.instance_id.as_ref()).await?;
        let partition = self.partition;
        let containers = match self.definition(tx, &task.task_definition).await? {
            Some(registered) => {
                let definitions = &registered.definition.container_definitions;
                definitions.iter().map(|definition| container(partition, task, definition)).collect()
            }
            None => Vec::new(),
        };
        let mut wire = wire(self.partition, task);
        wire.containers = containers;
        wire.availability_zone = zone;
        if with_tags {
            wire.tags = tags::wire(&task.tags);
        }
        Ok(wire)
    }

    async fn definition(&mut self, tx: &mut Tx, id: &TaskDefinitionId) -> Result<Option<&Registered>, EcsError> {
        if !self.definitions.contains_key(id) {
            let registered = store::task_definitions::get(tx, id).await?;
            self.definitions.insert(id.clone(), registered);
        }
        Ok(self.definitions.get(id).and_then(Option::as_ref))
    }

    async fn zone(&mut self, tx: &mut Tx, id: Option<&InstanceId>) -> Result<Option<String>, EcsError> {
        let Some(id) = id else { return Ok(None) };
        if !self.zones.contains_key(id) {
            let instance = store::instances::get(tx, id).await?;
            self.zones.insert(id.clone(), instance.map(|instance| instance.zone().to_owned()));
        }
        Ok(self.zones.get(id).cloned().flatten())
    }
}

fn wire(partition: &Partition, task: &Task) -> aws::Task {
    let secs = |at: Option<Timestamp>| at.map(Timestamp::as_secs_f64);
    aws::Task {
        task_arn: partition.task(&task.cluster, &task.id),
        cluster_arn: partition.cluster(&task.cluster),
        task_definition_arn: partition.task_definition(&task.task_definition),
        container_instance_arn: task.instance_id.as_ref().map(|id| partition.container_instance(&task.cluster, id)),
        availability_zone: None,
        group: task.group.clone(),
        started_by: task.started_by.clone(),
        last_status: task.last_status.as_str().into(),
        desired_status: task.desired_status.as_str().into(),
        health_status: task.health_status.as_str().into(),
        connectivity: if task.connected { "CONNECTED" } else { "DISCONNECTED" }.into(),
        containers: Vec::new(),
        overrides: aws::TaskOverride { container_overrides: Some(task.overrides.iter().map(wire_override).collect()) },
        cpu: task.reserved.cpu.to_string(),
        memory: task.reserved.memory.to_string(),
        launch_type: "EC2".into(),
        stop_code: task.stop_code.filter(|_| task.desired_status == DesiredStatus::Stopped).map(|code| code.as_str().into()),
        stopped_reason: task.stopped_reason.clone(),
        version: task.version,
        tags: Vec::new(),
        attributes: Vec::new(),
        enable_execute_command: false,
        created_at: task.created_at.as_secs_f64(),
        pull_started_at: secs(task.pull_started_at),
        pull_stopped_at: secs(task.pull_stopped_at),
        started_at: secs(task.started_at),
        stopping_at: secs(task.stopping_at),
        stopped_at: secs(task.stopped_at),
        execution_stopped_at: secs(task.stopped_at),
    }
}

fn wire_override(change: &ContainerOverride) -> aws::ContainerOverride {
    let environment = change.environment.iter().map(|pair| aws::KeyValuePair { name: pair.name.clone(), value: pair.value.clone() });
    aws::ContainerOverride {
        name: change.name.clone(),
        command: change.command.clone(),
        environment: Some(environment.collect::<Vec<_>>()).filter(|environment| !environment.is_empty()),
        cpu: change.cpu,
        memory: change.memory,
        memory_reservation: change.memory_reservation,
    }
}

fn container(partition: &Partition, task: &Task, definition: &ContainerDefinition) -> aws::Container {
    let state = task.containers.iter().find(|state| state.name == definition.name);
    let digest = task.images.get(&definition.name).and_then(|image| image.digest.as_ref());
    aws::Container {
        container_arn: partition.container(&task.cluster, &task.id, &definition.name),
        task_arn: partition.task(&task.cluster, &task.id),
        name: definition.name.clone(),
        image: definition.image.clone(),
        image_digest: digest.map(ToString::to_string),
        runtime_id: state.and_then(|state| state.runtime_id.clone()),
        last_status: state.map_or(unreported(task), |state| state.last_status).as_str().into(),
        exit_code: state.and_then(|state| state.exit_code),
        reason: state.and_then(|state| state.reason.clone()),
        network_bindings: state.map_or_else(Vec::new, bindings),
        network_interfaces: Vec::new(),
        health_status: state.map(|state| state.health_status).unwrap_or_default().as_str().into(),
        cpu: definition.cpu.to_string(),
        memory: definition.memory.map(|memory| memory.to_string()),
        memory_reservation: definition.memory_reservation.map(|memory| memory.to_string()),
    }
}

/// Status of a container that the agent has said nothing of yet.
fn unreported(task: &Task) -> TaskStatus {
    if task.last_status == TaskStatus::Stopped { TaskStatus::Stopped } else { TaskStatus::Pending }
}

fn bindings(state: &ContainerState) -> Vec<aws::NetworkBinding> {
    let wire = |binding: &model::task::NetworkBinding| aws::NetworkBinding {
        bind_ip: binding.bind_ip.clone(),
        container_port: binding.container_port,
        host_port: binding.host_port,
        protocol: binding.protocol.as_str().into(),
    };
    state.network_bindings.iter().map(wire).collect()
}
