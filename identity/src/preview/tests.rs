//! Previews as a table, and what must hold of them whatever the grants are.

use super::*;
use crate::decide::may;
use crate::decide::tests::{any_grant, any_name, grant, principal, snapshot_with};
use model::access::{Resource, ResourceKind};
use proptest::prelude::*;

fn membership(member: &str) -> Membership {
    Membership { team: "team:backend".parse().unwrap(), member: principal(member) }
}

fn told(before: &Snapshot, changes: &[Change]) -> Vec<String> {
    let line = |difference: Difference| {
        let Difference { principal, effect, via, otherwise } = difference;
        let otherwise = otherwise.map(|role| format!(" else {role}")).unwrap_or_default();
        format!("{principal} {effect:?} {} on {}:{}{otherwise}", via.role, via.kind, via.pattern)
    };
    differences(before, &after(before, changes)).into_iter().map(line).collect()
}

#[test]
fn a_change_names_who_gains_and_who_loses() {
    let grants = vec![
        grant("g1", "alice", Role::Pull, "repository:acme/**"),
        grant("g2", "backend", Role::Push, "repository:acme/*"),
        grant("g3", "gone", Role::Push, "repository:acme/*"),
        grant("g4", "bob", Role::Admin, "repository:**"),
    ];
    let before = snapshot_with(grants, vec![membership("bob"), membership("gone")]);
    let join = Change::Join(membership("alice"));
    assert_eq!(told(&before, std::slice::from_ref(&join)), ["user:alice Gains push on repository:acme/* else pull"]);
    // Bob keeps admin through his own grant, and a disabled user loses nothing that it could use.
    assert!(told(&before, &[Change::Revoke("g2".into())]).is_empty());
    assert_eq!(told(&before, &[join.clone(), Change::Revoke("g2".into())]), Vec::<String>::new());
    assert_eq!(told(&before, &[Change::Revoke("g1".into())]), ["user:alice Loses pull on repository:acme/**"]);
    // What the team gives him does not cover all of it.
    assert_eq!(told(&before, &[Change::Revoke("g4".into())]), ["user:bob Loses admin on repository:**"]);
    let joined = after(&before, &[join]);
    assert_eq!(told(&joined, &[Change::Leave(membership("alice"))]), ["user:alice Loses push on repository:acme/* else pull"]);
    assert_eq!(told(&joined, &[Change::Remove("team:backend".parse().unwrap())]), ["user:alice Loses push on repository:acme/* else pull"]);
    assert_eq!(
        told(&joined, &[Change::Remove(principal("alice"))]),
        ["user:alice Loses pull on repository:acme/**", "user:alice Loses push on repository:acme/*",]
    );
    let new = Change::Grant(grant("new", "alice", Role::Maintain, "repository:acme/web"));
    assert_eq!(told(&joined, &[new]), ["user:alice Gains maintain on repository:acme/web else push"]);
}

fn any_change() -> impl Strategy<Value = Change> {
    let who = || prop::sample::select(vec!["alice", "bob", "gone"]);
    prop_oneof![
        any_grant().prop_map(Change::Grant),
        any::<u8>().prop_map(|at| Change::Revoke(format!("#{at}"))),
        who().prop_map(|member| Change::Join(membership(member))),
        who().prop_map(|member| Change::Leave(membership(member))),
        Just(Change::Remove("team:backend".parse().unwrap())),
        who().prop_map(|name| Change::Remove(principal(name))),
    ]
}

proptest! {
    /// Exactly those who may afterwards and might not before are inside a gain, and the other way round.
    #[test]
    fn a_preview_leaves_nothing_out(
        grants in prop::collection::vec(any_grant(), 0..10),
        members in prop::collection::vec(prop::sample::select(vec!["alice", "bob"]), 0..3),
        changes in prop::collection::vec(any_change(), 1..4),
        names in prop::collection::vec(any_name(), 1..8),
    ) {
        let before = snapshot_with(grants.clone(), members.into_iter().map(membership).collect());
        // An id that exists, for the changes that revoke one.
        let named = |change| match change {
            Change::Revoke(at) if !grants.is_empty() => {
                let at: usize = at.trim_start_matches('#').parse().unwrap();
                Change::Revoke(grants[at % grants.len()].id.clone())
            }
            other => other,
        };
        let changes: Vec<_> = changes.into_iter().map(named).collect();
        let after = after(&before, &changes);
        let differences = differences(&before, &after);
        for (who, name) in ["alice", "bob", "gone"].into_iter().flat_map(|who| names.iter().map(move |name| (principal(who), name))) {
            for (kind, role) in ResourceKind::ALL.into_iter().flat_map(|kind| Role::ALL.map(|role| (kind, role))) {
                let resource = Resource { kind, name: name.clone() };
                let (was, is) = (may(&before, &who, role, &resource).allowed, may(&after, &who, role, &resource).allowed);
                let told = |effect: Effect, exact: bool| differences.iter().any(|difference| {
                    difference.principal == who && difference.effect == effect && difference.via.kind == kind && role.applies_to(kind)
                        && difference.via.role.includes(role) && difference.via.pattern.matches(name)
                        && (!exact || !difference.via.pattern.as_str().contains('*'))
                });
                prop_assert!(!is || was || told(Effect::Gains, false), "{who} gains {role} on {resource} and nobody is told");
                prop_assert!(!was || is || told(Effect::Loses, false), "{who} loses {role} on {resource} and nobody is told");
                if told(Effect::Gains, true) {
                    prop_assert!(is, "{who} is said to gain {role} on {resource}");
                }
                if told(Effect::Loses, true) {
                    prop_assert!(was, "{who} is said to lose {role} on {resource}");
                }
            }
        }
    }

    #[test]
    fn no_change_is_no_difference(grants in prop::collection::vec(any_grant(), 0..10)) {
        let before = snapshot_with(grants, vec![membership("alice")]);
        prop_assert!(differences(&before, &after(&before, &[])).is_empty());
    }
}
