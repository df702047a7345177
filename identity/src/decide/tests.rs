//! The decision as tables, and what must hold whatever the grants are.

use super::*;
use crate::caller::{Credential, ScopeRule};
use crate::snapshot::PrincipalEntry;
use model::Timestamp;
use model::access::{Membership, Pattern, ResourceKind};
use proptest::prelude::*;

/// `backend` is a team, all others are users.
pub(crate) fn principal(name: &str) -> Principal {
    let kind = if name == "backend" { "team" } else { "user" };
    format!("{kind}:{name}").parse().unwrap()
}

pub(crate) fn grant(id: &str, who: &str, role: Role, on: &str) -> Grant {
    let (kind, pattern) = on.split_once(':').unwrap();
    Grant {
        id: id.into(),
        principal: principal(who),
        role,
        kind: kind.parse().unwrap(),
        pattern: pattern.parse().unwrap(),
        created_at: Timestamp::from_secs(0),
        created_by: "test".into(),
    }
}

fn snapshot(grants: Vec<Grant>) -> Snapshot {
    snapshot_with(grants, Vec::new())
}

pub(crate) fn snapshot_with(grants: Vec<Grant>, members: Vec<Membership>) -> Snapshot {
    let entry = |name, disabled| PrincipalEntry::new(principal(name), disabled, None, Timestamp::from_secs(0), "test".into());
    let principals = vec![entry("alice", false), entry("bob", false), entry("gone", true), entry("backend", false)];
    Snapshot::new(1, principals, grants, members, Vec::new(), Vec::new())
}

fn in_backend(members: &[&str]) -> Vec<Membership> {
    members.iter().map(|member| Membership { team: principal("backend"), member: principal(member) }).collect()
}

fn caller(who: &str, scope: Option<Vec<(Role, &str)>>) -> Caller {
    let rule = |(role, on): (Role, &str)| {
        let (kind, pattern) = on.split_once(':').unwrap();
        ScopeRule { role, kind: kind.parse().unwrap(), pattern: pattern.parse().unwrap() }
    };
    Caller {
        principal: principal(who),
        credential: Credential::Password,
        scope: scope.map(|rules| rules.into_iter().map(rule).collect()),
        address: None,
    }
}

fn example() -> Snapshot {
    snapshot(vec![
        grant("g1", "alice", Role::Pull, "repository:acme/**"),
        grant("g2", "alice", Role::Push, "repository:acme/web"),
        grant("g3", "alice", Role::Deploy, "service:default/web"),
        grant("g4", "bob", Role::Admin, "cluster:**"),
        grant("g5", "gone", Role::Admin, "repository:**"),
        grant("g6", "alice", Role::Admin, "repository:team/**"),
    ])
}

#[test]
fn grants_allow_and_nothing_else_does() {
    let snapshot = example();
    for (who, role, resource, via) in [
        ("alice", Role::Pull, "repository:acme/web", Some("g2")),
        ("alice", Role::Push, "repository:acme/web", Some("g2")),
        ("alice", Role::Pull, "repository:acme/api", Some("g1")),
        ("alice", Role::Push, "repository:acme/api", None),
        ("alice", Role::Maintain, "repository:acme/web", None),
        ("alice", Role::Maintain, "repository:team/x", Some("g6")),
        ("alice", Role::Pull, "repository:other", None),
        ("alice", Role::View, "service:default/web", Some("g3")),
        ("alice", Role::Operate, "service:default/web", None),
        // One kind says nothing of another, and a role of another ladder nothing at all.
        ("alice", Role::View, "cluster:default", None),
        ("bob", Role::View, "cluster:default", Some("g4")),
        ("bob", Role::Pull, "cluster:default", None),
        ("bob", Role::View, "service:default/web", None),
        ("bob", Role::Admin, "server:berth", None),
        ("gone", Role::Pull, "repository:acme/web", None),
        ("nobody", Role::Pull, "repository:acme/web", None),
    ] {
        let decision = decide(&snapshot, &caller(who, None), role, &resource.parse().unwrap());
        assert_eq!(decision.via.as_deref(), via, "{who} {role} {resource}");
        assert_eq!(decision.allowed, via.is_some(), "{who} {role} {resource}");
    }
}

#[test]
fn a_scope_only_narrows() {
    let snapshot = example();
    for (scope, role, resource, allowed) in [
        (vec![(Role::Pull, "repository:acme/web")], Role::Pull, "repository:acme/web", true),
        (vec![(Role::Pull, "repository:acme/web")], Role::Push, "repository:acme/web", false),
        (vec![(Role::Pull, "repository:acme/web")], Role::Pull, "repository:acme/api", false),
        (vec![(Role::Admin, "repository:**")], Role::Push, "repository:acme/api", false),
        (vec![(Role::Admin, "repository:**")], Role::Push, "repository:acme/web", true),
        (vec![(Role::Admin, "repository:**")], Role::View, "service:default/web", false),
        (vec![], Role::Pull, "repository:acme/web", false),
    ] {
        let decision = decide(&snapshot, &caller("alice", Some(scope.clone())), role, &resource.parse().unwrap());
        assert_eq!(decision.allowed, allowed, "{scope:?} {role} {resource}");
    }
}

#[test]
fn who_can_names_every_grant_and_marks_the_disabled() {
    let snapshot = example();
    let list = who_can(&snapshot, Role::Pull, &Resource::repository("acme/web"));
    let list: Vec<_> = list
        .iter()
        .map(|entry| (entry.principal.name.as_str(), entry.disabled, entry.via.iter().map(|grant| grant.id.as_str()).collect::<Vec<_>>()))
        .collect();
    assert_eq!(list, [("alice", false, vec!["g2", "g1"]), ("gone", true, vec!["g5"])]);
}

#[test]
fn what_a_team_is_granted_its_members_have() {
    let grants = vec![
        grant("g1", "backend", Role::Push, "repository:acme/**"),
        grant("g2", "alice", Role::Pull, "repository:acme/web"),
        grant("g3", "backend", Role::Admin, "cluster:default"),
    ];
    let snapshot = snapshot_with(grants, in_backend(&["alice", "gone"]));
    for (who, role, resource, via) in [
        // Her own grant first, where it is enough.
        ("alice", Role::Pull, "repository:acme/web", Some("g2")),
        ("alice", Role::Push, "repository:acme/web", Some("g1")),
        ("alice", Role::Maintain, "repository:acme/web", None),
        ("bob", Role::Pull, "repository:acme/web", None),
        ("gone", Role::Pull, "repository:acme/web", None),
        ("backend", Role::Push, "repository:acme/web", Some("g1")),
    ] {
        assert_eq!(may(&snapshot, &principal(who), role, &resource.parse().unwrap()).via.as_deref(), via, "{who} {role} {resource}");
    }
    let list = who_can(&snapshot, Role::Pull, &Resource::repository("acme/web"));
    let list: Vec<_> = list.iter().map(|entry| (entry.principal.to_string(), entry.via.len(), entry.disabled)).collect();
    assert_eq!(list, [("user:alice".into(), 2, false), ("user:gone".into(), 1, true)]);
    let near = nearest(&snapshot, &principal("alice"), Role::Maintain, &Resource::repository("acme/web"));
    assert_eq!(near.iter().map(|(grant, _)| grant.id.as_str()).collect::<Vec<_>>(), ["g1", "g2"]);
    // She may change grants by what her team may, and a team's grant is one of the snapshot's, once.
    let pattern: Pattern = "default".parse().unwrap();
    assert!(may_change_grant(&snapshot, &caller("alice", None), &GrantSubject { kind: ResourceKind::Cluster, pattern: &pattern }));
    assert_eq!(snapshot.grants().count(), 3);
}

#[test]
fn the_nearest_grants_come_first() {
    let snapshot = example();
    let near = |role, resource: &str| -> Vec<_> {
        nearest(&snapshot, &principal("alice"), role, &resource.parse().unwrap())
            .into_iter()
            .map(|(grant, why)| (grant.id.clone(), why))
            .collect()
    };
    let role_too_low = |id: &str| (id.to_owned(), NearMiss::RoleTooLow);
    let elsewhere = |id: &str| (id.to_owned(), NearMiss::PatternDoesNotMatch);
    assert_eq!(near(Role::Push, "repository:acme/api"), [role_too_low("g1"), elsewhere("g2"), elsewhere("g6")]);
    assert_eq!(near(Role::Maintain, "repository:acme/web"), [role_too_low("g1"), role_too_low("g2"), elsewhere("g6")]);
    assert_eq!(near(Role::View, "service:prod/web"), [elsewhere("g3")]);
    assert_eq!(near(Role::View, "cluster:default"), []);
}

#[test]
fn changing_a_grant_takes_admin_on_a_pattern_that_covers_it() {
    let snapshot = example();
    for (who, scope, on, allowed) in [
        ("alice", None, "repository:team/x", true),
        ("alice", None, "repository:team/**", true),
        ("alice", None, "repository:**", false),
        ("alice", None, "repository:acme/web", false),
        ("alice", None, "service:team/x", false),
        ("bob", None, "cluster:default", true),
        ("gone", None, "repository:x", false),
        ("alice", Some(vec![(Role::Admin, "repository:team/*")]), "repository:team/x", true),
        ("alice", Some(vec![(Role::Admin, "repository:team/*")]), "repository:team/**", false),
        ("alice", Some(vec![(Role::Push, "repository:**")]), "repository:team/x", false),
    ] {
        let (kind, pattern) = on.split_once(':').unwrap();
        let (kind, pattern): (ResourceKind, Pattern) = (kind.parse().unwrap(), pattern.parse().unwrap());
        let subject = GrantSubject { kind, pattern: &pattern };
        assert_eq!(may_change_grant(&snapshot, &caller(who, scope.clone()), &subject), allowed, "{who} {scope:?} {on}");
    }
}

fn any_component() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "a*", "*", "*b"])
}

fn any_pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(any_component(), 1..4), any::<bool>()).prop_map(|(mut parts, deep)| {
        if deep {
            parts.push("**");
        }
        parts.join("/")
    })
}

pub(crate) fn any_name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "abb", "c"]), 1..5).prop_map(|parts| parts.join("/"))
}

pub(crate) fn any_grant() -> impl Strategy<Value = Grant> {
    (
        prop::sample::select(vec!["alice", "bob", "gone", "backend"]),
        prop::sample::select(ResourceKind::ALL.to_vec()),
        prop::sample::select(Role::ALL.to_vec()),
        any_pattern(),
        any::<u32>(),
    )
        .prop_filter_map("the role exists on the kind", |(who, kind, role, pattern, id)| {
            role.applies_to(kind).then(|| grant(&format!("g{id}"), who, role, &format!("{kind}:{pattern}")))
        })
}

fn any_question() -> impl Strategy<Value = (Role, Resource)> {
    (prop::sample::select(Role::ALL.to_vec()), prop::sample::select(ResourceKind::ALL.to_vec()), any_name())
        .prop_map(|(role, kind, name)| (role, Resource { kind, name }))
}

proptest! {
    #[test]
    fn allowed_means_a_grant_says_so(
        grants in prop::collection::vec(any_grant(), 0..12),
        members in prop::collection::vec(prop::sample::select(vec!["alice", "bob", "gone"]), 0..3),
        (role, resource) in any_question(),
    ) {
        let snapshot = snapshot_with(grants.clone(), in_backend(&members));
        for who in ["alice", "bob"] {
            let decision = may(&snapshot, &principal(who), role, &resource);
            let saying = |grant: &&Grant| {
                let holds = grant.principal.name == who || (grant.principal.name == "backend" && members.contains(&who));
                holds && grant.kind == resource.kind && grant.role >= role && role.applies_to(resource.kind)
                    && grant.pattern.matches(&resource.name)
            };
            prop_assert_eq!(decision.allowed, grants.iter().any(|grant| saying(&grant)));
            if let Some(via) = decision.via {
                prop_assert!(grants.iter().filter(saying).any(|grant| grant.id == via));
            }
        }
        prop_assert!(!may(&snapshot, &principal("gone"), role, &resource).allowed);
    }

    #[test]
    fn more_grants_never_take_away(grants in prop::collection::vec(any_grant(), 0..8), more in any_grant(), (role, resource) in any_question()) {
        let before = may(&snapshot(grants.clone()), &principal("alice"), role, &resource).allowed;
        let after = may(&snapshot(grants.into_iter().chain([more]).collect()), &principal("alice"), role, &resource).allowed;
        prop_assert!(!before || after);
    }

    #[test]
    fn who_can_agrees_with_the_decision(grants in prop::collection::vec(any_grant(), 0..12), (role, resource) in any_question()) {
        let snapshot = snapshot(grants);
        let able: Vec<_> = who_can(&snapshot, role, &resource).iter().filter(|entry| !entry.disabled).map(|entry| entry.principal.clone()).collect();
        for who in ["alice", "bob"] {
            prop_assert_eq!(may(&snapshot, &principal(who), role, &resource).allowed, able.contains(&principal(who)));
        }
    }

    /// Nobody can give away more than they have: whatever a covered pattern matches, the covering one matches.
    #[test]
    fn a_covering_pattern_matches_all_that_the_covered_one_does(outer in any_pattern(), inner in any_pattern(), name in any_name()) {
        let (outer, inner): (Pattern, Pattern) = (outer.parse().unwrap(), inner.parse().unwrap());
        if outer.covers(&inner) && inner.matches(&name) {
            prop_assert!(outer.matches(&name), "{outer} covers {inner}, which matches {name}");
        }
    }
}
