//! Manifests: one under many tags, or many different ones.

use super::{or_default, pool};
use crate::blob::Blob;
use crate::connection::{Body, Connection};
use crate::options::{LaneOptions, Side};
use crate::report::Measured;
use anyhow::Result;
use serde_json::json;

pub const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const COUNT: usize = 1000;

/// One manifest under the tags t0, t1, …: what [`super::load`] asks for.
pub fn seed_tags(side: &Side, options: &LaneOptions) -> Result<Measured> {
    put_each(side, options, "tag", |item| (format!("t{item}"), "same".to_owned()))
}

/// A different manifest under a different tag each time.
pub fn put(side: &Side, options: &LaneOptions) -> Result<Measured> {
    let seed = options.seed;
    put_each(side, options, "manifest PUT", |item| (format!("t{seed}-{item}"), format!("{seed}-{item}")))
}

fn put_each(side: &Side, options: &LaneOptions, lane: &str, tag_and_salt: impl Fn(usize) -> (String, String) + Sync) -> Result<Measured> {
    let (config, layer) = (Blob::new(7, 512), Blob::new(8, 2048));
    let mut connection = Connection::open(side, options)?;
    connection.push(&config)?;
    connection.push(&layer)?;
    let count = or_default(options.count, COUNT);
    let content_type = format!("Content-Type: {MEDIA_TYPE}\r\n");
    pool(side, options, lane.to_owned(), count, |connection, item| {
        let (tag, salt) = tag_and_salt(item);
        let path = format!("/v2/{}/manifests/{tag}", side.repository);
        let body = manifest(&config, std::slice::from_ref(&layer), &salt);
        connection.request("PUT", &path, &content_type, body.as_bytes(), Body::Keep)?.expect(201)?;
        Ok(())
    })
}

/// An image's manifest; different salts, different manifests.
pub fn manifest(config: &Blob, layers: &[Blob], salt: &str) -> String {
    let layer =
        |layer: &Blob| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size});
    json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest, "size": config.size},
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        "annotations": {"salt": salt},
    })
    .to_string()
}
