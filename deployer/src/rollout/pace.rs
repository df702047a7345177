//! How many tasks the control plane stops per minute. Pure.
//!
//! A service that is scaled in, rolled or drained stops far fewer. What would stop more is most likely a mistake, of a person or of
//! this program, and a slow mistake can be stopped in turn. The rest of a plan is not held up: what was not stopped is planned again.

use super::observed::Step;
use model::Timestamp;

/// Most stops within a minute, after a minute without any.
pub const STOPS_PER_MINUTE_MAX: i64 = 3000;
const MICROS_PER_STOP: i64 = 60_000_000 / STOPS_PER_MINUTE_MAX;
const FULL: i64 = 60_000_000;

/// What may still be stopped, in microseconds of `MICROS_PER_STOP` each.
#[derive(Debug, Clone)]
pub struct Pace {
    left: i64,
    seen: Timestamp,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: FULL, seen: Timestamp::default() }
    }
}

impl Pace {
    /// `steps` without the stops that are too many, and how many were left out.
    pub fn limit(&mut self, steps: Vec<Step>, now: Timestamp) -> (Vec<Step>, usize) {
        let passed = i64::try_from(now.since(self.seen).as_micros()).unwrap_or(FULL);
        (self.left, self.seen) = (self.left.saturating_add(passed).min(FULL), now);
        let before = steps.len();
        let taken: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Stop { .. }) || self.take()).collect();
        let left_out = before - taken.len();
        (taken, left_out)
    }

    fn take(&mut self) -> bool {
        let enough = self.left >= MICROS_PER_STOP;
        if enough {
            self.left -= MICROS_PER_STOP;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::TaskId;
    use model::task::StopCode;
    use std::time::Duration;

    fn stops(count: u128) -> Vec<Step> {
        let stop = |n| Step::Stop { task: TaskId::from_random(n), code: StopCode::ServiceSchedulerInitiated, reason: String::new() };
        (0..count).map(stop).collect()
    }

    #[test]
    fn stops_beyond_the_minutes_share_wait_and_nothing_else_does() {
        let (mut pace, start) = (Pace::default(), Timestamp::from_secs(1000));
        let most = u128::try_from(STOPS_PER_MINUTE_MAX).unwrap();
        let (taken, left_out) = pace.limit(stops(most + 10), start);
        assert_eq!((taken.len(), left_out), (3000, 10));
        assert_eq!(pace.limit(vec![Step::Complete], start), (vec![Step::Complete], 0));
        for (secs, taken) in [(0, 0), (1, 50), (1, 0), (2, 50), (62, 3000), (600, 3000)] {
            let (steps, _) = pace.limit(stops(9999), start.plus(Duration::from_secs(secs)));
            assert_eq!(steps.len(), taken, "after {secs} s");
        }
    }
}
