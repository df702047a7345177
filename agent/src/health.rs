//! When a container counts as healthy: the rules, as a pure state machine.
//!
//! The first check runs at once, the next ones soon, then every second until the first success, so that a roll need not wait out an
//! interval; then at the interval. Failure keeps ECS's pace: before the first success, a failed check counts once per interval and not within the start
//! period, so that a slow start has as long as the definition gives it (`startPeriod + retries × interval`).

use model::task::HealthStatus;
use model::task_definition::HealthCheck;
use std::time::Duration;

/// Longest time between checks until the first success; it begins with a tenth, since most programs are there in an instant.
const EAGER: Duration = Duration::from_secs(1);
const EAGER_FIRST: Duration = Duration::from_millis(100);

/// A check's settings with ECS's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
    pub start_period: Duration,
}

impl Policy {
    pub fn of(check: &HealthCheck) -> Self {
        Self {
            interval: Duration::from_secs(check.interval.unwrap_or(HealthCheck::INTERVAL_SECS_DEFAULT).max(1)),
            timeout: Duration::from_secs(check.timeout.unwrap_or(HealthCheck::TIMEOUT_SECS_DEFAULT).max(1)),
            retries: check.retries.unwrap_or(HealthCheck::RETRIES_DEFAULT).max(1),
            start_period: Duration::from_secs(check.start_period.unwrap_or(0)),
        }
    }
}

/// The command as it is run inside the container; nothing when the definition has no command that can be run.
pub fn command(check: &HealthCheck) -> Option<Vec<String>> {
    let (form, rest) = check.command.split_first()?;
    match form.as_str() {
        "CMD" if !rest.is_empty() => Some(rest.to_vec()),
        "CMD-SHELL" if !rest.is_empty() => Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")]),
        "CMD" | "CMD-SHELL" | "NONE" => None,
        _ => Some(check.command.clone()),
    }
}

/// What the checks of one container have shown so far.
#[derive(Debug, Clone)]
pub struct Verdict {
    policy: Policy,
    status: HealthStatus,
    succeeded: bool,
    failures: u32,
    /// Pause before the next check, until the first success.
    eager: Duration,
    /// Container age up to which failures have been counted.
    counted: Duration,
}

impl Verdict {
    /// Starts from what was known before a restart of the agent.
    pub fn new(policy: Policy, known: HealthStatus) -> Self {
        let counted = policy.start_period;
        Self { policy, status: known, succeeded: known == HealthStatus::Healthy, failures: 0, eager: EAGER_FIRST, counted }
    }

    /// Takes the result of a check at a container's age.
    pub fn take(&mut self, success: bool, age: Duration) -> HealthStatus {
        if success {
            (self.status, self.succeeded, self.failures) = (HealthStatus::Healthy, true, 0);
        } else if self.succeeded || age >= self.counted + self.policy.interval {
            (self.failures, self.counted) = (self.failures + 1, age);
            if self.failures >= self.policy.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.eager = (self.eager * 2).min(EAGER);
        self.status
    }

    /// Time until the next check.
    pub fn pause(&self) -> Duration {
        if self.status == HealthStatus::Unknown { self.eager.min(self.policy.interval) } else { self.policy.interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy { interval: Duration::from_secs(30), timeout: Duration::from_secs(5), retries: 3, start_period: Duration::ZERO }
    }

    fn fail_every_second(verdict: &mut Verdict, until: u64) -> Option<u64> {
        (0..until).find(|second| verdict.take(false, Duration::from_secs(*second)) == HealthStatus::Unhealthy)
    }

    #[test]
    fn eager_checks_make_healthy_early_but_never_unhealthy_early() {
        let mut verdict = Verdict::new(policy(), HealthStatus::Unknown);
        assert_eq!(verdict.pause(), EAGER_FIRST);
        for millis in [200, 400, 800, 1000, 1000] {
            assert_eq!(verdict.take(false, Duration::ZERO), HealthStatus::Unknown);
            assert_eq!(verdict.pause(), Duration::from_millis(millis));
        }
        assert_eq!(verdict.take(true, Duration::from_secs(1)), HealthStatus::Healthy);
        assert_eq!(verdict.pause(), Duration::from_secs(30));

        let mut verdict = Verdict::new(policy(), HealthStatus::Unknown);
        assert_eq!(fail_every_second(&mut verdict, 200), Some(90), "three intervals, as Docker would take");
        let mut verdict = Verdict::new(Policy { start_period: Duration::from_mins(1), ..policy() }, HealthStatus::Unknown);
        assert_eq!(fail_every_second(&mut verdict, 200), Some(150));
    }

    #[test]
    fn after_a_success_each_failure_counts_and_a_success_resets() {
        let mut verdict = Verdict::new(policy(), HealthStatus::Healthy);
        let at = Duration::from_secs(1000);
        assert_eq!(verdict.take(false, at), HealthStatus::Healthy);
        assert_eq!(verdict.take(false, at), HealthStatus::Healthy);
        assert_eq!(verdict.take(true, at), HealthStatus::Healthy);
        for expected in [HealthStatus::Healthy, HealthStatus::Healthy, HealthStatus::Unhealthy] {
            assert_eq!(verdict.take(false, at), expected);
        }
        assert_eq!(verdict.take(true, at), HealthStatus::Healthy);
    }

    #[test]
    fn commands_have_docker_s_two_forms() {
        let check = |words: &[&str]| HealthCheck {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            interval: None,
            timeout: None,
            retries: None,
            start_period: None,
        };
        assert_eq!(command(&check(&["CMD", "a", "b"])).unwrap(), ["a", "b"]);
        assert_eq!(command(&check(&["CMD-SHELL", "a && b"])).unwrap(), ["/bin/sh", "-c", "a && b"]);
        assert_eq!(command(&check(&["CMD"])), None);
        assert_eq!(command(&check(&[])), None);
    }
}
