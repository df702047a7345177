//! The last lines of a task that has ended, read from Docker before the task counts as STOPPED, so that its last report carries them.
//!
//! What cannot be read in a moment (another log driver, a container that is gone, an engine that hangs) is left out: a stop never waits
//! for output.

use super::Engine;
use crate::runtime::{LogOptions, Runtime};
use api::agent::{LOG_TAIL_BYTES_MAX, LOG_TAIL_LINES, LogTail};
use futures_util::StreamExt;
use futures_util::future::join_all;
use model::ids::TaskId;
use std::time::Duration;

/// Longest time that a task's last lines are read.
const READ_TIME_MAX: Duration = Duration::from_secs(2);

/// Reads the last lines of a task, then counts it as STOPPED; unless something of it runs again, which is stopped first.
pub(super) async fn finish<R: Runtime>(engine: &Engine<R>, task: &TaskId) {
    let containers = engine.record(task).map(|record| record.ended_containers()).unwrap_or_default();
    let bytes_max = LOG_TAIL_BYTES_MAX / containers.len().max(1);
    let tails = join_all(containers.iter().map(|(name, id)| tail(engine, name, id, bytes_max))).await;
    engine.note(task, |record, now| {
        if !record.has_running() {
            record.log_tails = tails.into_iter().flatten().collect();
            record.finish(now);
        }
    });
}

/// The last lines of one container; nothing when there are none.
async fn tail<R: Runtime>(engine: &Engine<R>, container: &str, id: &str, bytes_max: usize) -> Option<LogTail> {
    let options = LogOptions { follow: false, tail: Some(LOG_TAIL_LINES), timestamps: true, since: None };
    let mut output = engine.runtime.logs(id, &options);
    let mut last = Vec::new();
    let read = async {
        while let Some(chunk) = output.next().await {
            match chunk {
                Ok(chunk) => last.extend_from_slice(&chunk),
                Err(error) => return tracing::debug!(container.id = id, "the last lines of {container} cannot be read: {error}"),
            }
            let surplus = last.len().saturating_sub(2 * bytes_max);
            last.drain(..surplus);
        }
    };
    if tokio::time::timeout(READ_TIME_MAX, read).await.is_err() {
        tracing::warn!(container.id = id, "the last lines of {container} could not be read in time");
    }
    let text = last_lines(&String::from_utf8_lossy(&last), bytes_max);
    (!text.is_empty()).then(|| LogTail { container: container.to_owned(), text })
}

/// The end of `text`, of at most so many lines and bytes, beginning with a whole line unless one alone is longer.
fn last_lines(text: &str, bytes_max: usize) -> String {
    // PostgreSQL keeps no text with zero bytes.
    let text = text.replace('\0', "\u{fffd}");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut kept = Vec::new();
    let mut bytes = 0;
    for line in lines.iter().rev().take(LOG_TAIL_LINES as usize) {
        bytes += line.len();
        if bytes > bytes_max {
            break;
        }
        kept.push(*line);
    }
    if let ([], Some(line)) = (kept.as_slice(), lines.last()) {
        return line
            .chars()
            .scan(0, |bytes, c| {
                Some(c).filter(|c| {
                    *bytes += c.len_utf8();
                    *bytes <= bytes_max
                })
            })
            .collect();
    }
    kept.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_in_whole_lines() {
        let fifty_one = (0..51).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat();
        let kept = last_lines(&fifty_one, 10_000);
        assert_eq!((kept.lines().count(), kept.lines().next(), kept.lines().last()), (50, Some("line 1"), Some("line 50")));
        assert_eq!(last_lines("one\ntwo\nthree\n", 10), "two\nthree\n");
        assert_eq!(last_lines("ä".repeat(20).as_str(), 7), "äää");
        assert_eq!(last_lines("a\0b", 100), "a\u{fffd}b");
        assert_eq!(last_lines("", 100), "");
    }
}
