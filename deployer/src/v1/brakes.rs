//! `POST /api/v1/clusters/{cluster}/replace-lost`: a person decides that many instances lost at once are really gone.

use super::{Api, fault, require};
use crate::store;
use api::v1::Problem;
use api::v1::deployer::BrakeReleased;
use axum::Json;
use axum::extract::State;
use identity::http::{ApiError, ApiPath, Authenticated};
use model::access::{Resource, Role};
use model::ids::ClusterName;
use platform::db::DbError;
use platform::events::{self, NewEvent};

/// Replaces the tasks of lost instances now. Wants `operate` on the cluster.
#[utoipa::path(post, path = "/api/v1/clusters/{cluster}/replace-lost", tag = "instances",
    params(("cluster" = String, Path, description = "Name of the cluster")),
    responses((status = 200, description = "Whether anything was waited for", body = BrakeReleased),
        (status = "default", description = "Refused", body = Problem)))]
pub(super) async fn release(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    ApiPath(cluster): ApiPath<String>,
) -> Result<Json<BrakeReleased>, ApiError> {
    let context = &api.0;
    let cluster: ClusterName = cluster.parse().map_err(|_| ApiError::invalid("this is not the name of a cluster"))?;
    let snapshot = context.identity.snapshot().await?;
    let resource = Resource::cluster(cluster.as_str());
    require(&snapshot, &caller, Role::Operate, &resource)?;
    let now = context.clock.now();
    let event = NewEvent {
        kind: "cluster.brake-released",
        principal: Some(caller.principal.to_string()),
        subject: resource.to_string(),
        message: format!("tasks of lost instances of cluster {cluster} are replaced again: {} decided so", caller.principal),
        detail: serde_json::json!({"credential": caller.credential.to_string()}),
    };
    let released = context
        .db
        .write(move |tx| {
            let (cluster, event) = (cluster.clone(), event.clone());
            Box::pin(async move {
                let brake = store::hosts::brake(tx, &cluster).await?;
                if brake.is_some() {
                    store::hosts::release_brake(tx, &cluster).await?;
                    events::append(tx, now, event).await?;
                }
                Ok::<_, DbError>(brake)
            })
        })
        .await
        .map_err(fault)?;
    if let Some(brake) = &released {
        context.agents.forget_losses(&brake.lost);
        context.rollout_wake.wake();
    }
    Ok(Json(BrakeReleased { released: released.is_some() }))
}
