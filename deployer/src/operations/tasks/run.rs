//! RunTask: tasks to completion, placed at once; what finds no place is a failure in the answer, not an error.

use super::view::View;
use crate::aws::fields::{Field, Rule};
use crate::context::Context;
use crate::error::{Code, EcsError};
use crate::operations::call::Call;
use crate::operations::services::{require_cluster, settings};
use crate::operations::{images, placement, references, tags, task_definitions};
use crate::rollout::NotWritten;
use crate::rollout::run::{self as tasks, Placement, RunFailure, RunRequest, Started};
use crate::store;
use api::aws::{self, Failure, RunTaskRequest, RunTaskResponse};
use model::Timestamp;
use model::access::{Resource, Role};
use model::task::{ContainerOverride, Task};
use model::task_definition::{KeyValue, TaskDefinition};
use platform::db::{DbError, Tx, WriteError};
use platform::events::{self, NewEvent};
use std::collections::BTreeSet;

pub const FIELDS: &[Field] = &[
    ("cluster", Rule::Taken),
    ("taskDefinition", Rule::Required),
    ("count", Rule::Taken),
    ("group", Rule::Taken),
    ("startedBy", Rule::Taken),
    ("launchType", Rule::Only(&["EC2"])),
    ("overrides", Rule::Object(&[("containerOverrides", Rule::Each(OVERRIDE))])),
    ("placementStrategy", settings::STRATEGIES),
    ("placementConstraints", settings::CONSTRAINTS),
    ("tags", Rule::Taken),
    ("clientToken", Rule::Taken),
    ("enableECSManagedTags", Rule::Ignored),
    ("propagateTags", Rule::Only(&["NONE"])),
];
const OVERRIDE: &[Field] = &[
    ("name", Rule::Required),
    ("command", Rule::Taken),
    ("environment", Rule::Each(&[("name", Rule::Required), ("value", Rule::Taken)])),
    ("cpu", Rule::Taken),
    ("memory", Rule::Taken),
    ("memoryReservation", Rule::Taken),
];

/// Most tasks of one call.
const COUNT_MAX: i64 = 10;
const CLIENT_TOKEN_CHARS_MAX: usize = 64;
const STARTED_BY_CHARS_MAX: usize = 128;
const GROUP_CHARS_MAX: usize = 255;
/// Times that tasks are placed before RunTask gives up: the planner, or another server, took the instances each time.
const PLACEMENTS_MAX: usize = 10;
/// Longest overrides, in bytes of JSON (ECS's limit).
const OVERRIDES_BYTES_MAX: usize = 8192;

pub async fn run(call: &Call, request: RunTaskRequest) -> Result<RunTaskResponse, EcsError> {
    let cluster = references::cluster(request.cluster.as_deref())?;
    let resource = Resource::cluster(cluster.as_str());
    call.require(Role::Deploy, &resource)?;
    let reference = references::task_definition(&request.task_definition)?;
    call.require(Role::Deploy, &Resource::family(reference.family().as_str()))?;
    require_cluster(&mut *call.context.db.read().await?, &cluster).await?;
    let registered = task_definitions::find_active(call, &request.task_definition).await?;
    images::require_pull(call, &registered.images)?;
    images::require_host_access(call, &cluster, &registered.definition)?;
    let images = images::resolve(call, &registered.images).await?;
    let run = RunRequest {
        count: count(request.count)?,
        group: group(request.group, &registered.definition)?,
        started_by: limited("startedBy", request.started_by, STARTED_BY_CHARS_MAX)?,
        overrides: overrides(request.overrides.unwrap_or_default(), &registered.definition)?,
        placement_strategy: placement::strategies(request.placement_strategy.unwrap_or_default())?,
        placement_constraints: placement::constraints(&request.placement_constraints.unwrap_or_default())?,
        principal: call.caller.principal.clone(),
        client_token: limited("clientToken", request.client_token, CLIENT_TOKEN_CHARS_MAX)?,
        tags: tags::checked(request.tags)?,
        cluster,
        definition: registered,
        images,
    };
    let event = call.event("task.run", &resource, format!("{} run {} times", run.definition.id, run.count));
    let response = place_and_start(call, run, event).await?;
    call.context.orders_wake.wake();
    Ok(response)
}

/// Why a placement was not written.
enum StartError {
    Outdated,
    Ecs(EcsError),
}

impl<E: Into<EcsError>> From<E> for StartError {
    fn from(error: E) -> Self {
        Self::Ecs(error.into())
    }
}

impl WriteError for StartError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Ecs(error) if error.is_conflict())
    }
}

async fn place_and_start(call: &Call, run: RunRequest, event: NewEvent) -> Result<RunTaskResponse, EcsError> {
    let mut fleet = call.context.placing.lock().await;
    for _ in 0..PLACEMENTS_MAX {
        let placement = tasks::place(&call.context, &mut *call.context.db.read().await?, &mut fleet, &run).await?;
        let (context, run, event, now) = (call.context.clone(), run.clone(), event.clone(), call.now);
        let written = call.context.db.write(move |tx| {
            let (context, run, event, placement) = (context.clone(), run.clone(), event.clone(), placement.clone());
            Box::pin(async move { start(&context, tx, &run, &placement, event, now).await })
        });
        match written.await {
            Ok(response) => return Ok(response),
            Err(StartError::Outdated) => {}
            Err(StartError::Ecs(error)) => return Err(error),
        }
    }
    Err(DbError::Conflict.into())
}

async fn start(
    context: &Context,
    tx: &mut Tx,
    run: &RunRequest,
    placement: &Placement,
    event: NewEvent,
    now: Timestamp,
) -> Result<RunTaskResponse, StartError> {
    let started = if let Some(tasks) = repeated(tx, run).await? {
        Started { tasks, failures: Vec::new() }
    } else {
        events::append(tx, now, event).await?;
        match tasks::start(tx, run, placement, now).await {
            Ok(started) => started,
            Err(NotWritten::Outdated) => return Err(StartError::Outdated),
            Err(NotWritten::Db(error)) => return Err(error.into()),
        }
    };
    let mut view = View::new(&context.partition);
    let mut response = RunTaskResponse::default();
    for task in &started.tasks {
        response.tasks.push(view.task(tx, task, true).await?);
    }
    let failure = |failure: RunFailure| Failure { arn: failure.arn, reason: Some(failure.reason), detail: failure.detail };
    response.failures = started.failures.into_iter().map(failure).collect();
    Ok(response)
}

/// The tasks that an earlier call with the same client token started, when there was one.
async fn repeated(tx: &mut Tx, run: &RunRequest) -> Result<Option<Vec<Task>>, EcsError> {
    let Some(token) = &run.client_token else { return Ok(None) };
    let tasks = store::tasks::of_client_token(tx, &run.cluster, token).await?;
    match tasks.first() {
        None => Ok(None),
        Some(task) if task.task_definition == run.definition.id && task.principal == run.principal && task.overrides == run.overrides => {
            Ok(Some(tasks))
        }
        Some(_) => Err(EcsError::new(Code::ConflictException, "clientToken was used for a call that asked for something else.")),
    }
}

fn count(count: Option<i64>) -> Result<usize, EcsError> {
    let count = count.unwrap_or(1);
    let fits = usize::try_from(count).ok().filter(|_| (1..=COUNT_MAX).contains(&count));
    fits.ok_or_else(|| EcsError::invalid(format!("count has to be between 1 and {COUNT_MAX}.")))
}

fn group(group: Option<String>, definition: &TaskDefinition) -> Result<String, EcsError> {
    match limited("group", group, GROUP_CHARS_MAX)? {
        None => Ok(format!("family:{}", definition.family)),
        Some(group) if group.starts_with("service:") => Err(EcsError::invalid("group cannot begin with service:, which is for services.")),
        Some(group) => Ok(group),
    }
}

fn limited(name: &str, text: Option<String>, chars_max: usize) -> Result<Option<String>, EcsError> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.chars().count() > chars_max || text.chars().any(char::is_control) => {
            Err(EcsError::invalid(format!("{name} has at most {chars_max} characters, and no control characters.")))
        }
        text => Ok(text),
    }
}

fn overrides(wire: aws::TaskOverride, definition: &TaskDefinition) -> Result<Vec<ContainerOverride>, EcsError> {
    let bytes = serde_json::to_string(&wire).map_or(usize::MAX, |text| text.len());
    if bytes > OVERRIDES_BYTES_MAX {
        return Err(EcsError::invalid(format!("overrides is longer than {OVERRIDES_BYTES_MAX} bytes.")));
    }
    let mut names = BTreeSet::new();
    let mut overrides = Vec::new();
    for change in wire.container_overrides.unwrap_or_default() {
        if !names.insert(change.name.clone()) {
            return Err(EcsError::invalid(format!("containerOverrides: container {} is overridden twice.", change.name)));
        }
        overrides.push(container_override(change, definition)?);
    }
    Ok(overrides)
}

fn container_override(change: aws::ContainerOverride, definition: &TaskDefinition) -> Result<ContainerOverride, EcsError> {
    let Some(container) = definition.container(&change.name) else {
        let message = format!("Override for container named {} is not a container in the TaskDefinition.", change.name);
        return Err(EcsError::invalid(message));
    };
    let environment = change.environment.unwrap_or_default().into_iter().map(|pair| KeyValue { name: pair.name, value: pair.value });
    let change = ContainerOverride {
        name: change.name,
        command: change.command,
        environment: environment.collect(),
        cpu: change.cpu,
        memory: change.memory,
        memory_reservation: change.memory_reservation,
    };
    crate::task_definition::validate::check_override(container, &change, definition)
        .map_err(|error| EcsError::invalid(error.to_string()))?;
    Ok(change)
}
