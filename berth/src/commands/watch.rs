//! Watching a service until it is stable or gone, with progress for people: a live line on a terminal, one line with a time per
//! event in a pipe. Both on stderr. Interrupting it stops watching and nothing else.

use super::describe::{self, ServiceTarget, short};
use crate::duration;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::session::Session;
use api::aws;
use indicatif::{ProgressBar, ProgressStyle};
use model::Timestamp;
use std::collections::HashSet;
use std::time::Duration;

/// Time between two looks.
const LOOK_MILLIS: u64 = 500;
/// Looks in a row that may fail (the server restarts) before watching ends.
const FAILED_LOOKS_MAX: u32 = 40;

/// Waits until one deployment is left and runs as many tasks as desired. `asked` is the service as the change left it: what had
/// happened by then is not news.
pub async fn until_stable(session: &Session, target: &ServiceTarget, asked: &aws::Service, timeout: Duration) -> Result<aws::Service> {
    let mut seen = Seen::start(asked);
    let progress = Progress::new(session);
    let watching = async {
        let mut unanswered = 0;
        loop {
            match describe::service(session, target).await {
                Ok(service) => {
                    unanswered = 0;
                    progress.show(&line(&service));
                    seen.new_events(&service).iter().for_each(|text| progress.event(session.now(), text));
                    if seen.more_failed(&service) {
                        let failed = failed_tasks(session, target).await;
                        seen.new_tasks(&failed).iter().for_each(|text| progress.event(session.now(), text));
                    }
                    if let Some(result) = verdict(&service) {
                        return result.map(|()| service);
                    }
                }
                Err(failure) if failure.exit() == Exit::Error && unanswered < FAILED_LOOKS_MAX => unanswered += 1,
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MILLIS)).await;
        }
    };
    let done = limited(target, timeout, watching).await;
    progress.finish();
    done
}

/// Waits until the service is INACTIVE.
pub async fn until_gone(session: &Session, target: &ServiceTarget, timeout: Duration) -> Result<()> {
    let progress = Progress::new(session);
    let request = aws::DescribeServicesRequest { cluster: target.cluster.clone(), services: vec![target.name.clone()], include: None };
    let watching = async {
        loop {
            let answer = session.call(&request).await?;
            match answer.services.first() {
                Some(service) if service.status != "INACTIVE" => {
                    progress.show(&format!("{}: {} tasks left", target.full_name(), service.running_count + service.pending_count));
                }
                _ => return Ok(()),
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MILLIS)).await;
        }
    };
    let done = limited(target, timeout, watching).await;
    progress.finish();
    done
}

/// Ends at `timeout` with exit code 8, at Ctrl-C with 130.
async fn limited<T>(target: &ServiceTarget, timeout: Duration, watching: impl Future<Output = Result<T>>) -> Result<T> {
    let name = target.full_name();
    tokio::select! {
        // Cancel-safe: looking has no effects.
        done = watching => done,
        () = tokio::time::sleep(timeout) => Err(Failure::new(Exit::Timeout, format!("{name} is not there after {}", duration::format(timeout)))
            .why("it is still being worked on").next(format!("`berth service show {name}` and `berth events {name}` say where it stands"))),
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Detached, format!("stopped watching {name}; nothing was cancelled"))
            .next(format!("`berth service show {name}` says where it stands"))),
    }
}

/// What a look says: nothing yet, stable, or failed. Pure.
fn verdict(service: &aws::Service) -> Option<Result<()>> {
    if service.status != "ACTIVE" {
        return Some(Err(Failure::new(Exit::Conflict, format!("{} is {}", service.service_name, service.status))));
    }
    let primary = service.deployments.first()?;
    if primary.rollout_state == "FAILED" {
        let failure = Failure::new(Exit::DeploymentFailed, format!("the deployment of {} failed", service.service_name));
        let name = &service.service_name;
        let next = format!("`berth logs {name}` and `berth tasks --stopped {name}` say more");
        return Some(Err(failure.why(primary.rollout_state_reason.clone()).next(next)));
    }
    let stable = service.deployments.len() == 1
        && primary.rollout_state == "COMPLETED"
        && service.running_count == service.desired_count
        && service.pending_count == 0;
    stable.then_some(Ok(()))
}

fn line(service: &aws::Service) -> String {
    let parts = service.deployments.iter().map(|deployment| {
        let failed = if deployment.failed_tasks > 0 { format!(", {} failed", deployment.failed_tasks) } else { String::new() };
        let counts = format!("{}/{} running, {} pending", deployment.running_count, deployment.desired_count, deployment.pending_count);
        format!("{} {counts}{failed}", short(&deployment.task_definition))
    });
    format!("{}  {}", service.service_name, parts.collect::<Vec<_>>().join("  |  "))
}

/// Tasks of the service that stopped without being told to, newest last. Progress only: what cannot be read is left out.
async fn failed_tasks(session: &Session, target: &ServiceTarget) -> Vec<aws::Task> {
    let request = aws::ListTasksRequest {
        cluster: target.cluster.clone(),
        service_name: Some(target.name.clone()),
        desired_status: Some("STOPPED".into()),
        ..Default::default()
    };
    let cluster = target.cluster.clone().unwrap_or_else(|| "default".into());
    let Ok(ids) = describe::task_arns(session, request).await else { return Vec::new() };
    let mut tasks = describe::describe_tasks(session, &cluster, &ids).await.unwrap_or_default();
    tasks.retain(|task| matches!(task.stop_code.as_deref(), Some("TaskFailedToStart" | "EssentialContainerExited")));
    tasks.sort_by(|a, b| a.created_at.total_cmp(&b.created_at));
    tasks
}

/// What was shown already.
struct Seen {
    /// Ids of events and ARNs of tasks.
    ids: HashSet<String>,
    failed: i64,
    since: f64,
}

impl Seen {
    fn start(service: &aws::Service) -> Self {
        let since = service.deployments.first().map_or(0.0, |deployment| deployment.created_at);
        Self { ids: service.events.iter().map(|event| event.id.clone()).collect(), failed: 0, since }
    }

    /// Messages not shown yet, oldest first.
    fn new_events(&mut self, service: &aws::Service) -> Vec<String> {
        let fresh = service.events.iter().rev().filter(|event| self.ids.insert(event.id.clone()));
        fresh.map(|event| event.message.clone()).collect()
    }

    /// Whether more tasks failed than at the last look.
    fn more_failed(&mut self, service: &aws::Service) -> bool {
        let failed = service.deployments.iter().map(|deployment| deployment.failed_tasks).sum();
        std::mem::replace(&mut self.failed, failed) < failed
    }

    /// Failed tasks of this deployment not shown yet, each in one sentence.
    fn new_tasks(&mut self, tasks: &[aws::Task]) -> Vec<String> {
        let fresh = tasks.iter().filter(|task| task.created_at >= self.since && self.ids.insert(task.task_arn.clone()));
        fresh.map(failure_line).collect()
    }
}

fn failure_line(task: &aws::Task) -> String {
    let code = super::tasks::exit_codes(task);
    let code = if code == "-" { String::new() } else { format!("exit {code}: ") };
    format!("! task {} failed: {code}{}", short(&task.task_arn), super::tasks::reason(task))
}

/// Progress on stderr. Nothing with `--json` or `-q`.
struct Progress {
    bar: Option<ProgressBar>,
    silent: bool,
    last: std::cell::RefCell<String>,
}

impl Progress {
    fn new(session: &Session) -> Self {
        let silent = session.out.is_json() || session.out.is_quiet();
        let bar = (!silent && output::progress_is_live()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, silent, last: std::cell::RefCell::default() }
    }

    /// The state now: the live line, or a new line in a pipe when it differs from the last.
    fn show(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if !self.silent && *self.last.borrow() != text => {
                output::remark(&format!("{} {text}", model::clock::Clock::now(&model::clock::SystemClock).to_rfc3339()));
                text.clone_into(&mut self.last.borrow_mut());
            }
            None => {}
        }
    }

    fn event(&self, now: Timestamp, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("  {text}")),
            None if !self.silent => output::remark(&format!("{} {text}", now.to_rfc3339())),
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(running: i64, deployments: &[(&str, &str)]) -> aws::Service {
        let deployments = deployments.iter().map(|(status, state)| aws::Deployment {
            status: (*status).into(),
            rollout_state: (*state).into(),
            ..Default::default()
        });
        aws::Service {
            service_name: "web".into(),
            status: "ACTIVE".into(),
            running_count: running,
            desired_count: 3,
            deployments: deployments.collect(),
            ..Default::default()
        }
    }

    #[test]
    fn stable_is_one_completed_deployment_with_all_its_tasks() {
        assert!(matches!(verdict(&service(3, &[("PRIMARY", "COMPLETED")])), Some(Ok(()))));
        assert!(verdict(&service(2, &[("PRIMARY", "COMPLETED")])).is_none());
        assert!(verdict(&service(3, &[("PRIMARY", "IN_PROGRESS")])).is_none());
        assert!(verdict(&service(3, &[("PRIMARY", "COMPLETED"), ("ACTIVE", "COMPLETED")])).is_none());
        let failed = verdict(&service(0, &[("PRIMARY", "FAILED")])).unwrap().unwrap_err();
        assert_eq!(failed.exit(), Exit::DeploymentFailed);
    }

    #[test]
    fn a_failed_task_is_shown_once_with_its_exit_code() {
        let mut service = service(0, &[("PRIMARY", "IN_PROGRESS")]);
        let mut seen = Seen::start(&service);
        assert!(!seen.more_failed(&service));
        service.deployments[0].failed_tasks = 1;
        assert!(seen.more_failed(&service) && !seen.more_failed(&service));
        let container = aws::Container { exit_code: Some(3), ..Default::default() };
        let reason = Some("Essential container in task exited".into());
        let task = aws::Task { task_arn: "a/b/7".into(), stopped_reason: reason, containers: vec![container], ..Default::default() };
        assert_eq!(seen.new_tasks(std::slice::from_ref(&task)), ["! task 7 failed: exit 3: Essential container in task exited"]);
        assert!(seen.new_tasks(&[task]).is_empty());
    }

    #[test]
    fn events_are_shown_once_and_old_ones_never() {
        let event = |id: &str| aws::ServiceEvent { id: id.into(), message: id.into(), ..Default::default() };
        let mut service = service(0, &[("PRIMARY", "IN_PROGRESS")]);
        service.events = vec![event("old")];
        let mut seen = Seen::start(&service);
        service.events.insert(0, event("new"));
        assert_eq!(seen.new_events(&service), ["new"]);
        service.events.insert(0, event("newer"));
        assert_eq!(seen.new_events(&service), ["newer"]);
    }
}
