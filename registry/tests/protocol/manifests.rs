//! Pushing, reading and deleting manifests and tags.

use crate::world::{IMAGE, INDEX, World, descriptor, image_of, on_each, sha256, sha512};
use http::StatusCode;
use platform::db::Db;
use serde_json::json;
use sqlx::Row as _;

async fn push_events(db: &Db) -> Vec<(String, String)> {
    let mut connection = db.read().await.unwrap();
    let rows = sqlx::query("select tag, digest from push_events order by sequence").fetch_all(&mut *connection).await.unwrap();
    rows.iter().map(|row| (row.try_get("tag").unwrap(), row.try_get("digest").unwrap())).collect()
}

async fn two_blobs(world: &World) -> (String, String) {
    (world.blob("a", b"{}").await, world.blob("a", b"layer").await)
}

#[tokio::test]
async fn a_manifest_comes_back_as_it_was_pushed() {
    on_each(|world| async move {
        let (config, layer) = two_blobs(&world).await;
        let body = format!("{}\n ", image_of(&(config, 2), &[(layer, 5)]));
        let digest = sha256(body.as_bytes());
        let put = world.manifest("a", "v1", IMAGE, &body).await;
        assert_eq!(put.status, StatusCode::CREATED, "{put:?}");
        assert_eq!(put.header("location"), format!("/v2/a/manifests/{digest}"));
        assert_eq!(put.header("docker-content-digest"), digest);
        // Twice: once from the database, once from memory.
        for reference in ["v1", "v1", &digest, &digest] {
            let get = world.get(format!("/v2/a/manifests/{reference}")).send().await;
            assert_eq!((get.status, &get.body[..]), (StatusCode::OK, body.as_bytes()));
            assert_eq!((get.header("content-type"), get.header("docker-content-digest")), (IMAGE, digest.as_str()));
            let head = world.head(format!("/v2/a/manifests/{reference}")).send().await;
            assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, body.len().to_string().as_str()));
            let fresh = world.get(format!("/v2/a/manifests/{reference}")).with("if-none-match", get.header("etag")).send().await;
            assert_eq!((fresh.status, fresh.body.len()), (StatusCode::NOT_MODIFIED, 0));
        }
        assert_eq!(push_events(&world.db).await, [("v1".to_owned(), digest)]);
    })
    .await;
}

#[tokio::test]
async fn a_moved_tag_is_seen_by_the_next_request() {
    on_each(|world| async move {
        let mut expected = Vec::new();
        for layer in [&b"one"[..], b"two", b"three", b"two"] {
            let digest = world.image("a", "latest", layer).await;
            assert_eq!(world.get("/v2/a/manifests/latest").send().await.header("docker-content-digest"), digest);
            expected.push(("latest".to_owned(), digest));
        }
        assert_eq!(push_events(&world.db).await, expected);
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    on_each(|world| async move {
        let (config, _) = two_blobs(&world).await;
        let missing = sha256(b"nowhere");
        let body = image_of(&(config, 2), &[(missing.clone(), 7)]).to_string();
        let answer = world.manifest("a", "v1", IMAGE, &body).await;
        answer.is(400, "MANIFEST_BLOB_UNKNOWN");
        assert_eq!(answer.json()["errors"][0]["detail"]["digest"], missing);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, &missing, 7)] }).to_string();
        world.manifest("a", "v1", INDEX, &index).await.is(400, "MANIFEST_BLOB_UNKNOWN");
        world.get("/v2/a/manifests/v1").send().await.is(404, "MANIFEST_UNKNOWN");
        assert!(push_events(&world.db).await.is_empty());
        // A refused push does not leave a repository behind either.
        world.manifest("b", "v1", INDEX, &index).await.is(400, "MANIFEST_BLOB_UNKNOWN");
        world.get("/v2/b/tags/list").send().await.is(404, "NAME_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn bad_manifests_are_refused() {
    on_each(|world| async move {
        let (config, layer) = two_blobs(&world).await;
        let good = image_of(&(config, 2), &[(layer, 5)]);
        let text = good.to_string();
        for (media_type, body) in [
            ("application/json", text.clone()),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", text.clone()),
            (INDEX, text.clone()),
            (IMAGE, "{".to_owned()),
            (IMAGE, text.replacen('{', "{\"schemaVersion\":2,", 1)),
            (IMAGE, text.replacen('{', "{\"manifests\":[],", 1)),
        ] {
            world.manifest("a", "v1", media_type, &body).await.is(400, "MANIFEST_INVALID");
        }
        world.manifest("a", &sha256(b"x"), IMAGE, &text).await.is(400, "DIGEST_INVALID");
        world.manifest("a", "sha256:xyz", IMAGE, &text).await.is(400, "DIGEST_INVALID");
        world.manifest("a", ".bad", IMAGE, &text).await.is(400, "TAG_INVALID");
        world.manifest("A", "v1", IMAGE, &text).await.is(400, "NAME_INVALID");
        world.manifest(&"a".repeat(300), "v1", IMAGE, &text).await.is(400, "NAME_INVALID");
        world.manifest("a/../b", "v1", IMAGE, &text).await.is(400, "NAME_INVALID");
        world.get("/v2/a/manifests/.bad").send().await.is(404, "MANIFEST_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn four_mebibytes_are_taken_and_one_byte_more_is_not() {
    on_each(|world| async move {
        let (config, layer) = two_blobs(&world).await;
        let text = image_of(&(config, 2), &[(layer, 5)]).to_string();
        let filled = |bytes: usize| format!("{text}{}", " ".repeat(bytes - text.len()));
        let limit = 4 * 1024 * 1024;
        assert_eq!(world.manifest("a", "big", IMAGE, &filled(limit)).await.status, StatusCode::CREATED);
        assert_eq!(world.get("/v2/a/manifests/big").send().await.body.len(), limit);
        world.manifest("a", "bigger", IMAGE, &filled(limit + 1)).await.is(413, "SIZE_INVALID");
    })
    .await;
}

#[tokio::test]
async fn indexes_hold_manifests_and_may_be_nested_and_empty() {
    on_each(|world| async move {
        let child = world.image("a", "amd64", b"layer").await;
        let size = world.get("/v2/a/manifests/amd64").send().await.body.len();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, &child, size)] }).to_string();
        assert_eq!(world.manifest("a", "multi", INDEX, &index).await.status, StatusCode::CREATED);
        let nested = json!({ "schemaVersion": 2, "mediaType": INDEX,
            "manifests": [descriptor(INDEX, &sha256(index.as_bytes()), index.len())] });
        assert_eq!(world.manifest("a", "nested", INDEX, &nested.to_string()).await.status, StatusCode::CREATED);
        let empty = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }).to_string();
        assert_eq!(world.manifest("a", "empty", INDEX, &empty).await.status, StatusCode::CREATED);
        let docker = "application/vnd.docker.distribution.manifest.list.v2+json";
        let list = json!({ "schemaVersion": 2, "mediaType": docker, "manifests": [descriptor(IMAGE, &child, size)] }).to_string();
        assert_eq!(world.manifest("a", "list", docker, &list).await.status, StatusCode::CREATED);
        assert_eq!(world.get("/v2/a/manifests/list").send().await.header("content-type"), docker);
    })
    .await;
}

#[tokio::test]
async fn a_sha512_digest_is_an_identity_of_its_own() {
    on_each(|world| async move {
        let (config, layer) = two_blobs(&world).await;
        let body = image_of(&(config, 2), &[(layer, 5)]).to_string();
        let digest = sha512(body.as_bytes());
        let put = world.manifest("a", &digest, IMAGE, &body).await;
        assert_eq!((put.status, put.header("docker-content-digest")), (StatusCode::CREATED, digest.as_str()));
        let get = world.get(format!("/v2/a/manifests/{digest}")).send().await;
        assert_eq!((get.status, get.header("docker-content-digest")), (StatusCode::OK, digest.as_str()));
        world.get(format!("/v2/a/manifests/{}", sha256(body.as_bytes()))).send().await.is(404, "MANIFEST_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn one_push_by_digest_sets_many_tags() {
    on_each(|world| async move {
        let digest = world.image("a", "v1", b"layer").await;
        let body = world.get("/v2/a/manifests/v1").send().await.body;
        let tags: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
        let query = format!("tag={}", tags.join("&tag="));
        let put = |path: String| world.put(path).with("content-type", IMAGE).bytes(&body).send();
        let answer = put(format!("/v2/a/manifests/{digest}?{query}")).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        let named: Vec<&str> = answer.headers.get_all("oci-tag").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(named, tags);
        for tag in &tags {
            assert_eq!(world.head(format!("/v2/a/manifests/{tag}")).send().await.header("docker-content-digest"), digest);
        }
        // A bad one among good ones: none is set.
        put(format!("/v2/a/manifests/{digest}?tag=new&tag=.bad")).await.is(400, "TAG_INVALID");
        world.get("/v2/a/manifests/new").send().await.is(404, "MANIFEST_UNKNOWN");
        let many = (0..200).map(|n| format!("tag=m{n}")).collect::<Vec<_>>().join("&");
        assert_eq!(put(format!("/v2/a/manifests/{digest}?{many}")).await.status, StatusCode::URI_TOO_LONG);
    })
    .await;
}

#[tokio::test]
async fn a_tag_is_moved_only_when_the_condition_holds() {
    on_each(|world| async move {
        let first = world.image("a", "v1", b"one").await;
        world.image("a", "other", b"two").await;
        let body = world.get("/v2/a/manifests/other").send().await.body;
        let put =
            |name: &str, value: &str| world.put("/v2/a/manifests/v1").with("content-type", IMAGE).with(name, value).bytes(&body).send();
        assert_eq!(put("if-none-match", "*").await.status, StatusCode::PRECONDITION_FAILED);
        assert_eq!(put("if-match", &format!("\"{}\"", sha256(b"x"))).await.status, StatusCode::PRECONDITION_FAILED);
        assert_eq!(world.head("/v2/a/manifests/v1").send().await.header("docker-content-digest"), first);
        assert_eq!(put("if-match", &format!("\"{first}\"")).await.status, StatusCode::CREATED);
        assert_ne!(world.head("/v2/a/manifests/v1").send().await.header("docker-content-digest"), first);
    })
    .await;
}

#[tokio::test]
async fn deleting_a_tag_leaves_the_manifest_and_deleting_the_manifest_takes_its_tags() {
    on_each(|world| async move {
        let digest = world.image("a", "v1", b"layer").await;
        world.image("a", "v2", b"layer").await;
        for path in ["v1", "v2", digest.as_str()] {
            assert_eq!(world.get(format!("/v2/a/manifests/{path}")).send().await.status, StatusCode::OK);
        }
        assert_eq!(world.delete("/v2/a/manifests/v1").send().await.status, StatusCode::ACCEPTED);
        world.get("/v2/a/manifests/v1").send().await.is(404, "MANIFEST_UNKNOWN");
        world.delete("/v2/a/manifests/v1").send().await.is(404, "MANIFEST_UNKNOWN");
        assert_eq!(world.get(format!("/v2/a/manifests/{digest}")).send().await.status, StatusCode::OK);
        assert_eq!(world.delete(format!("/v2/a/manifests/{digest}")).send().await.status, StatusCode::ACCEPTED);
        world.get("/v2/a/manifests/v2").send().await.is(404, "MANIFEST_UNKNOWN");
        world.get(format!("/v2/a/manifests/{digest}")).send().await.is(404, "MANIFEST_UNKNOWN");
        world.delete("/v2/nowhere/manifests/v1").send().await.is(404, "MANIFEST_UNKNOWN");
        assert_eq!(world.get("/v2/a/tags/list").send().await.json()["tags"], json!([]));
    })
    .await;
}
