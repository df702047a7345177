//! Events about service deployments, for whoever watches: written in the transaction that changes one.

use super::observe::subject;
use model::Timestamp;
use model::service::{Service, ServiceDeployment};
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};

pub const STARTED: &str = "deployment.started";
pub const COMPLETED: &str = "deployment.completed";
pub const FAILED: &str = "deployment.failed";
pub const ROLLED_BACK: &str = "deployment.rolled_back";

/// Says `what` of the service deployment as it stands now. `kind` is one of those above.
pub async fn announce(
    tx: &mut Tx,
    kind: &'static str,
    service: &Service,
    of: &ServiceDeployment,
    what: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    let event = NewEvent {
        kind,
        principal: Some(of.cause.principal.to_string()),
        subject: subject(service),
        message: format!("service {}: deployment {} of {} {what}", service.name, of.target, of.to),
        detail: detail(of),
    };
    events::append(tx, now, event).await?;
    Ok(())
}

fn detail(of: &ServiceDeployment) -> serde_json::Value {
    let cause = &of.cause;
    let back = of.rollback.as_ref().map(|rollback| {
        let target = rollback.target.as_ref().map(ToString::to_string);
        serde_json::json!({ "reason": rollback.reason, "deployment": target })
    });
    serde_json::json!({
        "serviceDeployment": of.id.as_str(),
        "status": of.status.as_str(),
        "reason": of.status_reason,
        "deployment": of.target.to_string(),
        "sources": of.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "from": of.from.as_ref().map(ToString::to_string),
        "to": of.to.to_string(),
        "cause": {
            "kind": cause.kind.as_str(),
            "principal": cause.principal.to_string(),
            "trigger": cause.trigger,
            "push": cause.push,
        },
        "failures": of.breaker_failures,
        "threshold": of.breaker_threshold,
        "rollback": back,
    })
}
