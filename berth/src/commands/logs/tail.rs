//! Where one task's output was read to: so that reading again, after the server was away, brings each line once.

use super::line::LogLine;
use api::aws;
use api::v1::deployer::LogQuery;
use model::Timestamp;
use std::collections::BTreeMap;

/// The output of one task.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    query: LogQuery,
    /// Lines begin with the name of their container.
    several: bool,
    /// The time of the last line of each container.
    seen: BTreeMap<Option<String>, String>,
}

impl Tail {
    pub fn new(task: &aws::Task, query: &LogQuery) -> Self {
        // One container that is asked for comes without its name.
        let several = task.containers.len() > 1 && query.container.is_none();
        Self { query: query.clone(), several, seen: BTreeMap::new() }
    }

    /// What to ask for: from the beginning, or from the second on in which the last line was written.
    pub fn query(&self) -> LogQuery {
        let query = LogQuery { timestamps: true, ..self.query.clone() };
        // Each container may be behind the others; lines seen before are dropped.
        match self.seen.values().min().and_then(|at| Timestamp::parse_rfc3339(at)) {
            Some(at) => LogQuery { tail: None, since: Some(at.as_secs()), ..query },
            None => query,
        }
    }

    pub fn parse(&self, line: &str) -> LogLine {
        LogLine::parse(line, self.several, self.query.timestamps)
    }

    /// The line, if it was not seen before. Of output that was asked for with [`query`](Self::query).
    pub fn take(&mut self, line: &str) -> Option<LogLine> {
        let line = LogLine::parse(line, self.several, true);
        if let Some(at) = &line.at {
            if self.seen.get(&line.container).is_some_and(|seen| seen >= at) {
                return None;
            }
            self.seen.insert(line.container.clone(), at.clone());
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(containers: usize) -> aws::Task {
        aws::Task { containers: vec![aws::Container::default(); containers], ..Default::default() }
    }

    #[test]
    fn each_line_comes_once_however_often_it_is_read() {
        let mut tail = Tail::new(&task(1), &LogQuery { tail: Some(5), ..LogQuery::default() });
        assert_eq!((tail.query().tail, tail.query().since, tail.query().timestamps), (Some(5), None, true));
        assert!(tail.take("2026-01-01T00:00:01.000000001Z one").is_some());
        assert!(tail.take("2026-01-01T00:00:01.000000002Z two").is_some());
        let again = tail.query();
        assert_eq!((again.tail, again.since), (None, Some(1_767_225_601)));
        assert!(tail.take("2026-01-01T00:00:01.000000001Z one").is_none());
        assert!(tail.take("2026-01-01T00:00:01.000000002Z two").is_none());
        assert_eq!(tail.take("2026-01-01T00:00:01.000000003Z three").unwrap().text, "three");
    }

    #[test]
    fn containers_are_read_to_places_of_their_own() {
        let mut tail = Tail::new(&task(2), &LogQuery::default());
        assert!(tail.take("a | 2026-01-01T00:00:09.000000000Z late").is_some());
        assert!(tail.take("b | 2026-01-01T00:00:02.000000000Z early").is_some());
        assert_eq!(tail.query().since, Some(1_767_225_602));
        assert!(tail.take("a | 2026-01-01T00:00:09.000000000Z late").is_none());
    }
}
