//! Services and their deployments.

use super::{Failure, Tag, operations, wire};

wire! {
    pub struct Service {
        service_arn: String,
        service_name: String,
        cluster_arn: String,
        /// ACTIVE, DRAINING or INACTIVE.
        status: String,
        desired_count: i64,
        running_count: i64,
        pending_count: i64,
        launch_type: String,
        /// ARN.
        task_definition: String,
        deployment_configuration: DeploymentConfiguration,
        /// PRIMARY first.
        deployments: Vec<Deployment>,
        /// Newest first, at most 100.
        events: Vec<ServiceEvent>,
        created_at: f64,
        placement_constraints: Vec<PlacementConstraint>,
        placement_strategy: Vec<PlacementStrategy>,
        health_check_grace_period_seconds: i64,
        scheduling_strategy: String,
        deployment_controller: DeploymentController,
        load_balancers: Vec<String>,
        service_registries: Vec<String>,
        tags: Option<Vec<Tag>>,
        created_by: Option<String>,
        #[serde(rename = "enableECSManagedTags")]
        enable_ecs_managed_tags: bool,
        propagate_tags: String,
        enable_execute_command: bool,
        availability_zone_rebalancing: String,
    }

    pub struct Deployment {
        /// `ecs-svc/<digits>`, new for every deployment.
        id: String,
        /// PRIMARY or ACTIVE.
        status: String,
        task_definition: String,
        desired_count: i64,
        pending_count: i64,
        running_count: i64,
        failed_tasks: i64,
        created_at: f64,
        updated_at: f64,
        launch_type: String,
        /// `IN_PROGRESS`, `COMPLETED` or `FAILED`.
        rollout_state: String,
        rollout_state_reason: String,
    }

    pub struct ServiceEvent { id: String, created_at: f64, message: String }

    pub struct DeploymentConfiguration {
        maximum_percent: Option<i64>,
        minimum_healthy_percent: Option<i64>,
        strategy: Option<String>,
        deployment_circuit_breaker: Option<DeploymentCircuitBreaker>,
    }
    pub struct DeploymentCircuitBreaker {
        enable: bool,
        rollback: bool,
        reset_on_healthy_task: Option<bool>,
        threshold_configuration: Option<ThresholdConfiguration>,
    }
    pub struct ThresholdConfiguration {
        /// `BOUNDED_PERCENT`, `UNBOUNDED_PERCENT` or `COUNT`.
        #[serde(rename = "type")]
        kind: String,
        value: i64,
    }
    pub struct DeploymentController {
        #[serde(rename = "type")]
        kind: String,
    }
    pub struct PlacementConstraint {
        /// `distinctInstance`.
        #[serde(rename = "type")]
        kind: String,
        expression: Option<String>,
    }
    pub struct PlacementStrategy {
        /// `random`, `spread` or `binpack`.
        #[serde(rename = "type")]
        kind: String,
        field: Option<String>,
    }

    pub struct CreateServiceRequest {
        cluster: Option<String>,
        service_name: String,
        task_definition: Option<String>,
        desired_count: Option<i64>,
        client_token: Option<String>,
        launch_type: Option<String>,
        deployment_configuration: Option<DeploymentConfiguration>,
        placement_constraints: Option<Vec<PlacementConstraint>>,
        placement_strategy: Option<Vec<PlacementStrategy>>,
        health_check_grace_period_seconds: Option<i64>,
        scheduling_strategy: Option<String>,
        tags: Option<Vec<Tag>>,
        #[serde(rename = "enableECSManagedTags")]
        enable_ecs_managed_tags: Option<bool>,
    }
    pub struct CreateServiceResponse { service: Service }

    pub struct UpdateServiceRequest {
        cluster: Option<String>,
        service: String,
        desired_count: Option<i64>,
        task_definition: Option<String>,
        force_new_deployment: Option<bool>,
        deployment_configuration: Option<DeploymentConfiguration>,
        placement_constraints: Option<Vec<PlacementConstraint>>,
        placement_strategy: Option<Vec<PlacementStrategy>>,
        health_check_grace_period_seconds: Option<i64>,
        #[serde(rename = "enableECSManagedTags")]
        enable_ecs_managed_tags: Option<bool>,
    }
    pub struct UpdateServiceResponse { service: Service }

    pub struct DescribeServicesRequest {
        cluster: Option<String>,
        services: Vec<String>,
        /// TAGS.
        include: Option<Vec<String>>,
    }
    pub struct DescribeServicesResponse { services: Vec<Service>, failures: Vec<Failure> }

    pub struct ListServicesRequest {
        cluster: Option<String>,
        next_token: Option<String>,
        max_results: Option<i64>,
        launch_type: Option<String>,
        scheduling_strategy: Option<String>,
    }
    pub struct ListServicesResponse { service_arns: Vec<String>, next_token: Option<String> }

    pub struct DeleteServiceRequest {
        cluster: Option<String>,
        service: String,
        /// Also when the desired count is not 0.
        force: Option<bool>,
    }
    pub struct DeleteServiceResponse { service: Service }
}

operations! { Ecs:
    "CreateService" CreateServiceRequest => CreateServiceResponse,
    "UpdateService" UpdateServiceRequest => UpdateServiceResponse,
    "DescribeServices" DescribeServicesRequest => DescribeServicesResponse,
    "ListServices" ListServicesRequest => ListServicesResponse,
    "DeleteService" DeleteServiceRequest => DeleteServiceResponse,
}
