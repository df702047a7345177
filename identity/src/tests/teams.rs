//! Teams on real databases: what members have through them, that it ends with them, and what a preview says before.

use super::*;
use crate::error::Refusal;
use crate::operations::preview::{self, Wish as Thought};
use crate::operations::{access_keys, questions, teams};
use crate::preview::Effect;
use crate::{decide, may};
use model::access::{Membership, Resource};

async fn team(f: &Fixture) -> Caller {
    let principal: Principal = "team:backend".parse().unwrap();
    teams::create(&f.identity, &f.admin, &principal).await.unwrap();
    // Not that anybody could ever be one: it is handy for grants.
    Caller::new(principal, Credential::Password)
}

fn membership(team: &Caller, member: &Caller) -> Membership {
    Membership { team: team.principal.clone(), member: member.principal.clone() }
}

async fn allowed(f: &Fixture, who: &Caller, role: Role, on: &str) -> bool {
    decide(&f.identity.snapshot().await.unwrap(), who, role, &on.parse().unwrap()).allowed
}

#[tokio::test]
async fn members_have_what_the_team_has_until_they_leave_or_it_goes() {
    on_each(|f| async move {
        let (backend, alice, robot) = (team(&f).await, f.principal("user:alice").await, f.principal("robot:ci").await);
        f.grant(&backend, Role::Push, "repository:acme/**").await;
        for member in [&alice, &robot] {
            assert!(!allowed(&f, member, Role::Push, "repository:acme/web").await);
            assert!(teams::add(&f.identity, &f.admin, membership(&backend, member)).await.unwrap());
            assert!(allowed(&f, member, Role::Push, "repository:acme/web").await);
        }
        assert!(!teams::add(&f.identity, &f.admin, membership(&backend, &alice)).await.unwrap(), "it is in it already");
        teams::remove(&f.identity, &f.admin, membership(&backend, &alice)).await.unwrap();
        assert!(!allowed(&f, &alice, Role::Push, "repository:acme/web").await);
        assert!(matches!(teams::remove(&f.identity, &f.admin, membership(&backend, &alice)).await, Err(Refusal::NotFound { .. })));
        assert!(allowed(&f, &robot, Role::Push, "repository:acme/web").await);
        teams::delete(&f.identity, &f.admin, &backend.principal).await.unwrap();
        assert!(!allowed(&f, &robot, Role::Push, "repository:acme/web").await);
        // A team of that name begins with nothing.
        team(&f).await;
        assert!(teams::get(&f.identity, &f.admin, &backend.principal).await.unwrap().members().is_empty());
        assert!(!may(&f.identity.snapshot().await.unwrap(), &backend.principal, Role::Pull, &Resource::repository("acme/web")).allowed);
    })
    .await;
}

#[tokio::test]
async fn a_token_of_a_member_ends_its_access_with_the_membership_on_every_server() {
    on_each(|f| async move {
        let (backend, alice) = (team(&f).await, f.principal("user:alice").await);
        f.grant(&backend, Role::Pull, "repository:acme/web").await;
        teams::add(&f.identity, &f.admin, membership(&backend, &alice)).await.unwrap();
        let (_, secret) = f.token(&alice, None).await;
        let found = f.identity.authenticate(&bearer(&secret), None).await.unwrap();
        assert!(allowed(&f, &found, Role::Pull, "repository:acme/web").await);
        if f.db.is_exclusive() {
            teams::remove(&f.identity, &f.admin, membership(&backend, &alice)).await.unwrap();
        } else {
            teams::remove(&f.second_server().await, &f.admin, membership(&backend, &alice)).await.unwrap();
        }
        let found = f.identity.authenticate(&bearer(&secret), None).await.unwrap();
        assert!(!allowed(&f, &found, Role::Pull, "repository:acme/web").await);
    })
    .await;
}

#[tokio::test]
async fn teams_are_managed_by_server_admins_and_never_act() {
    on_each(|f| async move {
        let (backend, alice) = (team(&f).await, f.principal("user:alice").await);
        let other: Principal = "team:other".parse().unwrap();
        assert!(matches!(teams::create(&f.identity, &alice, &other).await, Err(Refusal::Forbidden { .. })));
        assert!(matches!(teams::add(&f.identity, &alice, membership(&backend, &alice)).await, Err(Refusal::Forbidden { .. })));
        assert!(matches!(teams::remove(&f.identity, &alice, membership(&backend, &alice)).await, Err(Refusal::Forbidden { .. })));
        assert!(matches!(teams::delete(&f.identity, &alice, &backend.principal).await, Err(Refusal::Forbidden { .. })));
        assert!(matches!(teams::create(&f.identity, &f.admin, &backend.principal).await, Err(Refusal::AlreadyExists { .. })));
        let nested = Membership { team: backend.principal.clone(), member: backend.principal.clone() };
        assert!(matches!(teams::add(&f.identity, &f.admin, nested).await, Err(Refusal::Invalid(_))));
        let upside_down = Membership { team: alice.principal.clone(), member: alice.principal.clone() };
        assert!(matches!(teams::add(&f.identity, &f.admin, upside_down).await, Err(Refusal::Invalid(_))));
        let nowhere = Membership { team: other, member: alice.principal.clone() };
        assert!(matches!(teams::add(&f.identity, &f.admin, nowhere).await, Err(Refusal::NotFound { .. })));
        // Only who is in it, and server admins, see it.
        assert!(matches!(teams::get(&f.identity, &alice, &backend.principal).await, Err(Refusal::NotFound { .. })));
        assert!(teams::list(&f.identity, &alice).await.unwrap().is_empty());
        teams::add(&f.identity, &f.admin, membership(&backend, &alice)).await.unwrap();
        assert_eq!(teams::list(&f.identity, &alice).await.unwrap().len(), 1);
        // No credentials, however one asks for them.
        let token = tokens::Wish { owner: backend.principal.clone(), label: "x".into(), scope: None, life: None };
        assert!(matches!(tokens::create(&f.identity, &f.admin, token).await, Err(Refusal::Invalid(_))));
        assert!(matches!(access_keys::create(&f.identity, &f.admin, &backend.principal).await, Err(Refusal::Invalid(_))));
        let password = principals::set_password(&f.identity, &f.admin, &backend.principal, "long enough", None).await;
        assert!(matches!(password, Err(Refusal::Invalid(_))));
        // Removing a user takes it out of its teams.
        principals::delete(&f.identity, &f.admin, &alice.principal).await.unwrap();
        assert!(teams::get(&f.identity, &f.admin, &backend.principal).await.unwrap().members().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_last_server_admin_may_be_one_through_a_team_and_stays() {
    on_each(|f| async move {
        let (backend, alice) = (team(&f).await, f.user_with_password("alice", "her password").await);
        let through = f.grant(&backend, Role::Admin, "server:berth").await;
        teams::add(&f.identity, &f.admin, membership(&backend, &alice)).await.unwrap();
        // With her there, the first one may go.
        principals::delete(&f.identity, &alice, &f.admin.principal).await.unwrap();
        let refused = |result: Result<(), Refusal>| assert!(matches!(result, Err(Refusal::LastServerAdmin)), "{result:?}");
        refused(teams::remove(&f.identity, &alice, membership(&backend, &alice)).await);
        refused(teams::delete(&f.identity, &alice, &backend.principal).await);
        refused(principals::delete(&f.identity, &alice, &alice.principal).await);
        refused(principals::set_disabled(&f.identity, &alice, &alice.principal, true).await.map(drop));
        refused(preview::preview(&f.identity, &alice, vec![Thought::Leave(membership(&backend, &alice))]).await.map(drop));
        let revoked = grants::revoke(&f.identity, &alice, &through.id).await;
        refused(revoked);
        assert!(allowed(&f, &alice, Role::Admin, "server:berth").await);
    })
    .await;
}

#[tokio::test]
async fn what_somebody_can_names_grants_and_teams() {
    on_each(|f| async move {
        let (backend, alice, bob) = (team(&f).await, f.principal("user:alice").await, f.principal("user:bob").await);
        f.grant(&backend, Role::Push, "repository:acme/**").await;
        f.grant(&alice, Role::View, "service:default/web").await;
        teams::add(&f.identity, &f.admin, membership(&backend, &alice)).await.unwrap();
        let own = questions::what(&f.identity, &alice, None).await.unwrap();
        assert_eq!(own.teams, std::slice::from_ref(&backend.principal));
        let grants: Vec<_> =
            own.grants.iter().map(|grant| format!("{} {} {}:{}", grant.principal, grant.role, grant.kind, grant.pattern)).collect();
        assert_eq!(grants, ["team:backend push repository:acme/**", "user:alice view service:default/web"]);
        assert_eq!(questions::what(&f.identity, &alice, Some(&backend.principal)).await.unwrap().grants.len(), 1);
        for stranger in [Some(&alice.principal), Some(&backend.principal)] {
            assert!(matches!(questions::what(&f.identity, &bob, stranger).await, Err(Refusal::Forbidden { .. })));
        }
        let nobody = "user:nobody".parse().unwrap();
        assert!(matches!(questions::what(&f.identity, &f.admin, Some(&nobody)).await, Err(Refusal::NotFound { .. })));
        // Members see the team's grants; the check names the team.
        assert_eq!(grants::list(&f.identity, &alice, &grants::Filter::default()).await.unwrap().len(), 2);
        let answer = questions::check(&f.identity, &alice, None, Role::Push, &Resource::repository("acme/web")).await.unwrap();
        assert_eq!(answer.via.unwrap().principal, backend.principal);
    })
    .await;
}

#[tokio::test]
async fn a_preview_takes_what_the_change_takes_and_changes_nothing() {
    on_each(|f| async move {
        let (backend, alice, bob) = (team(&f).await, f.principal("user:alice").await, f.principal("user:bob").await);
        let grant = f.grant(&backend, Role::Push, "repository:acme/**").await;
        let before = f.identity.snapshot().await.unwrap().version();
        let ask = |caller: &Caller, thought: Thought| {
            let (identity, caller) = (f.identity.clone(), caller.clone());
            async move { preview::preview(&identity, &caller, vec![thought]).await }
        };
        let join = Thought::Join(membership(&backend, &alice));
        let gains = ask(&f.admin, join.clone()).await.unwrap();
        assert_eq!(
            gains.iter().map(|gain| (gain.principal.clone(), gain.effect, gain.via.id.clone())).collect::<Vec<_>>(),
            [(alice.principal.clone(), Effect::Gains, grant.id.clone())]
        );
        let wider = Thought::Grant(wish(&alice, Role::Pull, "repository:**"));
        for thought in [join, wider.clone(), Thought::Remove(alice.principal.clone()), Thought::Leave(membership(&backend, &alice))] {
            assert!(matches!(ask(&bob, thought).await, Err(Refusal::Forbidden { .. })));
        }
        assert!(matches!(ask(&bob, Thought::Revoke(grant.id.clone())).await, Err(Refusal::NotFound { .. })));
        assert!(matches!(ask(&f.admin, Thought::Remove("user:nobody".parse().unwrap())).await, Err(Refusal::NotFound { .. })));
        assert!(matches!(preview::preview(&f.identity, &f.admin, vec![wider; 101]).await, Err(Refusal::Invalid(_))));
        assert_eq!(f.identity.snapshot().await.unwrap().version(), before);
        assert!(!allowed(&f, &alice, Role::Pull, "repository:acme/web").await);
    })
    .await;
}
