//! The brake: many instances of a cluster lost at once is more likely a broken network, or a server that cannot hear, than so many
//! dead hosts. Replacing everything would then start it all twice. Pure; the lease sweep acts on the verdict.
//!
//! It holds until enough of them are heard again, a person decides, or [`BRAKE_DEFAULT`] (a setting) is over.

use crate::store::hosts::Brake;
use model::Timestamp;
use model::ids::{ClusterName, InstanceId};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long what ran on the lost instances is waited for.
pub const BRAKE_DEFAULT: Duration = Duration::from_mins(5);
/// Fewest instances that are many.
const LOST_MIN: usize = 2;

/// The instances of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Whose agents are heard.
    pub heard: usize,
    pub lost: BTreeSet<InstanceId>,
    /// Those of the lost that were heard one lease ago.
    pub lost_lately: BTreeSet<InstanceId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it was.
    Keep,
    Engage(Brake),
    Release(Why),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Returned,
    TimeIsUp,
}

/// What becomes of the brake of `cluster`, which is `brake` so far.
pub fn judge(cluster: &ClusterName, brake: Option<&Brake>, hosts: &Hosts, pause: Duration, now: Timestamp) -> Verdict {
    let lately: BTreeSet<InstanceId> = hosts.lost_lately.intersection(&hosts.lost).cloned().collect();
    let Some(brake) = brake else {
        if pause.is_zero() || !are_many(lately.len(), hosts.heard) {
            return Verdict::Keep;
        }
        return Verdict::Engage(Brake { cluster: cluster.clone(), lost: lately, began_at: now, until: now.plus(pause) });
    };
    let still = brake.lost.intersection(&hosts.lost).count();
    if now >= brake.until {
        Verdict::Release(Why::TimeIsUp)
    } else if !are_many(still, hosts.heard) {
        Verdict::Release(Why::Returned)
    } else if lately.is_subset(&brake.lost) {
        Verdict::Keep
    } else {
        Verdict::Engage(Brake { lost: brake.lost.union(&lately).cloned().collect(), ..brake.clone() })
    }
}

/// More than half of those that were heard before, and at least two.
fn are_many(lost: usize, heard: usize) -> bool {
    lost >= LOST_MIN && lost > heard
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_mins(5);

    fn ids(numbers: &[u128]) -> BTreeSet<InstanceId> {
        numbers.iter().map(|number| InstanceId::from_random(*number)).collect()
    }

    fn hosts(heard: usize, lost: &[u128], lately: &[u128]) -> Hosts {
        Hosts { heard, lost: ids(lost), lost_lately: ids(lately) }
    }

    fn brake(lost: &[u128]) -> Brake {
        let began_at = Timestamp::from_secs(100);
        Brake { cluster: ClusterName::default_cluster(), lost: ids(lost), began_at, until: began_at.plus(PAUSE) }
    }

    fn judge_at(secs: i64, brake: Option<&Brake>, hosts: &Hosts) -> Verdict {
        judge(&ClusterName::default_cluster(), brake, hosts, PAUSE, Timestamp::from_secs(secs))
    }

    #[test]
    fn more_than_half_and_at_least_two_at_once_are_many() {
        for (heard, lost, lately, engages) in [
            (0, &[1][..], &[1][..], false),
            (1, &[1], &[1], false),
            (0, &[1, 2], &[1, 2], true),
            (1, &[1, 2], &[1, 2], true),
            (2, &[1, 2], &[1, 2], false),
            (2, &[1, 2, 3], &[1, 2, 3], true),
            (9, &[1, 2, 3], &[1, 2, 3], false),
            // One by one, long after each other.
            (1, &[1, 2, 3], &[3], false),
            // Heard again meanwhile.
            (2, &[1], &[1, 2], false),
        ] {
            let engaged = matches!(judge_at(100, None, &hosts(heard, lost, lately)), Verdict::Engage(_));
            assert_eq!(engaged, engages, "{heard} heard, {lost:?} lost, {lately:?} of them lately");
        }
        let verdict = judge_at(100, None, &hosts(1, &[1, 2], &[1, 2]));
        assert_eq!(verdict, Verdict::Engage(brake(&[1, 2])));
        let verdict = judge(&ClusterName::default_cluster(), None, &hosts(0, &[1, 2], &[1, 2]), Duration::ZERO, Timestamp::from_secs(1));
        assert_eq!(verdict, Verdict::Keep, "no pause, no brake");
    }

    #[test]
    fn it_holds_until_they_return_or_time_is_up() {
        let held = brake(&[1, 2, 3]);
        for (secs, hosts, expected) in [
            (101, hosts(1, &[1, 2, 3], &[1, 2, 3]), Verdict::Keep),
            (399, hosts(1, &[1, 2, 3], &[]), Verdict::Keep),
            (200, hosts(1, &[1, 2, 9], &[]), Verdict::Keep),
            (400, hosts(1, &[1, 2, 3], &[]), Verdict::Release(Why::TimeIsUp)),
            (200, hosts(2, &[1, 2], &[]), Verdict::Release(Why::Returned)),
            (200, hosts(4, &[], &[]), Verdict::Release(Why::Returned)),
        ] {
            assert_eq!(judge_at(secs, Some(&held), &hosts), expected, "{secs} {hosts:?}");
        }
    }

    #[test]
    fn who_is_lost_a_little_later_is_waited_for_as_well_and_no_longer() {
        let verdict = judge_at(105, Some(&brake(&[1, 2])), &hosts(1, &[1, 2, 3], &[1, 2, 3]));
        assert_eq!(verdict, Verdict::Engage(brake(&[1, 2, 3])));
    }
}
