//! `berth wait`: for CI after a push, until what was pushed is deployed wherever a trigger follows it.

use super::trigger::why;
use crate::duration;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::session::Session;
use api::aws;
use api::v1::triggers::{Decision, DecisionStatus, PushQuery, PushStatus};
use clap::Args;
use model::ImageReference;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two looks.
const LOOK_MILLIS: u64 = 300;
/// Looks in a row that may fail (the server restarts) before waiting ends.
const FAILED_LOOKS_MAX: u32 = 60;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  docker push registry.example.com/acme/web:v2 && berth wait acme/web:v2
  berth wait acme/web:v2 --timeout 5m
  berth wait acme/web@sha256:0123…
  berth wait acme/web:v2 --wait-approval      (also until somebody approves it)

Looks at the last push of that tag and at every trigger that you may see.
Exit codes: 0 completed everywhere; 3 no trigger follows it; 5 another push took its place, or it was not taken; 6 failed, rolled
back; 7 failed; 8 still running when the time was up; 9 waits for approval, or is held. Of several the worst: 7, 6, 9, 5.")]
pub struct WaitArgs {
    /// REPOSITORY:TAG, REPOSITORY@DIGEST, with or without the host
    pub image: String,
    /// Longest wait
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Wait for approval as well
    #[arg(long)]
    pub wait_approval: bool,
}

/// How a service deployment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    UnderWay,
    Completed,
    /// It ended otherwise: the exit code that says how, and why.
    Ended(Exit, String),
}

/// What became of a push at one trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Open(String),
    Good,
    Bad(Exit, String),
}

pub async fn run(session: &Session, args: &WaitArgs) -> Result<()> {
    let image: ImageReference = args.image.parse().map_err(|error: model::image::ImageError| Failure::usage(error.to_string()))?;
    let query = PushQuery {
        repository: image.path,
        tag: image.tag.map(|tag| tag.to_string()),
        digest: image.digest.map(|digest| digest.to_string()),
    };
    let status = limited(args, until_settled(session, &query, args)).await?;
    let (push, services) = (&status.push, status.decisions.len());
    let sentence = format!("{}:{} ({}) is deployed by {services} trigger(s)", push.repository, push.tag, push.digest);
    session.out.done(&push.digest, &sentence, &status);
    Ok(())
}

/// Ends at the time-out with exit code 8, at Ctrl-C with 130.
async fn limited<T>(args: &WaitArgs, waiting: impl Future<Output = Result<T>>) -> Result<T> {
    let (image, next) = (&args.image, "`berth trigger history` shows what became of pushes, `berth deploy watch SERVICE` watches");
    let failure = tokio::select! {
        // Cancel-safe: looking has no effects.
        done = waiting => return done,
        () = tokio::time::sleep(args.timeout) => {
            let what = format!("{image} is not deployed after {}", duration::format(args.timeout));
            Failure::new(Exit::Timeout, what).why("it is still being worked on")
        }
        _ = tokio::signal::ctrl_c() => Failure::new(Exit::Detached, format!("stopped waiting for {image}; nothing was cancelled")),
    };
    Err(failure.next(next))
}

async fn until_settled(session: &Session, query: &PushQuery, args: &WaitArgs) -> Result<PushStatus> {
    let (mut said, mut unanswered) = (BTreeMap::new(), 0);
    // The push that is waited for is that of the first look: a later one of the same tag is somebody else's.
    let mut asked = query.clone();
    loop {
        match look(session, &asked, args.wait_approval).await {
            Ok((status, fates)) => {
                unanswered = 0;
                asked.digest = Some(status.push.digest.clone());
                tell(session, &fates, &mut said);
                if let Some(verdict) = verdict(&args.image, &status, &fates) {
                    return verdict.map(|()| status);
                }
            }
            Err(failure) if failure.exit() == Exit::Error && unanswered < FAILED_LOOKS_MAX => unanswered += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MILLIS)).await;
    }
}

/// The service deployment with this ARN.
async fn service_deployment(session: &Session, arn: &str) -> Result<aws::ServiceDeployment> {
    let request = aws::DescribeServiceDeploymentsRequest { service_deployment_arns: vec![arn.to_owned()] };
    let found = session.call(&request).await?.service_deployments.into_iter().next();
    found.ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no deployment {arn} that you may see")))
}

/// How it stands, with the exit code that says so. Pure.
fn standing(deployment: &aws::ServiceDeployment) -> Standing {
    let why = || deployment.status_reason.clone();
    let failed = deployment.deployment_circuit_breaker.status == "TRIGGERED";
    match deployment.status.as_str() {
        "SUCCESSFUL" => Standing::Completed,
        "ROLLBACK_SUCCESSFUL" => Standing::Ended(Exit::RolledBack, why()),
        "ROLLBACK_FAILED" => Standing::Ended(Exit::DeploymentFailed, why()),
        "STOPPED" if failed => Standing::Ended(Exit::DeploymentFailed, why()),
        "STOPPED" => Standing::Ended(Exit::Conflict, why()),
        _ => Standing::UnderWay,
    }
}

type Fates = BTreeMap<String, Fate>;

async fn look(session: &Session, query: &PushQuery, wait_approval: bool) -> Result<(PushStatus, Fates)> {
    let status: PushStatus = session.v1.get("/api/v1/pushes/last", query).await?;
    let mut fates = Fates::new();
    for decision in &status.decisions {
        let standing = match &decision.service_deployment {
            Some(arn) => Some(standing(&service_deployment(session, arn).await?)),
            None => None,
        };
        fates.insert(format!("{} ({})", decision.service, decision.trigger), fate(decision, standing, wait_approval));
    }
    fates.extend(status.undecided.iter().map(|trigger| (trigger.clone(), Fate::Open("is being decided".into()))));
    Ok((status, fates))
}

/// What became of a push, from its decision and how its deployment stands. Pure.
fn fate(decision: &Decision, standing: Option<Standing>, wait_approval: bool) -> Fate {
    let said = || format!("{}: {}", decision.status.as_str(), why(decision));
    match (decision.status, standing) {
        (_, Some(Standing::Completed)) => Fate::Good,
        (_, Some(Standing::UnderWay)) => Fate::Open(format!("is being deployed as {}", decision.task_definition.as_deref().unwrap_or("?"))),
        (_, Some(Standing::Ended(exit, why))) => Fate::Bad(exit, why),
        (DecisionStatus::Skipped, None) if decision.deployment.is_some() => Fate::Good,
        (DecisionStatus::Waiting, None) if wait_approval => Fate::Open(said()),
        (DecisionStatus::Waiting | DecisionStatus::Held, None) => Fate::Bad(Exit::WaitingForApproval, said()),
        (_, None) => Fate::Bad(Exit::Conflict, said()),
    }
}

/// The end, once nothing is open: good when all is good, else the worst. Pure.
fn verdict(image: &str, status: &PushStatus, fates: &Fates) -> Option<Result<()>> {
    if fates.is_empty() {
        let push = &status.push;
        let failure = Failure::new(Exit::NotFound, format!("no trigger that you may see follows {}:{}", push.repository, push.tag));
        return Some(Err(failure.next("`berth trigger create` makes one; only what is pushed after it counts")));
    }
    if fates.values().any(|fate| matches!(fate, Fate::Open(_))) {
        return None;
    }
    let bad = fates.iter().filter_map(|(name, fate)| if let Fate::Bad(exit, why) = fate { Some((*exit, name, why)) } else { None });
    let Some((exit, name, why)) = bad.min_by_key(|(exit, ..)| rank(*exit)) else { return Some(Ok(())) };
    let failure = Failure::new(exit, format!("{image} is not deployed at {name}")).why(why);
    Some(Err(match exit {
        Exit::WaitingForApproval => {
            failure.next("`berth deploy approve SERVICE` deploys what waits, `berth trigger resume SERVICE` what is held")
        }
        _ => failure.next("`berth trigger history` shows what became of pushes"),
    }))
}

/// The worst first.
const fn rank(exit: Exit) -> u8 {
    match exit {
        Exit::DeploymentFailed => 0,
        Exit::RolledBack => 1,
        Exit::WaitingForApproval => 2,
        _ => 3,
    }
}

fn tell(session: &Session, fates: &Fates, said: &mut BTreeMap<String, String>) {
    if session.out.is_json() || session.out.is_quiet() {
        return;
    }
    for (name, fate) in fates {
        let now = match fate {
            Fate::Open(what) | Fate::Bad(_, what) => what.clone(),
            Fate::Good => "completed".into(),
        };
        if said.insert(name.clone(), now.clone()).as_ref() != Some(&now) {
            output::remark(&format!("{} {name} {now}", session.now().to_rfc3339()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::triggers::Push;

    fn push() -> Push {
        Push {
            sequence: 7,
            repository: "acme/web".into(),
            tag: "v2".into(),
            digest: "sha256:2".into(),
            principal: "robot:ci".into(),
            at: String::new(),
        }
    }

    fn decision(status: DecisionStatus) -> Decision {
        Decision {
            id: "d-1".into(),
            trigger: "t-1".into(),
            service: "default/web".into(),
            container: "app".into(),
            push: push(),
            status,
            reason: "because".into(),
            superseded_by: None,
            decided_by: None,
            decided_at: String::new(),
            deployment: None,
            service_deployment: None,
            task_definition: None,
        }
    }

    #[test]
    fn what_became_of_a_push() {
        let exit = |status, standing, wait| match fate(&decision(status), standing, wait) {
            Fate::Bad(exit, _) => Some(exit),
            Fate::Open(_) | Fate::Good => None,
        };
        assert_eq!(fate(&decision(DecisionStatus::Taken), Some(Standing::Completed), false), Fate::Good);
        assert_eq!(fate(&decision(DecisionStatus::Skipped), Some(Standing::Completed), false), Fate::Good, "it runs already");
        assert!(matches!(fate(&decision(DecisionStatus::Taken), Some(Standing::UnderWay), false), Fate::Open(_)));
        let rolled_back = Some(Standing::Ended(Exit::RolledBack, String::new()));
        assert_eq!(exit(DecisionStatus::Taken, rolled_back, false), Some(Exit::RolledBack));
        assert_eq!(exit(DecisionStatus::Waiting, None, false), Some(Exit::WaitingForApproval));
        assert_eq!(exit(DecisionStatus::Waiting, None, true), None);
        assert_eq!(exit(DecisionStatus::Held, None, true), Some(Exit::WaitingForApproval));
        for status in [DecisionStatus::Superseded, DecisionStatus::Skipped, DecisionStatus::Rejected] {
            assert_eq!(exit(status, None, false), Some(Exit::Conflict));
        }
    }

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
    fn the_worst_fate_is_the_verdict() {
        let status = PushStatus { push: push(), decisions: Vec::new(), undecided: Vec::new() };
        let said = |fates: &[Fate]| {
            let fates = fates.iter().enumerate().map(|(at, fate)| (at.to_string(), fate.clone())).collect();
            verdict("acme/web:v2", &status, &fates).map(|verdict| verdict.map_err(|failure| failure.exit()))
        };
        let bad = |exit| Fate::Bad(exit, String::new());
        assert_eq!(said(&[]), Some(Err(Exit::NotFound)));
        assert_eq!(said(&[Fate::Good, Fate::Good]), Some(Ok(())));
        assert_eq!(said(&[Fate::Open(String::new()), bad(Exit::DeploymentFailed)]), None);
        assert_eq!(said(&[Fate::Good, bad(Exit::Conflict), bad(Exit::RolledBack)]), Some(Err(Exit::RolledBack)));
        assert_eq!(said(&[bad(Exit::WaitingForApproval), bad(Exit::DeploymentFailed)]), Some(Err(Exit::DeploymentFailed)));
    }
}
