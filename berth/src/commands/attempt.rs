//! Waiting for the end of a service deployment: one attempt to bring a service to a revision. Plain lines for people, exit codes for
//! scripts. Interrupting it stops waiting and nothing else.

use super::describe::{ServiceTarget, short};
use crate::duration;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::session::Session;
use api::aws;
use std::time::Duration;

/// Time between two looks.
const LOOK_MILLIS: u64 = 300;
/// Looks in a row that may fail (the server restarts) before waiting ends.
const FAILED_LOOKS_MAX: u32 = 60;
/// Attempts of a service that are looked through for one.
const LISTED_MAX: i64 = 20;

/// How an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    UnderWay,
    Completed,
    /// It ended otherwise: the exit code that says how, and why.
    Ended(Exit, String),
}

/// Waits for the end of the attempt with this ARN, at most `timeout`.
pub async fn until_ended(session: &Session, arn: &str, timeout: Duration) -> Result<()> {
    let name = service_of(arn);
    let waiting = async {
        let (mut said, mut unanswered) = (String::new(), 0);
        loop {
            match look(session, arn).await {
                Ok(attempt) => {
                    unanswered = 0;
                    progress(session, &name, &attempt, &mut said);
                    match standing(&attempt) {
                        Standing::UnderWay => {}
                        Standing::Completed => return Ok(()),
                        Standing::Ended(exit, why) => return Err(failure(exit, &name, &why)),
                    }
                }
                Err(failure) if failure.exit() == Exit::Error && unanswered < FAILED_LOOKS_MAX => unanswered += 1,
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MILLIS)).await;
        }
    };
    limited(&name, timeout, waiting).await
}

/// Ends at `timeout` with exit code 8, at Ctrl-C with 130.
pub async fn limited<T>(name: &str, timeout: Duration, waiting: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        // Cancel-safe: looking has no effects.
        done = waiting => done,
        () = tokio::time::sleep(timeout) => Err(Failure::new(Exit::Timeout, format!("{name} is not there after {}", duration::format(timeout)))
            .why("it is still being worked on").next(format!("`berth service show {name}` and `berth events {name}` say where it stands"))),
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Detached, format!("stopped waiting for {name}; nothing was cancelled"))
            .next(format!("`berth service show {name}` says where it stands"))),
    }
}

/// The attempt whose target is `deployment`, `ecs-svc/…`.
pub async fn of_deployment(session: &Session, target: &ServiceTarget, deployment: &str) -> Result<String> {
    let request = aws::ListServiceDeploymentsRequest {
        cluster: target.cluster.clone(),
        service: target.name.clone(),
        max_results: Some(LISTED_MAX),
        ..Default::default()
    };
    let listed = session.call(&request).await?.service_deployments;
    let is_it = |attempt: &&aws::ServiceDeploymentBrief| short(&attempt.target_service_revision_arn) == short(deployment);
    let found = listed.iter().find(is_it).map(|attempt| attempt.service_deployment_arn.clone());
    found.ok_or_else(|| Failure::new(Exit::Conflict, format!("{} was deployed at the same time", target.full_name())))
}

/// The attempt with this ARN.
pub async fn look(session: &Session, arn: &str) -> Result<aws::ServiceDeployment> {
    let request = aws::DescribeServiceDeploymentsRequest { service_deployment_arns: vec![arn.to_owned()] };
    let found = session.call(&request).await?.service_deployments.into_iter().next();
    found.ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no deployment {arn} that you may see")))
}

/// How it stands. Pure.
pub fn standing(attempt: &aws::ServiceDeployment) -> Standing {
    let why = || attempt.status_reason.clone();
    let failed = attempt.deployment_circuit_breaker.status == "TRIGGERED";
    match attempt.status.as_str() {
        "SUCCESSFUL" => Standing::Completed,
        "ROLLBACK_SUCCESSFUL" => Standing::Ended(Exit::RolledBack, why()),
        "ROLLBACK_FAILED" => Standing::Ended(Exit::DeploymentFailed, why()),
        "STOPPED" if failed => Standing::Ended(Exit::DeploymentFailed, why()),
        "STOPPED" => Standing::Ended(Exit::Conflict, why()),
        _ => Standing::UnderWay,
    }
}

/// Why a command that waited for it fails.
pub fn failure(exit: Exit, name: &str, why: &str) -> Failure {
    let what = match exit {
        Exit::RolledBack => format!("the deployment of {name} failed, and was rolled back"),
        Exit::Conflict => format!("the deployment of {name} was stopped"),
        _ => format!("the deployment of {name} failed"),
    };
    Failure::new(exit, what).why(why).next(format!("`berth logs {name}` and `berth tasks --stopped {name}` say more"))
}

/// `CLUSTER/SERVICE` in the ARN of an attempt.
pub fn service_of(arn: &str) -> String {
    let resource = model::ids::arn_resource(arn, "service-deployment").unwrap_or(arn);
    resource.rsplit_once('/').map_or(resource, |(service, _)| service).to_owned()
}

fn progress(session: &Session, name: &str, attempt: &aws::ServiceDeployment, said: &mut String) {
    let now = format!("{name} {}: {}", attempt.status, attempt.status_reason);
    if !session.out.is_json() && !session.out.is_quiet() && *said != now {
        output::remark(&format!("{} {now}", session.now().to_rfc3339()));
        *said = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_exit_code() {
        let attempt = |status: &str, breaker: &str| aws::ServiceDeployment {
            status: status.into(),
            status_reason: "why".into(),
            deployment_circuit_breaker: aws::ServiceDeploymentCircuitBreaker { status: breaker.into(), ..Default::default() },
            ..Default::default()
        };
        for (status, breaker, expected) in [
            ("PENDING", "MONITORING", Standing::UnderWay),
            ("IN_PROGRESS", "MONITORING", Standing::UnderWay),
            ("ROLLBACK_IN_PROGRESS", "TRIGGERED", Standing::UnderWay),
            ("SUCCESSFUL", "MONITORING_COMPLETE", Standing::Completed),
            ("ROLLBACK_SUCCESSFUL", "TRIGGERED", Standing::Ended(Exit::RolledBack, "why".into())),
            ("ROLLBACK_FAILED", "TRIGGERED", Standing::Ended(Exit::DeploymentFailed, "why".into())),
            ("STOPPED", "TRIGGERED", Standing::Ended(Exit::DeploymentFailed, "why".into())),
            ("STOPPED", "DISABLED", Standing::Ended(Exit::Conflict, "why".into())),
        ] {
            assert_eq!(standing(&attempt(status, breaker)), expected, "{status} {breaker}");
        }
    }

    #[test]
    fn an_attempt_names_its_service() {
        assert_eq!(service_of("arn:aws:ecs:r:123456789012:service-deployment/prod/web/abc"), "prod/web");
    }
}
