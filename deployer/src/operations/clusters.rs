//! CreateCluster, DescribeClusters, ListClusters, DeleteCluster.

use super::call::Call;
use super::{missing, paging, references, tags};
use crate::aws::fields::{Field, Rule};
use crate::context::Context;
use crate::error::{Code, EcsError};
use crate::store;
use crate::store::clusters::ClusterCounts;
use api::aws::{
    self, ClusterSetting, CreateClusterRequest, CreateClusterResponse, DeleteClusterRequest, DeleteClusterResponse,
    DescribeClustersRequest, DescribeClustersResponse, KeyValuePair, ListClustersRequest, ListClustersResponse,
};
use model::access::{Resource, Role};
use model::cluster::{Cluster, ClusterSettings, ClusterStatus};
use model::ids::{ClusterName, Partition};
use platform::db::DbError;
use platform::events;

pub const CREATE: &[Field] = &[
    ("clusterName", Rule::Taken),
    ("tags", Rule::Taken),
    ("settings", Rule::Each(&[("name", Rule::Only(&["containerInsights"])), ("value", Rule::Only(&["disabled"]))])),
];
pub const DESCRIBE: &[Field] = &[("clusters", Rule::Taken), ("include", Rule::Taken)];
pub const LIST: &[Field] = &[("nextToken", Rule::Taken), ("maxResults", Rule::Taken)];
pub const DELETE: &[Field] = &[("cluster", Rule::Required)];

/// Most clusters described in one call.
const DESCRIBED_MAX: usize = 100;
/// Most clusters there can be.
const CLUSTERS_MAX: i64 = 10_000;

/// Makes the cluster `default`, unless it is there and active.
pub async fn ensure_default(context: &Context) -> Result<(), DbError> {
    let cluster = new(ClusterName::default_cluster(), context.clock.now());
    context
        .db
        .write(move |tx| {
            let cluster = cluster.clone();
            Box::pin(async move {
                match store::clusters::get(tx, &cluster.name).await? {
                    Some(found) if found.status == ClusterStatus::Active => Ok(()),
                    _ => store::clusters::put(tx, &cluster).await,
                }
            })
        })
        .await
}

fn new(name: ClusterName, now: model::Timestamp) -> Cluster {
    Cluster { name, status: ClusterStatus::Active, created_at: now, tags: Vec::new(), client_settings: ClusterSettings::default() }
}

/// A cluster that is active already comes back as it is, as in ECS.
pub async fn create(call: &Call, request: CreateClusterRequest) -> Result<CreateClusterResponse, EcsError> {
    let name = references::cluster(request.cluster_name.as_deref())?;
    let resource = Resource::cluster(name.as_str());
    call.require(Role::Admin, &resource)?;
    let mut cluster = new(name, call.now);
    cluster.tags = tags::checked(request.tags)?;
    cluster.client_settings.settings =
        request.settings.unwrap_or_default().into_iter().map(|ClusterSetting { name, value }| (name, value)).collect();
    let (now, event) = (call.now, call.event("cluster.created", &resource, format!("cluster {} created", cluster.name)));
    let (cluster, counts) = call
        .context
        .db
        .write(move |tx| {
            let (cluster, event) = (cluster.clone(), event.clone());
            Box::pin(async move {
                let stored = match store::clusters::get(tx, &cluster.name).await? {
                    Some(found) if found.status == ClusterStatus::Active => found,
                    _ => {
                        store::clusters::put(tx, &cluster).await?;
                        events::append(tx, now, event).await?;
                        cluster
                    }
                };
                let counts = store::clusters::counts(tx, &stored.name).await?;
                Ok::<_, EcsError>((stored, counts))
            })
        })
        .await?;
    Ok(CreateClusterResponse { cluster: wire(&call.context.partition, &cluster, counts) })
}

pub async fn describe(call: &Call, request: DescribeClustersRequest) -> Result<DescribeClustersResponse, EcsError> {
    let known = ["ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"];
    let with_tags = tags::included(request.include.as_ref(), "TAGS", &known)?;
    let asked = request.clusters.filter(|asked| !asked.is_empty()).unwrap_or_else(|| vec!["default".to_owned()]);
    if asked.len() > DESCRIBED_MAX {
        return Err(EcsError::invalid(format!("clusters can name at most {DESCRIBED_MAX} clusters.")));
    }
    let mut tx = call.context.db.read().await?;
    let mut response = DescribeClustersResponse::default();
    for text in &asked {
        let name = references::cluster(Some(text))?;
        let visible = call.may(Role::View, &Resource::cluster(name.as_str()));
        let found = if visible { store::clusters::get(&mut tx, &name).await? } else { None };
        let Some(mut cluster) = found else {
            response.failures.push(missing(call.context.partition.cluster(&name)));
            continue;
        };
        if !with_tags {
            cluster.tags.clear();
        }
        let counts = store::clusters::counts(&mut tx, &name).await?;
        response.clusters.push(wire(&call.context.partition, &cluster, counts));
    }
    Ok(response)
}

pub async fn list(call: &Call, request: ListClustersRequest) -> Result<ListClustersResponse, EcsError> {
    let names = store::clusters::list_active(&mut *call.context.db.read().await?, "", CLUSTERS_MAX).await?;
    let visible = names.into_iter().filter(|name| call.may(Role::View, &Resource::cluster(name.as_str())));
    let arns = visible.map(|name| (name.to_string(), call.context.partition.cluster(&name))).collect();
    let page = paging::page(arns, request.next_token.as_deref(), request.max_results, paging::ECS)?;
    Ok(ListClustersResponse { cluster_arns: page.items, next_token: page.next_token })
}

/// Refused while something is in the cluster; it stays describable as INACTIVE.
pub async fn delete(call: &Call, request: DeleteClusterRequest) -> Result<DeleteClusterResponse, EcsError> {
    let name = references::cluster(Some(&request.cluster))?;
    let resource = Resource::cluster(name.as_str());
    call.require(Role::Admin, &resource)?;
    let (now, event) = (call.now, call.event("cluster.deleted", &resource, format!("cluster {name} deleted")));
    let cluster = call
        .context
        .db
        .write(move |tx| {
            let (name, event) = (name.clone(), event.clone());
            Box::pin(async move {
                let mut cluster = store::clusters::get(tx, &name).await?.ok_or_else(EcsError::cluster_not_found)?;
                let counts = store::clusters::counts(tx, &name).await?;
                check_empty(counts, store::clusters::has_unfinished_tasks(tx, &name).await?)?;
                if cluster.status == ClusterStatus::Active {
                    store::clusters::set_status(tx, &name, ClusterStatus::Inactive).await?;
                    events::append(tx, now, event).await?;
                }
                cluster.status = ClusterStatus::Inactive;
                Ok::<_, EcsError>(cluster)
            })
        })
        .await?;
    Ok(DeleteClusterResponse { cluster: wire(&call.context.partition, &cluster, ClusterCounts::default()) })
}

fn check_empty(counts: ClusterCounts, tasks: bool) -> Result<(), EcsError> {
    if counts.instances > 0 {
        let message = "The Cluster cannot be deleted while Container Instances are active or draining.";
        return Err(EcsError::new(Code::ClusterContainsContainerInstancesException, message));
    }
    if counts.active_services + counts.draining_services > 0 {
        return Err(EcsError::new(Code::ClusterContainsServicesException, "The Cluster cannot be deleted while Services are active."));
    }
    if tasks {
        return Err(EcsError::new(Code::ClusterContainsTasksException, "The Cluster cannot be deleted while Tasks are active."));
    }
    Ok(())
}

fn wire(partition: &Partition, cluster: &Cluster, counts: ClusterCounts) -> aws::Cluster {
    let pair = |name: &str, value: i64| KeyValuePair { name: name.into(), value: value.to_string() };
    aws::Cluster {
        cluster_arn: partition.cluster(&cluster.name),
        cluster_name: cluster.name.to_string(),
        status: cluster.status.as_str().into(),
        registered_container_instances_count: counts.instances,
        running_tasks_count: counts.running_tasks,
        pending_tasks_count: counts.pending_tasks,
        active_services_count: counts.active_services,
        statistics: vec![
            pair("runningEC2TasksCount", counts.running_tasks),
            pair("pendingEC2TasksCount", counts.pending_tasks),
            pair("activeEC2ServiceCount", counts.active_services),
            pair("drainingEC2ServiceCount", counts.draining_services),
        ],
        tags: tags::wire(&cluster.tags),
        settings: cluster
            .client_settings
            .settings
            .iter()
            .map(|(name, value)| ClusterSetting { name: name.clone(), value: value.clone() })
            .collect(),
        capacity_providers: Vec::new(),
        default_capacity_provider_strategy: Vec::new(),
    }
}
