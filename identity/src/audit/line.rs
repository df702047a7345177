//! One line of a segment: JSON, its time first, so that it can be found without being parsed.

use super::{Action, Outcome, Record, Who};
use model::Timestamp;
use serde::{Deserialize, Serialize};

/// What every line begins with.
const BEGINNING: &[u8] = b"{\"at\":";

/// What happened, as it is written. The field `at` stays the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds; each line of a server has a later one than the line before.
    pub at: Timestamp,
    /// Of something that the same caller did again within a second: the last time, and how often in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: u64,
    pub action: String,
    pub outcome: String,
    /// Of what a setting refused: which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `user:alice`, `robot:ci`, `instance:<id>`; absent for nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    pub target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

const fn once() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_once(times: &u64) -> bool {
    *times == 1
}

impl Line {
    pub fn of(record: &Record) -> Self {
        let (principal, credential) = match &record.who {
            Who::Caller(caller) => (Some(caller.caller.principal.to_string()), caller.credential()),
            Who::Instance(id) => (Some(format!("instance:{id}")), "certificate".into()),
            Who::Nobody { credential } => (None, (*credential).to_owned()),
        };
        Self {
            action: record.action.as_str().into(),
            outcome: record.outcome.as_str().into(),
            reason: record.outcome.reason().map(str::to_owned),
            principal,
            credential: Some(credential),
            address: record.address.map(|address| address.to_string()),
            target: record.content.target.clone(),
            reference: record.content.reference.clone(),
            digest: record.content.digest.clone(),
            ..Self::done(record.at)
        }
    }

    /// Something that was done once, by nobody yet.
    pub fn done(at: Timestamp) -> Self {
        Self {
            at,
            until: None,
            times: 1,
            action: String::new(),
            outcome: Outcome::Done.as_str().into(),
            reason: None,
            principal: None,
            credential: None,
            address: None,
            target: String::new(),
            reference: None,
            digest: None,
        }
    }

    /// The record that says that others are missing.
    pub fn lost(at: Timestamp, times: u64) -> Self {
        let outcome = Outcome::Failed.as_str().into();
        Self { times, action: Action::Lost.as_str().into(), outcome, target: "server:berth".into(), ..Self::done(at) }
    }

    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The time of a line, read off its beginning. None for what is no line, such as one that a crash cut off early.
    pub fn time_of(line: &[u8]) -> Option<Timestamp> {
        let digits = line.strip_prefix(BEGINNING)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok().map(Timestamp)
    }

    /// Appends the line to `text`.
    pub fn write(&self, text: &mut Vec<u8>) {
        serde_json::to_writer(&mut *text, self).expect("a line is plain values");
        text.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_its_time_without_reading_it() {
        let line =
            Line { principal: Some("user:alice".into()), until: Some(Timestamp(9)), ..Line::lost(Timestamp(1_900_000_000_000_001), 7) };
        let mut text = Vec::new();
        line.write(&mut text);
        assert_eq!(Line::time_of(&text), Some(line.at));
        assert_eq!(Line::parse(&text).as_ref(), Some(&line));
        for cut in [0, 5, 12] {
            assert_eq!(Line::time_of(&text[..cut]), None, "{cut}");
        }
        assert_eq!(Line::parse(&text[..text.len() - 5]), None);
    }
}
