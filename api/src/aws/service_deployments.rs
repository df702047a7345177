//! Service deployments (attempts to bring a service to a revision) and service revisions.

use super::{DeploymentConfiguration, Failure, operations, wire};

wire! {
    pub struct ServiceDeploymentBrief {
        service_deployment_arn: String,
        service_arn: String,
        cluster_arn: String,
        started_at: Option<f64>,
        created_at: f64,
        finished_at: Option<f64>,
        target_service_revision_arn: String,
        status: String,
        status_reason: String,
    }

    pub struct ServiceDeployment {
        service_deployment_arn: String,
        service_arn: String,
        cluster_arn: String,
        created_at: f64,
        started_at: Option<f64>,
        finished_at: Option<f64>,
        stopped_at: Option<f64>,
        updated_at: f64,
        source_service_revisions: Vec<ServiceRevisionSummary>,
        target_service_revision: ServiceRevisionSummary,
        /// `PENDING`, `IN_PROGRESS`, `SUCCESSFUL`, `STOPPED`, `ROLLBACK_REQUESTED`, `ROLLBACK_IN_PROGRESS`, `ROLLBACK_SUCCESSFUL`, …
        status: String,
        status_reason: String,
        deployment_configuration: DeploymentConfiguration,
        rollback: Option<Rollback>,
        deployment_circuit_breaker: ServiceDeploymentCircuitBreaker,
    }

    pub struct ServiceRevisionSummary {
        arn: String,
        requested_task_count: i64,
        running_task_count: i64,
        pending_task_count: i64,
    }

    pub struct Rollback {
        reason: String,
        started_at: f64,
        service_revision_arn: Option<String>,
    }

    pub struct ServiceDeploymentCircuitBreaker {
        /// `MONITORING`, `MONITORING_COMPLETE`, `TRIGGERED` or `DISABLED`.
        status: String,
        failure_count: i64,
        threshold: i64,
    }

    pub struct ServiceRevision {
        service_revision_arn: String,
        service_arn: String,
        cluster_arn: String,
        task_definition: String,
        launch_type: String,
        container_images: Vec<ContainerImage>,
        created_at: f64,
    }

    pub struct ContainerImage { container_name: String, image_digest: Option<String>, image: String }

    /// Bounds in epoch seconds, both excluded.
    pub struct CreatedAt { before: Option<f64>, after: Option<f64> }

    pub struct ListServiceDeploymentsRequest {
        service: String,
        cluster: Option<String>,
        status: Option<Vec<String>>,
        created_at: Option<CreatedAt>,
        next_token: Option<String>,
        max_results: Option<i64>,
    }
    /// Newest first.
    pub struct ListServiceDeploymentsResponse { service_deployments: Vec<ServiceDeploymentBrief>, next_token: Option<String> }

    pub struct DescribeServiceDeploymentsRequest { service_deployment_arns: Vec<String> }
    pub struct DescribeServiceDeploymentsResponse { service_deployments: Vec<ServiceDeployment>, failures: Vec<Failure> }

    pub struct DescribeServiceRevisionsRequest { service_revision_arns: Vec<String> }
    pub struct DescribeServiceRevisionsResponse { service_revisions: Vec<ServiceRevision>, failures: Vec<Failure> }

    pub struct StopServiceDeploymentRequest {
        service_deployment_arn: String,
        /// `ROLLBACK`.
        stop_type: Option<String>,
    }
    pub struct StopServiceDeploymentResponse { service_deployment_arn: String }
}

operations! { Ecs:
    "ListServiceDeployments" ListServiceDeploymentsRequest => ListServiceDeploymentsResponse,
    "DescribeServiceDeployments" DescribeServiceDeploymentsRequest => DescribeServiceDeploymentsResponse,
    "DescribeServiceRevisions" DescribeServiceRevisionsRequest => DescribeServiceRevisionsResponse,
    "StopServiceDeployment" StopServiceDeploymentRequest => StopServiceDeploymentResponse,
}
