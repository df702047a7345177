//! `GET /api/v1/tasks/{id}/logs`: the output of a task, from the agent that runs it.

use super::{Api, fault};
use crate::agents::logs::{self as bridge, LogError};
use crate::store;
use api::agent::LogRequest;
use api::v1::Problem;
use api::v1::deployer::{LOG_TAIL_MAX, LOG_WAIT_SECS_MAX, LogQuery};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use identity::http::{ApiError, ApiPath, ApiQuery, Authenticated};
use identity::{Refusal, decide};
use model::access::{Resource, Role};
use model::ids::{InstanceId, TaskId};
use model::task::Task;
use std::convert::Infallible;
use std::time::Duration;

/// Output of a task's containers.
#[utoipa::path(get, path = "/api/v1/tasks/{id}/logs", tag = "tasks",
    params(("id" = String, Path, description = "32 hex digits"), LogQuery),
    responses((status = 200, description = "Lines as the containers wrote them", body = String, content_type = "text/plain"),
        (status = "default", description = "Refused", body = Problem)))]
pub(super) async fn logs(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiPath(id): ApiPath<String>,
    ApiQuery(query): ApiQuery<LogQuery>,
) -> Result<Response, ApiError> {
    let context = &api.0;
    if query.tail.is_some_and(|tail| tail > LOG_TAIL_MAX) {
        return Err(ApiError::invalid(format!("tail is at most {LOG_TAIL_MAX}")));
    }
    let missing = || ApiError::not_found(format!("there is no task {}", id.chars().take(64).collect::<String>()));
    let task_id: TaskId = id.parse().map_err(|_| missing())?;
    let mut connection = context.db.read().await.map_err(fault)?;
    let task = store::tasks::get(&mut connection, &task_id).await.map_err(fault)?.ok_or_else(missing)?;
    drop(connection);
    let snapshot = context.identity.snapshot().await?;
    let resource = seen_through(&task);
    let of_cluster = Resource::cluster(task.cluster.as_str());
    let allowed = [&resource, &of_cluster].into_iter().any(|resource| decide(&snapshot, &caller, Role::View, resource).allowed);
    if !allowed {
        let (role, resource) = (Role::View, resource.to_string());
        return Err(Refusal::Forbidden { principal: caller.principal, role, resource }.into());
    }
    let instance = place(&task, &query)?;
    let request = request(task_id, query);
    let chunks = bridge::open(context, &instance, request, Duration::from_secs(LOG_WAIT_SECS_MAX)).await.map_err(refusal)?;
    let response = Response::builder()
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CACHE_CONTROL, "no-store")
        .body(Body::from_stream(chunks.map(Ok::<_, Infallible>)));
    response.map_err(|_| ApiError::internal())
}

/// The service of the task, or its cluster when it has none.
fn seen_through(task: &Task) -> Resource {
    match task.group.strip_prefix("service:").filter(|_| task.service_id.is_some()) {
        Some(name) => Resource::service(task.cluster.as_str(), name),
        None => Resource::cluster(task.cluster.as_str()),
    }
}

/// Where the output is; a task or container that cannot have any is refused by name.
fn place(task: &Task, query: &LogQuery) -> Result<InstanceId, ApiError> {
    if let Some(container) = &query.container
        && !task.containers.iter().any(|known| known.name == *container)
    {
        let names: Vec<_> = task.containers.iter().map(|known| known.name.as_str()).collect();
        return Err(ApiError::not_found(format!("task {} has no such container; it has {}", task.id, names.join(", "))));
    }
    task.instance_id.clone().ok_or_else(|| {
        let reason = task.stopped_reason.as_deref().unwrap_or("it was not placed");
        ApiError::not_found(format!("task {} never ran: {reason}", task.id))
    })
}

fn request(task_id: TaskId, query: LogQuery) -> LogRequest {
    LogRequest {
        id: format!("{:032x}", platform::random::bits128()),
        task_id,
        container: query.container,
        follow: query.follow,
        tail: query.tail,
        timestamps: query.timestamps,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as the argument of map_err")]
fn refusal(error: LogError) -> ApiError {
    let detail = error.to_string();
    ApiError::new(match error {
        LogError::NoAnswer => Problem::new(504, "agent_unavailable", "The agent does not answer", detail)
            .with_hint("`berth instances` shows whether it is connected"),
        LogError::TooMany => Problem::new(503, "busy", "Too many readers", detail).with_hint("try again in a moment"),
        LogError::Problem(_) => Problem::new(409, "no_output", "There is no output to send", detail),
    })
}
