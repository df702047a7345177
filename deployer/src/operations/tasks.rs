//! DescribeTasks and ListTasks; RunTask and StopTask are in the files below.

pub mod run;
pub mod stop;
pub mod view;

use super::call::Call;
use super::services::{among, require_cluster};
use super::{missing, paging, references, tags};
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::store;
use api::aws::{DescribeTasksRequest, DescribeTasksResponse, ListTasksRequest, ListTasksResponse};
use model::access::{Resource, Role};
use model::ids::{ClusterName, Family, InstanceId};
use model::task::{DesiredStatus, Task};

pub const DESCRIBE: &[Field] = &[("cluster", Rule::Taken), ("tasks", Rule::Required), ("include", Rule::Taken)];
pub const LIST: &[Field] = &[
    ("cluster", Rule::Taken),
    ("containerInstance", Rule::Taken),
    ("family", Rule::Taken),
    ("startedBy", Rule::Taken),
    ("serviceName", Rule::Taken),
    ("desiredStatus", Rule::Taken),
    ("launchType", Rule::Taken),
    ("nextToken", Rule::Taken),
    ("maxResults", Rule::Taken),
];

/// Most tasks described in one call.
const DESCRIBED_MAX: usize = 100;

/// A task that is not there, or that the caller may not see, is a failure MISSING: waiters depend on it.
pub async fn describe(call: &Call, request: DescribeTasksRequest) -> Result<DescribeTasksResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let with_tags = tags::included(request.include.as_ref(), "TAGS", &["TAGS"])?;
    if request.tasks.is_empty() || request.tasks.len() > DESCRIBED_MAX {
        return Err(EcsError::invalid(format!("tasks has to name 1 to {DESCRIBED_MAX} tasks.")));
    }
    let mut tx = call.context.db.read().await?;
    require_cluster(&mut tx, &cluster).await?;
    let mut view = view::View::new(&call.context.partition);
    let mut response = DescribeTasksResponse::default();
    for text in &request.tasks {
        let id = references::task(text, &cluster)?;
        let found = store::tasks::get(&mut tx, &id).await?.filter(|task| task.cluster == cluster && may_view(call, task));
        if let Some(task) = found {
            response.tasks.push(view.task(&mut tx, &task, with_tags).await?);
        } else {
            response.failures.push(missing(call.context.partition.task(&cluster, &id)));
        }
    }
    Ok(response)
}

/// What is asked of each task, besides its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filter {
    desired_status: DesiredStatus,
    family: Option<Family>,
    group: Option<String>,
    started_by: Option<String>,
    instance: Option<InstanceId>,
}

impl Filter {
    fn of(request: &ListTasksRequest, cluster: &ClusterName) -> Result<Self, EcsError> {
        let desired_status = match request.desired_status.as_deref() {
            None | Some("RUNNING" | "PENDING") => DesiredStatus::Running,
            Some("STOPPED") => DesiredStatus::Stopped,
            Some(_) => return Err(EcsError::invalid("desiredStatus can be RUNNING, PENDING or STOPPED.")),
        };
        let family = request.family.as_deref().map(|text| text.parse().map_err(|error| EcsError::invalid(format!("family: {error}."))));
        let service = request.service_name.as_deref().map(|text| references::service(text, cluster));
        Ok(Self {
            desired_status,
            family: family.transpose()?,
            group: service.transpose()?.map(|name| format!("service:{name}")),
            started_by: request.started_by.clone(),
            instance: request.container_instance.as_deref().map(|text| references::instance(text, cluster)).transpose()?,
        })
    }

    fn matches(&self, task: &Task) -> bool {
        task.desired_status == self.desired_status
            && self.family.as_ref().is_none_or(|family| task.task_definition.family == *family)
            && self.group.as_ref().is_none_or(|group| task.group == *group)
            && self.started_by.as_ref().is_none_or(|by| task.started_by.as_ref() == Some(by))
            && self.instance.as_ref().is_none_or(|instance| task.instance_id.as_ref() == Some(instance))
    }
}

/// Newest first.
pub async fn list(call: &Call, request: ListTasksRequest) -> Result<ListTasksResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let here = among("launchType", request.launch_type.as_deref(), &["EC2"], &["FARGATE", "EXTERNAL", "MANAGED_INSTANCES"])?;
    let filter = Filter::of(&request, &cluster)?;
    let mut tx = call.context.db.read().await?;
    require_cluster(&mut tx, &cluster).await?;
    if let Some(name) = &request.service_name {
        let name = references::service(name, &cluster)?;
        store::services::get(&mut tx, &cluster, &name).await?.ok_or_else(EcsError::service_not_found)?;
    }
    let tasks = store::tasks::of_cluster_filtered(&mut tx, &cluster, filter.desired_status).await?;
    let visible = tasks.into_iter().filter(|task| here && filter.matches(task) && may_view(call, task));
    let arns = visible.map(|task| (newest_first(&task), call.context.partition.task(&cluster, &task.id))).collect();
    let page = paging::page(arns, request.next_token.as_deref(), request.max_results, paging::ECS)?;
    Ok(ListTasksResponse { task_arns: page.items, next_token: page.next_token })
}

/// A text that sorts newer tasks before older ones.
fn newest_first(task: &Task) -> String {
    format!("{:019}{}", i64::MAX - task.created_at.as_micros(), task.id)
}

/// Name of the service that started a task, from its group.
fn service_name(task: &Task) -> Option<&str> {
    task.service_id.as_ref().and_then(|_| task.group.strip_prefix("service:"))
}

/// A task is seen by those who may see its service or its cluster.
fn may_view(call: &Call, task: &Task) -> bool {
    let of_service = service_name(task).is_some_and(|name| call.may(Role::View, &Resource::service(task.cluster.as_str(), name)));
    of_service || call.may(Role::View, &Resource::cluster(task.cluster.as_str()))
}
