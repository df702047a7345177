//! How the fake's containers behave, and how its calls go wrong by chance. Pure.

use super::{Call, Fault, LATENCY_MS_MAX};
use std::time::Duration;

/// What a container does once it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conduct {
    /// Ends by itself after this long, with this code.
    pub ends: Option<(Duration, i64)>,
    /// What its health check says, as an exit code.
    pub check: i64,
    /// How long it takes to end when it is told to.
    pub stops_after: Duration,
}

/// How often calls go wrong, of a thousand each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    pub refused: u64,
    pub silent: u64,
    pub late: u64,
    pub gone: u64,
}

/// Chance that repeats: the n-th draw of a seed is always the same.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mix {
    seed: u64,
    calls: u64,
}

impl Mix {
    pub fn new(seed: u64) -> Self {
        Self { seed, calls: 0 }
    }

    /// Different for each call, and the same in every run of a test.
    pub fn latencies(&mut self) -> (Duration, Duration) {
        let mixed = self.draw();
        let millis = |bits: u64| Duration::from_millis(bits % (LATENCY_MS_MAX + 1));
        (millis(mixed >> 20), millis(mixed >> 40))
    }

    /// What goes wrong with a call in this weather, if anything.
    pub fn fault(&mut self, weather: Weather, call: Call) -> Option<Fault> {
        let draw = self.draw();
        let (lot, more) = ((draw >> 16) % 1000, draw >> 40);
        let bound = |sum: u64| lot < sum;
        if bound(weather.refused) {
            Some(Fault::Refuse(500, format!("the simulated engine does not feel like {call:?}")))
        } else if bound(weather.refused + weather.silent) {
            Some(Fault::Silence { happened: more.is_multiple_of(2) })
        } else if bound(weather.refused + weather.silent + weather.late) {
            Some(Fault::Late(Duration::from_millis(more % 4000)))
        } else if bound(weather.refused + weather.silent + weather.late + weather.gone) {
            Some(Fault::Gone)
        } else {
            None
        }
    }

    fn draw(&mut self) -> u64 {
        self.calls += 1;
        let mixed = self.calls.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        if self.seed == 0 {
            return mixed;
        }
        // SplitMix64's finisher: one seed's draws tell nothing of another's.
        let mixed = (mixed.wrapping_add(self.seed) ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
