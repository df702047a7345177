//! Where tasks go: pure choice of an instance for a task, and of the task to stop when there are too many.
//!
//! First what must hold (status, agent, constraints, CPU, memory, ports), then strategies, best effort and in order. A failure
//! explains itself: how many instances were refused for which reason. Called by `rollout::plan` and `rollout::run`.

pub mod explanation;
pub mod need;
pub mod scale_in;
mod seat;
mod strategy;

pub use explanation::{Explanation, Reason};
pub use need::need;
pub use strategy::scale_in_view;

use model::ids::InstanceId;
use model::instance::{Instance, Resources};
use model::service::{PlacementConstraint, PlacementStrategy};
use seat::Seat;
use std::sync::Arc;
use strategy::Rules;

/// An instance and what is taken of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Shared, since a fleet has many of them and a plan takes them all.
    pub instance: Arc<Instance>,
    /// Held by tasks that are not observed STOPPED yet, whatever is desired of them.
    pub held: Arc<Resources>,
    /// Tasks on it that are to run.
    pub tasks: usize,
    /// Those of the same service deployment or group: what strategies spread.
    pub of_group: usize,
}

impl Candidate {
    /// Free CPU units; may be negative when the host shrank.
    pub fn free_cpu(&self) -> i64 {
        self.instance.registered.cpu - self.held.cpu
    }

    /// Free memory in MiB.
    pub fn free_memory(&self) -> i64 {
        self.instance.registered.memory - self.held.memory
    }
}

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub need: &'a Resources,
    /// Empty: ECS's default, spread over zones, then over instances.
    pub strategies: &'a [PlacementStrategy],
    pub constraints: &'a [PlacementConstraint],
    /// Decides where a strategy leaves it to chance.
    pub random: u64,
}

/// Where tasks go, in the order in which they were placed, and why there are no more of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub instances: Vec<InstanceId>,
    pub refused: Option<Explanation>,
}

/// Instances for up to `count` tasks, each placed as if the ones before it were there. The candidates are looked at once, whatever
/// the count.
pub fn choose(request: &Request<'_>, candidates: &[Candidate], count: usize) -> Choice {
    let mut seats: Vec<Seat<'_>> = candidates.iter().map(|candidate| Seat::new(candidate, request.need)).collect();
    let mut eligible: Vec<usize> = (0..seats.len()).filter(|at| seats[*at].refusal(request).is_none()).collect();
    let mut rules = Rules::new(request.strategies, candidates);
    let mut instances = Vec::new();
    while instances.len() < count {
        let random = request.random.wrapping_mul(instances.len() as u64 + 1);
        let Some(best) = rules.best(random, &seats, eligible.clone()) else {
            return Choice { instances, refused: Some(explain(request, &seats)) };
        };
        instances.push(seats[best].candidate.instance.id.clone());
        seats[best].take(request.need);
        rules.take(best);
        if seats[best].refusal(request).is_some() {
            eligible.retain(|at| *at != best);
        }
    }
    Choice { instances, refused: None }
}

fn explain(request: &Request<'_>, seats: &[Seat<'_>]) -> Explanation {
    let mut explanation = Explanation::default();
    for seat in seats {
        if let Some(reason) = seat.refusal(request) {
            explanation.add(seat, reason);
        }
    }
    explanation
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use model::Timestamp;
    use model::ids::ClusterName;
    use model::instance::{InstanceStatus, Protocol, ZONE_ATTRIBUTE};
    use model::service::{PlacementConstraintType, PlacementStrategyType, PlacementStrategyType::*};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    pub(crate) fn instance(number: u128, zone: &str) -> Instance {
        Instance {
            id: InstanceId::from_random(number),
            cluster: ClusterName::default_cluster(),
            name: format!("host-{number}"),
            status: InstanceStatus::Active,
            agent_connected: true,
            registered: Resources { cpu: 2048, memory: 4096, ports: [(Protocol::Tcp, 22)].into() },
            attributes: BTreeMap::from([(ZONE_ATTRIBUTE.to_owned(), zone.to_owned())]),
            agent_version: "1".into(),
            docker_version: "20".into(),
            address: "127.0.0.1".into(),
            version: 1,
            registered_at: Timestamp::default(),
        }
    }

    pub(crate) fn candidate(number: u128, zone: &str, of_group: usize) -> Candidate {
        Candidate { instance: Arc::new(instance(number, zone)), held: Arc::default(), tasks: of_group, of_group }
    }

    fn needs(cpu: i64, memory: i64, port: Option<u16>) -> Resources {
        Resources { cpu, memory, ports: port.map(|port| (Protocol::Tcp, port)).into_iter().collect() }
    }

    fn pick(need: &Resources, strategies: &[PlacementStrategy], candidates: &[Candidate]) -> Result<u128, Explanation> {
        let request = Request { need, strategies, constraints: &[], random: 7 };
        let choice = choose(&request, candidates, 1);
        choice.refused.map_or_else(|| Ok(u128::from_str_radix(choice.instances[0].as_str(), 16).unwrap()), Err)
    }

    fn rule(kind: PlacementStrategyType, field: &str) -> PlacementStrategy {
        PlacementStrategy { kind, field: (!field.is_empty()).then(|| field.to_owned()) }
    }

    #[test]
    fn the_default_spreads_over_zones_then_instances() {
        let candidates = [candidate(1, "a", 1), candidate(2, "a", 0), candidate(3, "b", 2), candidate(4, "b", 1)];
        assert_eq!(pick(&needs(1, 1, None), &[], &candidates), Ok(2));
        let candidates = [candidate(1, "a", 2), candidate(2, "a", 2), candidate(3, "b", 2), candidate(4, "b", 1)];
        assert_eq!(pick(&needs(1, 1, None), &[], &candidates), Ok(4));
    }

    #[test]
    fn strategies_apply_in_order() {
        let mut full = candidate(1, "a", 1);
        full.held = needs(1500, 3000, None).into();
        let candidates = [full, candidate(2, "a", 0), candidate(3, "b", 0)];
        let need = needs(256, 256, None);
        assert_eq!(pick(&need, &[rule(Binpack, "memory")], &candidates), Ok(1));
        assert_eq!(pick(&need, &[rule(Spread, "attribute:ecs.availability-zone")], &candidates), Ok(3));
        assert_eq!(pick(&need, &[rule(Spread, "instanceId"), rule(Binpack, "cpu")], &candidates), Ok(2));
        let chosen = pick(&need, &[rule(Random, "")], &candidates).unwrap();
        assert!((1..=3).contains(&chosen));
    }

    #[test]
    fn each_thing_that_must_hold_is_checked_and_counted() {
        let mut draining = candidate(1, "a", 0);
        Arc::make_mut(&mut draining.instance).status = InstanceStatus::Draining;
        let mut silent = candidate(2, "a", 0);
        Arc::make_mut(&mut silent.instance).agent_connected = false;
        let mut small = candidate(3, "a", 0);
        Arc::make_mut(&mut small.instance).registered.cpu = 100;
        let mut taken = candidate(4, "a", 0);
        taken.held = needs(0, 0, Some(80)).into();
        let mut memory = candidate(5, "a", 0);
        Arc::make_mut(&mut memory.held).memory = 4000;
        let error = pick(&needs(512, 512, Some(80)), &[], &[draining, silent, small, memory, taken]).unwrap_err();
        assert_eq!(error.instances(), 5);
        assert_eq!(error.counts.values().copied().collect::<Vec<_>>(), [1, 1, 1, 1, 1]);
        let (closest, reason) = error.closest().unwrap();
        assert_eq!((closest.as_str().ends_with('4'), reason), (true, Reason::Ports));
    }

    #[test]
    fn reserved_ports_are_never_given() {
        let error = pick(&needs(0, 0, Some(22)), &[], &[candidate(1, "a", 0)]).unwrap_err();
        assert_eq!(error.counts.get(&Reason::Ports), Some(&1));
    }

    #[test]
    fn distinct_instance_binds() {
        let need = needs(1, 1, None);
        let constraints = [PlacementConstraint { kind: PlacementConstraintType::DistinctInstance }];
        let request = Request { need: &need, strategies: &[], constraints: &constraints, random: 0 };
        let refused = choose(&request, &[candidate(1, "a", 1)], 1).refused.unwrap();
        assert_eq!(refused.counts.get(&Reason::DistinctInstance), Some(&1));
        let choice = choose(&request, &[candidate(1, "a", 1), candidate(2, "a", 0), candidate(3, "a", 0)], 3);
        assert_eq!(
            (choice.instances.len(), choice.refused.map(|refused| refused.counts)),
            (2, Some([(Reason::DistinctInstance, 3)].into()))
        );
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        (1..9_u128, 0..3_usize, 0..1900_i64, 0..3_usize, any::<bool>()).prop_map(|(number, zone, cpu, of_group, port)| {
            let held = needs(cpu, 2 * cpu, port.then_some(80)).into();
            Candidate { held, tasks: of_group + 1, ..candidate(number, ["a", "b", "c"][zone], of_group) }
        })
    }

    fn any_rules() -> impl Strategy<Value = Vec<PlacementStrategy>> {
        let zone = "attribute:ecs.availability-zone";
        let rules = [rule(Spread, zone), rule(Spread, "instanceId"), rule(Binpack, "cpu"), rule(Binpack, "memory")];
        prop::collection::vec(prop::sample::select(rules.to_vec()), 0..3)
    }

    proptest! {
        /// Many at once are what one after the other would be, with the reservations of each seen by the next.
        #[test]
        fn each_task_sees_those_before_it(
            mut candidates in prop::collection::vec(any_candidate(), 0..8), strategies in any_rules(), port in any::<bool>(), count in 0..9_usize,
        ) {
            candidates.sort_by(|one, other| one.instance.id.cmp(&other.instance.id));
            candidates.dedup_by(|one, other| one.instance.id == other.instance.id);
            let need = needs(300, 500, port.then_some(80));
            let request = Request { need: &need, strategies: &strategies, constraints: &[], random: 0 };
            let together = choose(&request, &candidates, count);
            let mut one_by_one = Choice { instances: Vec::new(), refused: None };
            while one_by_one.instances.len() < count && one_by_one.refused.is_none() {
                let next = choose(&request, &candidates, 1);
                for id in &next.instances {
                    let taken = candidates.iter_mut().find(|candidate| candidate.instance.id == *id).unwrap();
                    let held = Arc::make_mut(&mut taken.held);
                    (held.cpu, held.memory) = (held.cpu + need.cpu, held.memory + need.memory);
                    held.ports.extend(&need.ports);
                    (taken.tasks, taken.of_group) = (taken.tasks + 1, taken.of_group + 1);
                }
                one_by_one.instances.extend(next.instances);
                one_by_one.refused = next.refused;
            }
            prop_assert_eq!(together, one_by_one);
        }
    }
}
