//! Settings of repositories: which tags may move, how much fits, incomplete manifests, pulling by everybody.

use crate::world::{Answer, IMAGE, INDEX, World, descriptor, image_of, on_each, sha256};
use axum::body::Body;
use bytes::Bytes;
use http::{Method, StatusCode};
use model::access::Role;
use model::repository::{Sparse, TagOverwrite};
use registry::SettingsChange;
use serde_json::json;
use tower::ServiceExt as _;

fn tags(tag_overwrite: TagOverwrite, except: &[&str]) -> SettingsChange {
    let tag_exceptions = except.iter().map(|text| text.parse().unwrap()).collect();
    SettingsChange { tag_overwrite: Some(tag_overwrite), tag_exceptions: Some(tag_exceptions), ..SettingsChange::default() }
}

fn quota(bytes: u64) -> SettingsChange {
    SettingsChange { quota_bytes: Some(Some(bytes)), ..SettingsChange::default() }
}

fn public(public: bool) -> SettingsChange {
    SettingsChange { public: Some(public), ..SettingsChange::default() }
}

/// A manifest over what `image("a", …)` has pushed, unlike any other with another `mark`.
async fn marked(world: &World, mark: &str) -> String {
    let config = world.blob("a", b"{}").await;
    let mut image = image_of(&(config, 2), &[]);
    image["annotations"] = json!({ "mark": mark });
    image.to_string()
}

#[tokio::test]
async fn immutable_tags_neither_move_nor_go() {
    on_each(|world| async move {
        let (one, two) = (marked(&world, "one").await, marked(&world, "two").await);
        let push = |tag: &'static str, body: String| {
            let world = &world;
            async move { world.manifest("a", tag, IMAGE, &body).await }
        };
        assert_eq!(push("v1", one.clone()).await.status, StatusCode::CREATED);
        world.change("a", tags(TagOverwrite::Nobody, &["dev-*"])).await;
        push("v1", two.clone()).await.is(400, "TAG_INVALID");
        // The same again is no move, a new tag is none either, and exceptions move.
        for (tag, body) in [("v1", &one), ("v2", &two), ("dev-1", &one), ("dev-1", &two)] {
            assert_eq!(push(tag, body.clone()).await.status, StatusCode::CREATED, "{tag}");
        }
        // Several tags at once: all or none.
        let digest = sha256(two.as_bytes());
        let several = format!("/v2/a/manifests/{digest}?tag=v3&tag=v1");
        world.put(&several).with("content-type", IMAGE).bytes(two.as_bytes()).send().await.is(400, "TAG_INVALID");
        assert_eq!(world.get("/v2/a/tags/list").send().await.json()["tags"], json!(["dev-1", "v1", "v2"]));
        // Gone and pushed again it would be something else.
        world.delete("/v2/a/manifests/v1").send().await.is(400, "TAG_INVALID");
        world.delete(format!("/v2/a/manifests/{}", sha256(one.as_bytes()))).send().await.is(400, "TAG_INVALID");
        assert_eq!(world.get("/v2/a/manifests/v1").send().await.body, one.as_bytes());
        assert_eq!(world.delete("/v2/a/manifests/dev-1").send().await.status, StatusCode::ACCEPTED);
        world.delete("/v2/a/manifests/absent").send().await.is(404, "MANIFEST_UNKNOWN");
        world.change("a", tags(TagOverwrite::Push, &["v*"])).await;
        push("v1", two.clone()).await.is(400, "TAG_INVALID");
        world.change("a", tags(TagOverwrite::Push, &[])).await;
        assert_eq!(push("v1", two.clone()).await.status, StatusCode::CREATED);
        assert_eq!(world.delete("/v2/a/manifests/v1").send().await.status, StatusCode::ACCEPTED);
    })
    .await;
}

#[tokio::test]
async fn what_an_immutable_tag_needs_stays() {
    on_each(|world| async move {
        let image = world.image("a", "image", b"layer").await;
        let body = world.get("/v2/a/manifests/image").send().await.body;
        let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, &image, body.len())] }).to_string();
        world.manifest("a", "inner", INDEX, &inner).await;
        let outer = [descriptor(INDEX, &sha256(inner.as_bytes()), inner.len())];
        let outer = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": outer }).to_string();
        world.manifest("a", "v1", INDEX, &outer).await;
        let spare = world.blob("a", b"spare").await;
        world.change("a", tags(TagOverwrite::Push, &["v*"])).await;
        let needed =
            [format!("blobs/{}", sha256(b"layer")), format!("manifests/{image}"), format!("manifests/{}", sha256(inner.as_bytes()))];
        for path in &needed {
            world.delete(format!("/v2/a/{path}")).send().await.is(400, "TAG_INVALID");
            assert_eq!(world.get(format!("/v2/a/{path}")).send().await.status, StatusCode::OK, "{path}");
        }
        assert_eq!(world.delete(format!("/v2/a/blobs/{spare}")).send().await.status, StatusCode::ACCEPTED);
        world.change("a", tags(TagOverwrite::Push, &[])).await;
        for path in &needed {
            assert_eq!(world.delete(format!("/v2/a/{path}")).send().await.status, StatusCode::ACCEPTED, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_pushes_at_once_to_an_immutable_tag_one_stands() {
    on_each(|world| async move {
        let bodies = [marked(&world, "one").await, marked(&world, "two").await, marked(&world, "three").await];
        world.change("a", tags(TagOverwrite::Nobody, &[])).await;
        for round in 0..5 {
            let tag = format!("v{round}");
            let pushes = bodies.iter().map(|body| world.manifest("a", &tag, IMAGE, body));
            let answers = futures_util::future::join_all(pushes).await;
            let taken: Vec<usize> = (0..3).filter(|at| answers[*at].status == StatusCode::CREATED).collect();
            assert_eq!(taken.len(), 1, "{answers:?}");
            assert_eq!(world.get(format!("/v2/a/manifests/{tag}")).send().await.body, bodies[taken[0]].as_bytes());
        }
    })
    .await;
}

#[tokio::test]
async fn moving_a_tag_can_take_more_than_pushing() {
    on_each(|world| async move {
        let (one, two) = (marked(&world, "one").await, marked(&world, "two").await);
        world.change("a", tags(TagOverwrite::Maintain, &["dev"])).await;
        let pusher = world.user("pusher", Role::Push, "a").await;
        let maintainer = world.user("maintainer", Role::Maintain, "a").await;
        let push = |who: String, tag: &'static str, body: String| {
            let world = &world;
            async move { world.put(format!("/v2/a/manifests/{tag}")).by(&who).with("content-type", IMAGE).bytes(body.as_bytes()).send().await }
        };
        for tag in ["v1", "dev"] {
            assert_eq!(push(pusher.clone(), tag, one.clone()).await.status, StatusCode::CREATED);
        }
        let refused = push(pusher.clone(), "v1", two.clone()).await;
        refused.is(403, "DENIED");
        assert_eq!(refused.json()["errors"][0]["detail"]["role"], "maintain");
        assert_eq!(push(pusher, "dev", two.clone()).await.status, StatusCode::CREATED);
        // As docker pushes: with a token that was asked to pull and push, not to delete.
        let token = registry_token(&world, "maintainer", "repository:a:pull,push").await;
        assert_eq!(push(token, "v1", two).await.status, StatusCode::CREATED);
        assert_eq!(push(maintainer, "v1", one).await.status, StatusCode::CREATED);
    })
    .await;
}

/// A registry token for a user of [`World::user`].
async fn registry_token(world: &World, user: &str, scope: &str) -> String {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:long enough password"));
    let answer = token(world, scope, Some(&format!("Basic {basic}"))).await;
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

async fn token(world: &World, scope: &str, authorization: Option<&str>) -> Answer {
    let mut request = http::Request::get(format!("/token?service=berth&scope={scope}"));
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let router = axum::Router::from(identity::router(world.identity.clone()));
    Answer::of(router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await
}

/// A body of chunks, without a length.
fn stream(chunks: usize, bytes: usize) -> Body {
    let chunk = Bytes::from(vec![7u8; bytes]);
    Body::from_stream(futures_util::stream::iter((0..chunks).map(move |_| Ok::<_, std::io::Error>(chunk.clone()))))
}

#[tokio::test]
async fn a_quota_cuts_an_upload_off_while_it_streams() {
    on_each(|world| async move {
        world.blob("a", &vec![1; 1000]).await;
        world.change("a", quota(500_000)).await;
        let location = world.session("a").await;
        let taken = world.patch(&location).with("content-range", "0-99999").bytes(&vec![2; 100_000]).send().await;
        assert_eq!(taken.status, StatusCode::ACCEPTED);
        // What says its length is refused before a byte is read, what does not is cut off.
        world.put(format!("{location}?digest={}", sha256(b"x"))).bytes(&vec![2; 400_000]).send().await.is(403, "DENIED");
        let cut = world.put(format!("{location}?digest={}", sha256(b"x"))).body(stream(100, 50_000)).send().await;
        cut.is(403, "DENIED");
        assert_eq!(cut.json()["errors"][0]["detail"], json!({ "name": "a", "quotaBytes": 500_000, "usedBytes": 1000 }));
        // The session stands as it stood before.
        let status = world.get(&location).send().await;
        assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-99999"));
        // Another session counts what this one holds.
        let other = world.session("a").await;
        world.patch(&other).with("content-range", "0-399999").bytes(&vec![3; 400_000]).send().await.is(403, "DENIED");
        world.delete(&location).send().await;
        let taken = world.patch(&other).with("content-range", "0-399999").bytes(&vec![3; 400_000]).send().await;
        assert_eq!(taken.status, StatusCode::ACCEPTED);
        let done = world.put(format!("{other}?digest={}", sha256(&vec![3; 400_000]))).bytes(b"").send().await;
        assert_eq!(done.status, StatusCode::CREATED, "{done:?}");
        // Other repositories are free.
        world.blob("b", &vec![4; 600_000]).await;
    })
    .await;
}

#[tokio::test]
async fn a_quota_counts_blobs_mounts_and_manifests_and_nothing_twice() {
    on_each(|world| async move {
        world.blob("b", &[5; 3000]).await;
        world.image("a", "v1", &[1; 1000]).await;
        let used = 1000 + 2 + world.get("/v2/a/manifests/v1").send().await.body.len() as u64;
        world.change("a", quota(used + 2500)).await;
        let mount = |digest: String| world.post(format!("/v2/a/blobs/uploads/?mount={digest}&from=b")).send();
        mount(sha256(&[5; 3000])).await.is(403, "DENIED");
        // What is there already takes no more room.
        world.blob("a", &[1; 1000]).await;
        world.image("a", "v1", &[1; 1000]).await;
        world.blob("a", &[6; 2400]).await;
        let mut image = image_of(&(sha256(b"{}"), 2), &[]);
        image["annotations"] = json!({ "padding": "x".repeat(200) });
        world.manifest("a", "v2", IMAGE, &image.to_string()).await.is(403, "DENIED");
        world.delete(format!("/v2/a/blobs/{}", sha256(&[6; 2400]))).send().await;
        assert_eq!(world.manifest("a", "v2", IMAGE, &image.to_string()).await.status, StatusCode::CREATED);
        world.change("a", SettingsChange { quota_bytes: Some(None), ..SettingsChange::default() }).await;
        assert_eq!(mount(sha256(&[5; 3000])).await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn uploads_at_once_do_not_get_past_a_quota() {
    on_each(|world| async move {
        world.blob("a", b"x").await;
        world.change("a", quota(1_000_000)).await;
        let push = |fill: u8| {
            let world = &world;
            async move {
                let content = vec![fill; 400_000];
                let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
                let body = Body::from_stream(futures_util::stream::iter(
                    content.chunks(50_000).map(|c| Ok::<_, std::io::Error>(Bytes::copy_from_slice(c))).collect::<Vec<_>>(),
                ));
                world.post(path).body(body).send().await.status
            }
        };
        let answers = futures_util::future::join_all((0..6).map(push)).await;
        let taken = answers.iter().filter(|status| **status == StatusCode::CREATED).count();
        assert!(taken <= 2, "{answers:?}");
        assert!(answers.iter().all(|status| matches!(status.as_u16(), 201 | 403)), "{answers:?}");
        // None of the refused left anything: what fits still fits.
        for fill in 100..(102 - u8::try_from(taken).unwrap()) {
            assert_eq!(push(fill).await, StatusCode::CREATED);
        }
    })
    .await;
}

#[tokio::test]
async fn incomplete_manifests_are_a_policy() {
    on_each(|world| async move {
        world.image("a", "v1", b"layer").await;
        let index =
            json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, &sha256(b"elsewhere"), 5)] }).to_string();
        world.manifest("a", "all", INDEX, &index).await.is(400, "MANIFEST_BLOB_UNKNOWN");
        world.change("a", SettingsChange { sparse: Some(Sparse::Accept), ..SettingsChange::default() }).await;
        assert_eq!(world.manifest("a", "all", INDEX, &index).await.status, StatusCode::CREATED);
        let image = image_of(&(sha256(b"no config"), 9), &[(sha256(b"no layer"), 8)]).to_string();
        assert_eq!(world.manifest("a", "hollow", IMAGE, &image).await.status, StatusCode::CREATED);
        assert_eq!(world.get("/v2/a/manifests/hollow").send().await.body, image.as_bytes());
        world.get(format!("/v2/a/blobs/{}", sha256(b"no layer"))).send().await.is(404, "BLOB_UNKNOWN");
        // Elsewhere nothing has changed.
        world.manifest("b", "hollow", IMAGE, &image).await.is(400, "MANIFEST_BLOB_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn everybody_pulls_from_a_public_repository_and_nobody_does_more() {
    on_each(|world| async move {
        let digest = world.image("open", "v1", b"layer").await;
        world.image("closed", "v1", b"layer").await;
        world.change("open", public(true)).await;
        let stranger = world.user("stranger", Role::Pull, "elsewhere").await;
        let layer = sha256(b"layer");
        let reads = [
            "manifests/v1".to_owned(),
            format!("manifests/{digest}"),
            format!("blobs/{layer}"),
            "tags/list".into(),
            format!("referrers/{digest}"),
        ];
        for path in &reads {
            for method in [Method::GET, Method::HEAD] {
                let nobody = || world.ask(method.clone(), format!("/v2/open/{path}")).without("authorization");
                assert_eq!(nobody().send().await.status, StatusCode::OK, "{method} {path}");
                assert_eq!(nobody().send().await.status, StatusCode::OK, "again, from memory: {method} {path}");
                assert_eq!(nobody().by("Bearer anonymous").send().await.status, StatusCode::OK, "{method} {path}");
                assert_eq!(nobody().by(&stranger).send().await.status, StatusCode::OK, "{method} {path}");
                for bad in ["Bearer x", "Basic !", "Bearer anonymous ,x", "anonymous"] {
                    assert_eq!(nobody().by(bad).send().await.status, StatusCode::UNAUTHORIZED, "{bad}: {method} {path}");
                }
            }
        }
        let wrong = world.get("/v2/open/manifests/v1").by("Basic cm9vdDp3cm9uZw==").send().await;
        wrong.is(401, "UNAUTHORIZED");
        for path in ["/v2/", "/v2/_catalog", "/v2/closed/manifests/v1", "/v2/nowhere/manifests/v1"] {
            let answer = world.get(path).without("authorization").send().await;
            answer.is(401, "UNAUTHORIZED");
        }
        world.get("/v2/open/manifests/absent").without("authorization").send().await.is(404, "MANIFEST_UNKNOWN");
        for (method, path) in [
            (Method::PUT, "manifests/v1".to_owned()),
            (Method::DELETE, "manifests/v1".into()),
            (Method::DELETE, format!("blobs/{layer}")),
            (Method::POST, "blobs/uploads/".into()),
        ] {
            let path = format!("/v2/open/{path}");
            world.ask(method.clone(), &path).without("authorization").send().await.is(401, "UNAUTHORIZED");
            world.ask(method, &path).by(&stranger).send().await.is(403, "DENIED");
        }
        assert_eq!(world.get("/v2/_catalog").by(&stranger).send().await.json()["repositories"], json!(["open"]));
        // What everybody may pull everybody who may push may mount.
        let pusher = world.user("pusher", Role::Push, "own").await;
        for (source, status) in [("open", 201), ("closed", 202)] {
            let mounted = world.post(format!("/v2/own/blobs/uploads/?mount={layer}&from={source}")).by(&pusher).send().await;
            assert_eq!(mounted.status.as_u16(), status, "{source}");
        }
        world.change("open", public(false)).await;
        for path in &reads {
            let closed = world.get(format!("/v2/open/{path}")).without("authorization").send().await;
            assert_eq!(closed.status, StatusCode::UNAUTHORIZED, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_gets_a_token_for_what_everybody_may_pull_only() {
    on_each(|world| async move {
        world.image("open", "v1", b"layer").await;
        world.image("closed", "v1", b"layer").await;
        world.change("open", public(true)).await;
        let given = token(&world, "repository:open:pull,push%20repository:closed:pull", None).await;
        assert_eq!((given.status, given.json()["scope"].as_str()), (StatusCode::OK, Some("repository:open:pull")));
        let bearer = format!("Bearer {}", given.json()["token"].as_str().unwrap());
        assert_eq!(world.get("/v2/open/manifests/v1").by(&bearer).send().await.status, StatusCode::OK);
        world.get("/v2/closed/manifests/v1").by(&bearer).send().await.is(401, "UNAUTHORIZED");
        world.get("/v2/").by(&bearer).send().await.is(401, "UNAUTHORIZED");
        for scope in ["repository:closed:pull", "repository:nowhere:pull", "repository:open:push", "registry:catalog:*", ""] {
            assert_eq!(token(&world, scope, None).await.status, StatusCode::UNAUTHORIZED, "{scope}");
        }
        // Wrong credentials are not nobody's.
        let wrong = token(&world, "repository:open:pull", Some("Basic cm9vdDp3cm9uZw==")).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn settings_outlive_a_restart() {
    on_each(|world| async move {
        world.blob("a", b"x").await;
        world.change("a", quota(1000)).await;
        let world = world.restart().await;
        let location = world.session("a").await;
        world.patch(&location).with("content-range", "0-1999").bytes(&[2; 2000]).send().await.is(403, "DENIED");
    })
    .await;
}
