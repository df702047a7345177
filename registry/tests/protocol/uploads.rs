//! Pushing blobs, in every style, interrupted in every way.

use crate::world::{World, broken, on_each, sha256, sha512};
use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use std::path::Path;
use std::time::Duration;

const CONTENT: &[u8] = b"some bytes of a layer that is pushed again and again";

async fn is_there(world: &World, repository: &str, digest: &str, content: &[u8]) {
    let answer = world.get(format!("/v2/{repository}/blobs/{digest}")).send().await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, content));
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_eq!(answer.header("content-length"), content.len().to_string());
}

#[tokio::test]
async fn post_then_put_makes_a_blob() {
    on_each(|world| async move {
        let digest = world.blob("acme/web", CONTENT).await;
        is_there(&world, "acme/web", &digest, CONTENT).await;
        // The same bytes again are one blob.
        assert_eq!(world.blob("acme/web", CONTENT).await, digest);
        assert_eq!(world.files(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_blob_of_no_bytes_is_a_blob() {
    on_each(|world| async move {
        let digest = world.blob("acme/web", b"").await;
        is_there(&world, "acme/web", &digest, b"").await;
        assert_eq!(world.get(format!("/v2/acme/web/blobs/{digest}")).with("range", "bytes=0-").send().await.status.as_u16(), 416);
    })
    .await;
}

#[tokio::test]
async fn a_post_with_a_digest_takes_the_whole_blob() {
    on_each(|world| async move {
        for digest in [sha256(CONTENT), sha512(CONTENT)] {
            let answer = world.post(format!("/v2/a/blobs/uploads/?digest={digest}")).bytes(CONTENT).send().await;
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
            assert_eq!(answer.header("location"), format!("/v2/a/blobs/{digest}"));
            assert_eq!(answer.header("docker-content-digest"), digest);
            is_there(&world, "a", &digest, CONTENT).await;
        }
        assert_eq!(world.files(), 2);
    })
    .await;
}

#[tokio::test]
async fn chunks_are_taken_in_order_and_only_in_order() {
    on_each(|world| async move {
        let location = world.session("a").await;
        let answer = world.patch(&location).with("content-range", "0-9").bytes(&CONTENT[..10]).send().await;
        assert_eq!((answer.status, answer.header("range")), (StatusCode::ACCEPTED, "0-9"));
        for (range, bytes) in [("0-9", &CONTENT[..10]), ("11-20", &CONTENT[11..21]), ("5-14", &CONTENT[5..15])] {
            let answer = world.patch(&location).with("content-range", range).bytes(bytes).send().await;
            answer.is(416, "BLOB_UPLOAD_INVALID");
            assert_eq!((answer.header("range"), answer.header("location")), ("0-9", location.as_str()));
        }
        // PUSH-STAT-1: the session lives and says where it stands.
        let status = world.get(&location).send().await;
        assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-9"));
        assert_eq!(status.header("location"), location);
        let answer = world.patch(&location).with("content-range", "10-19").bytes(&CONTENT[10..20]).send().await;
        assert_eq!((answer.status, answer.header("range")), (StatusCode::ACCEPTED, "0-19"));
        // PUSH-CLOSE-2: a last chunk out of order.
        let digest = sha256(CONTENT);
        let close = format!("{location}?digest={digest}");
        world.put(&close).with("content-range", "30-51").bytes(&CONTENT[30..]).send().await.is(416, "BLOB_UPLOAD_INVALID");
        let answer = world.put(&close).with("content-range", "20-51").bytes(&CONTENT[20..]).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        is_there(&world, "a", &digest, CONTENT).await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_without_place_is_taken_once() {
    on_each(|world| async move {
        for digest in [sha256(CONTENT), sha512(CONTENT)] {
            let location = world.session("a").await;
            let body = || Body::from_stream(futures_util::stream::iter(CONTENT.chunks(7).map(|c| Ok::<_, std::io::Error>(Bytes::from(c)))));
            let answer = world.patch(&location).body(body()).send().await;
            assert_eq!((answer.status, answer.header("range")), (StatusCode::ACCEPTED, "0-51"));
            // A replay after a timeout must not be taken for more of the blob.
            world.patch(&location).body(body()).send().await.is(416, "BLOB_UPLOAD_INVALID");
            let answer = world.put(format!("{location}?digest={digest}")).bytes(b"").send().await;
            assert_eq!(answer.status, StatusCode::CREATED);
            is_there(&world, "a", &digest, CONTENT).await;
        }
    })
    .await;
}

#[tokio::test]
async fn lengths_that_do_not_fit_are_refused_and_leave_the_session_as_it_was() {
    on_each(|world| async move {
        let location = world.session("a").await;
        let patch = |range: &str, bytes: &[u8]| world.patch(&location).with("content-range", range).bytes(bytes).send();
        patch("0-9", &CONTENT[..5]).await.is(400, "SIZE_INVALID");
        world.patch(&location).with("content-range", "0-9").body(Body::from(&CONTENT[..12])).send().await.is(400, "SIZE_INVALID");
        patch("9-0", &CONTENT[..10]).await.is(400, "BLOB_UPLOAD_INVALID");
        patch("bytes 0-9", &CONTENT[..10]).await.is(400, "BLOB_UPLOAD_INVALID");
        let answer = patch("0-51", CONTENT).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let digest = sha256(CONTENT);
        assert_eq!(world.put(format!("{location}?digest={digest}")).send().await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_digest_is_refused_in_every_style() {
    on_each(|world| async move {
        let wrong = [sha256(b"other"), sha512(b"other"), "sha256:00".into(), "md5:00".into(), "x".into()];
        for digest in wrong {
            world.post(format!("/v2/a/blobs/uploads/?digest={digest}")).bytes(CONTENT).send().await.is(400, "DIGEST_INVALID");
            let location = world.session("a").await;
            world.put(format!("{location}?digest={digest}")).bytes(CONTENT).send().await.is(400, "DIGEST_INVALID");
            let location = world.session("a").await;
            world.patch(&location).bytes(CONTENT).send().await;
            world.put(format!("{location}?digest={digest}")).send().await.is(400, "DIGEST_INVALID");
            let location = world.session("a").await;
            world.patch(&location).with("content-range", "0-9").bytes(&CONTENT[..10]).send().await;
            let last = world.put(format!("{location}?digest={digest}")).with("content-range", "10-51").bytes(&CONTENT[10..]);
            last.send().await.is(400, "DIGEST_INVALID");
        }
        let location = world.session("a").await;
        world.put(&location).bytes(CONTENT).send().await.is(400, "DIGEST_INVALID");
        // Nothing half-written: neither the repository nor a blob.
        world.get("/v2/a/tags/list").send().await.is(404, "NAME_UNKNOWN");
        world.get(format!("/v2/a/blobs/{}", sha256(CONTENT))).send().await.is(404, "BLOB_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn content_that_does_not_match_leaves_nothing_behind() {
    on_each(|world| async move {
        let location = world.session("a").await;
        world.put(format!("{location}?digest={}", sha256(b"x"))).bytes(CONTENT).send().await.is(400, "DIGEST_INVALID");
        world.get(&location).send().await.is(404, "BLOB_UPLOAD_UNKNOWN");
        assert_eq!(world.files(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_algorithm_may_be_announced() {
    on_each(|world| async move {
        let answer = world.post("/v2/a/blobs/uploads/?digest-algorithm=sha512").send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let digest = sha512(CONTENT);
        let put = world.put(format!("{}?digest={digest}", answer.header("location"))).bytes(CONTENT).send().await;
        assert_eq!(put.status, StatusCode::CREATED);
        is_there(&world, "a", &digest, CONTENT).await;
        world.post("/v2/a/blobs/uploads/?digest-algorithm=md5").send().await.is(400, "DIGEST_INVALID");
    })
    .await;
}

#[tokio::test]
async fn a_broken_connection_is_resumed_where_it_broke() {
    on_each(|world| async move {
        let location = world.session("a").await;
        let body = broken(vec![Bytes::from_static(&CONTENT[..10]), Bytes::from_static(&CONTENT[10..30])]);
        let answer = world.patch(&location).body(body).send().await;
        assert!(answer.status.is_client_error());
        let status = world.get(&location).send().await;
        assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-29"));
        let rest = world.patch(&location).with("content-range", "30-51").bytes(&CONTENT[30..]).send().await;
        assert_eq!(rest.status, StatusCode::ACCEPTED);
        let digest = sha256(CONTENT);
        assert_eq!(world.put(format!("{location}?digest={digest}")).send().await.status, StatusCode::CREATED);
        is_there(&world, "a", &digest, CONTENT).await;
    })
    .await;
}

#[tokio::test]
async fn a_truncated_single_post_leaves_nothing() {
    on_each(|world| async move {
        let body = broken(vec![Bytes::from_static(&CONTENT[..10])]);
        let answer = world.post(format!("/v2/a/blobs/uploads/?digest={}", sha256(CONTENT))).body(body).send().await;
        answer.is(400, "BLOB_UPLOAD_INVALID");
        assert_eq!(world.files(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_restarted_server_goes_on_with_an_upload() {
    on_each(|world| async move {
        let location = world.session("a").await;
        world.patch(&location).with("content-range", "0-19").bytes(&CONTENT[..20]).send().await;
        let world = world.restart().await;
        let status = world.get(&location).send().await;
        assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-19"));
        let answer = world.patch(&location).with("content-range", "20-51").bytes(&CONTENT[20..]).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let world = world.restart().await;
        let digest = sha256(CONTENT);
        assert_eq!(world.put(format!("{location}?digest={digest}")).send().await.status, StatusCode::CREATED);
        let world = world.restart().await;
        is_there(&world, "a", &digest, CONTENT).await;
        world.get(&location).send().await.is(404, "BLOB_UPLOAD_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn a_newer_request_takes_over_from_one_that_hangs() {
    on_each(|world| async move {
        let location = world.session("a").await;
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(&CONTENT[..10]))]);
        let hanging = Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending()));
        let (old, ()) = tokio::join!(world.patch(&location).body(hanging).send(), async {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if world.get(&location).send().await.header("range") == "0-9" {
                    break;
                }
            }
            let answer = world.patch(&location).with("content-range", "10-51").bytes(&CONTENT[10..]).send().await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        });
        assert!(old.status.is_client_error());
        let digest = sha256(CONTENT);
        assert_eq!(world.put(format!("{location}?digest={digest}")).send().await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    on_each(|world| async move {
        let location = world.session("a").await;
        world.patch(&location).bytes(CONTENT).send().await;
        assert_eq!(world.delete(&location).send().await.status, StatusCode::NO_CONTENT);
        for answer in [world.get(&location), world.patch(&location), world.delete(&location)] {
            answer.send().await.is(404, "BLOB_UPLOAD_UNKNOWN");
        }
        assert_eq!(world.files(), 0);
        world.get("/v2/a/blobs/uploads/not-an-id").send().await.is(404, "BLOB_UPLOAD_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn a_session_belongs_to_its_repository_and_principal() {
    on_each(|world| async move {
        let other = world.user("other", model::access::Role::Push, "**").await;
        let location = world.session("a").await;
        world.get(&location).by(&other).send().await.is(404, "BLOB_UPLOAD_UNKNOWN");
        world.patch(&location).by(&other).bytes(CONTENT).send().await.is(404, "BLOB_UPLOAD_UNKNOWN");
        world.get(location.replace("/v2/a/", "/v2/b/")).send().await.is(404, "BLOB_UPLOAD_UNKNOWN");
        assert_eq!(world.get(&location).send().await.status, StatusCode::NO_CONTENT);
    })
    .await;
}

#[tokio::test]
async fn a_blob_above_the_limit_is_refused() {
    on_each(|world| async move {
        let large = vec![7u8; 8 * 1024 * 1024 + 1];
        let location = world.session("a").await;
        let digest = sha256(&large);
        let close = format!("{location}?digest={digest}");
        world.put(&close).bytes(&large).send().await.is(413, "SIZE_INVALID");
        world.put(&close).body(Body::from(large.clone())).send().await.is(413, "SIZE_INVALID");
        let digest = sha256(&large[1..]);
        let answer = world.put(format!("{location}?digest={digest}")).bytes(&large[1..]).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        is_there(&world, "a", &digest, &large[1..]).await;
    })
    .await;
}

#[tokio::test]
async fn nobody_s_uploads_go_after_a_day() {
    on_each(|world| async move {
        let location = world.session("a").await;
        world.patch(&location).bytes(CONTENT).send().await;
        world.clock.advance(Duration::from_hours(23));
        assert_eq!(world.registry.expire_uploads().await.unwrap(), 0);
        // Before the restart by its last use, after it by the age of its row.
        let world = world.restart().await;
        world.clock.advance(Duration::from_hours(2));
        assert_eq!(world.registry.expire_uploads().await.unwrap(), 1);
        let other = world.session("a").await;
        world.patch(&other).bytes(CONTENT).send().await;
        world.clock.advance(Duration::from_hours(25));
        assert_eq!(world.registry.expire_uploads().await.unwrap(), 1);
        for location in [location, other] {
            world.get(&location).send().await.is(404, "BLOB_UPLOAD_UNKNOWN");
        }
        assert_eq!(world.files(), 0);
    })
    .await;
}

/// A killed server leaves files that no row knows. They have a mark, and go; a mark that was left on a file that a row knows goes alone.
#[tokio::test]
async fn marked_files_that_no_row_knows_go_and_others_stay() {
    on_each(|world| async move {
        let (short, long) = (world.blob("a", CONTENT).await, world.blob("a", b"other bytes").await);
        let sha512_digest = sha512(CONTENT);
        let single = world.post(format!("/v2/b/blobs/uploads/?digest={sha512_digest}")).bytes(CONTENT).send().await;
        assert_eq!(single.status, StatusCode::CREATED);
        let location = world.session("a").await;
        world.patch(&location).bytes(&CONTENT[..10]).send().await;
        assert_eq!(world.files(), 4);
        let blobs = world.blobs();
        for folder in std::fs::read_dir(&blobs).unwrap().map(|folder| folder.unwrap().path()).filter(|folder| !folder.ends_with("new")) {
            for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
                // The acknowledged one may still have its own.
                let _ = std::fs::hard_link(&file, blobs.join("new").join(file.file_name().unwrap()));
            }
        }
        for (id, marked) in [("aa000000000000000000000000000001", true), ("bb000000000000000000000000000002", false)] {
            let mark = blobs.join("new").join(id);
            std::fs::write(&mark, "some bytes").unwrap();
            // The second one was cut off between the mark and the file.
            if marked {
                std::fs::hard_link(&mark, blobs.join(&id[..2]).join(id)).unwrap();
            }
        }
        let world = world.restart().await;
        // Where other servers can be at work here, only after a while.
        if !world.db.is_exclusive() {
            date_marks(&blobs, 1_800_000_000);
            assert_eq!((world.registry.clear_marks().await.unwrap(), world.files()), (0, 5));
            date_marks(&blobs, 1_799_990_000);
        }
        assert_eq!(world.registry.clear_marks().await.unwrap(), 1);
        assert_eq!((world.files(), std::fs::read_dir(blobs.join("new")).unwrap().count()), (4, 0));
        is_there(&world, "a", &short, CONTENT).await;
        is_there(&world, "a", &long, b"other bytes").await;
        is_there(&world, "b", &sha512_digest, CONTENT).await;
        let status = world.get(&location).send().await;
        assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-9"));
        assert_eq!(world.registry.clear_marks().await.unwrap(), 0);
    })
    .await;
}

/// As if the marks had been made then; the clock of the tests stands at 1,800,000,000 s.
fn date_marks(blobs: &Path, secs: u64) {
    for mark in std::fs::read_dir(blobs.join("new")).unwrap() {
        let file = std::fs::File::options().write(true).open(mark.unwrap().path()).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(secs)).unwrap();
    }
}

#[tokio::test]
async fn unsupported_methods_are_refused_by_name() {
    on_each(|world| async move {
        let answer = world.patch("/v2/a/blobs/uploads/").send().await;
        answer.is(405, "UNSUPPORTED");
        assert_eq!(answer.header("allow"), "POST");
        world.post("/v2/a/tags/list").send().await.is(405, "UNSUPPORTED");
        world.patch("/v2/a/manifests/x").send().await.is(405, "UNSUPPORTED");
    })
    .await;
}
