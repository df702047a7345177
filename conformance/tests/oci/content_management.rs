//! DEL: deleting tags, manifests and blobs.

use anyhow::{Result, ensure};
use conformance::registry::{Registry, absent_digest, index_of, refused};
use testing::images::{Blob, INDEX_TYPE, MANIFEST_TYPE};

#[tokio::test]
async fn del_1_a_delete_is_done_or_refused_as_switched_off() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for path in ["manifests/v1".to_owned(), format!("manifests/{}", image.digest()), format!("blobs/{}", image.layer.digest)] {
        let answer = repository.delete(&path).await?;
        ensure!(matches!(answer.status.as_u16(), 202 | 400 | 405), "{path}: {}", answer.status);
        // Here they are switched on, unless a repository's settings keep a tag.
        ensure!(answer.status == 202 || registry.server.is_none(), "{path}: {}", answer.text());
    }
    Ok(())
}

#[tokio::test]
async fn del_2_a_tag_goes_and_its_manifest_stays() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    repository.put_manifest("v2", MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201)?;
    repository.delete("manifests/v1").await?.expect(202)?;
    refused(&repository.get("manifests/v1").await?, 404, "MANIFEST_UNKNOWN")?;
    // Spec silent on the manifest: it stays, as do its other tags.
    ensure!(repository.has_manifest(image.digest()).await? && repository.has_manifest("v2").await?, "more than the tag is gone");
    ensure!(repository.tags().await? == ["v2"], "{:?}", repository.tags().await?);
    refused(&repository.delete("manifests/v1").await?, 404, "MANIFEST_UNKNOWN")
}

#[tokio::test]
async fn del_3_a_manifest_goes_with_all_its_tags() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let (image, other) = (repository.push_new("v1").await?, repository.push_new("other").await?);
    repository.put_manifest("v2", MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201)?;
    // Read first, so that what is remembered has to be forgotten.
    ensure!(repository.has_manifest("v1").await? && repository.has_manifest("v2").await?);
    repository.delete(&format!("manifests/{}", image.digest())).await?.expect(202)?;
    for reference in ["v1", "v2", image.digest()] {
        refused(&repository.get(&format!("manifests/{reference}")).await?, 404, "MANIFEST_UNKNOWN")?;
    }
    ensure!(repository.tags().await? == ["other"] && repository.has_manifest(other.digest()).await?, "the other is gone too");
    refused(&repository.delete(&format!("manifests/{}", image.digest())).await?, 404, "MANIFEST_UNKNOWN")
}

#[tokio::test]
async fn del_3_a_deleted_manifest_can_be_pushed_again() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    repository.delete(&format!("manifests/{}", image.digest())).await?.expect(202)?;
    repository.push("v1", &image).await?;
    ensure!(repository.get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
    Ok(())
}

#[tokio::test]
async fn del_4_a_blob_goes_from_its_repository_and_no_other() -> Result<()> {
    let registry = Registry::start().await?;
    let (one, other) = (registry.repository(), registry.repository());
    let blob = Blob::made_up(rand::random(), 1000);
    one.push_blob(&blob).await?;
    other.post(&format!("blobs/uploads/?mount={}&from={}", blob.digest, one.name)).await?.expect(201)?;
    one.delete(&format!("blobs/{}", blob.digest)).await?.expect(202)?;
    refused(&one.get(&format!("blobs/{}", blob.digest)).await?, 404, "BLOB_UNKNOWN")?;
    ensure!(other.get(&format!("blobs/{}", blob.digest)).await?.expect(200)?.body == blob.bytes, "the other lost it");
    refused(&one.delete(&format!("blobs/{}", blob.digest)).await?, 404, "BLOB_UNKNOWN")?;
    one.push_blob(&blob).await?;
    ensure!(one.has_blob(&blob.digest).await?, "it cannot be pushed again");
    Ok(())
}

#[tokio::test]
async fn del_5_what_is_absent_is_404() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    repository.push_new("v1").await?;
    refused(&repository.delete("manifests/absent").await?, 404, "MANIFEST_UNKNOWN")?;
    refused(&repository.delete(&format!("manifests/{}", absent_digest())).await?, 404, "MANIFEST_UNKNOWN")?;
    refused(&repository.delete(&format!("blobs/{}", absent_digest())).await?, 404, "BLOB_UNKNOWN")
}

#[tokio::test]
async fn del_5_what_is_still_needed_never_breaks_a_pull_silently() -> Result<()> {
    // Spec silent: either the delete is refused, or a pull of what needs it says 404 for the missing part and nothing else breaks.
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let index = index_of(&[image.descriptor()]);
    repository.put_manifest("all", INDEX_TYPE, index.bytes.clone()).await?.expect(201)?;
    for path in [format!("blobs/{}", image.layer.digest), format!("manifests/{}", image.digest())] {
        let answer = repository.delete(&path).await?;
        ensure!(matches!(answer.status.as_u16(), 202 | 405 | 409), "{path}: {}", answer.status);
        let expected = if answer.status == 202 { 404 } else { 200 };
        repository.get(&path).await?.expect(expected)?;
    }
    ensure!(repository.get("manifests/all").await?.expect(200)?.body == index.bytes, "the index is gone");
    Ok(())
}
