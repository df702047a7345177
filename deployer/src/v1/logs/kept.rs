//! The lines that are kept of a stopped task, as an agent would have sent them. Pure.

use crate::store::log_tails::LogTail;
use api::v1::deployer::LogQuery;
use model::Timestamp;

/// What `query` asks of `tails`. With `several` containers in the task each line begins with its container, unless one is asked for.
pub(super) fn render(tails: &[LogTail], query: &LogQuery, several: bool) -> String {
    let wanted = tails.iter().filter(|tail| query.container.as_ref().is_none_or(|only| *only == tail.container));
    let mut text = String::new();
    for tail in wanted {
        let lines: Vec<&str> = tail.content.lines().filter(|line| is_since(line, query.since)).collect();
        let skipped = query.tail.map_or(0, |tail| lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
        for line in &lines[skipped..] {
            if several && query.container.is_none() {
                text.push_str(&tail.container);
                text.push_str(" | ");
            }
            text += if query.timestamps { line } else { split(line).1 };
            text.push('\n');
        }
    }
    text
}

fn is_since(line: &str, since: Option<i64>) -> bool {
    since.is_none_or(|since| split(line).0.is_none_or(|at| at.as_secs() >= since))
}

/// The time of a line, when it has one, and the rest.
fn split(line: &str) -> (Option<Timestamp>, &str) {
    match line.split_once(' ').map(|(time, rest)| (Timestamp::parse_rfc3339(time), rest)) {
        Some((Some(at), rest)) => (Some(at), rest),
        _ => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tails() -> Vec<LogTail> {
        let tail = |container: &str, content: &str| LogTail { container: container.into(), content: content.into() };
        vec![
            tail("app", "2026-01-01T00:00:01.123456789Z one\n2026-01-01T00:00:02.000000000Z two words\n"),
            tail("side", "2026-01-01T00:00:03Z three\nwithout a time\n"),
        ]
    }

    #[test]
    fn lines_come_as_an_agent_would_send_them() {
        let all = LogQuery::default();
        assert_eq!(render(&tails(), &all, true), "app | one\napp | two words\nside | three\nside | without a time\n");
        let app = LogQuery { container: Some("app".into()), timestamps: true, tail: Some(1), ..LogQuery::default() };
        assert_eq!(render(&tails(), &app, true), "2026-01-01T00:00:02.000000000Z two words\n");
        let late = LogQuery { since: Some(1_767_225_602), ..LogQuery::default() };
        assert_eq!(render(&tails(), &late, false), "two words\nthree\nwithout a time\n");
        assert_eq!(render(&[], &all, false), "");
    }
}
