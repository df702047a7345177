//! Tasks.

use super::{Failure, KeyValuePair, PlacementConstraint, PlacementStrategy, Tag, operations, wire};

wire! {
    pub struct Task {
        task_arn: String,
        cluster_arn: String,
        task_definition_arn: String,
        container_instance_arn: Option<String>,
        availability_zone: Option<String>,
        /// `service:NAME` or `family:NAME`.
        group: String,
        started_by: Option<String>,
        /// PROVISIONING, PENDING, ACTIVATING, RUNNING, DEACTIVATING, STOPPING, DEPROVISIONING, STOPPED.
        last_status: String,
        /// RUNNING or STOPPED.
        desired_status: String,
        /// HEALTHY, UNHEALTHY or UNKNOWN.
        health_status: String,
        /// CONNECTED or DISCONNECTED.
        connectivity: String,
        containers: Vec<Container>,
        overrides: TaskOverride,
        cpu: String,
        memory: String,
        launch_type: String,
        stop_code: Option<String>,
        stopped_reason: Option<String>,
        version: i64,
        tags: Vec<Tag>,
        attributes: Vec<super::Attribute>,
        enable_execute_command: bool,
        created_at: f64,
        pull_started_at: Option<f64>,
        pull_stopped_at: Option<f64>,
        started_at: Option<f64>,
        stopping_at: Option<f64>,
        stopped_at: Option<f64>,
        execution_stopped_at: Option<f64>,
    }

    pub struct Container {
        container_arn: String,
        task_arn: String,
        name: String,
        image: String,
        image_digest: Option<String>,
        runtime_id: Option<String>,
        last_status: String,
        exit_code: Option<i64>,
        reason: Option<String>,
        network_bindings: Vec<NetworkBinding>,
        network_interfaces: Vec<String>,
        health_status: String,
        cpu: String,
        memory: Option<String>,
        memory_reservation: Option<String>,
    }

    pub struct NetworkBinding {
        #[serde(rename = "bindIP")]
        bind_ip: String,
        container_port: u16,
        host_port: u16,
        /// `tcp` or `udp`.
        protocol: String,
    }

    pub struct TaskOverride { container_overrides: Option<Vec<ContainerOverride>> }
    pub struct ContainerOverride {
        name: String,
        command: Option<Vec<String>>,
        environment: Option<Vec<KeyValuePair>>,
        cpu: Option<i64>,
        memory: Option<i64>,
        memory_reservation: Option<i64>,
    }

    pub struct RunTaskRequest {
        cluster: Option<String>,
        task_definition: String,
        /// 1 to 10; default 1.
        count: Option<i64>,
        group: Option<String>,
        started_by: Option<String>,
        launch_type: Option<String>,
        overrides: Option<TaskOverride>,
        placement_constraints: Option<Vec<PlacementConstraint>>,
        placement_strategy: Option<Vec<PlacementStrategy>>,
        tags: Option<Vec<Tag>>,
        client_token: Option<String>,
    }
    pub struct RunTaskResponse { tasks: Vec<Task>, failures: Vec<Failure> }

    pub struct StopTaskRequest { cluster: Option<String>, task: String, reason: Option<String> }
    pub struct StopTaskResponse { task: Task }

    pub struct DescribeTasksRequest {
        cluster: Option<String>,
        tasks: Vec<String>,
        /// TAGS.
        include: Option<Vec<String>>,
    }
    pub struct DescribeTasksResponse { tasks: Vec<Task>, failures: Vec<Failure> }

    pub struct ListTasksRequest {
        cluster: Option<String>,
        container_instance: Option<String>,
        family: Option<String>,
        started_by: Option<String>,
        service_name: Option<String>,
        /// RUNNING (default) or STOPPED.
        desired_status: Option<String>,
        launch_type: Option<String>,
        next_token: Option<String>,
        max_results: Option<i64>,
    }
    pub struct ListTasksResponse { task_arns: Vec<String>, next_token: Option<String> }
}

operations! { Ecs:
    "RunTask" RunTaskRequest => RunTaskResponse,
    "StopTask" StopTaskRequest => StopTaskResponse,
    "DescribeTasks" DescribeTasksRequest => DescribeTasksResponse,
    "ListTasks" ListTasksRequest => ListTasksResponse,
}
