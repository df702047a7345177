//! TAG and REF: lists of tags and of referrers.

use crate::general::next_link;
use anyhow::{Result, ensure};
use conformance::registry::{Registry, Repository, SmallImage, absent_digest, refused, strings};
use serde_json::{Value, json};
use testing::images::{Blob, CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE};

async fn with_tags(registry: &Registry, tags: &[&str]) -> Result<Repository> {
    let repository = registry.repository();
    let image = SmallImage::new();
    for tag in tags {
        repository.push(tag, &image).await?;
    }
    Ok(repository)
}

async fn page(repository: &Repository, query: &str) -> Result<(Vec<String>, String)> {
    let answer = repository.get(&format!("tags/list{query}")).await?.expect(200)?;
    Ok((strings(&answer.json()["tags"])?, next_link(answer.header("link"))))
}

#[tokio::test]
async fn tag_1_2_the_list_names_the_repository_and_is_sorted() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = with_tags(&registry, &["b", "a", "v10", "v9", "a1"]).await?;
    let answer = repository.get("tags/list").await?.expect(200)?;
    ensure!(answer.json()["name"] == repository.name.as_str(), "{}", answer.text());
    ensure!(strings(&answer.json()["tags"])? == ["a", "a1", "b", "v10", "v9"], "{}", answer.text());
    Ok(())
}

#[tokio::test]
async fn tag_1_a_repository_without_tags_has_an_empty_list() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = SmallImage::new();
    repository.push(image.digest(), &image).await?;
    let answer = repository.get("tags/list").await?.expect(200)?;
    ensure!(answer.json()["tags"] == json!([]), "{}", answer.text());
    Ok(())
}

#[tokio::test]
async fn tag_3_5_6_pages_follow_each_other_without_gap_or_repetition() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = with_tags(&registry, &["a", "b", "c", "d", "e"]).await?;
    ensure!(page(&repository, "?n=2").await?.0 == ["a", "b"]);
    ensure!(page(&repository, "?n=2&last=b").await?.0 == ["c", "d"]);
    ensure!(page(&repository, "?last=d").await?.0 == ["e"]);
    let (all, next) = page(&repository, "?n=5").await?;
    ensure!(all.len() == 5 && next.is_empty(), "{all:?} {next}");
    ensure!(page(&repository, "?n=6").await?.1.is_empty());
    let (mut found, mut next) = page(&repository, "?n=2").await?;
    while !next.is_empty() {
        let answer = registry.client.get(&next).await?.expect(200)?;
        found.extend(strings(&answer.json()["tags"])?);
        next = next_link(answer.header("link"));
    }
    ensure!(found == ["a", "b", "c", "d", "e"], "{found:?}");
    Ok(())
}

#[tokio::test]
async fn tag_4_no_entries_asked_for_none_given() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = with_tags(&registry, &["a", "b"]).await?;
    let answer = repository.get("tags/list?n=0").await?.expect(200)?;
    ensure!(answer.json()["tags"] == json!([]) && answer.header("link").is_empty(), "{} {:?}", answer.text(), answer.headers);
    Ok(())
}

#[tokio::test]
async fn tag_7_a_last_that_is_no_tag_goes_on_after_it_and_a_bad_number_is_400() -> Result<()> {
    // Spec silent.
    let registry = Registry::start().await?;
    let repository = with_tags(&registry, &["a", "c"]).await?;
    ensure!(page(&repository, "?last=b").await?.0 == ["c"]);
    ensure!(page(&repository, "?last=zzz").await?.0.is_empty());
    for bad in ["-1", "x", ""] {
        refused(&repository.get(&format!("tags/list?n={bad}")).await?, 400, "PAGINATION_NUMBER_INVALID")?;
    }
    Ok(())
}

struct Referred {
    subject: SmallImage,
    by_config: SmallImage,
    by_type: SmallImage,
    index: Blob,
}

/// A subject with three referrers: an image known by its config, an image with an artifact type, an index.
async fn referred(repository: &Repository) -> Result<Referred> {
    let subject = repository.push_new("v1").await?;
    let descriptor = subject.descriptor();
    let by_config = SmallImage::changed(|manifest| {
        manifest["subject"] = descriptor.clone();
        manifest["annotations"] = json!({"org.example.kind": "by config"});
    });
    let by_type = SmallImage::changed(|manifest| {
        manifest["subject"] = descriptor.clone();
        manifest["artifactType"] = json!("application/vnd.example.sbom");
    });
    for image in [&by_config, &by_type] {
        repository.push(image.digest(), image).await?;
    }
    let index = Blob::new(json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [], "subject": descriptor}).to_string());
    repository.put_manifest(&index.digest, INDEX_TYPE, index.bytes.clone()).await?.expect(201)?;
    Ok(Referred { subject, by_config, by_type, index })
}

fn entry<'a>(index: &'a Value, digest: &str) -> Option<&'a Value> {
    index["manifests"].as_array()?.iter().find(|each| each["digest"] == digest)
}

#[tokio::test]
async fn ref_1_4_5_referrers_come_as_an_index_with_types_and_annotations() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let referred = referred(&repository).await?;
    let answer = repository.get(&format!("referrers/{}", referred.subject.digest())).await?.expect(200)?;
    ensure!(answer.header("content-type") == INDEX_TYPE, "{:?}", answer.headers);
    let index = answer.json();
    ensure!(index["schemaVersion"] == 2 && index["mediaType"] == INDEX_TYPE, "{index}");
    ensure!(index["manifests"].as_array().map(Vec::len) == Some(3), "{index}");
    let by_config = entry(&index, referred.by_config.digest()).expect("the image is listed");
    ensure!(by_config["artifactType"] == CONFIG_TYPE && by_config["mediaType"] == MANIFEST_TYPE, "{by_config}");
    ensure!(by_config["annotations"]["org.example.kind"] == "by config", "{by_config}");
    ensure!(by_config["size"] == referred.by_config.manifest.bytes.len(), "{by_config}");
    let by_type = entry(&index, referred.by_type.digest()).expect("the artifact is listed");
    ensure!(by_type["artifactType"] == "application/vnd.example.sbom", "{by_type}");
    let of_index = entry(&index, &referred.index.digest).expect("the index is listed");
    ensure!(of_index["artifactType"].is_null() && of_index["mediaType"] == INDEX_TYPE, "{of_index}");
    Ok(())
}

#[tokio::test]
async fn ref_2_nothing_that_refers_is_an_empty_index_and_never_404() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    for _ in ["before any push", "after one"] {
        let answer = repository.get(&format!("referrers/{}", absent_digest())).await?.expect(200)?;
        ensure!(answer.json()["manifests"] == json!([]), "{}", answer.text());
        repository.push_new("v1").await?;
    }
    Ok(())
}

#[tokio::test]
async fn ref_3_a_malformed_digest_is_400() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    repository.push_new("v1").await?;
    for bad in ["sha256:abc", "latest", "sha256:"] {
        refused(&repository.get(&format!("referrers/{bad}")).await?, 400, "DIGEST_INVALID")?;
    }
    Ok(())
}

#[tokio::test]
async fn ref_4_a_subject_that_came_after_its_referrer_is_found() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let subject = SmallImage::new();
    let referrer = SmallImage::changed(|manifest| manifest["subject"] = subject.descriptor());
    repository.push(referrer.digest(), &referrer).await?;
    repository.push("v1", &subject).await?;
    let index = repository.get(&format!("referrers/{}", subject.digest())).await?.expect(200)?.json();
    ensure!(entry(&index, referrer.digest()).is_some(), "{index}");
    Ok(())
}

#[tokio::test]
async fn ref_4_referrers_belong_to_their_repository() -> Result<()> {
    let registry = Registry::start().await?;
    let (one, other) = (registry.repository(), registry.repository());
    let referred = referred(&one).await?;
    other.push("v1", &referred.subject).await?;
    let index = other.get(&format!("referrers/{}", referred.subject.digest())).await?.expect(200)?.json();
    ensure!(index["manifests"] == json!([]), "{index}");
    Ok(())
}

#[tokio::test]
async fn ref_4_a_deleted_referrer_is_no_longer_listed() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let referred = referred(&repository).await?;
    repository.delete(&format!("manifests/{}", referred.by_type.digest())).await?.expect(202)?;
    let index = repository.get(&format!("referrers/{}", referred.subject.digest())).await?.expect(200)?.json();
    ensure!(entry(&index, referred.by_type.digest()).is_none() && entry(&index, referred.by_config.digest()).is_some(), "{index}");
    Ok(())
}

#[tokio::test]
async fn ref_7_a_filter_by_type_is_applied_and_says_so() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let referred = referred(&repository).await?;
    let path = format!("referrers/{}?artifactType=application/vnd.example.sbom", referred.subject.digest());
    let answer = repository.get(&path).await?.expect(200)?;
    ensure!(answer.header("oci-filters-applied") == "artifactType", "{:?}", answer.headers);
    let index = answer.json();
    ensure!(index["manifests"].as_array().map(Vec::len) == Some(1) && entry(&index, referred.by_type.digest()).is_some(), "{index}");
    let path = format!("referrers/{}?artifactType=application%2Fvnd.example.none", referred.subject.digest());
    ensure!(repository.get(&path).await?.expect(200)?.json()["manifests"] == json!([]));
    Ok(())
}

#[tokio::test]
async fn ref_6_pages_hold_every_referrer_once() -> Result<()> {
    // Parameters are not specified: who knows no `n` gives all at once.
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let subject = repository.push_new("v1").await?;
    let mut expected = std::collections::BTreeSet::new();
    for number in 0..7 {
        let referrer = SmallImage::changed(|manifest| {
            manifest["subject"] = subject.descriptor();
            manifest["annotations"] = json!({"org.example.number": number.to_string()});
        });
        repository.push(referrer.digest(), &referrer).await?;
        expected.insert(referrer.digest().to_owned());
    }
    let mut found = Vec::new();
    let mut next = repository.path(&format!("referrers/{}?n=3", subject.digest()));
    while !next.is_empty() {
        let answer = registry.client.get(&next).await?.expect(200)?;
        ensure!(answer.header("content-type") == INDEX_TYPE, "{:?}", answer.headers);
        let entries = answer.json()["manifests"].as_array().cloned().unwrap_or_default();
        found.extend(entries.iter().map(|entry| entry["digest"].as_str().unwrap_or_default().to_owned()));
        next = next_link(answer.header("link"));
    }
    ensure!(found.len() == expected.len() && found.into_iter().collect::<std::collections::BTreeSet<_>>() == expected);
    Ok(())
}

#[tokio::test]
async fn ref_6_7_a_filter_holds_over_pages() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let subject = repository.push_new("v1").await?;
    for number in 0..6 {
        let kind = if number % 2 == 0 { "application/vnd.example.even+json" } else { "application/vnd.example.odd+json" };
        let referrer = SmallImage::changed(|manifest| {
            manifest["subject"] = subject.descriptor();
            manifest["artifactType"] = json!(kind);
        });
        repository.push(referrer.digest(), &referrer).await?;
    }
    // A raw `+` in a query stands for itself here, as media types are full of them; escaped it is the same.
    for written in ["application/vnd.example.even+json", "application%2Fvnd.example.even%2Bjson"] {
        let mut count = 0;
        let mut next = repository.path(&format!("referrers/{}?n=2&artifactType={written}", subject.digest()));
        while !next.is_empty() {
            let answer = registry.client.get(&next).await?.expect(200)?;
            ensure!(answer.header("oci-filters-applied") == "artifactType", "{:?}", answer.headers);
            let entries = answer.json()["manifests"].as_array().cloned().unwrap_or_default();
            ensure!(entries.iter().all(|entry| entry["artifactType"] == "application/vnd.example.even+json"), "{entries:?}");
            count += entries.len();
            next = next_link(answer.header("link"));
        }
        ensure!(count == 3, "{written}: {count}");
    }
    Ok(())
}

#[tokio::test]
async fn ref_8_10_a_fallback_tag_of_an_old_client_is_a_tag_and_lists_nothing_twice() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let subject = repository.push_new("v1").await?;
    let referrer = SmallImage::changed(|manifest| manifest["subject"] = subject.descriptor());
    repository.push(referrer.digest(), &referrer).await?;
    let fallback = subject.digest().replace(':', "-");
    let index = conformance::registry::index_of(&[referrer.descriptor()]);
    repository.put_manifest(&fallback, INDEX_TYPE, index.bytes.clone()).await?.expect(201)?;
    ensure!(repository.get(&format!("manifests/{fallback}")).await?.expect(200)?.body == index.bytes);
    let listed = repository.get(&format!("referrers/{}", subject.digest())).await?.expect(200)?.json();
    ensure!(listed["manifests"].as_array().map(Vec::len) == Some(1) && entry(&listed, referrer.digest()).is_some(), "{listed}");
    // sha512 is cut to 64 characters, which makes a legal tag.
    let cut = format!("sha512-{}", "a".repeat(64));
    repository.put_manifest(&cut, INDEX_TYPE, index.bytes.clone()).await?.expect(201)?;
    ensure!(repository.tags().await?.contains(&cut), "{:?}", repository.tags().await?);
    Ok(())
}
