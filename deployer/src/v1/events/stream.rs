//! The events as a stream that stays open (server-sent events): what the table holds after the asked position, then what happens.
//!
//! One task feeds each stream through a channel of a few events. A reader who does not take them is cut off, and may go on later from
//! the last id it saw. Who asks is authenticated again for every batch, and every event is decided on by itself: what is taken away
//! from somebody acts on the next event.

use super::{Filter, may_see, wire};
use crate::context::Context;
use crate::live::{News, Seat};
use api::v1::Problem;
use api::v1::events::{HEARTBEAT_SECS, PROGRESS_EVENT, Progress};
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderMap;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, HeaderValue};
use identity::http::ApiError;
use identity::{Caller, Snapshot};
use platform::db::DbError;
use platform::events::{self, Event};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

/// Events on their way to one reader.
const FRAMES_MAX: usize = 64;
/// A reader who takes nothing for this long is cut off.
const SLOW_TIME_MAX: Duration = Duration::from_secs(10);
/// Events read from the table at once, and decided on together when they happen.
const BATCH: usize = 200;
/// What a client waits before it connects again.
const RETRY: Duration = Duration::from_secs(1);

/// Whether the request asks for a stream.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/event-stream"))
}

/// Why a stream ends from this side.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the reader is gone or too slow")]
    Reader,
    #[error("whoever asked may not ask any more")]
    Caller,
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Opens a stream for `caller`, who showed `headers`.
pub(super) fn open(context: &Arc<Context>, caller: &Caller, headers: &HeaderMap, filter: Filter) -> Result<Response, ApiError> {
    let seat = context.live.admit(&caller.principal).ok_or_else(|| {
        ApiError::new(
            Problem::new(429, "too_many_streams", "Too many streams", "too many streams are open")
                .with_hint("close one of them, or ask for pages"),
        )
    })?;
    let (sender, frames) = mpsc::channel(FRAMES_MAX);
    let shown = headers.get(AUTHORIZATION).map(|value| (AUTHORIZATION, value.clone())).into_iter().collect();
    let feed = Feed {
        news: context.live.subscribe(),
        context: context.clone(),
        shown,
        address: caller.address,
        filter,
        sender,
        position: 0,
        _seat: seat,
    };
    tokio::spawn(feed.run());
    let frames = stream::unfold(frames, |mut frames| async { frames.recv().await.map(|frame| (Ok::<_, Infallible>(frame), frames)) });
    let heartbeat = KeepAlive::new().interval(Duration::from_secs(HEARTBEAT_SECS)).text("still here");
    let mut response = Sse::new(frames).keep_alive(heartbeat).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect answers before they pass them on (nginx) are told not to.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Feed {
    context: Arc<Context>,
    news: broadcast::Receiver<News>,
    /// The credentials of the request.
    shown: HeaderMap,
    address: Option<IpAddr>,
    filter: Filter,
    sender: mpsc::Sender<Frame>,
    /// Everything up to here was sent, or is not for this reader.
    position: i64,
    _seat: Seat,
}

impl Feed {
    async fn run(mut self) {
        let (stopping, reader) = (self.context.agents.stopping(), self.sender.clone());
        let end = tokio::select! {
            // Cancel-safe: the stream ends here, and its reader goes on elsewhere from the last id it has.
            () = stopping.cancelled() => return,
            () = reader.closed() => return,
            end = self.follow() => end,
        };
        match end {
            Err(End::Db(error)) => tracing::error!(%error, "a stream of events ended"),
            Err(end) => tracing::debug!("a stream of events ended: {end}"),
            Ok(()) => {}
        }
    }

    async fn follow(&mut self) -> Result<(), End> {
        self.begin().await?;
        loop {
            self.catch_up().await?;
            while !self.live().await? {}
        }
    }

    /// Where the reader wants to go on; at the end of the table when it does not say, or knows more than there is.
    async fn begin(&mut self) -> Result<(), End> {
        let latest = events::latest(&mut *self.context.db.read().await?).await?;
        self.position = self.filter.after.map_or(latest, |after| after.clamp(0, latest));
        self.send(Frame::default().retry(RETRY).comment("open")).await
    }

    /// Sends what the table holds after the position.
    async fn catch_up(&mut self) -> Result<(), End> {
        loop {
            let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
            let mut connection = self.context.db.read().await?;
            // Taken before the page, so that what is committed between the two is not skipped.
            let latest = events::latest(&mut connection).await?;
            let page = self.filter.page(&mut connection, self.position, limit).await?;
            drop(connection);
            let done = page.len() < BATCH;
            let last = page.last().map_or(self.position, |event| event.sequence);
            let caller = self.authenticate().await?;
            for event in &page {
                self.offer(&caller, event).await?;
            }
            self.position = if done { last.max(latest) } else { last };
            if done {
                return Ok(());
            }
        }
    }

    /// Waits for news and sends them. True when the table has to be read again, since some were missed.
    async fn live(&mut self) -> Result<bool, End> {
        let mut batch = vec![self.news.recv().await];
        while batch.len() < BATCH {
            match self.news.try_recv() {
                Ok(news) => batch.push(Ok(news)),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => batch.push(Err(RecvError::Lagged(missed))),
                Err(_) => break,
            }
        }
        let caller = self.authenticate().await?;
        for news in batch {
            match news {
                Ok(News::Event(event)) if event.sequence <= self.position => {}
                Ok(News::Event(event)) if event.sequence == self.position + 1 => {
                    self.position = event.sequence;
                    if self.filter.takes(&event) {
                        self.offer(&caller, &event).await?;
                    }
                }
                Ok(News::At(latest)) if latest <= self.position => {}
                Ok(News::Progress(progress)) => self.offer_progress(&caller, &progress).await?,
                Ok(News::Event(_) | News::At(_)) | Err(RecvError::Lagged(_)) => return Ok(true),
                Err(RecvError::Closed) => return Err(End::Reader),
            }
        }
        Ok(false)
    }

    /// Whoever asked, as of now: tokens end, principals are disabled, grants go.
    async fn authenticate(&self) -> Result<(Arc<Snapshot>, Caller), End> {
        let identity = &self.context.identity;
        let caller = identity.authenticate(&self.shown, self.address).await.map_err(|_| End::Caller)?;
        let snapshot = identity.snapshot().await.map_err(|error| DbError::Other(error.to_string()))?;
        Ok((snapshot, caller))
    }

    async fn offer(&self, (snapshot, caller): &(Arc<Snapshot>, Caller), event: &Event) -> Result<(), End> {
        if !may_see(snapshot, caller, &event.subject) {
            return Ok(());
        }
        let data = serde_json::to_string(&wire(event.clone())).unwrap_or_default();
        self.send(Frame::default().id(event.sequence.to_string()).event(&event.kind).data(data)).await
    }

    async fn offer_progress(&self, (snapshot, caller): &(Arc<Snapshot>, Caller), progress: &Progress) -> Result<(), End> {
        let wanted = self.filter.subject.as_ref().is_none_or(|subject| *subject == progress.subject);
        let wanted = wanted && self.filter.kind.as_ref().is_none_or(|kind| PROGRESS_EVENT.starts_with(kind.as_str()));
        if !wanted || !may_see(snapshot, caller, &progress.subject) {
            return Ok(());
        }
        let data = serde_json::to_string(progress).unwrap_or_default();
        self.send(Frame::default().event(PROGRESS_EVENT).data(data)).await
    }

    async fn send(&self, frame: Frame) -> Result<(), End> {
        send_within(&self.sender, frame, SLOW_TIME_MAX).await
    }
}

async fn send_within<T>(sender: &mpsc::Sender<T>, frame: T, limit: Duration) -> Result<(), End> {
    match tokio::time::timeout(limit, sender.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Reader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_who_takes_nothing_is_cut_off() {
        let (sender, mut frames) = mpsc::channel(2);
        let limit = Duration::from_millis(20);
        for n in 0..2 {
            assert!(send_within(&sender, n, limit).await.is_ok());
        }
        assert!(matches!(send_within(&sender, 2, limit).await, Err(End::Reader)));
        assert_eq!(frames.recv().await, Some(0));
        assert!(send_within(&sender, 3, limit).await.is_ok());
    }

    #[test]
    fn a_stream_is_asked_for_by_its_media_type() {
        let headers = |accept: &'static str| HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        assert!(is_asked(&headers("text/event-stream")) && is_asked(&headers("text/event-stream, */*;q=0.1")));
        assert!(!is_asked(&headers("application/json")) && !is_asked(&HeaderMap::new()));
    }
}
