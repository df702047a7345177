//! Clusters.

use super::{Failure, KeyValuePair, Tag, operations, wire};

wire! {
    pub struct Cluster {
        cluster_arn: String,
        cluster_name: String,
        /// ACTIVE or INACTIVE.
        status: String,
        registered_container_instances_count: i64,
        running_tasks_count: i64,
        pending_tasks_count: i64,
        active_services_count: i64,
        statistics: Vec<KeyValuePair>,
        tags: Vec<Tag>,
        settings: Vec<ClusterSetting>,
        capacity_providers: Vec<String>,
        default_capacity_provider_strategy: Vec<String>,
    }

    pub struct ClusterSetting { name: String, value: String }

    pub struct CreateClusterRequest {
        cluster_name: Option<String>,
        tags: Option<Vec<Tag>>,
        settings: Option<Vec<ClusterSetting>>,
    }
    pub struct CreateClusterResponse { cluster: Cluster }

    pub struct DescribeClustersRequest {
        clusters: Option<Vec<String>>,
        /// TAGS, SETTINGS, STATISTICS, CONFIGURATIONS, ATTACHMENTS.
        include: Option<Vec<String>>,
    }
    pub struct DescribeClustersResponse { clusters: Vec<Cluster>, failures: Vec<Failure> }

    pub struct ListClustersRequest { next_token: Option<String>, max_results: Option<i64> }
    pub struct ListClustersResponse { cluster_arns: Vec<String>, next_token: Option<String> }

    pub struct DeleteClusterRequest { cluster: String }
    pub struct DeleteClusterResponse { cluster: Cluster }
}

operations! { Ecs:
    "CreateCluster" CreateClusterRequest => CreateClusterResponse,
    "DescribeClusters" DescribeClustersRequest => DescribeClustersResponse,
    "ListClusters" ListClustersRequest => ListClustersResponse,
    "DeleteCluster" DeleteClusterRequest => DeleteClusterResponse,
}
