//! Garbage collection: what goes, what stays and for how long, by a clock that the tests move.

use crate::world::{IMAGE, INDEX, World, descriptor, image_of, on_each, sha256};
use http::StatusCode;
use model::access::Role;
use model::repository::Sparse;
use platform::exchange;
use registry::{Collected, GcConfig, SettingsChange};
use serde_json::json;
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(GcConfig::GRACE_SECS);
const UNTAGGED: Duration = Duration::from_secs(GcConfig::UNTAGGED_SECS);
const SECOND: Duration = Duration::from_secs(1);

/// Passes until nothing is due.
async fn collect(world: &World) -> Collected {
    let mut all = Collected::default();
    loop {
        let done = world.registry.collect_garbage().await.unwrap();
        all.manifests += done.manifests;
        all.links += done.links;
        all.blobs += done.blobs;
        all.files += done.files;
        all.pinned += done.pinned;
        if done.candidates == 0 && done.files == 0 {
            return all;
        }
    }
}

async fn status(world: &World, path: &str) -> StatusCode {
    world.head(path).send().await.status
}

async fn is_there(world: &World, path: &str) -> bool {
    match world.get(path).send().await.status {
        StatusCode::OK => true,
        StatusCode::NOT_FOUND => false,
        other => panic!("{path}: {other}"),
    }
}

fn blob_path(repository: &str, content: &[u8]) -> String {
    format!("/v2/{repository}/blobs/{}", sha256(content))
}

async fn delete(world: &World, path: &str) {
    assert_eq!(world.delete(path).send().await.status, StatusCode::ACCEPTED, "{path}");
}

#[tokio::test]
async fn the_blobs_of_a_deleted_manifest_go_when_their_grace_time_is_over_and_shared_ones_stay() {
    on_each(|world| async move {
        let gone = world.image("a", "v1", b"only here").await;
        world.image("a", "v2", b"another").await;
        assert_eq!(collect(&world).await, Collected { files: 1, ..Collected::default() }, "the config that was here before");
        let files = world.files();
        delete(&world, &format!("/v2/a/manifests/{gone}")).await;
        world.clock.advance(GRACE.saturating_sub(SECOND));
        assert_eq!(collect(&world).await, Collected::default(), "too early");
        assert!(is_there(&world, &blob_path("a", b"only here")).await);
        world.clock.advance(SECOND);
        assert_eq!(collect(&world).await, Collected { links: 1, blobs: 1, files: 1, ..Collected::default() });
        assert_eq!(world.files(), files - 1);
        world.get(blob_path("a", b"only here")).send().await.is(404, "BLOB_UNKNOWN");
        assert!(is_there(&world, &blob_path("a", b"{}")).await, "the config that the other image needs");
        // It can be pushed again, and is whole.
        world.blob("a", b"only here").await;
        assert_eq!(&world.get(blob_path("a", b"only here")).send().await.body[..], b"only here");
        assert_eq!(collect(&world).await, Collected::default());
    })
    .await;
}

#[tokio::test]
async fn a_blob_that_no_manifest_ever_named_goes_unless_somebody_counts_on_it() {
    on_each(|world| async move {
        world.blob("a", b"asked for by a pusher").await;
        world.blob("a", b"asked for by a reader").await;
        let pusher = world.user("pusher", Role::Push, "a").await;
        let reader = world.user("reader", Role::Pull, "a").await;
        for _ in 0..3 {
            world.clock.advance(GRACE / 2);
            for (who, content) in [(&pusher, &b"asked for by a pusher"[..]), (&reader, b"asked for by a reader")] {
                world.head(blob_path("a", content)).by(who).send().await;
            }
            collect(&world).await;
        }
        assert!(is_there(&world, &blob_path("a", b"asked for by a pusher")).await);
        assert!(!is_there(&world, &blob_path("a", b"asked for by a reader")).await);
        // Reading it keeps nothing either.
        world.clock.advance(GRACE);
        assert_eq!(collect(&world).await.blobs, 1);
        assert_eq!(status(&world, &blob_path("a", b"asked for by a pusher")).await, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_manifest_that_comes_within_the_grace_time_finds_its_blobs_whatever_was_collected_meanwhile() {
    on_each(|world| async move {
        let config = world.blob("a", b"{}").await;
        let layer = world.blob("a", b"layer").await;
        let body = image_of(&(config, 2), &[(layer.clone(), 5)]).to_string();
        world.clock.advance(GRACE.saturating_sub(SECOND));
        collect(&world).await;
        assert_eq!(world.manifest("a", "v1", IMAGE, &body).await.status, StatusCode::CREATED);
        world.clock.advance(10 * GRACE);
        assert_eq!(collect(&world).await, Collected::default());
        assert!(is_there(&world, &blob_path("a", b"layer")).await);
        // A push that counts on what is gone is refused by name, not acknowledged.
        delete(&world, "/v2/a/manifests/v1").await;
        delete(&world, &format!("/v2/a/manifests/{}", sha256(body.as_bytes()))).await;
        world.clock.advance(GRACE);
        collect(&world).await;
        let refused = world.manifest("a", "v1", IMAGE, &body).await;
        refused.is(400, "MANIFEST_BLOB_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn a_mount_counts_as_a_use_and_one_repository_keeps_what_another_lets_go_of() {
    on_each(|world| async move {
        let layer = world.blob("a", b"shared").await;
        let mount = format!("/v2/b/blobs/uploads/?mount={layer}&from=a");
        world.clock.advance(GRACE.saturating_sub(SECOND));
        assert_eq!(world.post(mount.clone()).send().await.status, StatusCode::CREATED);
        world.clock.advance(SECOND);
        assert_eq!(collect(&world).await, Collected { links: 1, ..Collected::default() });
        assert_eq!((is_there(&world, &blob_path("a", b"shared")).await, is_there(&world, &blob_path("b", b"shared")).await), (false, true));
        // Mounted again into the repository that has it: its time begins anew.
        world.clock.advance(GRACE.saturating_sub(2 * SECOND));
        assert_eq!(world.post(mount.replace("from=a", "from=b")).send().await.status, StatusCode::CREATED);
        world.clock.advance(GRACE.saturating_sub(SECOND));
        assert_eq!(collect(&world).await, Collected::default());
        world.clock.advance(SECOND);
        assert_eq!(collect(&world).await, Collected { links: 1, blobs: 1, files: 1, ..Collected::default() });
        assert_eq!(world.post(mount.replace("from=a", "from=b")).send().await.status, StatusCode::ACCEPTED, "there is nothing to mount");
    })
    .await;
}

#[tokio::test]
async fn a_blob_that_is_deleted_while_a_manifest_names_it_keeps_its_bytes_until_the_manifest_goes() {
    on_each(|world| async move {
        let digest = world.image("a", "v1", b"layer").await;
        delete(&world, &blob_path("a", b"layer")).await;
        world.clock.advance(10 * GRACE);
        assert_eq!(collect(&world).await, Collected::default());
        // Pushed again, it is the same blob: found to be named when its time is over, and not looked at again.
        world.blob("a", b"layer").await;
        world.clock.advance(GRACE);
        assert_eq!(world.registry.collect_garbage().await.unwrap().candidates, 1);
        assert_eq!(world.registry.collect_garbage().await.unwrap().candidates, 0);
        delete(&world, &blob_path("a", b"layer")).await;
        delete(&world, &format!("/v2/a/manifests/{digest}")).await;
        world.clock.advance(GRACE);
        let done = collect(&world).await;
        assert_eq!((done.links, done.blobs), (1, 2), "the config was linked, the layer was not");
        assert_eq!(world.files(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_untagged_manifest_expires_and_its_blobs_after_it() {
    on_each(|world| async move {
        let first = world.image("a", "latest", b"one").await;
        world.clock.advance(2 * UNTAGGED);
        assert_eq!(collect(&world).await, Collected::default(), "it has a tag");
        let second = world.image("a", "latest", b"two").await;
        world.clock.advance(UNTAGGED.saturating_sub(SECOND));
        assert_eq!(collect(&world).await.manifests, 0);
        world.clock.advance(SECOND);
        assert_eq!(collect(&world).await, Collected { manifests: 1, ..Collected::default() });
        assert_eq!(
            (is_there(&world, &format!("/v2/a/manifests/{first}")).await, is_there(&world, "/v2/a/manifests/latest").await),
            (false, true)
        );
        world.clock.advance(GRACE);
        assert_eq!(collect(&world).await, Collected { links: 1, blobs: 1, files: 1, ..Collected::default() });
        // A tag that is deleted leaves its manifest without one too; another tag keeps it.
        let body = world.get("/v2/a/manifests/latest").send().await.body;
        world.manifest("a", "also", IMAGE, std::str::from_utf8(&body).unwrap()).await;
        delete(&world, "/v2/a/manifests/latest").await;
        world.clock.advance(UNTAGGED);
        assert_eq!(collect(&world).await.manifests, 0);
        delete(&world, "/v2/a/manifests/also").await;
        world.clock.advance(UNTAGGED);
        assert_eq!(collect(&world).await.manifests, 1);
        assert!(!is_there(&world, &format!("/v2/a/manifests/{second}")).await);
        let events = events(&world, "manifest.expired").await;
        assert_eq!(events.len(), 2);
        assert!(events[0].contains(&first), "{events:?}");
    })
    .await;
}

async fn events(world: &World, kind: &str) -> Vec<String> {
    let mut connection = world.db.read().await.unwrap();
    let found = platform::events::of_kind_after(&mut connection, kind, 0, 100).await.unwrap();
    found.iter().map(|event| format!("{} {} {}", event.subject, event.message, event.detail)).collect()
}

#[tokio::test]
async fn a_manifest_pushed_by_digest_expires_unless_it_is_tagged_or_indexed_in_time() {
    on_each(|world| async move {
        let mut pushed = Vec::new();
        for content in [&b"tagged"[..], b"indexed", b"left alone"] {
            let (config, layer) = (world.blob("a", b"{}").await, world.blob("a", content).await);
            let body = image_of(&(config, 2), &[(layer, content.len())]).to_string();
            let digest = sha256(body.as_bytes());
            assert_eq!(world.manifest("a", &digest, IMAGE, &body).await.status, StatusCode::CREATED);
            pushed.push((digest, body));
        }
        assert_eq!(world.manifest("a", "v1", IMAGE, &pushed[0].1).await.status, StatusCode::CREATED);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, &pushed[1].0, pushed[1].1.len())] });
        assert_eq!(world.manifest("a", "multi", INDEX, &index.to_string()).await.status, StatusCode::CREATED);
        world.clock.advance(UNTAGGED);
        assert_eq!(collect(&world).await.manifests, 1);
        let there = |digest: &str| format!("/v2/a/manifests/{digest}");
        assert!(is_there(&world, &there(&pushed[0].0)).await && is_there(&world, &there(&pushed[1].0)).await);
        assert!(!is_there(&world, &there(&pushed[2].0)).await);
        // The index goes, by expiry: what it kept stays for the grace time, not for all of the other time again.
        delete(&world, &there("multi")).await;
        world.clock.advance(UNTAGGED);
        assert_eq!(collect(&world).await.manifests, 1);
        assert!(is_there(&world, &there(&pushed[1].0)).await);
        world.clock.advance(GRACE);
        assert_eq!(collect(&world).await.manifests, 1);
        assert!(!is_there(&world, &there(&pushed[1].0)).await);
    })
    .await;
}

#[tokio::test]
async fn a_referrer_stays_as_long_as_its_subject_and_keeps_it_not() {
    on_each(|world| async move {
        let subject = world.image("a", "v1", b"subject").await;
        let refer = |what: &str, config: &str| {
            let mut body = image_of(&(config.to_owned(), 2), &[]);
            body["subject"] = descriptor(IMAGE, what, 7);
            body.to_string()
        };
        let config = world.blob("a", b"{}").await;
        let signature = refer(&subject, &config);
        let orphan = refer(&sha256(b"nowhere"), &config);
        for body in [&signature, &orphan] {
            assert_eq!(world.manifest("a", &sha256(body.as_bytes()), IMAGE, body).await.status, StatusCode::CREATED);
        }
        world.clock.advance(UNTAGGED);
        assert_eq!(collect(&world).await.manifests, 1, "the one whose subject never came");
        let path = format!("/v2/a/manifests/{}", sha256(signature.as_bytes()));
        world.clock.advance(2 * UNTAGGED);
        assert_eq!(world.registry.collect_garbage().await.unwrap().candidates, 0, "it is not looked at again");
        assert!(is_there(&world, &path).await);
        delete(&world, "/v2/a/manifests/v1").await;
        world.clock.advance(UNTAGGED);
        assert_eq!(collect(&world).await.manifests, 1, "the subject, which its referrer does not keep");
        world.clock.advance(GRACE);
        assert_eq!(collect(&world).await.manifests, 1);
        assert!(!is_there(&world, &path).await);
    })
    .await;
}

#[tokio::test]
async fn what_is_pinned_stays_with_all_it_needs_and_goes_some_time_after() {
    on_each(|world| async move {
        let digest = world.image("a", "v1", b"layer").await;
        let pin = |on: bool| {
            let (db, clock, digest) = (world.db.clone(), model::Clock::now(&*world.clock), digest.clone());
            async move {
                db.write(move |tx| {
                    let digest = digest.parse().unwrap();
                    Box::pin(async move {
                        if on {
                            exchange::pin(tx, clock, "a", &digest, "task-definition:web:7").await
                        } else {
                            exchange::unpin(tx, "task-definition:web:7").await
                        }
                    })
                })
                .await
                .unwrap();
            }
        };
        pin(true).await;
        delete(&world, "/v2/a/manifests/v1").await;
        for _ in 0..3 {
            world.clock.advance(UNTAGGED);
            let done = collect(&world).await;
            assert_eq!((done.pinned, done.manifests), (1, 0));
        }
        assert!(is_there(&world, &format!("/v2/a/manifests/{digest}")).await && is_there(&world, &blob_path("a", b"layer")).await);
        pin(false).await;
        world.clock.advance(UNTAGGED);
        assert_eq!(collect(&world).await.manifests, 1);
        world.clock.advance(GRACE);
        assert_eq!(collect(&world).await.blobs, 2);
        assert_eq!(world.files(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_a_request_left_behind_is_removed() {
    on_each(|world| async move {
        world.blob("a", b"twice").await;
        world.blob("b", b"twice").await;
        let location = world.session("a").await;
        assert_eq!(world.patch(location.clone()).bytes(b"cancelled").send().await.status, StatusCode::ACCEPTED);
        assert_eq!(world.delete(location).send().await.status, StatusCode::NO_CONTENT);
        assert_eq!(world.files(), 1);
        let done = collect(&world).await;
        assert_eq!((done.files, done.blobs), (2, 0), "files that are gone already: the rows that remember them go");
        assert_eq!(collect(&world).await, Collected::default());
        assert_eq!(&world.get(blob_path("b", b"twice")).send().await.body[..], b"twice");
    })
    .await;
}

#[tokio::test]
async fn what_memory_knew_of_a_blob_does_not_outlive_it() {
    on_each(|world| async move {
        let digest = world.image("a", "v1", b"layer").await;
        // Read while a manifest names it: memory holds that it is in use.
        assert!(is_there(&world, &blob_path("a", b"layer")).await);
        delete(&world, &format!("/v2/a/manifests/{digest}")).await;
        world.clock.advance(GRACE.saturating_sub(SECOND));
        assert_eq!(status(&world, &blob_path("a", b"layer")).await, StatusCode::OK);
        world.clock.advance(GRACE.saturating_sub(SECOND));
        collect(&world).await;
        assert_eq!(status(&world, &blob_path("a", b"layer")).await, StatusCode::OK, "the answer before was counted on");
    })
    .await;
}

#[tokio::test]
async fn what_comes_after_an_incomplete_manifest_stays_with_it() {
    on_each(|world| async move {
        let early = world.blob("a", b"early").await;
        world.change("a", SettingsChange { sparse: Some(Sparse::Accept), ..SettingsChange::default() }).await;
        let image = image_of(&(early, 5), &[(sha256(b"late"), 4)]).to_string();
        let digest = sha256(image.as_bytes());
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, &digest, image.len())] }).to_string();
        // The index first, then the image, then a layer of it.
        assert_eq!(world.manifest("a", "multi", INDEX, &index).await.status, StatusCode::CREATED);
        assert_eq!(world.manifest("a", &digest, IMAGE, &image).await.status, StatusCode::CREATED);
        world.blob("a", b"late").await;
        for _ in 0..2 {
            world.clock.advance(UNTAGGED);
            assert_eq!(collect(&world).await, Collected::default());
        }
        let there = format!("/v2/a/manifests/{digest}");
        for path in [&there, &blob_path("a", b"early"), &blob_path("a", b"late")] {
            assert!(is_there(&world, path).await, "{path}");
        }
        delete(&world, &format!("/v2/a/manifests/{}", sha256(index.as_bytes()))).await;
        world.clock.advance(UNTAGGED);
        assert_eq!(collect(&world).await.manifests, 1);
        world.clock.advance(GRACE);
        assert_eq!(collect(&world).await.blobs, 2);
        assert!(!is_there(&world, &there).await);
        assert_eq!(world.files(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_was_collected_is_missing_also_where_incomplete_manifests_are_taken() {
    on_each(|world| async move {
        let layer = world.blob("a", b"layer").await;
        world.change("a", SettingsChange { sparse: Some(Sparse::Accept), ..SettingsChange::default() }).await;
        let image = image_of(&(sha256(b"elsewhere"), 9), &[(layer, 5)]).to_string();
        let digest = sha256(image.as_bytes());
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, &digest, image.len())] }).to_string();
        world.clock.advance(GRACE);
        assert_eq!(collect(&world).await.links, 1);
        // Its layer was here when it was pushed; its config never was.
        let refused = world.manifest("a", &digest, IMAGE, &image).await;
        refused.is(400, "MANIFEST_BLOB_UNKNOWN");
        let said = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(said.contains(&sha256(b"layer")) && !said.contains(&sha256(b"elsewhere")), "{said}");
        assert_eq!(world.manifest("b", "v1", IMAGE, &image).await.status, StatusCode::BAD_REQUEST, "another repository has its own policy");
        world.blob("a", b"layer").await;
        assert_eq!(world.manifest("a", &digest, IMAGE, &image).await.status, StatusCode::CREATED);
        // A manifest goes the same way.
        world.clock.advance(UNTAGGED);
        assert_eq!(collect(&world).await.manifests, 1);
        world.manifest("a", "all", INDEX, &index).await.is(400, "MANIFEST_BLOB_UNKNOWN");
        // It is known for a week, as far as anything is collected later.
        world.clock.advance(Duration::from_hours(24 * 8));
        world.blob("a", b"another").await;
        world.clock.advance(GRACE);
        collect(&world).await;
        assert_eq!(world.manifest("a", "all", INDEX, &index).await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn what_is_collected_makes_room_and_what_did_not_fit_leaves_nothing() {
    on_each(|world| async move {
        world.blob("a", b"first").await;
        let location = world.session("a").await;
        assert_eq!(world.patch(location.clone()).bytes(b"second").send().await.status, StatusCode::ACCEPTED);
        world.change("a", SettingsChange { quota_bytes: Some(Some(8)), ..SettingsChange::default() }).await;
        // Found out by the transaction that would link it.
        world.put(format!("{location}?digest={}", sha256(b"second"))).send().await.is(403, "DENIED");
        assert_eq!(world.files(), 1);
        world.clock.advance(GRACE);
        assert_eq!(collect(&world).await, Collected { links: 1, blobs: 1, files: 2, ..Collected::default() });
        assert_eq!(world.files(), 0);
        world.blob("a", b"second").await;
        assert_eq!(&world.get(blob_path("a", b"second")).send().await.body[..], b"second");
    })
    .await;
}
