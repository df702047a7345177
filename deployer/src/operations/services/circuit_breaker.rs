//! `deploymentCircuitBreaker` of requests and answers: ECS's limits and defaults. Pure.

use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use api::aws;
use model::service::{BreakerThreshold, BreakerThresholdType, CircuitBreaker};

/// Most failures of a `COUNT`: no service has more tasks.
const COUNT_MAX: i64 = super::settings::DESIRED_COUNT_MAX;

pub const FIELDS: &[Field] = &[
    ("enable", Rule::Taken),
    ("rollback", Rule::Taken),
    ("resetOnHealthyTask", Rule::Taken),
    (
        "thresholdConfiguration",
        Rule::Object(&[("type", Rule::Only(&["BOUNDED_PERCENT", "UNBOUNDED_PERCENT", "COUNT"])), ("value", Rule::Taken)]),
    ),
];

pub fn parse(wire: &aws::DeploymentCircuitBreaker) -> Result<CircuitBreaker, EcsError> {
    let threshold = wire.threshold_configuration.as_ref().map(threshold).transpose()?;
    Ok(CircuitBreaker {
        enable: wire.enable,
        rollback: wire.rollback,
        reset_on_healthy_task: wire.reset_on_healthy_task.unwrap_or(true),
        threshold: threshold.unwrap_or_default(),
    })
}

fn threshold(wire: &aws::ThresholdConfiguration) -> Result<BreakerThreshold, EcsError> {
    let kind = BreakerThresholdType::parse(&wire.kind);
    let kind = kind.ok_or_else(|| EcsError::invalid("thresholdConfiguration has the type BOUNDED_PERCENT, UNBOUNDED_PERCENT or COUNT."))?;
    let max = if kind == BreakerThresholdType::Count { COUNT_MAX } else { 100 };
    if !(1..=max).contains(&wire.value) {
        return Err(EcsError::invalid(format!("thresholdConfiguration.value of {} has to be between 1 and {max}.", kind.as_str())));
    }
    Ok(BreakerThreshold { kind, value: wire.value })
}

pub fn wire(breaker: &CircuitBreaker) -> aws::DeploymentCircuitBreaker {
    aws::DeploymentCircuitBreaker {
        enable: breaker.enable,
        rollback: breaker.rollback,
        reset_on_healthy_task: Some(breaker.reset_on_healthy_task),
        threshold_configuration: Some(aws::ThresholdConfiguration {
            kind: breaker.threshold.kind.as_str().into(),
            value: breaker.threshold.value,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(kind: &str, value: i64) -> Result<CircuitBreaker, EcsError> {
        let threshold_configuration = Some(aws::ThresholdConfiguration { kind: kind.into(), value });
        parse(&aws::DeploymentCircuitBreaker { enable: true, rollback: true, threshold_configuration, ..Default::default() })
    }

    #[test]
    fn settings_come_back_as_they_were_given_and_absent_ones_are_those_of_ecs() {
        let plain = parse(&aws::DeploymentCircuitBreaker { enable: true, ..Default::default() }).unwrap();
        assert_eq!(plain, CircuitBreaker { enable: true, ..CircuitBreaker::default() });
        for (kind, value) in [("BOUNDED_PERCENT", 1), ("UNBOUNDED_PERCENT", 100), ("COUNT", 5000)] {
            let breaker = outcome(kind, value).unwrap();
            assert_eq!(parse(&wire(&breaker)).unwrap(), breaker);
        }
    }

    #[test]
    fn thresholds_that_could_not_be_meant_are_refused() {
        for (kind, value) in [("BOUNDED_PERCENT", 0), ("BOUNDED_PERCENT", 101), ("COUNT", 0), ("COUNT", 5001), ("PERCENT", 5), ("", 5)] {
            assert!(outcome(kind, value).is_err(), "{kind} {value}");
        }
    }
}
