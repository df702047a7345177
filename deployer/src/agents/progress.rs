//! How far pulls are: from an agent to whoever watches the service, and nowhere else.

use super::certificate::Peer;
use super::error::Refusal;
use crate::context::Context;
use crate::{store, task_events};
use api::agent::{PROGRESS_MAX, ProgressRequest};
use api::v1::events::Progress;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use std::sync::Arc;

/// `POST /agent/v1/progress`
pub async fn progress(
    State(context): State<Arc<Context>>,
    Peer(instance): Peer,
    Json(request): Json<ProgressRequest>,
) -> Result<StatusCode, Refusal> {
    if request.pulls.len() > PROGRESS_MAX {
        return Err(Refusal::invalid(format!("at most {PROGRESS_MAX} pulls at once")));
    }
    if !context.live.has_listeners() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let mut connection = context.db.read().await?;
    for pull in request.pulls {
        let task = store::tasks::get(&mut connection, &pull.task_id).await?;
        // Another instance's task is none of this agent's business.
        let Some(task) = task.filter(|task| task.instance_id.as_ref() == Some(&instance.id)) else { continue };
        if !task.containers.iter().any(|container| container.name == pull.container) {
            continue;
        }
        context.live.tell(Progress {
            subject: task_events::subject(&task).to_string(),
            task: task.id.to_string(),
            container: pull.container,
            layers_done: pull.layers_done,
            layers: pull.layers,
            bytes_done: pull.bytes_done,
            bytes: pull.bytes,
        });
    }
    Ok(StatusCode::NO_CONTENT)
}
