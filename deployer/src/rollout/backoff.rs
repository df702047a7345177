//! How long a service waits before it starts another task after tasks failed. Pure; `failures` keeps the count.

use model::Timestamp;
use model::task::{DesiredStatus, Task};
use std::time::Duration;

/// Wait after the first failure.
const FIRST_MS: u64 = 500;
/// Longest wait.
const LONGEST: Duration = Duration::from_mins(5);

/// What a task's end says about its deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Ordered, or after a good life: replaced at once, nothing counted.
    Fair,
    /// Had counted as healthy, but not for long: the first of these is replaced at once, then they wait like failures.
    ShortLived,
    /// Stopped before it ever counted as healthy.
    Failed,
}

/// Judges a task that ends now. `ordered` says that the control plane wanted it stopped for no fault of its own.
pub fn ending(task: &Task, ordered: bool, now: Timestamp, healthy_after: Duration) -> Ending {
    match task.healthy_at {
        _ if ordered => Ending::Fair,
        None => Ending::Failed,
        Some(healthy_at) if now.since(healthy_at) < healthy_after => Ending::ShortLived,
        Some(_) => Ending::Fair,
    }
}

/// Whether the control plane ordered the end of a task that is reported STOPPED.
pub fn was_ordered(task: &Task) -> bool {
    task.desired_status == DesiredStatus::Stopped
}

/// The wait before the next start, after `failures` consecutive failures that came before this one.
pub fn wait(ending: Ending, failures: i64) -> Duration {
    let exponent = match ending {
        Ending::Fair => return Duration::ZERO,
        Ending::ShortLived if failures == 0 => return Duration::ZERO,
        Ending::ShortLived => failures - 1,
        Ending::Failed => failures,
    };
    let factor = u32::try_from(exponent).ok().and_then(|exponent| 1_u64.checked_shl(exponent.min(20))).unwrap_or(1 << 20);
    Duration::from_millis(FIRST_MS.saturating_mul(factor)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let millis = |failures| wait(Ending::Failed, failures).as_millis();
        assert_eq!([millis(0), millis(1), millis(2), millis(9)], [500, 1000, 2000, 256_000]);
        assert_eq!([millis(10), millis(1_000_000), millis(i64::MAX)], [300_000; 3]);
        assert_eq!(wait(Ending::ShortLived, 0), Duration::ZERO);
        assert_eq!(wait(Ending::ShortLived, 1).as_millis(), 500);
        assert_eq!(wait(Ending::Fair, 9), Duration::ZERO);
    }
}
