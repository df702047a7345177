//! Tags, catalog and referrers.

use crate::world::{IMAGE, INDEX, descriptor, image_of, on_each, sha256};
use http::StatusCode;
use model::access::Role;
use serde_json::json;

#[tokio::test]
async fn tags_are_listed_in_byte_order_and_by_pages() {
    on_each(|world| async move {
        let digest = world.image("a", "v1", b"layer").await;
        let body = world.get("/v2/a/manifests/v1").send().await.body;
        let query = "tag=b&tag=B&tag=_x&tag=v10&tag=v2&tag=0";
        world.put(format!("/v2/a/manifests/{digest}?{query}")).with("content-type", IMAGE).bytes(&body).send().await;
        let all = world.get("/v2/a/tags/list").send().await;
        assert_eq!(all.json(), json!({ "name": "a", "tags": ["0", "B", "_x", "b", "v1", "v10", "v2"] }));
        assert_eq!(all.header("link"), "");
        let mut next = "/v2/a/tags/list?n=3".to_owned();
        let mut pages = Vec::new();
        loop {
            let page = world.get(&next).send().await;
            pages.push(page.json()["tags"].clone());
            let Some(link) = page.header("link").strip_suffix(">; rel=\"next\"").and_then(|link| link.strip_prefix('<')) else { break };
            link.clone_into(&mut next);
        }
        assert_eq!(pages, [json!(["0", "B", "_x"]), json!(["b", "v1", "v10"]), json!(["v2"])]);
        let none = world.get("/v2/a/tags/list?n=0").send().await;
        assert_eq!((none.json()["tags"].clone(), none.header("link")), (json!([]), ""));
        assert_eq!(world.get("/v2/a/tags/list?last=v1").send().await.json()["tags"], json!(["v10", "v2"]));
        assert_eq!(world.get("/v2/a/tags/list?last=a").send().await.json()["tags"], json!(["b", "v1", "v10", "v2"]));
        assert_eq!(world.get("/v2/a/tags/list?n=7").send().await.header("link"), "");
        world.get("/v2/a/tags/list?n=-1").send().await.is(400, "PAGINATION_NUMBER_INVALID");
        world.get("/v2/nowhere/tags/list").send().await.is(404, "NAME_UNKNOWN");
        assert_eq!(world.get("/v2/a/tags/list?n=99999999999").send().await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn the_catalog_shows_what_may_be_pulled() {
    on_each(|world| async move {
        for name in ["acme/web", "acme/api", "secret/x", "zoo"] {
            world.blob(name, b"x").await;
        }
        let user = world.user("dev", Role::Pull, "acme/*").await;
        assert_eq!(world.get("/v2/_catalog").send().await.json(), json!({ "repositories": ["acme/api", "acme/web", "secret/x", "zoo"] }));
        assert_eq!(world.get("/v2/_catalog").by(&user).send().await.json()["repositories"], json!(["acme/api", "acme/web"]));
        let page = world.get("/v2/_catalog?n=1").by(&user).send().await;
        assert_eq!(page.json()["repositories"], json!(["acme/api"]));
        assert_eq!(page.header("link"), "</v2/_catalog?n=1&last=acme/api>; rel=\"next\"");
        let page = world.get("/v2/_catalog?n=1&last=acme/api").by(&user).send().await;
        assert_eq!((page.json()["repositories"].clone(), page.header("link")), (json!(["acme/web"]), ""));
    })
    .await;
}

#[tokio::test]
async fn referrers_are_those_of_a_subject_which_need_not_exist() {
    on_each(|world| async move {
        let subject = sha256(b"not here");
        let path = format!("/v2/a/referrers/{subject}");
        // REF-2: also in a repository never pushed to.
        let empty = world.get(&path).send().await;
        assert_eq!((empty.status, empty.header("content-type")), (StatusCode::OK, INDEX));
        assert_eq!(empty.json(), json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }));
        let config = world.blob("a", b"{}").await;
        let mut image = image_of(&(config, 2), &[]);
        image["subject"] = descriptor(IMAGE, &subject, 8);
        image["annotations"] = json!({ "org.example": "yes" });
        let first = image.to_string();
        let put = world.manifest("a", &sha256(first.as_bytes()), IMAGE, &first).await;
        assert_eq!((put.status, put.header("oci-subject")), (StatusCode::CREATED, subject.as_str()));
        image["artifactType"] = json!("application/vnd.sbom+json");
        let second = image.to_string();
        world.manifest("a", "sbom", IMAGE, &second).await;
        let index =
            json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": descriptor(IMAGE, &subject, 8) }).to_string();
        assert_eq!(world.manifest("a", "index", INDEX, &index).await.header("oci-subject"), subject);
        let all = world.get(&path).send().await.json();
        assert_eq!(all["manifests"].as_array().unwrap().len(), 3);
        let entry = |digest: String| all["manifests"].as_array().unwrap().iter().find(|entry| entry["digest"] == digest).unwrap().clone();
        let entry_of_first = entry(sha256(first.as_bytes()));
        assert_eq!(entry_of_first["artifactType"], "application/vnd.oci.image.config.v1+json");
        assert_eq!(entry_of_first["annotations"], json!({ "org.example": "yes" }));
        assert_eq!(entry_of_first["size"], first.len());
        assert_eq!(entry(sha256(index.as_bytes())).get("artifactType"), None);
        for filter in ["application/vnd.sbom+json", "application%2Fvnd.sbom%2Bjson"] {
            let filtered = world.get(format!("{path}?artifactType={filter}")).send().await;
            assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
            assert_eq!(filtered.json()["manifests"][0]["digest"], sha256(second.as_bytes()));
            assert_eq!(filtered.json()["manifests"].as_array().unwrap().len(), 1);
        }
        world.get("/v2/a/referrers/sha256:00").send().await.is(400, "DIGEST_INVALID");
        world.delete("/v2/a/manifests/sbom").send().await;
        world.delete(format!("/v2/a/manifests/{}", sha256(second.as_bytes()))).send().await;
        assert_eq!(world.get(&path).send().await.json()["manifests"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn referrers_come_by_pages() {
    on_each(|world| async move {
        let subject = sha256(b"subject");
        let config = world.blob("a", b"{}").await;
        for n in 0..5 {
            let mut image = image_of(&(config.clone(), 2), &[]);
            image["subject"] = descriptor(IMAGE, &subject, 7);
            image["annotations"] = json!({ "n": n.to_string() });
            world.manifest("a", &format!("r{n}"), IMAGE, &image.to_string()).await;
        }
        let mut next = format!("/v2/a/referrers/{subject}?n=2&artifactType=application/vnd.oci.image.config.v1%2Bjson");
        let mut seen = std::collections::BTreeSet::new();
        let mut pages = 0;
        loop {
            let page = world.get(&next).send().await;
            pages += 1;
            seen.extend(page.json()["manifests"].as_array().unwrap().iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()));
            let Some(link) = page.header("link").strip_suffix(">; rel=\"next\"").and_then(|link| link.strip_prefix('<')) else { break };
            link.clone_into(&mut next);
        }
        assert_eq!((pages, seen.len()), (3, 5));
    })
    .await;
}

#[tokio::test]
async fn large_referrers_make_more_pages_and_none_is_left_out() {
    on_each(|world| async move {
        let subject = sha256(b"subject");
        let config = world.blob("a", b"{}").await;
        for n in 0..9 {
            let mut image = image_of(&(config.clone(), 2), &[]);
            image["subject"] = descriptor(IMAGE, &subject, 7);
            let bytes = if n % 3 == 2 { 10 } else { 2_500_000 };
            image["annotations"] = json!({ "n": n.to_string(), "large": "x".repeat(bytes) });
            world.manifest("a", &format!("r{n}"), IMAGE, &image.to_string()).await;
        }
        for filter in ["", "?artifactType=application/vnd.oci.image.config.v1%2Bjson"] {
            let mut next = format!("/v2/a/referrers/{subject}{filter}");
            let mut seen = Vec::new();
            loop {
                let page = world.get(&next).send().await;
                assert!(page.body.len() <= 4 * 1024 * 1024, "a page of {} bytes", page.body.len());
                seen.extend(page.json()["manifests"].as_array().unwrap().iter().map(|entry| entry["annotations"]["n"].clone()));
                let Some(link) = page.header("link").strip_suffix(">; rel=\"next\"").and_then(|link| link.strip_prefix('<')) else { break };
                link.clone_into(&mut next);
            }
            assert_eq!(seen.len(), 9, "{seen:?}");
            assert_eq!(seen.iter().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>().len(), 9);
        }
        // What nobody asked for is read in bounds too.
        let none = world.get(format!("/v2/a/referrers/{subject}?artifactType=application/x")).send().await;
        assert_eq!((none.json()["manifests"].clone(), none.header("link")), (json!([]), ""));
    })
    .await;
}
