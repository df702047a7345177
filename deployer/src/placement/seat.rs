//! An instance while tasks are being placed: what is left of it after those placed so far.

use super::{Candidate, Reason, Request};
use model::instance::{InstanceStatus, Resources};
use model::service::PlacementConstraintType;

#[derive(Debug, Clone)]
pub(super) struct Seat<'a> {
    pub candidate: &'a Candidate,
    pub free_cpu: i64,
    pub free_memory: i64,
    /// Tasks on it that are to run.
    pub tasks: usize,
    /// Those that strategies spread.
    pub of_group: usize,
    /// A port that the task needs is in use.
    port_taken: bool,
}

impl<'a> Seat<'a> {
    pub fn new(candidate: &'a Candidate, need: &Resources) -> Self {
        let taken = |port| candidate.held.ports.contains(port) || candidate.instance.registered.ports.contains(port);
        Self {
            candidate,
            free_cpu: candidate.free_cpu(),
            free_memory: candidate.free_memory(),
            tasks: candidate.tasks,
            of_group: candidate.of_group,
            port_taken: need.ports.iter().any(taken),
        }
    }

    /// One more task of the group goes there.
    pub fn take(&mut self, need: &Resources) {
        self.free_cpu -= need.cpu;
        self.free_memory -= need.memory;
        self.port_taken |= !need.ports.is_empty();
        self.tasks += 1;
        self.of_group += 1;
    }

    /// The first reason why the task cannot go there.
    pub fn refusal(&self, request: &Request<'_>) -> Option<Reason> {
        let distinct = request.constraints.iter().any(|constraint| constraint.kind == PlacementConstraintType::DistinctInstance);
        let instance = &self.candidate.instance;
        if instance.status != InstanceStatus::Active {
            Some(Reason::NotActive)
        } else if !instance.agent_connected {
            Some(Reason::AgentDisconnected)
        } else if distinct && self.of_group > 0 {
            Some(Reason::DistinctInstance)
        } else if self.free_cpu < request.need.cpu {
            Some(Reason::Cpu)
        } else if self.free_memory < request.need.memory {
            Some(Reason::Memory)
        } else if self.port_taken {
            Some(Reason::Ports)
        } else {
            None
        }
    }
}
