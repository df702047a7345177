//! Strategies: each keeps the instances that are best by its rule, the next decides among those.

use super::Candidate;
use super::seat::Seat;
use model::ids::InstanceId;
use model::instance::ZONE_ATTRIBUTE;
use model::service::{PlacementStrategy, PlacementStrategyType};
use std::cmp::Reverse;
use std::collections::HashMap;

/// The strategies of a request, with what they count of the candidates. Seats are named by their place among those.
#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
enum Rule {
    Random,
    SpreadInstances,
    SpreadGroups(Groups),
    PackCpu,
    PackMemory,
}

/// The candidates by the value of an attribute, and how many tasks of the group each value has: the full ones count too.
#[derive(Debug)]
struct Groups {
    of_seat: Vec<usize>,
    tasks: Vec<usize>,
}

impl Rules {
    /// Without strategies: ECS's default, spread over zones, then over instances.
    pub fn new(strategies: &[PlacementStrategy], candidates: &[Candidate]) -> Self {
        let rule = |strategy: &PlacementStrategy| match (strategy.kind, strategy.field.as_deref()) {
            (PlacementStrategyType::Random, _) => Rule::Random,
            (PlacementStrategyType::Spread, field) => spread(field.unwrap_or("instanceId"), candidates),
            (PlacementStrategyType::Binpack, Some("cpu")) => Rule::PackCpu,
            (PlacementStrategyType::Binpack, _) => Rule::PackMemory,
        };
        if strategies.is_empty() {
            return Self(vec![Rule::SpreadGroups(Groups::new(ZONE_ATTRIBUTE, candidates)), Rule::SpreadInstances]);
        }
        Self(strategies.iter().map(rule).collect())
    }

    /// The best of `eligible`; `random` decides where a strategy leaves it to chance.
    pub fn best(&self, random: u64, seats: &[Seat<'_>], mut eligible: Vec<usize>) -> Option<usize> {
        for rule in &self.0 {
            match rule {
                Rule::Random => return any(&eligible, random),
                Rule::SpreadInstances => keep_least(&mut eligible, |at| seats[at].of_group),
                Rule::SpreadGroups(groups) => keep_least(&mut eligible, |at| groups.tasks[groups.of_seat[at]]),
                Rule::PackCpu => keep_least(&mut eligible, |at| seats[at].free_cpu),
                Rule::PackMemory => keep_least(&mut eligible, |at| seats[at].free_memory),
            }
        }
        eligible.into_iter().min_by(|one, other| rank(&seats[*one]).cmp(&rank(&seats[*other])))
    }

    /// One more task of the group is at this seat.
    pub fn take(&mut self, seat: usize) {
        for rule in &mut self.0 {
            if let Rule::SpreadGroups(groups) = rule {
                groups.tasks[groups.of_seat[seat]] += 1;
            }
        }
    }
}

impl Groups {
    fn new(attribute: &str, candidates: &[Candidate]) -> Self {
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut groups = Self { of_seat: Vec::with_capacity(candidates.len()), tasks: Vec::new() };
        for candidate in candidates {
            let group = *known.entry(value(attribute, candidate)).or_insert(groups.tasks.len());
            if group == groups.tasks.len() {
                groups.tasks.push(0);
            }
            groups.tasks[group] += candidate.of_group;
            groups.of_seat.push(group);
        }
        groups
    }
}

/// What decides between instances that are equal by the rules.
fn rank<'a>(seat: &Seat<'a>) -> (usize, usize, Reverse<i64>, &'a InstanceId) {
    (seat.of_group, seat.tasks, Reverse(seat.free_memory), &seat.candidate.instance.id)
}

/// What scale-in looks at on an instance, by the first rule that says: what is free there (packing), and what is to stay even.
pub fn scale_in_view<'a>(strategies: &[PlacementStrategy], candidate: &'a Candidate) -> (i64, &'a str) {
    let rule = strategies.iter().find(|rule| rule.kind != PlacementStrategyType::Random);
    let field = rule.and_then(|rule| rule.field.as_deref());
    match rule.map(|rule| rule.kind) {
        Some(PlacementStrategyType::Binpack) if field == Some("cpu") => (candidate.free_cpu(), ""),
        Some(PlacementStrategyType::Binpack) => (candidate.free_memory(), ""),
        Some(PlacementStrategyType::Spread) => match field.and_then(|field| field.strip_prefix("attribute:")) {
            Some(attribute) => (0, value(attribute, candidate)),
            None => (0, candidate.instance.id.as_str()),
        },
        Some(PlacementStrategyType::Random) | None => (0, candidate.instance.zone()),
    }
}

/// By an attribute, or each instance a group of its own.
fn spread(field: &str, candidates: &[Candidate]) -> Rule {
    match field.strip_prefix("attribute:") {
        Some(attribute) => Rule::SpreadGroups(Groups::new(attribute, candidates)),
        None => Rule::SpreadInstances,
    }
}

fn value<'a>(attribute: &str, candidate: &'a Candidate) -> &'a str {
    match attribute {
        ZONE_ATTRIBUTE => candidate.instance.zone(),
        other => candidate.instance.attributes.get(other).map_or("", String::as_str),
    }
}

fn any(eligible: &[usize], random: u64) -> Option<usize> {
    let count = u64::try_from(eligible.len()).unwrap_or(u64::MAX);
    let at = random.checked_rem(count)?;
    usize::try_from(at).ok().and_then(|at| eligible.get(at).copied())
}

fn keep_least<T: Ord + Copy>(eligible: &mut Vec<usize>, measure: impl Fn(usize) -> T) {
    if let Some(least) = eligible.iter().map(|at| measure(*at)).min() {
        eligible.retain(|at| measure(*at) == least);
    }
}
