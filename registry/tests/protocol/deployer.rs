//! What the registry does for the deployer.

use crate::world::{Answer, IMAGE, World, image_of, on_each, sha256};
use http::{HeaderMap, Method, StatusCode};
use identity::ScopeRule;
use model::access::{ResourceKind, Role};
use registry::{AssignedKind, AssignedRequest, Filter, RegistryError, create_repository, list_repositories, resolve, serve_assigned};
use sqlx::Row as _;

async fn assigned(world: &World, root: &str, kind: AssignedKind, digest: &str) -> StatusCode {
    let request = AssignedRequest {
        repository: "acme/web".parse().unwrap(),
        roots: vec![root.parse().unwrap()],
        kind,
        digest: digest.parse().unwrap(),
        method: Method::GET,
        headers: HeaderMap::new(),
        instance: "0123".into(),
        address: None,
    };
    Answer::of(serve_assigned(&world.registry, request).await).await.status
}

#[tokio::test]
async fn tags_resolve_to_digests() {
    on_each(|world| async move {
        let digest = world.image("acme/web", "v1", b"layer").await;
        let name = "acme/web".parse().unwrap();
        for reference in ["v1", &digest] {
            let found = resolve(&world.registry, &name, &reference.parse().unwrap()).await.unwrap();
            assert_eq!(found.map(String::from), Some(digest.clone()));
        }
        assert_eq!(resolve(&world.registry, &name, &"v2".parse().unwrap()).await.unwrap(), None);
        assert_eq!(resolve(&world.registry, &"no".parse().unwrap(), &"v1".parse().unwrap()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn agents_get_what_their_images_need_and_nothing_else() {
    on_each(|world| async move {
        let one = world.image("acme/web", "v1", b"one").await;
        let two = world.image("acme/web", "v2", b"two").await;
        let body = world.get("/v2/acme/web/manifests/v1").send().await.body;
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": crate::world::INDEX,
            "manifests": [crate::world::descriptor(crate::world::IMAGE, &one, body.len())] })
        .to_string();
        world.manifest("acme/web", "multi", crate::world::INDEX, &index).await;
        let multi = sha256(index.as_bytes());
        for root in [&one, &multi] {
            assert_eq!(assigned(&world, root, AssignedKind::Manifest, &one).await, StatusCode::OK);
            assert_eq!(assigned(&world, root, AssignedKind::Blob, &sha256(b"one")).await, StatusCode::OK);
            assert_eq!(assigned(&world, root, AssignedKind::Blob, &sha256(b"{}")).await, StatusCode::OK);
            assert_eq!(assigned(&world, root, AssignedKind::Manifest, &two).await, StatusCode::NOT_FOUND);
            assert_eq!(assigned(&world, root, AssignedKind::Blob, &sha256(b"two")).await, StatusCode::NOT_FOUND);
            assert_eq!(assigned(&world, root, AssignedKind::Blob, &one).await, StatusCode::NOT_FOUND);
        }
        assert_eq!(assigned(&world, &multi, AssignedKind::Manifest, &multi).await, StatusCode::OK);
        assert_eq!(assigned(&world, &one, AssignedKind::Manifest, &multi).await, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn agents_get_no_manifest_that_leads_elsewhere() {
    on_each(|world| async move {
        let (config, layer) = (world.blob("acme/web", b"{}").await, world.blob("acme/web", b"layer").await);
        let mut image = image_of(&(config, 2), &[(layer.clone(), 5)]);
        image["layers"][0]["urls"] = serde_json::json!(["http://169.254.169.254/latest"]);
        let body = image.to_string();
        // People get it as it was pushed.
        assert_eq!(world.manifest("acme/web", "v1", IMAGE, &body).await.status, StatusCode::CREATED);
        assert_eq!(world.get("/v2/acme/web/manifests/v1").send().await.body, body);
        let digest = sha256(body.as_bytes());
        assert_eq!(assigned(&world, &digest, AssignedKind::Manifest, &digest).await, StatusCode::BAD_REQUEST);
        assert_eq!(assigned(&world, &digest, AssignedKind::Blob, &layer).await, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn repositories_are_made_once_and_listed() {
    on_each(|world| async move {
        let owner = "user:root".parse().unwrap();
        for name in ["b", "a"] {
            let made = create_repository(&world.registry, &name.parse().unwrap(), &owner, "[]").await.unwrap();
            assert_eq!((made.name.as_str(), made.created_by.as_str()), (name, "user:root"));
        }
        let again = create_repository(&world.registry, &"a".parse().unwrap(), &owner, "[]").await;
        assert!(matches!(again, Err(RegistryError::RepositoryExists(_))));
        let names = |list: Vec<registry::Repository>| list.into_iter().map(|r| r.name.to_string()).collect::<Vec<_>>();
        let list = |filter: Filter, limit: usize| {
            let registry = world.registry.clone();
            async move { names(list_repositories(&registry, &filter, limit).await.unwrap()) }
        };
        assert_eq!(list(Filter::After(None), 10).await, ["a", "b"]);
        assert_eq!(list(Filter::After(None), 1).await, ["a"]);
        assert_eq!(list(Filter::After(Some("a".parse().unwrap())), 10).await, ["b"]);
        assert_eq!(list(Filter::Names(vec!["b".parse().unwrap(), "x".parse().unwrap()]), 10).await, ["b"]);
        assert_eq!(world.get("/v2/a/tags/list").send().await.status, StatusCode::OK);
    })
    .await;
}

/// Every push event: tag, who pushed, what their token was narrowed to.
async fn push_events(world: &World) -> Vec<(String, String, Option<String>)> {
    let mut connection = world.db.read().await.unwrap();
    let rows = sqlx::query("select tag, principal, scope from push_events order by sequence").fetch_all(&mut *connection).await.unwrap();
    rows.iter().map(|row| (row.get("tag"), row.get("principal"), row.get("scope"))).collect()
}

async fn was_woken(world: &World) -> bool {
    let (started, limit) = (std::time::Instant::now(), std::time::Duration::from_millis(200));
    world.pushed.wait(limit).await;
    started.elapsed() < limit
}

#[tokio::test]
async fn a_push_that_moves_a_tag_is_recorded_with_who_pushed_and_wakes_the_intake() {
    on_each(|world| async move {
        world.image("acme/web", "v1", b"one").await;
        assert!(was_woken(&world).await);
        let rule = ScopeRule { role: Role::Push, kind: ResourceKind::Repository, pattern: "acme/*".parse().unwrap() };
        let narrowed = world.token("user:root".parse().unwrap(), Some(vec![rule.clone()])).await;
        let body = world.get("/v2/acme/web/manifests/v1").send().await.body;
        let again = world.put("/v2/acme/web/manifests/v2").by(&narrowed).with("content-type", crate::world::IMAGE).bytes(&body);
        assert_eq!(again.send().await.status, StatusCode::CREATED);
        assert!(was_woken(&world).await);
        let scope = serde_json::to_string(&[rule]).unwrap();
        let expected = [("v1".to_owned(), "user:root".to_owned(), None), ("v2".to_owned(), "user:root".to_owned(), Some(scope))];
        assert_eq!(push_events(&world).await, expected);
        world.image("acme/web", &sha256(&body), b"one").await;
        assert!(!was_woken(&world).await, "no tag moved");
    })
    .await;
}

#[tokio::test]
async fn of_pushes_at_once_the_last_event_is_where_the_tag_stands() {
    on_each(|world| async move {
        let (config, layer) = (world.blob("a", b"{}").await, world.blob("a", b"layer").await);
        let image = |n: usize| {
            let mut image = image_of(&(config.clone(), 2), &[(layer.clone(), 5)]);
            image["annotations"] = serde_json::json!({ "n": n.to_string() });
            image.to_string()
        };
        let images: Vec<String> = (0..16).map(image).collect();
        let pushes = images.iter().map(|body| world.manifest("a", "v1", IMAGE, body));
        for answer in futures_util::future::join_all(pushes).await {
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        }
        let stands = world.get("/v2/a/manifests/v1").send().await;
        let mut connection = world.db.read().await.unwrap();
        let rows = sqlx::query("select digest from push_events order by sequence").fetch_all(&mut *connection).await.unwrap();
        let digests: Vec<String> = rows.iter().map(|row| row.get("digest")).collect();
        assert_eq!((digests.len(), digests.last().unwrap().as_str()), (16, stands.header("docker-content-digest")));
    })
    .await;
}
