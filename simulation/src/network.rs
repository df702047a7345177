//! What becomes of messages: delays, losses, doubles, answers from the past; decided by chance that repeats. Pure.

use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// Which way a host is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cut {
    #[default]
    None,
    /// What the agent sends does not arrive.
    There,
    /// It arrives, and the answers do not.
    Back,
    Both,
}

impl Cut {
    pub fn stops_requests(self) -> bool {
        matches!(self, Self::There | Self::Both)
    }

    pub fn stops_answers(self) -> bool {
        matches!(self, Self::Back | Self::Both)
    }
}

/// What the next answer to a host's polls is, in place of what the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// What a server said that has been replaced since, once there is such an answer.
    Past,
    /// What a server says that finds its database empty.
    Blank,
}

/// How bad the network is, of a thousand messages each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quality {
    pub lost: u32,
    pub doubled: u32,
    pub slow: u32,
}

/// What becomes of one request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    pub there: Duration,
    pub back: Duration,
    pub lost: Loss,
    /// The request arrives once more, this long after the first.
    pub again: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    None,
    /// The connection breaks before, or after, the request arrived: the agent sees that at once.
    There,
    Back,
    /// The same, and the agent hears nothing at all.
    SilentThere,
    SilentBack,
}

impl Quality {
    pub fn fate(self, random: &mut StdRng) -> Fate {
        let slow = random.random_ratio(self.slow, 1000);
        let millis = |random: &mut StdRng, max: u64| Duration::from_millis(random.random_range(1..=max));
        let longest = if slow { 6000 } else { 30 };
        let lost = if random.random_ratio(self.lost, 1000) {
            [Loss::There, Loss::Back, Loss::SilentThere, Loss::SilentBack][random.random_range(0..4)]
        } else {
            Loss::None
        };
        Fate {
            there: millis(random, longest),
            back: millis(random, longest),
            lost,
            again: random.random_ratio(self.doubled, 1000).then(|| millis(random, 9000)),
        }
    }
}
