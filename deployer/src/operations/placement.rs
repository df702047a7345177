//! Placement strategies and constraints of requests: ECS's limits, and the way to and from the wire. Pure.

use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use api::aws;
use model::service::{PlacementConstraint, PlacementConstraintType, PlacementStrategy, PlacementStrategyType};

/// Most strategies of one service or run.
pub const STRATEGIES_MAX: usize = 5;
/// Most constraints of one service or run.
pub const CONSTRAINTS_MAX: usize = 10;
const FIELD_BYTES_MAX: usize = 128;

/// Fields of one strategy.
pub const STRATEGY: &[Field] = &[("type", Rule::Only(&["random", "spread", "binpack"])), ("field", Rule::Taken)];
/// Fields of one constraint; `memberOf` and its expressions are not there yet.
pub const CONSTRAINT: &[Field] = &[("type", Rule::Only(&["distinctInstance"])), ("expression", Rule::Taken)];

pub fn strategies(wire: Vec<aws::PlacementStrategy>) -> Result<Vec<PlacementStrategy>, EcsError> {
    if wire.len() > STRATEGIES_MAX {
        return Err(EcsError::invalid(format!("placementStrategy can hold at most {STRATEGIES_MAX} strategies.")));
    }
    wire.into_iter().map(strategy).collect()
}

fn strategy(wire: aws::PlacementStrategy) -> Result<PlacementStrategy, EcsError> {
    let field = wire.field.filter(|field| !field.is_empty());
    let lower = field.as_deref().map(str::to_ascii_lowercase);
    let (kind, field) = match (wire.kind.as_str(), lower.as_deref(), field) {
        ("random", None, _) => (PlacementStrategyType::Random, None),
        ("random", Some(_), _) => return Err(EcsError::invalid("placementStrategy of type random has no field.")),
        ("binpack", Some("cpu" | "memory"), _) => (PlacementStrategyType::Binpack, lower),
        ("binpack", _, _) => return Err(EcsError::invalid("placementStrategy of type binpack has the field cpu or memory.")),
        ("spread", Some("instanceid" | "host"), _) => (PlacementStrategyType::Spread, Some("instanceId".to_owned())),
        ("spread", _, Some(field)) if is_attribute(&field) => (PlacementStrategyType::Spread, Some(field)),
        ("spread", _, _) => return Err(EcsError::invalid("placementStrategy of type spread has the field instanceId or attribute:NAME.")),
        _ => return Err(EcsError::invalid("placementStrategy has the type random, spread or binpack.")),
    };
    Ok(PlacementStrategy { kind, field })
}

fn is_attribute(field: &str) -> bool {
    let name = field.strip_prefix("attribute:").unwrap_or_default();
    !name.is_empty() && field.len() <= FIELD_BYTES_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/\\".contains(&b))
}

pub fn constraints(wire: &[aws::PlacementConstraint]) -> Result<Vec<PlacementConstraint>, EcsError> {
    if wire.len() > CONSTRAINTS_MAX {
        return Err(EcsError::invalid(format!("placementConstraints can hold at most {CONSTRAINTS_MAX} constraints.")));
    }
    let constraint = |constraint: &aws::PlacementConstraint| match (constraint.kind.as_str(), &constraint.expression) {
        ("distinctInstance", None) => Ok(PlacementConstraint { kind: PlacementConstraintType::DistinctInstance }),
        ("distinctInstance", Some(_)) => Err(EcsError::invalid("placementConstraints of type distinctInstance have no expression.")),
        _ => Err(EcsError::invalid("placementConstraints have the type distinctInstance.")),
    };
    wire.iter().map(constraint).collect()
}

pub fn wire_strategies(strategies: &[PlacementStrategy]) -> Vec<aws::PlacementStrategy> {
    let kind = |kind| match kind {
        PlacementStrategyType::Random => "random",
        PlacementStrategyType::Spread => "spread",
        PlacementStrategyType::Binpack => "binpack",
    };
    strategies.iter().map(|strategy| aws::PlacementStrategy { kind: kind(strategy.kind).into(), field: strategy.field.clone() }).collect()
}

pub fn wire_constraints(constraints: &[PlacementConstraint]) -> Vec<aws::PlacementConstraint> {
    let wire = |constraint: &PlacementConstraint| match constraint.kind {
        PlacementConstraintType::DistinctInstance => aws::PlacementConstraint { kind: "distinctInstance".into(), expression: None },
    };
    constraints.iter().map(wire).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(kind: &str, field: Option<&str>) -> Result<Option<String>, EcsError> {
        strategy(aws::PlacementStrategy { kind: kind.into(), field: field.map(str::to_owned) }).map(|strategy| strategy.field)
    }

    #[test]
    fn strategies_have_the_fields_of_ecs() {
        assert_eq!(outcome("random", None).unwrap(), None);
        assert_eq!(outcome("binpack", Some("MEMORY")).unwrap().as_deref(), Some("memory"));
        assert_eq!(outcome("spread", Some("host")).unwrap().as_deref(), Some("instanceId"));
        assert_eq!(outcome("spread", Some("attribute:ecs.availability-zone")).unwrap().as_deref(), Some("attribute:ecs.availability-zone"));
        for (kind, field) in [
            ("random", Some("cpu")),
            ("binpack", None),
            ("binpack", Some("disk")),
            ("spread", None),
            ("spread", Some("attribute:")),
            ("x", None),
        ] {
            assert!(outcome(kind, field).is_err(), "{kind} {field:?}");
        }
    }
}
