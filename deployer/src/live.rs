//! The events as they happen, for everybody who watches: one reader follows the table and hands on what it finds, however many
//! streams are open. A commit of this process wakes it; where other processes write too it looks on a period as well.
//!
//! What is handed on may be missed: a stream that sees a gap, or was too slow for the channel, reads the table itself. Progress of
//! pulls is handed on and kept nowhere.

use crate::context::Context;
use api::v1::events::Progress;
use model::access::Principal;
use platform::db::DbError;
use platform::events::{self, Event};
use platform::lifecycle::Lifecycle;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};

/// Events kept for streams that are behind.
const BEHIND_MAX: usize = 1024;
/// Events read at once.
const PAGE: i64 = 500;
/// How often the reader looks where other processes write to the same database.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// Least time between two looks: a burst of commits is read together.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// Pause after the database did not answer.
const RETRY: Duration = Duration::from_secs(1);
/// Open streams of one principal, and of all.
pub const STREAMS_OF_ONE_MAX: usize = 32;
const STREAMS_MAX: usize = 1_000;

/// What streams hear.
#[derive(Debug, Clone)]
pub enum News {
    Event(Arc<Event>),
    Progress(Arc<Progress>),
    /// Everything up to this sequence is in the table, and will not be handed on.
    At(i64),
}

/// Where streams listen.
#[derive(Debug)]
pub struct Live {
    news: broadcast::Sender<News>,
    joined: Notify,
    open: Arc<Mutex<HashMap<Principal, usize>>>,
}

impl Default for Live {
    fn default() -> Self {
        Self { news: broadcast::Sender::new(BEHIND_MAX), joined: Notify::new(), open: Arc::default() }
    }
}

/// A place among the open streams; free again when dropped.
#[derive(Debug)]
pub struct Seat {
    principal: Principal,
    open: Arc<Mutex<HashMap<Principal, usize>>>,
}

impl Live {
    /// Subscribe before reading the table, so that nothing falls between the two.
    pub fn subscribe(&self) -> broadcast::Receiver<News> {
        let receiver = self.news.subscribe();
        self.joined.notify_one();
        receiver
    }

    /// A place for one more stream of `principal`, while there is one.
    pub fn admit(&self, principal: &Principal) -> Option<Seat> {
        let mut open = lock(&self.open);
        if open.values().sum::<usize>() >= STREAMS_MAX || open.get(principal).is_some_and(|count| *count >= STREAMS_OF_ONE_MAX) {
            return None;
        }
        *open.entry(principal.clone()).or_default() += 1;
        Some(Seat { principal: principal.clone(), open: Arc::clone(&self.open) })
    }

    /// Hands on how far a pull is.
    pub fn tell(&self, progress: Progress) {
        // Nobody listens: nobody misses it.
        let _ = self.news.send(News::Progress(Arc::new(progress)));
    }

    pub fn has_listeners(&self) -> bool {
        self.news.receiver_count() > 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if let Some(count) = open.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.principal);
            }
        }
    }
}

fn lock(open: &Mutex<HashMap<Principal, usize>>) -> MutexGuard<'_, HashMap<Principal, usize>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the reader.
pub fn start(context: &Arc<Context>, lifecycle: &Lifecycle) {
    let (context, stopping) = (context.clone(), lifecycle.stopping.clone());
    lifecycle.spawn(async move {
        tokio::select! {
            // Cancel-safe per docs of CancellationToken; the reader holds nothing that must be finished.
            () = stopping.cancelled() => {}
            () = read(&context) => {}
        }
    });
}

/// Follows the table for as long as somebody listens; waits otherwise.
async fn read(context: &Context) {
    let mut commits = context.db.commits();
    let mut position = None;
    loop {
        if !context.live.has_listeners() {
            position = None;
            context.live.joined.notified().await;
            continue;
        }
        commits.borrow_and_update();
        match hand_on(context, position).await {
            Ok(at) => position = Some(at),
            Err(error) => {
                tracing::error!(%error, "the events cannot be followed");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        tokio::time::sleep(LOOK_PAUSE).await;
        tokio::select! {
            // Cancel-safe per docs of watch::Receiver::changed. The sender lives in the database that is held here.
            _ = commits.changed() => {}
            () = tokio::time::sleep(LOOK_PERIOD), if !context.db.is_exclusive() => {}
        }
    }
}

/// Hands on what came after `position`; without one, says where the table is now. Gives the new position.
async fn hand_on(context: &Context, position: Option<i64>) -> Result<i64, DbError> {
    let mut connection = context.db.read().await?;
    let Some(mut position) = position else {
        let latest = events::latest(&mut connection).await?;
        let _ = context.live.news.send(News::At(latest));
        return Ok(latest);
    };
    loop {
        let page = events::after(&mut connection, position, PAGE).await?;
        let Some(last) = page.last() else { return Ok(position) };
        position = last.sequence;
        for event in page {
            let _ = context.live.news.send(News::Event(Arc::new(event)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_principal_have_a_limit() {
        let live = Live::default();
        let (alice, bob): (Principal, Principal) = ("user:alice".parse().unwrap(), "user:bob".parse().unwrap());
        let mut seats: Vec<Seat> = (0..STREAMS_OF_ONE_MAX).map(|_| live.admit(&alice).unwrap()).collect();
        assert!(live.admit(&alice).is_none());
        assert!(live.admit(&bob).is_some());
        seats.pop();
        assert!(live.admit(&alice).is_some());
        drop(seats);
        assert!(lock(&live.open).is_empty(), "nothing is kept of streams that ended");
    }
}
