//! The settings CreateService and UpdateService share: which fields there are, and their limits. Pure.

use super::circuit_breaker;
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::operations::placement;
use crate::rollout::census;
use api::aws;
use model::service::Service;

/// Most tasks of one service.
pub const DESIRED_COUNT_MAX: i64 = 5000;
/// Highest maximumPercent.
pub const PERCENT_MAX: i64 = 1000;
/// Longest grace period, in seconds.
pub const GRACE_SECS_MAX: i64 = 2_147_483_647;

pub const DEPLOYMENT_CONFIGURATION: &[Field] = &[
    ("maximumPercent", Rule::Taken),
    ("minimumHealthyPercent", Rule::Taken),
    ("strategy", Rule::Only(&["ROLLING"])),
    ("bakeTimeInMinutes", Rule::Only(&["0"])),
    ("deploymentCircuitBreaker", Rule::Object(circuit_breaker::FIELDS)),
    ("alarms", Rule::Object(&[("enable", Rule::Only(&["false"])), ("rollback", Rule::Ignored), ("alarmNames", Rule::Taken)])),
];
pub const DEPLOYMENT_CONTROLLER: &[Field] = &[("type", Rule::Only(&["ECS"]))];
pub const STRATEGIES: Rule = Rule::Each(placement::STRATEGY);
pub const CONSTRAINTS: Rule = Rule::Each(placement::CONSTRAINT);

/// Settings of a request that are set.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub desired_count: Option<i64>,
    pub deployment_configuration: Option<aws::DeploymentConfiguration>,
    pub placement_strategy: Option<Vec<aws::PlacementStrategy>>,
    pub placement_constraints: Option<Vec<aws::PlacementConstraint>>,
    pub health_check_grace_period_seconds: Option<i64>,
    pub enable_ecs_managed_tags: Option<bool>,
}

/// Writes what is set into `service`, when all of it keeps the limits.
pub fn apply(service: &mut Service, settings: Settings) -> Result<(), EcsError> {
    if let Some(count) = settings.desired_count {
        service.desired_count = within("desiredCount", count, 0, DESIRED_COUNT_MAX)?;
    }
    if let Some(configuration) = settings.deployment_configuration {
        let minimum = configuration.minimum_healthy_percent.unwrap_or(service.minimum_healthy_percent);
        let maximum = configuration.maximum_percent.unwrap_or(service.maximum_percent);
        service.minimum_healthy_percent = within("minimumHealthyPercent", minimum, 0, 100)?;
        service.maximum_percent = within("maximumPercent", maximum, 100, PERCENT_MAX)?;
        if let Some(breaker) = configuration.deployment_circuit_breaker {
            service.circuit_breaker = circuit_breaker::parse(&breaker)?;
        }
        if minimum == 100 && maximum == 100 {
            return Err(EcsError::invalid(format!("{}: lower the one or raise the other.", stuck(service))));
        }
    }
    if let Some(strategies) = settings.placement_strategy {
        service.placement_strategy = placement::strategies(strategies)?;
    }
    if let Some(constraints) = settings.placement_constraints {
        service.placement_constraints = placement::constraints(&constraints)?;
    }
    if let Some(seconds) = settings.health_check_grace_period_seconds {
        service.health_check_grace_period_secs = within("healthCheckGracePeriodSeconds", seconds, 0, GRACE_SECS_MAX)?;
    }
    if let Some(managed) = settings.enable_ecs_managed_tags {
        service.client_settings.enable_ecs_managed_tags = managed;
    }
    Ok(())
}

/// Refuses settings with which no deployment of the service could ever stop or start a task.
pub fn require_progress(service: &Service) -> Result<(), EcsError> {
    if is_stuck(service) {
        return Err(EcsError::invalid(format!("{}: lower the one or raise the other.", stuck(service))));
    }
    Ok(())
}

/// Whether the service's settings let no deployment move with its desired count.
pub fn is_stuck(service: &Service) -> bool {
    census::is_stuck(service.desired_count, service.minimum_healthy_percent, service.maximum_percent)
}

/// What is wrong then, in words.
pub fn stuck(service: &Service) -> String {
    format!(
        "minimumHealthyPercent {} with maximumPercent {} would let no deployment of {} tasks stop or start a task",
        service.minimum_healthy_percent, service.maximum_percent, service.desired_count
    )
}

fn within(name: &str, value: i64, min: i64, max: i64) -> Result<i64, EcsError> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(EcsError::invalid(format!("{name} has to be between {min} and {max}."))) }
}
