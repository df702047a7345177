//! The deployment circuit breaker: how many failures are too many, and what counts as one. Pure.

use model::service::{BreakerStatus, BreakerThresholdType, CircuitBreaker, Deployment, RolloutState, Service};

/// Bounds of `BOUNDED_PERCENT`.
const BOUNDED_MIN: i64 = 3;
const BOUNDED_MAX: i64 = 200;

/// Failures at which a deployment of `desired` tasks fails: of the latest desired count, so scaling moves it.
pub fn threshold(breaker: &CircuitBreaker, desired: i64) -> i64 {
    let value = breaker.threshold.value;
    let percent = (value.saturating_mul(desired).saturating_add(99)) / 100;
    match breaker.threshold.kind {
        BreakerThresholdType::BoundedPercent => percent.clamp(BOUNDED_MIN, BOUNDED_MAX),
        // With nothing desired nothing fails; a threshold of 0 would trip without a failure.
        BreakerThresholdType::UnboundedPercent => percent.max(1),
        BreakerThresholdType::Count => value.max(1),
    }
}

/// Failures of `deployment` as the breaker counts them.
pub fn failures(breaker: &CircuitBreaker, deployment: &Deployment) -> i64 {
    if breaker.reset_on_healthy_task { deployment.breaker_consecutive } else { deployment.breaker_failures }
}

/// Whether `deployment` has had too many.
pub fn trips(service: &Service, deployment: &Deployment) -> bool {
    let breaker = &service.circuit_breaker;
    breaker.enable && failures(breaker, deployment) >= threshold(breaker, service.desired_count)
}

/// How many failures are left before it trips; 0 when nothing is counted.
pub fn to_go(service: &Service, deployment: &Deployment) -> usize {
    let breaker = &service.circuit_breaker;
    if !breaker.enable || deployment.rollout_state != RolloutState::InProgress {
        return 0;
    }
    usize::try_from(threshold(breaker, service.desired_count) - failures(breaker, deployment)).unwrap_or(0)
}

/// What the breaker does while a deployment is under way.
pub fn watching(breaker: &CircuitBreaker) -> BreakerStatus {
    if breaker.enable { BreakerStatus::Monitoring } else { BreakerStatus::Disabled }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::service::BreakerThreshold;
    use model::service::BreakerThresholdType::{BoundedPercent, Count, UnboundedPercent};

    #[test]
    fn thresholds_are_those_of_ecs() {
        for (kind, value, desired, expected) in [
            (BoundedPercent, 50, 1, 3),
            (BoundedPercent, 50, 25, 13),
            (BoundedPercent, 50, 400, 200),
            (BoundedPercent, 50, 800, 200),
            (BoundedPercent, 50, 0, 3),
            (BoundedPercent, 100, 10, 10),
            (UnboundedPercent, 50, 800, 400),
            (UnboundedPercent, 50, 1, 1),
            (UnboundedPercent, 10, 0, 1),
            (Count, 7, 1, 7),
            (Count, 7, 5000, 7),
        ] {
            let breaker = CircuitBreaker { enable: true, threshold: BreakerThreshold { kind, value }, ..CircuitBreaker::default() };
            assert_eq!(threshold(&breaker, desired), expected, "{kind:?} {value} of {desired}");
        }
    }
}
