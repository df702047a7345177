//! What the end of a task says about its deployment: how long the next start waits, and whether the circuit breaker counts it. Pure;
//! `failures` keeps the counts.

use model::Timestamp;
use model::service::Deployment;
use model::task::{DesiredStatus, Task};
use std::time::Duration;

/// Wait after the first failure.
const FIRST_MS: u64 = 500;
/// Longest wait.
const LONGEST: Duration = Duration::from_mins(5);

/// What brought a task to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The control plane wanted it gone, for no fault of its own.
    Ordered,
    /// The control plane stopped it, since its health check said no.
    Unhealthy,
    /// It stopped by itself, or could not start.
    Itself,
}

/// What a task's end says about its deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Ordered, or after a good life: replaced at once.
    Fair,
    /// Had counted as healthy, but not for long: the first of these is replaced at once, then they wait like failures.
    ShortLived,
    /// Stopped before it ever counted as healthy.
    Failed,
}

/// Judges a task that ends now, and counted as healthy since `healthy_at`, if ever.
pub fn ending(healthy_at: Option<Timestamp>, end: End, now: Timestamp, healthy_after: Duration) -> Ending {
    match healthy_at {
        _ if end == End::Ordered => Ending::Fair,
        None => Ending::Failed,
        Some(healthy_at) if now.since(healthy_at) < healthy_after => Ending::ShortLived,
        Some(_) => Ending::Fair,
    }
}

/// Whether the control plane ordered the end of a task that is reported STOPPED.
pub fn was_ordered(task: &Task) -> bool {
    task.desired_status == DesiredStatus::Stopped
}

/// Counts one end on its deployment. Tasks that fail together wait together: what fails while the deployment waits already was
/// started before, and does not make it wait longer.
pub fn count(deployment: &mut Deployment, end: End, ending: Ending, now: Timestamp) {
    let failed = i64::from(ending == Ending::Failed || end == End::Unhealthy);
    deployment.failed_tasks += failed;
    deployment.breaker_failures += failed;
    deployment.breaker_consecutive += failed;
    if ending != Ending::Fair && deployment.not_before <= now {
        deployment.not_before = now.plus(wait(ending, deployment.consecutive_failures));
        deployment.consecutive_failures += 1;
    }
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
