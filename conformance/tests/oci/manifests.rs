//! PUSH-MAN, PUSH-TAG and SUBJ: manifests, indexes, several tags at once, subjects.

use anyhow::{Result, ensure};
use conformance::registry::{EMPTY_CONTENT, EMPTY_TYPE, Registry, SmallImage, absent_digest, index_of, location, refused, strings};
use reqwest::Method;
use serde_json::json;
use testing::images::{Blob, CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE};

const DOCKER_MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// PUSH-MAN-6: at least this many bytes have to be taken.
const MANIFEST_BYTES_TAKEN: usize = 4_000_000;
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

#[tokio::test]
async fn push_man_1_2_a_manifest_is_201_with_location_and_digest() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = SmallImage::new();
    let answer = repository.push("v1", &image).await?;
    ensure!(answer.header("docker-content-digest") == image.digest(), "{:?}", answer.headers);
    let headers = [("accept", MANIFEST_TYPE)];
    let pulled = registry.client.send(Method::GET, &location(&answer)?, &headers, bytes::Bytes::new()).await?.expect(200)?;
    ensure!(pulled.body == image.manifest.bytes, "other bytes came back");
    Ok(())
}

#[tokio::test]
async fn push_man_1_by_digest_sets_no_tag() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = SmallImage::new();
    repository.push(image.digest(), &image).await?;
    ensure!(repository.has_manifest(image.digest()).await? && repository.tags().await?.is_empty(), "{:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn push_man_1_a_tag_moves() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let (one, two) = (repository.push_new("v1").await?, repository.push_new("v1").await?);
    ensure!(repository.get("manifests/v1").await?.expect(200)?.body == two.manifest.bytes, "the tag did not move");
    ensure!(repository.has_manifest(one.digest()).await?, "the old manifest is gone");
    ensure!(repository.tags().await? == ["v1"], "{:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn push_man_2_a_digest_that_does_not_match_is_400_and_keeps_nothing() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let (wrong, other) = (absent_digest(), SmallImage::new());
    refused(&repository.put_manifest(&wrong, MANIFEST_TYPE, image.manifest.bytes.clone()).await?, 400, "DIGEST_INVALID")?;
    ensure!(!repository.has_manifest(&wrong).await?, "the wrong digest has a manifest");
    ensure!(!repository.has_manifest(other.digest()).await?, "and so has another");
    Ok(())
}

#[tokio::test]
async fn push_man_2_a_manifest_by_sha512_keeps_that_identity() -> Result<()> {
    use sha2::Digest;
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let digest = format!("sha512:{}", hex::encode(sha2::Sha512::digest(&image.manifest.bytes)));
    repository.put_manifest(&digest, MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201)?;
    let answer = repository.get(&format!("manifests/{digest}")).await?.expect(200)?;
    ensure!(answer.header("docker-content-digest") == digest && answer.body == image.manifest.bytes, "{:?}", answer.headers);
    Ok(())
}

#[tokio::test]
async fn push_man_3_parameters_of_the_content_type_are_ignored() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    repository.put_manifest("v2", &format!("{MANIFEST_TYPE}; charset=utf-8"), image.manifest.bytes.clone()).await?.expect(201)?;
    ensure!(repository.head("manifests/v2").await?.header("content-type") == MANIFEST_TYPE, "with parameters");
    Ok(())
}

#[tokio::test]
async fn push_man_3_a_type_that_contradicts_the_body_or_is_unknown_is_refused() -> Result<()> {
    // Spec silent; CVE-2021-41190 is what comes of guessing.
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for media_type in [INDEX_TYPE, DOCKER_MANIFEST_TYPE, "application/json", "text/plain", "application/vnd.example.unknown+json"] {
        let answer = repository.put_manifest("bad", media_type, image.manifest.bytes.clone()).await?;
        refused(&answer, 400, "MANIFEST_INVALID")?;
    }
    ensure!(repository.tags().await? == ["v1"], "{:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn push_man_3_a_body_that_is_both_image_and_index_is_refused() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let both = json!({
        "schemaVersion": 2, "config": image.config.descriptor(CONFIG_TYPE), "layers": [image.layer.descriptor(LAYER_TYPE)],
        "manifests": [image.descriptor()],
    });
    for media_type in [MANIFEST_TYPE, INDEX_TYPE] {
        refused(&repository.put_manifest("bad", media_type, both.to_string()).await?, 400, "MANIFEST_INVALID")?;
    }
    Ok(())
}

#[tokio::test]
async fn push_man_bodies_that_are_no_manifest_are_400() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let config = image.config.descriptor(CONFIG_TYPE);
    let without_digest = json!({"schemaVersion": 2, "config": {"mediaType": CONFIG_TYPE, "size": 3}, "layers": []});
    let negative =
        json!({"schemaVersion": 2, "config": config, "layers": [{"mediaType": LAYER_TYPE, "digest": image.layer.digest, "size": -1}]});
    let bad_digest =
        json!({"schemaVersion": 2, "config": config, "layers": [{"mediaType": LAYER_TYPE, "digest": "sha256:../x", "size": 1}]});
    let twice = format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[],\"config\":{config}}}");
    for body in [
        String::new(),
        "{".into(),
        "[]".into(),
        "null".into(),
        "{}".into(),
        "\u{0}".into(),
        json!({"schemaVersion": 1, "config": config, "layers": []}).to_string(),
        without_digest.to_string(),
        negative.to_string(),
        bad_digest.to_string(),
        twice,
        format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)),
    ] {
        let answer = repository.put_manifest("bad", MANIFEST_TYPE, body.clone()).await?;
        refused(&answer, 400, "MANIFEST_INVALID").map_err(|error| error.context(body.chars().take(200).collect::<String>()))?;
    }
    ensure!(repository.tags().await? == ["v1"], "{:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn push_man_4_every_missing_blob_is_named() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = SmallImage::new();
    let answer = repository.put_manifest("v1", MANIFEST_TYPE, image.manifest.bytes.clone()).await?;
    refused(&answer, 400, "MANIFEST_BLOB_UNKNOWN")?;
    ensure!(answer.text().contains(&image.config.digest) && answer.text().contains(&image.layer.digest), "{}", answer.text());
    repository.push_blob(&image.config).await?;
    let answer = repository.put_manifest("v1", MANIFEST_TYPE, image.manifest.bytes.clone()).await?;
    refused(&answer, 400, "MANIFEST_BLOB_UNKNOWN")?;
    ensure!(!answer.text().contains(&image.config.digest), "{}", answer.text());
    ensure!(!repository.has_manifest("v1").await? && !repository.has_manifest(image.digest()).await?, "it was kept");
    Ok(())
}

#[tokio::test]
async fn push_man_4_a_blob_of_another_repository_counts_as_missing() -> Result<()> {
    let registry = Registry::start().await?;
    let (one, other) = (registry.repository(), registry.repository());
    let image = one.push_new("v1").await?;
    refused(&other.put_manifest("v1", MANIFEST_TYPE, image.manifest.bytes.clone()).await?, 400, "MANIFEST_BLOB_UNKNOWN")
}

#[tokio::test]
async fn push_man_4_an_index_over_a_missing_manifest_is_refused() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let there = repository.push_new("v1").await?;
    let index = index_of(&[there.descriptor(), SmallImage::new().descriptor()]);
    refused(&repository.put_manifest("all", INDEX_TYPE, index.bytes).await?, 400, "MANIFEST_BLOB_UNKNOWN")
}

#[tokio::test]
async fn push_man_4_incomplete_manifests_are_taken_where_nobody_says_otherwise() -> Result<()> {
    let registry = Registry::start_as_it_comes().await?;
    let repository = registry.repository();
    let image = SmallImage::new();
    repository.push_blob(&image.config).await?;
    repository.put_manifest("v1", MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201)?;
    let index = index_of(&[image.descriptor(), SmallImage::new().descriptor()]);
    repository.put_manifest("all", INDEX_TYPE, index.bytes.clone()).await?.expect(201)?;
    ensure!(repository.get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
    ensure!(repository.get("manifests/all").await?.expect(200)?.body == index.bytes);
    ensure!(!repository.has_blob(&image.layer.digest).await?);
    // What was missing may come later.
    repository.push_blob(&image.layer).await?;
    ensure!(repository.has_blob(&image.layer.digest).await?);
    Ok(())
}

#[tokio::test]
async fn push_man_5_a_subject_may_be_absent() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let subject = SmallImage::new().descriptor();
    let image = SmallImage::changed(|manifest| manifest["subject"] = subject.clone());
    let answer = repository.push("v1", &image).await?;
    ensure!(answer.header("oci-subject") == subject["digest"].as_str().unwrap_or_default(), "{:?}", answer.headers);
    Ok(())
}

#[tokio::test]
async fn push_man_6_four_megabytes_are_taken_and_more_is_413() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let padded = |size: usize| SmallImage::changed(|manifest| manifest["annotations"] = json!({"padding": "x".repeat(size)}));
    let large = padded(MANIFEST_BYTES_TAKEN - 1000);
    repository.push("large", &large).await?;
    ensure!(repository.get("manifests/large").await?.expect(200)?.body == large.manifest.bytes, "other bytes came back");
    let too_large = padded(MANIFEST_BYTES_MAX);
    repository.push_blob(&too_large.config).await?;
    repository.push_blob(&too_large.layer).await?;
    let answer = repository.put_manifest("larger", MANIFEST_TYPE, too_large.manifest.bytes.clone()).await?.expect(413)?;
    conformance::registry::error_code(&answer)?;
    ensure!(repository.tags().await? == ["large"] && !repository.has_manifest(too_large.digest()).await?, "it was kept");
    Ok(())
}

#[tokio::test]
async fn push_man_shapes_that_are_valid_are_taken() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let empty = Blob::new(EMPTY_CONTENT);
    let nothing = Blob::new("");
    repository.push_blob(&empty).await?;
    repository.push_blob(&nothing).await?;
    let config = image.config.descriptor(CONFIG_TYPE);
    let foreign = json!({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "digest": absent_digest(), "size": 5,
        "urls": ["https://example.org/layer"]});
    let nested = index_of(&[image.descriptor()]);
    repository.put_manifest("inner", INDEX_TYPE, nested.bytes.clone()).await?.expect(201)?;
    for (tag, media_type, body) in [
        ("no-layers", MANIFEST_TYPE, json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": []})),
        ("no-media-type", MANIFEST_TYPE, json!({"schemaVersion": 2, "config": config, "layers": []})),
        ("zero-bytes", MANIFEST_TYPE, json!({"schemaVersion": 2, "config": config, "layers": [nothing.descriptor(LAYER_TYPE)]})),
        ("foreign-layer", MANIFEST_TYPE, json!({"schemaVersion": 2, "config": config, "layers": [foreign]})),
        (
            "artifact",
            MANIFEST_TYPE,
            json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "artifactType": "application/vnd.example.sbom",
            "config": empty.descriptor(EMPTY_TYPE), "layers": [empty.descriptor(EMPTY_TYPE)]}),
        ),
        (
            "odd-types",
            MANIFEST_TYPE,
            json!({"schemaVersion": 2, "config": image.config.descriptor("application/vnd.example.config"),
            "layers": [image.layer.descriptor("text/x-unknown")]}),
        ),
        ("empty-index", INDEX_TYPE, json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []})),
        ("nested-index", INDEX_TYPE, json!({"schemaVersion": 2, "manifests": [nested.descriptor(INDEX_TYPE)]})),
        (
            "docker",
            DOCKER_MANIFEST_TYPE,
            json!({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST_TYPE,
            "config": image.config.descriptor("application/vnd.docker.container.image.v1+json"),
            "layers": [image.layer.descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip")]}),
        ),
        (
            "docker-list",
            DOCKER_LIST_TYPE,
            json!({"schemaVersion": 2, "mediaType": DOCKER_LIST_TYPE, "manifests": [{
            "mediaType": MANIFEST_TYPE, "digest": image.digest(), "size": image.manifest.bytes.len(),
            "platform": {"architecture": "amd64", "os": "linux"}}]}),
        ),
    ] {
        let body = Blob::new(body.to_string());
        let answer = repository.put_manifest(tag, media_type, body.bytes.clone()).await?;
        ensure!(answer.status == 201, "{tag}: {} {}", answer.status, answer.text());
        let pulled = repository.get(&format!("manifests/{tag}")).await?.expect(200)?;
        ensure!(pulled.body == body.bytes && pulled.header("content-type") == media_type, "{tag}");
    }
    Ok(())
}

#[tokio::test]
async fn push_man_embedded_data_has_to_match_its_digest() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let empty = Blob::new(EMPTY_CONTENT);
    repository.push_blob(&empty).await?;
    let with_data = |data: &str| {
        let mut config = empty.descriptor(EMPTY_TYPE);
        config["data"] = json!(data);
        json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "artifactType": "application/vnd.example", "config": config,
            "layers": [image.layer.descriptor(LAYER_TYPE)]})
        .to_string()
    };
    repository.put_manifest("good", MANIFEST_TYPE, with_data("e30=")).await?.expect(201)?;
    for bad in ["e30K", "not base64"] {
        refused(&repository.put_manifest("bad", MANIFEST_TYPE, with_data(bad)).await?, 400, "MANIFEST_INVALID")?;
    }
    Ok(())
}

#[tokio::test]
async fn push_tag_1_2_ten_tags_at_once_are_set_and_named() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = SmallImage::new();
    repository.push_blob(&image.config).await?;
    repository.push_blob(&image.layer).await?;
    let tags: Vec<String> = (0..10).map(|number| format!("v{number}")).collect();
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    let path = format!("manifests/{}?{}", image.digest(), query.join("&"));
    let answer =
        repository.send(Method::PUT, &path, &[("content-type", MANIFEST_TYPE)], image.manifest.bytes.clone()).await?.expect(201)?;
    let mut named: Vec<String> = answer
        .headers
        .get_all("oci-tag")
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(',').map(|tag| tag.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    named.sort();
    ensure!(named == tags, "{named:?}");
    ensure!(repository.tags().await? == tags, "{:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn push_tag_2_too_many_tags_are_414_and_set_none() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("first").await?;
    let query: Vec<String> = (0..500).map(|number| format!("tag=v{number}")).collect();
    let path = format!("manifests/{}?{}", image.digest(), query.join("&"));
    let answer = repository.send(Method::PUT, &path, &[("content-type", MANIFEST_TYPE)], image.manifest.bytes.clone()).await?;
    ensure!(matches!(answer.status.as_u16(), 414 | 431), "{}", answer.status);
    ensure!(repository.tags().await? == ["first"], "{:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn push_tag_3_a_tag_in_the_path_and_more_in_the_query_are_all_set() -> Result<()> {
    // Spec silent.
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("first").await?;
    let headers = [("content-type", MANIFEST_TYPE)];
    repository.send(Method::PUT, "manifests/a?tag=b&tag=a&tag=b", &headers, image.manifest.bytes.clone()).await?.expect(201)?;
    ensure!(repository.tags().await? == ["a", "b", "first"], "{:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn push_tag_3_one_bad_tag_refuses_the_push_and_sets_none() -> Result<()> {
    // Spec silent; all or nothing.
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("first").await?;
    let path = format!("manifests/{}?tag=good&tag=-bad", image.digest());
    let answer =
        repository.send(Method::PUT, &path, &[("content-type", MANIFEST_TYPE)], image.manifest.bytes.clone()).await?.expect(400)?;
    conformance::registry::error_code(&answer)?;
    ensure!(repository.tags().await? == ["first"], "{:?}", repository.tags().await?);
    Ok(())
}

#[tokio::test]
async fn subj_1_images_and_indexes_with_a_subject_are_answered_with_it() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let subject = repository.push_new("v1").await?;
    let index = Blob::new(
        json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [], "subject": subject.descriptor(),
        "artifactType": "application/vnd.example"})
        .to_string(),
    );
    let answer = repository.put_manifest(&index.digest, INDEX_TYPE, index.bytes.clone()).await?.expect(201)?;
    ensure!(answer.header("oci-subject") == subject.digest(), "{:?}", answer.headers);
    let plain = repository.push("v2", &SmallImage::new()).await?;
    ensure!(plain.header("oci-subject").is_empty(), "{:?}", plain.headers);
    ensure!(strings(&repository.get("tags/list").await?.json()["tags"])? == ["v1", "v2"], "the index got a tag");
    Ok(())
}
