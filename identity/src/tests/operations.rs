//! Principals, grants, tokens and keys: what is stored, refused and removed, on SQLite and PostgreSQL.

use super::*;
use crate::error::Refusal;
use crate::operations::{access_keys, questions};
use crate::store;
use crate::{IdentityError, ScopeRule, decide};
use model::access::{PrincipalKind, Resource, ResourceKind};
use platform::events;

#[tokio::test]
async fn the_first_administrator_is_made_once_and_may_everything() {
    on_each(|f| async move {
        let snapshot = f.identity.snapshot().await.unwrap();
        for (role, resource) in [
            (Role::Admin, "repository:any/thing"),
            (Role::Admin, "service:default/web"),
            (Role::Admin, "cluster:default"),
            (Role::Admin, "family:web"),
            (Role::Admin, "server:berth"),
        ] {
            assert!(decide(&snapshot, &f.admin, role, &resource.parse().unwrap()).allowed, "{resource}");
        }
        assert!(bootstrap(&f.identity, BootstrapAdmin::default()).await.unwrap().is_none());
        assert_eq!(f.identity.authenticate(&bearer(&f.first.token), None).await.unwrap().principal, f.admin.principal);
    })
    .await;
}

#[tokio::test]
async fn unusable_first_credentials_are_refused_by_name() {
    let (db, _folder) = platform::db::testing::sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let identity = open(&db, &folder, &Arc::new(ManualClock::at(START))).await.unwrap();
    let none = BootstrapAdmin::default;
    for bad in [
        BootstrapAdmin { user: Some("a b".into()), ..none() },
        BootstrapAdmin { password: Some("short".into()), ..none() },
        BootstrapAdmin { access_key_id: Some("a/b".into()), ..none() },
        BootstrapAdmin { secret_access_key: Some("short".into()), ..none() },
    ] {
        assert!(matches!(bootstrap(&identity, bad.clone()).await, Err(Refusal::Invalid(_))));
    }
    assert!(identity.snapshot().await.unwrap().principals().next().is_none());
}

#[tokio::test]
async fn principals_live_through_their_states() {
    on_each(|f| async move {
        let alice = f.principal("user:alice").await;
        let again = principals::create(&f.identity, &f.admin, &alice.principal, None).await;
        assert!(matches!(again, Err(Refusal::AlreadyExists { .. })));
        f.principal("robot:alice").await;
        let (identity, admin) = (&f.identity, &f.admin);
        let names = |kind| async move {
            let list = principals::list(identity, admin, kind).await.unwrap();
            list.into_iter().map(|entry| entry.principal.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(PrincipalKind::User).await, ["user:admin", "user:alice"]);
        assert_eq!(names(PrincipalKind::Robot).await, ["robot:alice"]);
        let nobody: Principal = "user:nobody".parse().unwrap();
        assert!(matches!(principals::delete(&f.identity, &f.admin, &nobody).await, Err(Refusal::NotFound { .. })));
        assert!(matches!(principals::set_disabled(&f.identity, &f.admin, &nobody, true).await, Err(Refusal::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn disabling_and_enabling_act_at_once_and_keep_the_grants() {
    on_each(|f| async move {
        let alice = f.principal("user:alice").await;
        f.grant(&alice, Role::Pull, "repository:acme/**").await;
        let (_, secret) = f.token(&alice, None).await;
        let may_pull = || async {
            let snapshot = f.identity.snapshot().await.unwrap();
            decide(&snapshot, &alice, Role::Pull, &Resource::repository("acme/web")).allowed
        };
        assert!(may_pull().await);
        assert!(f.identity.authenticate(&bearer(&secret), None).await.is_ok());
        principals::set_disabled(&f.identity, &f.admin, &alice.principal, true).await.unwrap();
        assert!(!may_pull().await);
        assert!(f.identity.authenticate(&bearer(&secret), None).await.is_err());
        principals::set_disabled(&f.identity, &f.admin, &alice.principal, false).await.unwrap();
        assert!(may_pull().await);
        assert!(f.identity.authenticate(&bearer(&secret), None).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn deleting_a_user_takes_its_grants_and_credentials_along() {
    on_each(|f| async move {
        let alice = f.principal("user:alice").await;
        f.grant(&alice, Role::Admin, "repository:acme/**").await;
        let (_, secret) = f.token(&alice, None).await;
        access_keys::create(&f.identity, &f.admin, &alice.principal).await.unwrap();
        principals::delete(&f.identity, &f.admin, &alice.principal).await.unwrap();
        assert!(f.identity.authenticate(&bearer(&secret), None).await.is_err());
        // Made anew, nothing of the old one comes back.
        f.principal("user:alice").await;
        let snapshot = f.identity.snapshot().await.unwrap();
        assert_eq!(snapshot.principal(&alice.principal).unwrap().grants().count(), 0);
        assert!(snapshot.tokens().all(|token| token.principal != alice.principal));
        assert!(snapshot.access_keys().all(|key| key.principal != alice.principal));
    })
    .await;
}

#[tokio::test]
async fn the_last_server_admin_stays() {
    on_each(|f| async move {
        let admin = &f.admin.principal;
        let own =
            grants::list(&f.identity, &f.admin, &grants::Filter { kind: Some(ResourceKind::Server), ..Default::default() }).await.unwrap();
        let last = |result: Result<(), Refusal>| assert!(matches!(result, Err(Refusal::LastServerAdmin)), "{result:?}");
        let disable = || async { principals::set_disabled(&f.identity, &f.admin, admin, true).await.map(|_| ()) };
        last(principals::delete(&f.identity, &f.admin, admin).await);
        last(disable().await);
        last(grants::revoke(&f.identity, &f.admin, &own[0].id).await);
        // A robot and a disabled user do not count.
        let robot = f.principal("robot:ci").await;
        f.grant(&robot, Role::Admin, "server:berth").await;
        let bob = f.principal("user:bob").await;
        f.grant(&bob, Role::Admin, "server:berth").await;
        principals::set_disabled(&f.identity, &f.admin, &bob.principal, true).await.unwrap();
        last(disable().await);
        principals::set_disabled(&f.identity, &f.admin, &bob.principal, false).await.unwrap();
        disable().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_same_grant_twice_is_one_and_revocation_acts_at_once() {
    on_each(|f| async move {
        let alice = f.principal("user:alice").await;
        let ask = || wish(&alice, Role::Push, "repository:acme/*");
        let Made::New(first) = grants::create(&f.identity, &f.admin, ask()).await.unwrap() else { panic!("it is new") };
        assert_eq!(grants::create(&f.identity, &f.admin, ask()).await.unwrap(), Made::Stood(first.clone()));
        grants::revoke(&f.identity, &f.admin, &first.id).await.unwrap();
        let snapshot = f.identity.snapshot().await.unwrap();
        assert!(!decide(&snapshot, &alice, Role::Push, &Resource::repository("acme/web")).allowed);
        assert!(matches!(grants::revoke(&f.identity, &f.admin, &first.id).await, Err(Refusal::NotFound { .. })));
        let events = events::of_subject(&mut f.db.read().await.unwrap(), "repository:acme/*", 10).await.unwrap();
        let kinds: Vec<_> = events.iter().map(|event| (event.kind.as_str(), event.principal.as_deref())).collect();
        assert_eq!(kinds, [("grant.revoked", Some("user:admin")), ("grant.created", Some("user:admin"))]);
    })
    .await;
}

#[tokio::test]
async fn grants_are_made_within_what_the_maker_administers() {
    on_each(|f| async move {
        let (alice, bob) = (f.principal("user:alice").await, f.principal("user:bob").await);
        f.grant(&alice, Role::Admin, "repository:acme/**").await;
        let make = |role, on: &'static str| {
            let (identity, alice, bob) = (f.identity.clone(), alice.clone(), bob.clone());
            async move { grants::create(&identity, &alice, wish(&bob, role, on)).await }
        };
        let Made::New(given) = make(Role::Admin, "repository:acme/web").await.unwrap() else { panic!("it is new") };
        for (role, on) in [(Role::Pull, "repository:**"), (Role::Pull, "repository:other/web"), (Role::View, "cluster:acme/web")] {
            assert!(matches!(make(role, on).await, Err(Refusal::Forbidden { .. })), "{on}");
        }
        assert!(matches!(make(Role::View, "repository:acme/web").await, Err(Refusal::Invalid(_))));
        let server = grants::create(&f.identity, &f.admin, wish(&bob, Role::Admin, "server:other")).await;
        assert!(matches!(server, Err(Refusal::Invalid(_))));
        let nobody = Caller { principal: "user:nobody".parse().unwrap(), ..bob.clone() };
        let missing = grants::create(&f.identity, &f.admin, wish(&nobody, Role::Pull, "repository:x")).await;
        assert!(matches!(missing, Err(Refusal::NotFound { .. })));
        // Bob sees his own grant and may not see alice's; alice sees both and may revoke his.
        let ids = |list: Vec<Grant>| list.len();
        assert_eq!(ids(grants::list(&f.identity, &bob, &grants::Filter::default()).await.unwrap()), 1);
        assert_eq!(ids(grants::list(&f.identity, &alice, &grants::Filter::default()).await.unwrap()), 2);
        grants::revoke(&f.identity, &alice, &given.id).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn credentials_are_managed_by_their_owner_and_by_server_admins() {
    on_each(|f| async move {
        let (alice, bob) = (f.principal("user:alice").await, f.principal("user:bob").await);
        let wish = |owner: &Caller| tokens::Wish { owner: owner.principal.clone(), label: "ci".into(), scope: None, life: None };
        let (own, _) = tokens::create(&f.identity, &alice, wish(&alice)).await.unwrap();
        assert!(matches!(tokens::create(&f.identity, &bob, wish(&alice)).await, Err(Refusal::Forbidden { .. })));
        assert!(matches!(tokens::list(&f.identity, &bob, &alice.principal).await, Err(Refusal::Forbidden { .. })));
        assert!(matches!(tokens::revoke(&f.identity, &bob, &own.id).await, Err(Refusal::NotFound { .. })));
        assert!(matches!(access_keys::create(&f.identity, &bob, &alice.principal).await, Err(Refusal::Forbidden { .. })));
        let (key, _) = access_keys::create(&f.identity, &alice, &alice.principal).await.unwrap();
        assert!(matches!(access_keys::revoke(&f.identity, &bob, &key.id).await, Err(Refusal::NotFound { .. })));
        access_keys::revoke(&f.identity, &f.admin, &key.id).await.unwrap();
        assert!(access_keys::list(&f.identity, &alice, &alice.principal).await.unwrap().is_empty());
        tokens::revoke(&f.identity, &f.admin, &own.id).await.unwrap();
        assert!(matches!(tokens::revoke(&f.identity, &f.admin, &own.id).await, Err(Refusal::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_narrowed_token_cannot_make_a_wider_one() {
    on_each(|f| async move {
        let alice = f.principal("user:alice").await;
        let rule = ScopeRule { role: Role::Pull, kind: ResourceKind::Repository, pattern: "acme/**".parse().unwrap() };
        let wish = |scope| tokens::Wish { owner: alice.principal.clone(), label: "ci".into(), scope, life: None };
        let (token, secret) = tokens::create(&f.identity, &alice, wish(Some(vec![rule.clone()]))).await.unwrap();
        let narrowed = f.identity.authenticate(&bearer(&secret), None).await.unwrap();
        assert_eq!(narrowed.scope, Some(vec![rule.clone()]));
        assert!(matches!(tokens::create(&f.identity, &narrowed, wish(None)).await, Err(Refusal::NarrowedToken)));
        assert!(matches!(access_keys::create(&f.identity, &narrowed, &alice.principal).await, Err(Refusal::NarrowedToken)));
        let password = principals::set_password(&f.identity, &narrowed, &alice.principal, "another one", None).await;
        assert!(matches!(password, Err(Refusal::NarrowedToken)));
        for bad in [vec![], vec![ScopeRule { role: Role::View, ..rule.clone() }], vec![rule; 65]] {
            assert!(matches!(tokens::create(&f.identity, &alice, wish(Some(bad))).await, Err(Refusal::Invalid(_))));
        }
        // It may end itself.
        tokens::revoke(&f.identity, &narrowed, &token.id).await.unwrap();
        assert!(f.identity.authenticate(&bearer(&secret), None).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn passwords_are_changed_by_those_who_know_them() {
    on_each(|f| async move {
        let alice = f.user_with_password("alice", "old password").await;
        let change = |caller: Caller, current: Option<&'static str>, new: &'static str| {
            let (identity, alice) = (f.identity.clone(), alice.principal.clone());
            async move { principals::set_password(&identity, &caller, &alice, new, current).await }
        };
        assert!(matches!(change(alice.clone(), None, "new password").await, Err(Refusal::Invalid(_))));
        assert!(matches!(change(alice.clone(), Some("wrong"), "new password").await, Err(Refusal::WrongPassword)));
        let (_, secret) = f.token(&alice, None).await;
        let by_token = principals::set_password(&f.identity, &alice, &alice.principal, "new password", Some(&secret)).await;
        assert!(matches!(by_token, Err(Refusal::WrongPassword)));
        change(alice.clone(), Some("old password"), "new password").await.unwrap();
        assert!(f.identity.authenticate(&basic("alice", "old password"), None).await.is_err());
        assert!(f.identity.authenticate(&basic("alice", "new password"), None).await.is_ok());
        change(f.admin.clone(), None, "set by admin").await.unwrap();
        assert!(f.identity.authenticate(&basic("alice", "set by admin"), None).await.is_ok());
        for bad in ["short", "berth_looks_like_a_token", "line\nbreak"] {
            assert!(matches!(change(f.admin.clone(), None, bad).await, Err(Refusal::Invalid(_))), "{bad}");
        }
        let robot = f.principal("robot:ci").await;
        let robots = principals::set_password(&f.identity, &f.admin, &robot.principal, "long enough", None).await;
        assert!(matches!(robots, Err(Refusal::Invalid(_))));
    })
    .await;
}

#[tokio::test]
async fn questions_are_answered_with_reasons() {
    on_each(|f| async move {
        let alice = f.principal("user:alice").await;
        let grant = f.grant(&alice, Role::Pull, "repository:acme/**").await;
        let web = Resource::repository("acme/web");
        let yes = questions::check(&f.identity, &alice, None, Role::Pull, &web).await.unwrap();
        assert_eq!(yes.via.unwrap().id, grant.id);
        let no = questions::check(&f.identity, &f.admin, Some(&alice.principal), Role::Push, &web).await.unwrap();
        assert!(!no.allowed);
        assert_eq!(no.nearest[0].0.id, grant.id);
        let about_others = questions::check(&f.identity, &alice, Some(&f.admin.principal), Role::Pull, &web).await;
        assert!(matches!(about_others, Err(Refusal::Forbidden { .. })));
        assert!(matches!(questions::who(&f.identity, &alice, Role::Pull, &web).await, Err(Refusal::Forbidden { .. })));
        let who = questions::who(&f.identity, &f.admin, Role::Pull, &web).await.unwrap();
        assert_eq!(who.iter().map(|able| able.principal.to_string()).collect::<Vec<_>>(), ["user:admin", "user:alice"]);
        assert!(matches!(questions::who(&f.identity, &f.admin, Role::View, &web).await, Err(Refusal::Invalid(_))));
    })
    .await;
}

#[tokio::test]
async fn what_others_wrote_is_seen_by_the_next_request() {
    on_each(|f| async move {
        if f.db.is_exclusive() {
            return;
        }
        let second = f.second_server().await;
        let alice = f.principal("user:alice").await;
        let (id, secret) = f.token(&alice, None).await;
        assert!(second.authenticate(&bearer(&secret), None).await.is_ok());
        tokens::revoke(&second, &f.admin, &id).await.unwrap();
        assert!(f.identity.authenticate(&bearer(&secret), None).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn changes_at_the_same_time_all_count() {
    on_each(|f| async move {
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..20 {
            let (identity, admin) = (f.identity.clone(), f.admin.clone());
            tasks.spawn(async move { principals::create(&identity, &admin, &format!("user:u{at}").parse().unwrap(), None).await.unwrap() });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let snapshot = f.identity.snapshot().await.unwrap();
        assert_eq!(snapshot.principals().count(), 21);
        assert_eq!(snapshot.version(), store::version::current(&mut f.db.read().await.unwrap()).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_failed_change_leaves_nothing() {
    on_each(|f| async move {
        let before = f.identity.snapshot().await.unwrap().version();
        let failed = f.identity.change(|tx| {
            Box::pin(async move {
                store::principals::insert(tx, &"user:half".parse().unwrap(), None, START, "test").await?;
                Err::<(), _>(Refusal::Invalid("on purpose".into()))
            })
        });
        assert!(failed.await.is_err());
        let loaded = store::load(&f.db).await.unwrap();
        assert_eq!((loaded.version(), loaded.principals().count()), (before, 1));
    })
    .await;
}

#[tokio::test]
async fn another_master_key_is_refused_at_the_start() {
    on_each(|f| async move {
        let other = tempfile::tempdir().unwrap();
        let opened = open(&f.db, &other, &f.clock).await;
        assert!(matches!(opened.err(), Some(IdentityError::WrongMasterKey)));
    })
    .await;
}
