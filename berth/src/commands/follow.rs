//! Following events for as long as somebody watches: the stream is opened again after the last event seen whenever it breaks, so that a
//! server that restarts is a pause and not an end.

use crate::failure::{Exit, Failure};
use crate::session::Session;
use api::v1::client::{Client, ClientError, Heard};
use api::v1::events::{Event, EventQuery, HEARTBEAT_SECS, Progress};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Things heard that wait to be shown.
const WAITING_MAX: usize = 256;
/// A stream that is silent for longer sits on a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(3 * HEARTBEAT_SECS);
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A server that is away for longer is not waited for.
const AWAY_MAX: Duration = Duration::from_mins(10);

/// What a follower hears.
#[derive(Debug)]
pub enum News {
    Event(Box<Event>),
    Progress(Progress),
    /// The stream is open, for the first time or again.
    Connected,
    /// It broke, for this reason, and is being opened again.
    Lost(String),
    /// It cannot be followed.
    Ended(Failure),
}

/// Follows `query` after the event `after`; from now on without one. Ends when the receiver is dropped.
pub fn start(session: &Session, query: EventQuery, after: Option<i64>) -> mpsc::Receiver<News> {
    let (sender, news) = mpsc::channel(WAITING_MAX);
    tokio::spawn(follow(session.v1.clone(), query, after, sender));
    news
}

async fn follow(client: Client, query: EventQuery, mut after: Option<i64>, sender: mpsc::Sender<News>) {
    let mut away = Away::default();
    loop {
        let Err(error) = listen(&client, &query, &mut after, &sender, &mut away).await else { return };
        tracing::debug!(%error, "the stream of events broke");
        let first = away.note();
        if is_final(&error) || away.is_over() {
            // Who listened may be gone; then nobody wants to know.
            let _ = sender.send(News::Ended(error.into())).await;
            return;
        }
        if first && sender.send(News::Lost(error.to_string())).await.is_err() {
            return;
        }
        tokio::time::sleep(away.pause()).await;
    }
}

/// One connection: an error when it breaks, nothing when nobody listens any more.
async fn listen(
    client: &Client,
    query: &EventQuery,
    after: &mut Option<i64>,
    sender: &mpsc::Sender<News>,
    away: &mut Away,
) -> Result<(), ClientError> {
    let broken = |message: &str| ClientError::Unreachable { url: "the server".into(), message: message.into() };
    let opening = tokio::time::timeout(SILENCE_MAX, client.events(query, *after));
    let mut stream = opening.await.map_err(|_| broken("it does not answer"))??;
    *away = Away::default();
    if sender.send(News::Connected).await.is_err() {
        return Ok(());
    }
    loop {
        let heard = tokio::select! {
            // Cancel-safe: the listener is gone for good.
            () = sender.closed() => return Ok(()),
            // Cancel-safe per its docs.
            heard = tokio::time::timeout(SILENCE_MAX, stream.next()) => heard.map_err(|_| broken("it is silent"))??,
        };
        let news = match heard {
            None => return Err(broken("the stream ended")),
            Some(Heard::Heartbeat) => continue,
            Some(Heard::Progress(progress)) => News::Progress(progress),
            Some(Heard::Event(event)) => {
                *after = Some(event.sequence);
                News::Event(event)
            }
        };
        if sender.send(news).await.is_err() {
            return Ok(());
        }
    }
}

/// Whether asking again would bring the same refusal. A server that starts may answer with 5xx, a proxy before it with anything.
fn is_final(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(problem) if (400..500).contains(&problem.status) && problem.status != 429)
}

/// How long the server has been away.
#[derive(Debug, Default)]
struct Away {
    since: Option<Instant>,
    tries: u32,
}

impl Away {
    /// One more failure; whether it is the first.
    fn note(&mut self) -> bool {
        self.tries += 1;
        self.since.get_or_insert_with(Instant::now);
        self.tries == 1
    }

    fn is_over(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() > AWAY_MAX)
    }

    fn pause(&self) -> Duration {
        (RETRY_MIN * 2_u32.pow(self.tries.min(8))).min(RETRY_MAX)
    }
}

/// The end of a command that a person stopped.
pub fn stopped() -> Failure {
    Failure::new(Exit::Detached, "stopped watching")
}
