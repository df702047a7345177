//! Container instances.

use super::{Failure, Tag, operations, wire};

wire! {
    pub struct ContainerInstance {
        container_instance_arn: String,
        /// Host name of the agent: what people know the machine by.
        ec2_instance_id: String,
        version: i64,
        version_info: VersionInfo,
        remaining_resources: Vec<Resource>,
        registered_resources: Vec<Resource>,
        /// ACTIVE, DRAINING or INACTIVE.
        status: String,
        agent_connected: bool,
        running_tasks_count: i64,
        pending_tasks_count: i64,
        attributes: Vec<Attribute>,
        registered_at: f64,
        tags: Vec<Tag>,
    }

    pub struct VersionInfo { agent_version: String, docker_version: String }

    pub struct Resource {
        /// `CPU`, `MEMORY`, `PORTS` or `PORTS_UDP`.
        name: String,
        /// INTEGER or STRINGSET.
        #[serde(rename = "type")]
        kind: String,
        double_value: f64,
        long_value: i64,
        integer_value: i64,
        string_set_value: Option<Vec<String>>,
    }

    pub struct Attribute { name: String, value: Option<String> }

    pub struct ListContainerInstancesRequest {
        cluster: Option<String>,
        /// ACTIVE or DRAINING; both when absent.
        status: Option<String>,
        next_token: Option<String>,
        max_results: Option<i64>,
    }
    pub struct ListContainerInstancesResponse { container_instance_arns: Vec<String>, next_token: Option<String> }

    pub struct DescribeContainerInstancesRequest {
        cluster: Option<String>,
        container_instances: Vec<String>,
        include: Option<Vec<String>>,
    }
    pub struct DescribeContainerInstancesResponse { container_instances: Vec<ContainerInstance>, failures: Vec<Failure> }

    pub struct UpdateContainerInstancesStateRequest {
        cluster: Option<String>,
        container_instances: Vec<String>,
        /// ACTIVE or DRAINING.
        status: String,
    }
    pub struct UpdateContainerInstancesStateResponse { container_instances: Vec<ContainerInstance>, failures: Vec<Failure> }

    pub struct DeregisterContainerInstanceRequest {
        cluster: Option<String>,
        container_instance: String,
        /// Although tasks run there.
        force: Option<bool>,
    }
    pub struct DeregisterContainerInstanceResponse { container_instance: ContainerInstance }
}

operations! { Ecs:
    "ListContainerInstances" ListContainerInstancesRequest => ListContainerInstancesResponse,
    "DescribeContainerInstances" DescribeContainerInstancesRequest => DescribeContainerInstancesResponse,
    "UpdateContainerInstancesState" UpdateContainerInstancesStateRequest => UpdateContainerInstancesStateResponse,
    "DeregisterContainerInstance" DeregisterContainerInstanceRequest => DeregisterContainerInstanceResponse,
}
