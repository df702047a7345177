//! Finding records: filters, the order of all records whatever they come from, and putting three sources together. Pure.

use super::Line;
use model::Timestamp;
use platform::events::{Event, Moment};
use platform::exchange::Pushed;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Where a record comes from. In the order in which records of one time stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Segments = 0,
    Events = 1,
    Pushes = 2,
}

/// The place of a record among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub at: Timestamp,
    pub source: Source,
    pub sequence: i64,
}

/// Which kind of principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Person,
    Robot,
    Agent,
    Nobody,
}

/// A record, from whichever source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub place: Place,
    pub line: Line,
    /// One sentence, of changes.
    pub message: Option<String>,
}

/// Which records; empty fields match all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub principal: Option<String>,
    pub actor: Option<Actor>,
    /// The beginning of the action.
    pub action: Option<String>,
    pub target: Option<String>,
    /// Tag or digest, as it was asked for.
    pub reference: Option<String>,
    pub address: Option<String>,
    pub outcome: Option<String>,
}

/// What one source gave, in the order asked for; when it was not looked at to the end, up to where.
#[derive(Debug, Default)]
pub struct Part {
    pub found: Vec<Found>,
    pub stopped_at: Option<Place>,
}

/// A page, in the order asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Merged {
    pub found: Vec<Found>,
    /// Where to go on; absent when every source was looked at to its end.
    pub stopped_at: Option<Place>,
}

/// The direction of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Back,
}

impl Place {
    /// Before and after everything.
    pub const FIRST: Self = Self { at: Timestamp(0), source: Source::Segments, sequence: 0 };
    pub const LAST: Self = Self { at: Timestamp(i64::MAX), source: Source::Pushes, sequence: i64::MAX };

    /// What `source` has after this place comes after this moment, and what it has before comes before it.
    pub fn moment_in(self, source: Source) -> Moment {
        match source.cmp(&self.source) {
            Ordering::Less => (self.at, i64::MAX),
            Ordering::Equal => (self.at, self.sequence),
            Ordering::Greater => (self.at, -1),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.at.0, self.source as u8, self.sequence)
    }
}

impl FromStr for Place {
    type Err = ();

    /// `MICROSECONDS.SOURCE.SEQUENCE`, or `0` for the beginning.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "0" {
            return Ok(Self::FIRST);
        }
        let mut parts = text.split('.');
        let mut number = || parts.next()?.parse::<i64>().ok().filter(|number| *number >= 0);
        let (Some(at), Some(source), Some(sequence)) = (number(), number(), number()) else { return Err(()) };
        let source = [Source::Segments, Source::Events, Source::Pushes].into_iter().find(|known| *known as i64 == source).ok_or(())?;
        if parts.next().is_some() { Err(()) } else { Ok(Self { at: Timestamp(at), source, sequence }) }
    }
}

impl Actor {
    pub fn of(principal: Option<&str>) -> Self {
        match principal.and_then(|principal| principal.split_once(':')) {
            Some(("user", _)) => Self::Person,
            Some(("robot", _)) => Self::Robot,
            Some(("instance", _)) => Self::Agent,
            _ => Self::Nobody,
        }
    }
}

impl Filter {
    pub fn matches(&self, line: &Line) -> bool {
        let is = |wanted: &Option<String>, given: Option<&str>| wanted.as_deref().is_none_or(|wanted| given == Some(wanted));
        is(&self.principal, line.principal.as_deref())
            && is(&self.target, Some(&line.target))
            && is(&self.reference, line.reference.as_deref())
            && is(&self.address, line.address.as_deref())
            && is(&self.outcome, Some(&line.outcome))
            && self.actor.is_none_or(|actor| actor == Actor::of(line.principal.as_deref()))
            && self.action.as_ref().is_none_or(|action| line.action.starts_with(action.as_str()))
    }

    /// What stands in the text of every line that matches.
    pub fn needles(&self) -> Vec<Vec<u8>> {
        let field = |name: &str, value: &Option<String>| {
            let value = value.as_ref()?;
            // Text that JSON escapes is not looked for.
            let plain = value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\');
            plain.then(|| format!("\"{name}\":\"{value}\"").into_bytes())
        };
        let wanted = [
            ("principal", &self.principal),
            ("target", &self.target),
            ("reference", &self.reference),
            ("address", &self.address),
            ("outcome", &self.outcome),
        ];
        wanted.into_iter().filter_map(|(name, value)| field(name, value)).collect()
    }

    /// The repository that records have to be about, when it is one.
    pub fn repository(&self) -> Option<&str> {
        self.target.as_deref().and_then(|target| target.strip_prefix("repository:"))
    }
}

pub fn of_line(line: Line) -> Found {
    Found { place: Place { at: line.at, source: Source::Segments, sequence: 0 }, line, message: None }
}

pub fn of_event(event: Event) -> Found {
    let text = |name: &str| event.detail[name].as_str().map(str::to_owned);
    let line = Line {
        principal: event.principal.clone(),
        credential: text("credential"),
        address: text("address"),
        target: event.subject.clone(),
        reference: text("tag").or_else(|| text("digest")),
        digest: text("digest"),
        action: event.kind.clone(),
        ..Line::done(event.at)
    };
    Found { place: Place { at: event.at, source: Source::Events, sequence: event.sequence }, line, message: Some(event.message) }
}

pub fn of_push(pushed: Pushed) -> Found {
    let place = Place { at: pushed.at, source: Source::Pushes, sequence: pushed.sequence };
    let line = Line {
        principal: Some(pushed.pusher.principal),
        credential: pushed.pusher.credential,
        address: pushed.pusher.address,
        target: format!("repository:{}", pushed.repository),
        reference: Some(pushed.tag),
        digest: Some(pushed.digest),
        action: "push".into(),
        ..Line::done(pushed.at)
    };
    Found { place, line, message: None }
}

/// The first `limit` of all parts together. What lies beyond where one of them stopped is left for the next page.
pub fn merge(parts: Vec<Part>, limit: usize, direction: Direction) -> Merged {
    let nearer = |a: &Place, b: &Place| match direction {
        Direction::Forward => a.cmp(b),
        Direction::Back => b.cmp(a),
    };
    let mut stopped_at = parts.iter().filter_map(|part| part.stopped_at).min_by(nearer);
    let mut found: Vec<Found> = parts.into_iter().flat_map(|part| part.found).collect();
    found.sort_by(|a, b| nearer(&a.place, &b.place));
    if let Some(stop) = &stopped_at {
        found.retain(|record| nearer(&record.place, stop).is_le());
    }
    if found.len() > limit {
        found.truncate(limit);
        stopped_at = found.last().map(|record| record.place);
    }
    Merged { found, stopped_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(at: i64, source: Source, sequence: i64) -> Found {
        Found { place: Place { at: Timestamp(at), source, sequence }, line: Line::done(Timestamp(at)), message: None }
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        for place in [Place::FIRST, Place::LAST, Place { at: Timestamp(7), source: Source::Events, sequence: 3 }] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        assert_eq!("0".parse(), Ok(Place::FIRST));
        for bad in ["", "1", "1.2", "1.3.4", "1.2.3.4", "-1.0.0", "a.0.0", "1.0.0 "] {
            assert_eq!(bad.parse::<Place>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn actors_are_told_by_the_kind_of_principal() {
        let of = |principal| Actor::of(principal);
        assert_eq!((of(Some("user:a")), of(Some("robot:ci")), of(Some("instance:1"))), (Actor::Person, Actor::Robot, Actor::Agent));
        assert_eq!((of(None), of(Some("odd"))), (Actor::Nobody, Actor::Nobody));
    }

    #[test]
    fn filters_match_what_they_say_and_their_needles_are_in_the_text() {
        let line = Line {
            principal: Some("user:alice".into()),
            address: Some("10.0.0.1".into()),
            action: "pull.blob".into(),
            reference: Some("v1".into()),
            ..Line::done(Timestamp(1))
        };
        let mut text = Vec::new();
        line.write(&mut text);
        let some = |text: &str| Some(text.to_owned());
        for (filter, expected) in [
            (Filter::default(), true),
            (Filter { principal: some("user:alice"), address: some("10.0.0.1"), ..Filter::default() }, true),
            (Filter { principal: some("user:al"), ..Filter::default() }, false),
            (Filter { action: some("pull"), actor: Some(Actor::Person), outcome: some("done"), ..Filter::default() }, true),
            (Filter { action: some("push"), ..Filter::default() }, false),
            (Filter { actor: Some(Actor::Robot), ..Filter::default() }, false),
            (Filter { target: some("repository:x"), ..Filter::default() }, false),
            (Filter { reference: some("v1"), ..Filter::default() }, true),
            (Filter { reference: some("v"), ..Filter::default() }, false),
            (Filter { outcome: some("refused"), ..Filter::default() }, false),
        ] {
            assert_eq!(filter.matches(&line), expected, "{filter:?}");
            let all = filter.needles().iter().all(|needle| text.windows(needle.len()).any(|window| window == needle.as_slice()));
            assert!(all || !expected, "{filter:?}");
        }
    }

    proptest! {
        /// Whatever the sources hold and wherever they stop: page after page, every record comes once and in order.
        #[test]
        fn pages_leave_nothing_out_and_repeat_nothing(
            times in prop::collection::vec((0i64..30, 0usize..3), 0..40),
            limit in 1usize..7,
            budget in 1usize..6,
            back in any::<bool>(),
        ) {
            let sources = [Source::Segments, Source::Events, Source::Pushes];
            let mut all: Vec<Found> = times.into_iter().enumerate().map(|(at, (time, source))| found(time, sources[source], i64::try_from(at).unwrap())).collect();
            all.sort_by_key(|record| record.place);
            let direction = if back { Direction::Back } else { Direction::Forward };
            // Each source answers like a table that is read `budget` rows at a time.
            let part = |from: Place, source: Source| {
                let inside = |record: &&Found| record.place.source == source && match direction {
                    Direction::Forward => (record.place.at, record.place.sequence) > from.moment_in(source),
                    Direction::Back => (record.place.at, record.place.sequence) < from.moment_in(source),
                };
                let mut rows: Vec<Found> = all.iter().filter(inside).cloned().collect();
                if back {
                    rows.reverse();
                }
                let stopped_at = if rows.len() > budget { rows.get(budget - 1).map(|record| record.place) } else { None };
                rows.truncate(budget);
                Part { found: rows, stopped_at }
            };
            let (mut from, mut got) = (if back { Place::LAST } else { Place { sequence: -1, ..Place::FIRST } }, Vec::new());
            for _ in 0..200 {
                let merged = merge(sources.iter().map(|source| part(from, *source)).collect(), limit, direction);
                prop_assert!(merged.found.len() <= limit);
                got.extend(merged.found);
                match merged.stopped_at {
                    Some(place) => from = place,
                    None => break,
                }
            }
            if back {
                got.reverse();
            }
            prop_assert_eq!(got, all);
        }
    }
}
