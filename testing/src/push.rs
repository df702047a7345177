//! Pushes images over raw HTTP: quicker than a client program, and exact about each request.

use crate::http::Client;
use crate::images::{Blob, INDEX_TYPE, Image, MANIFEST_TYPE};
use anyhow::Result;
use bytes::Bytes;
use reqwest::Method;

/// Pushes blobs and manifest to `repository` under `tag`. Gives the manifest's digest.
pub async fn image(client: &Client, repository: &str, tag: &str, image: &Image) -> Result<String> {
    for each in image.blobs() {
        blob(client, repository, each).await?;
    }
    manifest(client, repository, tag, &image.manifest, MANIFEST_TYPE).await
}

/// Pushes images of several platforms and the index over them under `tag`. Gives the index's digest.
pub async fn index(client: &Client, repository: &str, tag: &str, images: &[(&Image, &str)]) -> Result<String> {
    for (each, _) in images {
        image(client, repository, each.digest(), each).await?;
    }
    manifest(client, repository, tag, &crate::images::index(images), INDEX_TYPE).await
}

/// Pushes one blob: POST, then one PUT.
pub async fn blob(client: &Client, repository: &str, blob: &Blob) -> Result<()> {
    let started = client.send(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], Bytes::new()).await?.expect(202)?;
    let location = with_digest(started.header("location"), &blob.digest);
    let headers = [("content-type", "application/octet-stream")];
    client.send(Method::PUT, &location, &headers, blob.bytes.clone()).await?.expect(201)?;
    Ok(())
}

/// Puts a manifest under a tag or its digest. Gives its digest.
pub async fn manifest(client: &Client, repository: &str, reference: &str, manifest: &Blob, media_type: &str) -> Result<String> {
    let path = format!("/v2/{repository}/manifests/{reference}");
    client.send(Method::PUT, &path, &[("content-type", media_type)], manifest.bytes.clone()).await?.expect(201)?;
    Ok(manifest.digest.clone())
}

/// The location of an upload with the digest that ends it.
pub fn with_digest(location: &str, digest: &str) -> String {
    let join = if location.contains('?') { '&' } else { '?' };
    format!("{location}{join}digest={digest}")
}
