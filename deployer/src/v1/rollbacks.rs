//! `/api/v1/rollbacks`

use super::Api;
use super::services;
use crate::store;
use crate::triggers::rollback::{self, To};
use crate::triggers::{Actor, TriggerError};
use api::v1::Problem;
use api::v1::triggers::{NewRollback, Rollback};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use identity::http::{ApiError, ApiJson, Authenticated};
use model::ids::{ClusterName, ServiceName, TaskDefinitionId};

/// Goes back to an earlier revision and holds the service's triggers. Takes of the caller what deploying it by hand would take.
#[utoipa::path(post, path = "/api/v1/rollbacks", tag = "triggers", operation_id = "rollback", request_body = NewRollback, responses(
    (status = 201, body = Rollback),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiJson(wish): ApiJson<NewRollback>,
) -> Result<(StatusCode, Json<Rollback>), ApiError> {
    let (cluster, service) = services::parse(&wish.service)?;
    let actor = Actor::new(api.0, caller).await?;
    let to = to(&actor, &cluster, &service, wish.to.as_deref()).await?;
    let done = rollback::rollback(&actor, &cluster, &service, to, &wish.reason).await?;
    let answer = Rollback {
        service: format!("{cluster}/{service}"),
        from: done.from.to_string(),
        to: done.deployment.to.to_string(),
        deployment: done.deployment.target.to_string(),
        service_deployment: actor.context.partition.service_deployment(&cluster, &service, &done.deployment.id),
        held: done.held.into_iter().map(|trigger| trigger.id).collect(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `web:7`, or `7` of the family that runs.
async fn to(actor: &Actor, cluster: &ClusterName, service: &ServiceName, text: Option<&str>) -> Result<To, TriggerError> {
    let Some(text) = text else { return Ok(To::Before) };
    let invalid = || TriggerError::Invalid("a revision is written FAMILY:REVISION, or REVISION".into());
    let (family, revision) = if let Some((family, revision)) = text.split_once(':') {
        (family.parse().map_err(|_| invalid())?, revision)
    } else {
        let mut connection = actor.context.db.read().await?;
        let found = store::services::get(&mut connection, cluster, service).await?;
        let missing = || TriggerError::NotFound(format!("there is no active service {cluster}/{service}"));
        (found.ok_or_else(missing)?.task_definition.family, text)
    };
    let revision = revision.parse::<i64>().ok().filter(|revision| *revision > 0).ok_or_else(invalid)?;
    Ok(To::Revision(TaskDefinitionId { family, revision }))
}
