//! The stream of events, as a client reads it: server-sent events taken apart, with a limit on each.

use super::{Client, ClientError};
use crate::v1::events::{Event, EventQuery, PROGRESS_EVENT, Progress};
use reqwest::header::ACCEPT;
use reqwest::{Method, Response};

/// Longest event taken, in bytes.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// What an open stream brings.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Event(Box<Event>),
    Progress(Progress),
    /// Nothing happened, and the server is there.
    Heartbeat,
}

/// An open stream. It ends when the connection does; [`Client::events`] with the last sequence goes on where it ended.
pub struct EventStream {
    response: Response,
    frames: Frames,
    url: String,
}

impl Client {
    /// Opens the stream of the events of `query`; `after` is the sequence of the last one seen.
    pub async fn events(&self, query: &EventQuery, after: Option<i64>) -> Result<EventStream, ClientError> {
        let mut request = self.request(Method::GET, "/api/v1/events").query(query).header(ACCEPT, "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let response = self.accepted(self.send(request).await?).await?;
        Ok(EventStream { response, frames: Frames::default(), url: self.url.clone() })
    }
}

impl EventStream {
    /// The next thing heard; nothing at the end. Cancel-safe: what has arrived stays for the next call.
    pub async fn next(&mut self) -> Result<Option<Heard>, ClientError> {
        loop {
            while let Some(frame) = self.frames.next() {
                if let Some(heard) = heard(&frame).map_err(|error| self.not_an_answer(error.to_string()))? {
                    return Ok(Some(heard));
                }
            }
            if self.frames.0.len() > EVENT_BYTES_MAX {
                return Err(self.not_an_answer(format!("an event of more than {EVENT_BYTES_MAX} bytes")));
            }
            let chunk = self.response.chunk().await;
            match chunk.map_err(|error| ClientError::Unreachable { url: self.url.clone(), message: error.to_string() })? {
                Some(chunk) => self.frames.push(&chunk),
                None => return Ok(None),
            }
        }
    }

    fn not_an_answer(&self, message: String) -> ClientError {
        ClientError::NotAnAnswer { url: self.url.clone(), message }
    }
}

fn heard(frame: &Frame) -> Result<Option<Heard>, serde_json::Error> {
    if frame.data.is_empty() {
        return Ok(frame.is_comment.then_some(Heard::Heartbeat));
    }
    let heard = match frame.event.as_str() {
        PROGRESS_EVENT => Heard::Progress(serde_json::from_str(&frame.data)?),
        _ => Heard::Event(serde_json::from_str(&frame.data)?),
    };
    Ok(Some(heard))
}

/// One block of lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Frame {
    event: String,
    data: String,
    is_comment: bool,
}

/// Bytes that arrive in pieces, given back in blocks that end with an empty line.
#[derive(Debug, Default)]
struct Frames(Vec<u8>);

impl Frames {
    fn push(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    fn next(&mut self) -> Option<Frame> {
        let end = self.0.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.0.drain(..end + 2).collect();
        Some(frame(&String::from_utf8_lossy(&block)))
    }
}

fn frame(block: &str) -> Frame {
    let mut frame = Frame::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => frame.is_comment |= line.starts_with(':'),
            "event" => value.clone_into(&mut frame.event),
            "data" if frame.data.is_empty() => value.clone_into(&mut frame.data),
            "data" => frame.data = format!("{}\n{value}", frame.data),
            _ => {}
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_put_together_from_pieces() {
        let mut frames = Frames::default();
        frames.push(b"retry: 1000\n: open\n\nid: 7\nevent: task.");
        assert_eq!(frames.next(), Some(Frame { is_comment: true, ..Frame::default() }));
        assert_eq!(frames.next(), None);
        frames.push(b"changed\ndata: {\"a\":\ndata: 1}\n\n:\n\n");
        let expected = Frame { event: "task.changed".into(), data: "{\"a\":\n1}".into(), is_comment: false };
        assert_eq!(frames.next(), Some(expected));
        assert_eq!(heard(&frames.next().unwrap()).unwrap(), Some(Heard::Heartbeat));
    }

    #[test]
    fn events_and_progress_are_told_apart() {
        let event = r#"{"sequence":7,"at":"2026-01-01T00:00:00Z","kind":"x.y","subject":"s","message":"m","detail":{}}"#;
        let block = |event: &str, data: &str| Frame { event: event.into(), data: data.into(), is_comment: false };
        assert!(matches!(heard(&block("x.y", event)).unwrap(), Some(Heard::Event(event)) if event.sequence == 7));
        let pull = r#"{"subject":"s","task":"t","container":"c","layersDone":1,"layers":2,"bytesDone":3,"bytes":4}"#;
        assert!(matches!(heard(&block(PROGRESS_EVENT, pull)).unwrap(), Some(Heard::Progress(pull)) if pull.bytes == 4));
        assert!(heard(&block("x.y", "nonsense")).is_err());
        assert_eq!(heard(&block("", "")).unwrap(), None);
    }
}
