//! Watching a service until its deployment ends, or the service is gone. What is shown comes from the stream of events, and how it ends
//! from the description of the service; a server that restarts meanwhile is waited for. Interrupting it stops watching and nothing else.

mod board;
mod screen;
mod table;

use super::describe::{self, ServiceTarget, short};
use super::follow::{self, News};
use crate::duration;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::session::Session;
use api::aws;
use api::v1::deployer::LogQuery;
use api::v1::events::{Event, EventPage, EventQuery, TaskGlance};
use board::{Board, Change, Verdict, one_line};
use model::Timestamp;
use screen::{Purpose, Screen};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Time between two drawings.
const DRAW: Duration = Duration::from_millis(250);
/// The service is described again at most and at least this often.
const LOOK_MIN: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// What only an event explains is waited for this long.
const CERTAIN_AFTER: Duration = Duration::from_secs(3);
/// Time between two looks at a service that is being removed.
const GONE_LOOK: Duration = Duration::from_millis(500);
/// Newest events of the service that are looked through for what happened before the watching began.
const EVENTS_BEFORE: usize = 500;
/// Failed tasks whose last lines are read, and lines of each.
const LOGS_MAX: usize = 20;
const LOG_LINES: u32 = 50;
/// Longest time that reading them takes.
const LOG_TIME_MAX: Duration = Duration::from_secs(5);

/// Watches until the deployment that `asked` shows as PRIMARY ends: what a command does after it changed the service.
pub async fn until_stable(session: &Session, target: &ServiceTarget, asked: &aws::Service, timeout: Duration) -> Result<aws::Service> {
    let watched = asked.deployments.first().map(|deployment| deployment.id.clone()).unwrap_or_default();
    let watch = Watch::begin(session, target, asked, Some(watched), Purpose::Wait);
    limited(target, timeout, async { watch.await?.run().await }).await
}

/// Watches until the deployment with this id (`ecs-svc/…`) ends: what a command does after it began one.
pub async fn until_ended(session: &Session, target: &ServiceTarget, deployment: &str, timeout: Duration) -> Result<aws::Service> {
    let service = describe::service(session, target).await?;
    let watch = Watch::begin(session, target, &service, Some(deployment.to_owned()), Purpose::Wait);
    limited(target, timeout, async { watch.await?.run().await }).await
}

/// Watches the deployment under way, or says how the last one ended.
pub async fn deployment(session: &Session, target: &ServiceTarget, timeout: Duration) -> Result<aws::Service> {
    let service = describe::service(session, target).await?;
    let watch = Watch::begin(session, target, &service, None, Purpose::Watch);
    limited(target, timeout, async { watch.await?.run().await }).await
}

/// Waits until the service is INACTIVE.
pub async fn until_gone(session: &Session, target: &ServiceTarget, timeout: Duration) -> Result<()> {
    let request = aws::DescribeServicesRequest { cluster: target.cluster.clone(), services: vec![target.name.clone()], include: None };
    let live = output::progress_is_live() && !session.out.is_json() && !session.out.is_quiet();
    let mut left = None;
    let watching = async {
        loop {
            let answer = session.call(&request).await?;
            match answer.services.first() {
                Some(service) if service.status != "INACTIVE" => {
                    let now = service.running_count + service.pending_count;
                    if live && left.replace(now) != Some(now) {
                        output::remark(&format!("{}: {now} tasks left", target.full_name()));
                    }
                }
                _ => return Ok(()),
            }
            tokio::time::sleep(GONE_LOOK).await;
        }
    };
    limited(target, timeout, watching).await
}

/// Ends at `timeout` with exit code 8, at Ctrl-C with 130.
async fn limited<T>(target: &ServiceTarget, timeout: Duration, watching: impl Future<Output = Result<T>>) -> Result<T> {
    let name = target.full_name();
    tokio::select! {
        // Cancel-safe: looking has no effects.
        done = watching => done,
        () = tokio::time::sleep(timeout) => Err(Failure::new(Exit::Timeout, format!("{name} is not there after {}", duration::format(timeout)))
            .why("it is still being worked on").next(format!("`berth deploy watch {name}` goes on watching"))),
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Detached, format!("stopped watching {name}; nothing was cancelled"))
            .next(format!("`berth deploy watch {name}` goes on watching"))),
    }
}

struct Watch<'a> {
    session: &'a Session,
    target: &'a ServiceTarget,
    board: Board,
    screen: Screen,
    purpose: Purpose,
    news: mpsc::Receiver<News>,
    logs_read: usize,
    /// Since when the board says that it ended, without being certain.
    ended_since: Option<Instant>,
}

impl<'a> Watch<'a> {
    /// Reads what there is, and opens the stream where that ends.
    async fn begin(
        session: &'a Session,
        target: &'a ServiceTarget,
        service: &aws::Service,
        watched: Option<String>,
        purpose: Purpose,
    ) -> Result<Self> {
        let subject = format!("service:{}", target.full_name());
        let query = EventQuery { subject: Some(subject), ..EventQuery::default() };
        let before: EventPage = session.v1.get("/api/v1/events", &EventQuery { limit: Some(EVENTS_BEFORE), ..query.clone() }).await?;
        let primary = service.deployments.first();
        let watched = watched.or_else(|| last_deployment(&before.items)).or_else(|| primary.map(|primary| primary.id.clone()));
        let watched = watched.unwrap_or_default();
        let described = service.deployments.iter().find(|deployment| deployment.id == watched);
        let began = described.map_or_else(|| session.now(), |deployment| duration::from_epoch_secs(deployment.created_at));
        let mut board = Board::new(target.full_name(), watched, began);
        board.see_service(service);
        board.hosts = hosts(session, target).await;
        let news = follow::start(session, query, Some(before.next));
        let screen = Screen::new(session.out, purpose);
        let mut watch = Self { session, target, board, screen, purpose, news, logs_read: 0, ended_since: None };
        for task in watch.tasks().await? {
            let at = task.started_at.unwrap_or(task.created_at);
            watch.board.see_task(board::glance(&task, session.now()), duration::from_epoch_secs(at));
        }
        // Times of events have seconds.
        let since = Timestamp::from_secs(began.as_secs());
        for event in before.items.iter().filter(|event| Timestamp::parse_rfc3339(&event.at).is_some_and(|at| at >= since)) {
            watch.take(event).await;
        }
        Ok(watch)
    }

    async fn tasks(&self) -> Result<Vec<aws::Task>> {
        let request = aws::ListTasksRequest {
            cluster: self.target.cluster.clone(),
            service_name: Some(self.target.name.clone()),
            desired_status: Some("RUNNING".into()),
            ..Default::default()
        };
        let ids = describe::task_arns(self.session, request).await?;
        describe::describe_tasks(self.session, self.target.cluster.as_deref().unwrap_or("default"), &ids).await
    }

    /// Shows what happens until it ends, and says how.
    async fn run(mut self) -> Result<aws::Service> {
        let mut draw = tokio::time::interval(DRAW);
        let (mut looked, mut changed) = (Instant::now(), true);
        let mut latest: Option<aws::Service> = None;
        loop {
            tokio::select! {
                // Cancel-safe per docs: a channel keeps what is not taken, an interval its beat.
                heard = self.news.recv() => {
                    changed = true;
                    self.hear(heard.unwrap_or_else(|| News::Ended(follow::stopped()))).await?;
                    continue;
                }
                _ = draw.tick() => {}
            }
            let due = if changed { LOOK_MIN } else { LOOK_MAX };
            if latest.is_none() || looked.elapsed() >= due {
                (looked, changed) = (Instant::now(), false);
                latest = self.look().await?.or(latest);
            }
            self.screen.show(&self.board, self.session.now());
            if let Some(verdict) = self.verdict()
                && let Some(service) = &latest
            {
                self.screen.finish(&self.board);
                return self.say(verdict).map(|()| service.clone());
            }
        }
    }

    /// Describes the service again; nothing when the server is away, which the stream notices as well.
    async fn look(&mut self) -> Result<Option<aws::Service>> {
        match describe::service(self.session, self.target).await {
            Ok(service) => {
                self.board.see_service(&service);
                Ok(Some(service))
            }
            Err(failure) if failure.exit() == Exit::Error => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn hear(&mut self, news: News) -> Result<()> {
        match news {
            News::Event(event) => self.take(&event).await,
            News::Progress(progress) => {
                self.screen.progress(&progress);
                self.board.see_progress(progress);
            }
            News::Lost(why) => {
                self.screen.remark(self.session.now(), &format!("{why}; waiting for the server"));
                self.board.away = Some(why);
            }
            News::Connected => {
                if self.board.away.take().is_some() {
                    self.screen.remark(self.session.now(), "the server is back");
                }
            }
            News::Ended(failure) => return Err(failure),
        }
        Ok(())
    }

    async fn take(&mut self, event: &Event) {
        let at = Timestamp::parse_rfc3339(&event.at).unwrap_or_else(|| self.session.now());
        for change in self.board.see_event(event) {
            self.screen.change(&self.board, &change, at);
            if let Change::Failed(task) = &change {
                self.read_log(task, at).await;
            }
        }
    }

    /// Reads the last lines of a failed task. They are for people: what cannot be read is left out.
    async fn read_log(&mut self, task: &TaskGlance, at: Timestamp) {
        if self.logs_read >= LOGS_MAX {
            return;
        }
        self.logs_read += 1;
        let query = LogQuery { kept: true, tail: Some(LOG_LINES), ..LogQuery::default() };
        let path = format!("/api/v1/tasks/{}/logs", task.task);
        let reading = async { self.session.v1.stream(&path, &query).await.ok()?.text().await.ok() };
        let Ok(Some(text)) = tokio::time::timeout(LOG_TIME_MAX, reading).await else { return };
        self.board.see_log(task, text.lines().map(one_line).collect());
        let failure = self.board.failures.iter().find(|failure| failure.task == task.task);
        if let Some(failure) = failure.filter(|failure| !failure.log.is_empty()) {
            self.screen.log(failure, at);
        }
    }

    /// How it ended, once that is certain or has been so for a while.
    fn verdict(&mut self) -> Option<Verdict> {
        let Some(ended) = self.board.ended() else {
            self.ended_since = None;
            return None;
        };
        let since = *self.ended_since.get_or_insert_with(Instant::now);
        (ended.certain || since.elapsed() >= CERTAIN_AFTER).then_some(ended.verdict)
    }

    /// The verdict as the command's result.
    fn say(&self, verdict: Verdict) -> Result<()> {
        let (board, name) = (&self.board, self.target.full_name());
        let what = if board.definition.is_empty() { name.clone() } else { format!("{name} ({})", board.definition) };
        let (word, exit, text) = match verdict {
            Verdict::Completed => {
                let text = format!("{what} is stable: {}/{} tasks run", board.running, board.desired);
                self.screen.verdict("completed", 0, &text);
                // A command that waits says its own sentence.
                if self.purpose == Purpose::Watch && !self.session.out.is_json() {
                    output::print(&format!("{text}\n"));
                }
                return Ok(());
            }
            Verdict::RolledBack => ("rolled_back", Exit::RolledBack, format!("the deployment of {what} failed and was rolled back")),
            Verdict::Failed => ("failed", Exit::DeploymentFailed, format!("the deployment of {what} failed")),
            Verdict::Superseded => ("superseded", Exit::Conflict, format!("another deployment took the place of that of {what}")),
            Verdict::Gone => ("gone", Exit::Conflict, format!("{name} is {}", board.status)),
        };
        self.screen.verdict(word, exit as u8, &text);
        let failure = Failure::new(exit, text).next(next(verdict, &name));
        Err(match reasons(board) {
            Some(why) => failure.why(why),
            None => failure,
        })
    }
}

/// Why a deployment failed: its own reason, then those of its tasks.
fn reasons(board: &Board) -> Option<String> {
    let primary = board.primary().filter(|primary| primary.id == board.watched).map(|primary| primary.reason.clone());
    let own = Some(board.attempt_reason.clone()).filter(|reason| !reason.is_empty()).or(primary);
    let tasks = board.failures.iter().map(|group| format!("{} × {}", group.count, group.reason));
    let reasons: Vec<String> = own.filter(|reason| !reason.is_empty()).into_iter().chain(tasks).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn next(verdict: Verdict, name: &str) -> String {
    match verdict {
        Verdict::Superseded => format!("`berth deploy watch {name}` watches the other one"),
        Verdict::Gone => "`berth services` lists the services".into(),
        _ => format!("`berth logs {name}`, `berth tasks --stopped {name}` and `berth events {name}` say more"),
    }
}

/// The deployment that the last event about one is of.
fn last_deployment(events: &[Event]) -> Option<String> {
    let last = events.iter().rev().find(|event| event.kind.starts_with("deployment."))?;
    last.detail["deployment"].as_str().map(str::to_owned)
}

/// Names of the cluster's instances by id; those that may not be seen are shown by their id.
async fn hosts(session: &Session, target: &ServiceTarget) -> std::collections::HashMap<String, String> {
    let instances = describe::instances(session, target.cluster.as_deref().unwrap_or("default")).await.unwrap_or_default();
    let named = instances.into_iter().map(|instance| (short(&instance.container_instance_arn).to_owned(), instance.ec2_instance_id));
    named.collect()
}
