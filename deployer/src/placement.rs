//! Where tasks go: pure choice of an instance for a task, and of the task to stop when there are too many.
//!
//! First what must hold (status, agent, constraints, CPU, memory, ports), then strategies, best effort and in order. A failure
//! explains itself: how many instances were refused for which reason. Called by `rollout::plan` and `rollout::run`.

pub mod explanation;
pub mod need;
pub mod scale_in;
mod strategy;

pub use explanation::{Explanation, Reason};
pub use need::need;
pub use strategy::scale_in_view;

use model::ids::InstanceId;
use model::instance::{Instance, InstanceStatus, Resources};
use model::service::{PlacementConstraint, PlacementConstraintType, PlacementStrategy};
use std::sync::Arc;

/// An instance and what is taken of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Shared, since a fleet has many of them and a plan takes them all.
    pub instance: Arc<Instance>,
    /// Held by tasks that are not observed STOPPED yet, whatever is desired of them.
    pub held: Resources,
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

    /// Takes `need` for one more task of the group.
    pub fn take(&mut self, need: &Resources) {
        self.held.cpu += need.cpu;
        self.held.memory += need.memory;
        self.held.ports.extend(need.ports.iter().copied());
        self.tasks += 1;
        self.of_group += 1;
    }

    fn offers(&self, port: (model::instance::Protocol, u16)) -> bool {
        !self.held.ports.contains(&port) && !self.instance.registered.ports.contains(&port)
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

/// The instance on which the task goes, or why none will do.
pub fn choose(request: &Request<'_>, candidates: &[Candidate]) -> Result<InstanceId, Explanation> {
    let mut explanation = Explanation::default();
    let mut eligible = Vec::new();
    for candidate in candidates {
        match refusal(request, candidate) {
            None => eligible.push(candidate),
            Some(reason) => explanation.add(candidate, reason),
        }
    }
    strategy::best(request, candidates, eligible).map(|candidate| candidate.instance.id.clone()).ok_or(explanation)
}

/// The first reason why the task cannot go there.
fn refusal(request: &Request<'_>, candidate: &Candidate) -> Option<Reason> {
    let distinct = request.constraints.iter().any(|constraint| constraint.kind == PlacementConstraintType::DistinctInstance);
    if candidate.instance.status != InstanceStatus::Active {
        Some(Reason::NotActive)
    } else if !candidate.instance.agent_connected {
        Some(Reason::AgentDisconnected)
    } else if distinct && candidate.of_group > 0 {
        Some(Reason::DistinctInstance)
    } else if candidate.free_cpu() < request.need.cpu {
        Some(Reason::Cpu)
    } else if candidate.free_memory() < request.need.memory {
        Some(Reason::Memory)
    } else if request.need.ports.iter().any(|port| !candidate.offers(*port)) {
        Some(Reason::Ports)
    } else {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use model::Timestamp;
    use model::ids::ClusterName;
    use model::instance::{Protocol, ZONE_ATTRIBUTE};
    use model::service::{PlacementStrategyType, PlacementStrategyType::*};
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
        Candidate { instance: Arc::new(instance(number, zone)), held: Resources::default(), tasks: of_group, of_group }
    }

    fn needs(cpu: i64, memory: i64, port: Option<u16>) -> Resources {
        Resources { cpu, memory, ports: port.map(|port| (Protocol::Tcp, port)).into_iter().collect() }
    }

    fn pick(need: &Resources, strategies: &[PlacementStrategy], candidates: &[Candidate]) -> Result<u128, Explanation> {
        let request = Request { need, strategies, constraints: &[], random: 7 };
        choose(&request, candidates).map(|id| u128::from_str_radix(id.as_str(), 16).unwrap())
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
        full.held = needs(1500, 3000, None);
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
        taken.held = needs(0, 0, Some(80));
        let mut memory = candidate(5, "a", 0);
        memory.held.memory = 4000;
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
        let error = choose(&request, &[candidate(1, "a", 1)]).unwrap_err();
        assert_eq!(error.counts.get(&Reason::DistinctInstance), Some(&1));
        assert!(choose(&request, &[candidate(1, "a", 1), candidate(2, "a", 0)]).is_ok());
    }
}
