//! Strategies: each keeps the instances that are best by its rule, the next decides among those.

use super::{Candidate, Request};
use model::ids::InstanceId;
use model::instance::ZONE_ATTRIBUTE;
use model::service::{PlacementStrategy, PlacementStrategyType};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The best of `eligible`. Spreading counts the tasks on all instances, the full ones too.
pub(super) fn best<'a>(request: &Request<'_>, all: &[Candidate], mut eligible: Vec<&'a Candidate>) -> Option<&'a Candidate> {
    let default = [rule(&format!("attribute:{ZONE_ATTRIBUTE}")), rule("instanceId")];
    let rules = if request.strategies.is_empty() { &default[..] } else { request.strategies };
    for rule in rules {
        match rule.kind {
            PlacementStrategyType::Random => return random(&eligible, request.random),
            PlacementStrategyType::Spread => spread(rule.field.as_deref().unwrap_or("instanceId"), all, &mut eligible),
            PlacementStrategyType::Binpack if rule.field.as_deref() == Some("cpu") => keep_least(&mut eligible, Candidate::free_cpu),
            PlacementStrategyType::Binpack => keep_least(&mut eligible, Candidate::free_memory),
        }
    }
    eligible.into_iter().min_by(|one, other| rank(one).cmp(&rank(other)))
}

/// What decides between instances that are equal by the rules.
fn rank(candidate: &Candidate) -> (usize, usize, Reverse<i64>, &InstanceId) {
    (candidate.of_group, candidate.tasks, Reverse(candidate.free_memory()), &candidate.instance.id)
}

/// What scale-in looks at on an instance, by the first rule that says: what is free there (packing), and what is to stay even.
pub fn scale_in_view(strategies: &[PlacementStrategy], candidate: &Candidate) -> (i64, String) {
    let rule = strategies.iter().find(|rule| rule.kind != PlacementStrategyType::Random);
    let field = rule.and_then(|rule| rule.field.as_deref());
    match rule.map(|rule| rule.kind) {
        Some(PlacementStrategyType::Binpack) if field == Some("cpu") => (candidate.free_cpu(), String::new()),
        Some(PlacementStrategyType::Binpack) => (candidate.free_memory(), String::new()),
        Some(PlacementStrategyType::Spread) => (0, spread_value(field.unwrap_or("instanceId"), candidate).to_owned()),
        Some(PlacementStrategyType::Random) | None => (0, candidate.instance.zone().to_owned()),
    }
}

/// What a spread rule groups by: the instance itself, or the value of an attribute.
fn spread_value<'a>(field: &str, candidate: &'a Candidate) -> &'a str {
    match field.strip_prefix("attribute:") {
        Some(ZONE_ATTRIBUTE) => candidate.instance.zone(),
        Some(attribute) => candidate.instance.attributes.get(attribute).map_or("", String::as_str),
        None => candidate.instance.id.as_str(),
    }
}

fn rule(field: &str) -> PlacementStrategy {
    PlacementStrategy { kind: PlacementStrategyType::Spread, field: Some(field.to_owned()) }
}

fn random<'a>(eligible: &[&'a Candidate], random: u64) -> Option<&'a Candidate> {
    let count = u64::try_from(eligible.len()).unwrap_or(u64::MAX);
    let at = random.checked_rem(count)?;
    usize::try_from(at).ok().and_then(|at| eligible.get(at).copied())
}

fn spread(field: &str, all: &[Candidate], eligible: &mut Vec<&Candidate>) {
    if !field.starts_with("attribute:") {
        // Each instance is a group of its own.
        return keep_least(eligible, |candidate| candidate.of_group);
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for candidate in all {
        *counts.entry(spread_value(field, candidate)).or_default() += candidate.of_group;
    }
    keep_least(eligible, |candidate| counts.get(spread_value(field, candidate)).copied().unwrap_or(0));
}

fn keep_least<T: Ord + Copy>(eligible: &mut Vec<&Candidate>, measure: impl Fn(&Candidate) -> T) {
    if let Some(least) = eligible.iter().map(|candidate| measure(candidate)).min() {
        eligible.retain(|candidate| measure(candidate) == least);
    }
}
