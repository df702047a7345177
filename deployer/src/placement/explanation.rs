//! Why a task could not be placed: counts per reason, in ECS's event words and in RunTask's failure codes.

use super::seat::Seat;
use model::ids::InstanceId;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Why one instance was refused, in the order in which things are checked: a later one came closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    NotActive,
    AgentDisconnected,
    DistinctInstance,
    Cpu,
    Memory,
    Ports,
}

impl Reason {
    /// ECS's words of the service event, after "The closest matching container-instance … ".
    const fn event_words(self) -> &'static str {
        match self {
            Self::NotActive => "is not ACTIVE",
            Self::AgentDisconnected => "encountered error \"AGENT\"",
            Self::DistinctInstance => "does not meet the distinctInstance constraint",
            Self::Cpu => "has insufficient CPU units available",
            Self::Memory => "has insufficient memory available",
            Self::Ports => "is already using a port required by your task",
        }
    }

    const fn summary(self) -> &'static str {
        match self {
            Self::NotActive => "not ACTIVE",
            Self::AgentDisconnected => "agent not connected",
            Self::DistinctInstance => "a task of the service already there",
            Self::Cpu => "insufficient CPU",
            Self::Memory => "insufficient memory",
            Self::Ports => "required port in use",
        }
    }

    /// `failures[].reason` of RunTask.
    pub const fn failure_code(self) -> &'static str {
        match self {
            Self::NotActive => "INACTIVE",
            Self::AgentDisconnected => "AGENT",
            Self::DistinctInstance => "ATTRIBUTE",
            Self::Cpu => "RESOURCE:CPU",
            Self::Memory => "RESOURCE:MEMORY",
            Self::Ports => "RESOURCE:PORTS",
        }
    }
}

/// How many instances were refused for which reason, and which came closest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    pub counts: BTreeMap<Reason, usize>,
    closest: Option<(Reason, i64, InstanceId)>,
}

impl Explanation {
    pub(super) fn add(&mut self, seat: &Seat<'_>, reason: Reason) {
        *self.counts.entry(reason).or_default() += 1;
        let free = match reason {
            Reason::Cpu => seat.free_cpu,
            _ => seat.free_memory,
        };
        let better = self.closest.as_ref().is_none_or(|(best, most, _)| (reason, free) > (*best, *most));
        if better {
            self.closest = Some((reason, free, seat.candidate.instance.id.clone()));
        }
    }

    /// Instances looked at.
    pub fn instances(&self) -> usize {
        self.counts.values().sum()
    }

    /// The instance that passed most checks, and the one it failed.
    pub fn closest(&self) -> Option<(&InstanceId, Reason)> {
        self.closest.as_ref().map(|(reason, _, id)| (id, *reason))
    }

    /// The rest of ECS's service event after `(service X) `.
    pub fn event(&self) -> String {
        let mut text = "was unable to place a task because no container instance met all of its requirements.".to_owned();
        match self.closest() {
            None => text.push_str(" Reason: No Container Instances were found in your cluster."),
            Some((id, reason)) => {
                let _ = write!(text, " The closest matching (container-instance {id}) {}. {}.", reason.event_words(), self.summary());
            }
        }
        text
    }

    /// `insufficient memory on 2, required port in use on 1 of 3 instances`
    pub fn summary(&self) -> String {
        let mut counts: Vec<_> = self.counts.iter().collect();
        counts.sort_by_key(|(reason, count)| (usize::MAX - **count, **reason));
        let parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{} on {count}", reason.summary())).collect();
        let all = self.instances();
        let plural = if all == 1 { "" } else { "s" };
        let mut text = format!("{} of {all} instance{plural}", parts.join(", "));
        if let Some(first) = text.get_mut(0..1) {
            first.make_ascii_uppercase();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::candidate;
    use super::*;
    use model::instance::Resources;

    #[test]
    fn the_event_has_ecs_words_and_says_on_how_many() {
        let mut explanation = Explanation::default();
        for (number, reason) in [(1, Reason::Memory), (2, Reason::Memory), (3, Reason::Cpu)] {
            explanation.add(&Seat::new(&candidate(number, "a", 0), &Resources::default()), reason);
        }
        assert_eq!(
            explanation.event(),
            "was unable to place a task because no container instance met all of its requirements. The closest matching \
             (container-instance 00000000000000000000000000000001) has insufficient memory available. \
             Insufficient memory on 2, insufficient CPU on 1 of 3 instances."
        );
        assert!(Explanation::default().event().ends_with("No Container Instances were found in your cluster."));
    }
}
