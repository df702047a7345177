//! `GET /api/v1/tasks/{id}/logs`: the output of a task, from the agent that runs it; of a stopped one whose containers are gone, the
//! last lines that are kept here.

mod kept;

use super::{Api, fault};
use crate::agents::logs::{self as bridge, LogError};
use crate::{store, task_events};
use api::agent::LogRequest;
use api::v1::Problem;
use api::v1::deployer::{LOG_SOURCE_HEADER, LOG_TAIL_MAX, LOG_WAIT_SECS_MAX, LogQuery};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use identity::http::{ApiError, ApiPath, ApiQuery, Authenticated};
use identity::{Caller, Refusal, decide};
use model::access::{Resource, Role};
use model::ids::{InstanceId, TaskId};
use model::task::{Task, TaskStatus};
use std::convert::Infallible;
use std::time::Duration;

/// Longest wait for the agent when the task has stopped, and its last lines are here.
const STOPPED_WAIT: Duration = Duration::from_secs(2);

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
    require_view(&api, caller, &task).await?;
    check_container(&task, &query)?;
    let stopped = task.last_status == TaskStatus::Stopped;
    if query.kept || stopped && !task.connected {
        return kept(&api, &task, &query).await;
    }
    let instance = place(&task)?;
    let wait = if stopped { STOPPED_WAIT } else { Duration::from_secs(LOG_WAIT_SECS_MAX) };
    match bridge::open(context, &instance, request(task_id, query.clone()), wait).await {
        Ok(chunks) => answer(Body::from_stream(chunks.map(Ok::<_, Infallible>)), "agent"),
        // Its containers are removed, or its host does not answer.
        Err(LogError::NoAnswer | LogError::Problem(_)) if stopped => kept(&api, &task, &query).await,
        Err(error) => Err(refusal(error)),
    }
}

/// The task is seen by who may view its service, or its cluster.
async fn require_view(api: &Api, caller: Caller, task: &Task) -> Result<(), ApiError> {
    let snapshot = api.0.identity.snapshot().await?;
    let resource = task_events::subject(task);
    let of_cluster = Resource::cluster(task.cluster.as_str());
    if [&resource, &of_cluster].into_iter().any(|resource| decide(&snapshot, &caller, Role::View, resource).allowed) {
        return Ok(());
    }
    let (role, resource) = (Role::View, resource.to_string());
    Err(Refusal::Forbidden { principal: caller.principal, role, resource }.into())
}

/// The last lines that are kept of the task.
async fn kept(api: &Api, task: &Task, query: &LogQuery) -> Result<Response, ApiError> {
    let mut connection = api.0.db.read().await.map_err(fault)?;
    let tails = store::log_tails::of_task(&mut connection, &task.id).await.map_err(fault)?;
    if tails.is_empty() && !query.kept {
        place(task)?;
    }
    answer(Body::from(kept::render(&tails, query, task.containers.len() > 1)), "kept")
}

fn answer(body: Body, source: &'static str) -> Result<Response, ApiError> {
    let response = Response::builder()
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CACHE_CONTROL, "no-store")
        .header(LOG_SOURCE_HEADER, source)
        .body(body);
    response.map_err(|_| ApiError::internal())
}

/// A container that the task does not have is refused by name.
fn check_container(task: &Task, query: &LogQuery) -> Result<(), ApiError> {
    let Some(container) = &query.container else { return Ok(()) };
    if task.containers.iter().any(|known| known.name == *container) {
        return Ok(());
    }
    let names: Vec<_> = task.containers.iter().map(|known| known.name.as_str()).collect();
    Err(ApiError::not_found(format!("task {} has no such container; it has {}", task.id, names.join(", "))))
}

/// Where the output is, if there can be any.
fn place(task: &Task) -> Result<InstanceId, ApiError> {
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
        since: query.since,
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
