//! The suite of specification 1.1, as it was before it was written anew: fewer requests, other shapes of content, and at its end blobs
//! are deleted before the manifests that name them, or after.

use super::Suite;
use super::caller::{Caller, Tokens};
use super::content::{INDEX, Piece, random, random_digest};
use anyhow::{Result, ensure};
use base64::Engine as _;
use conformance::registry::{OCTETS, Registry, error_code, strings};
use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;
use testing::images::{CONFIG_TYPE, MANIFEST_TYPE};
use testing::push::with_digest;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const NOTHING: &str = "application/vnd.oci.empty.v1+json";
const TYPES: [&str; 2] = ["application/vnd.example.bagel", "application/vnd.example.croissant"];
const NOTE: &str = "org.example.suite";
/// A tag by no grammar.
const NO_TAG: &str = ".INVALID_MANIFEST_NAME";
/// A blob in two chunks, and where the second begins.
const SIZE: usize = 42;
const SECOND: usize = 22;

/// A config, the layer that all share, and the manifest over them.
struct Image {
    config: Piece,
    layer: Piece,
    manifest: Piece,
}

impl Image {
    fn new(layer: &Piece) -> Self {
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
            "author": hex::encode(random(8)) });
        let config = piece(&config);
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": with_content(&config),
            "layers": [descriptor(layer, LAYER)] });
        Self { manifest: piece(&manifest), layer: layer.clone(), config }
    }

    /// Without layers, and without a word on what it is.
    fn bare(&self) -> Piece {
        piece(&json!({ "schemaVersion": 2, "config": with_content(&self.config), "layers": [] }))
    }
}

/// As people write it, over several lines.
fn piece(document: &Value) -> Piece {
    Piece::new("sha256", format!("{document:#}"))
}

fn descriptor(piece: &Piece, media_type: &str) -> Value {
    json!({ "mediaType": media_type, "digest": piece.digest, "size": piece.bytes.len(), "newUnspecifiedField": null })
}

fn with_content(config: &Piece) -> Value {
    let mut descriptor = descriptor(config, CONFIG_TYPE);
    descriptor["data"] = base64::engine::general_purpose::STANDARD.encode(&config.bytes).into();
    descriptor["newUnspecifiedField"] = "aGVsbG8gd29ybGQ=".into();
    descriptor
}

impl Suite {
    fn status(&mut self, answer: &Answer, expected: u16, what: &str) {
        let status = answer.status.as_u16();
        self.check(status == expected, || format!("{what}: {status}, not {expected}: {}", answer.text()));
    }

    async fn look(&mut self, rest: &str, expected: u16) -> Result<Answer> {
        let path = self.path(rest);
        let head = self.caller.head(&path).await?;
        self.status(&head, expected, &format!("HEAD {path}"));
        let answer = self.caller.get(&path).await?;
        self.status(&answer, expected, &format!("GET {path}"));
        Ok(answer)
    }

    async fn put_one(&mut self, reference: &str, media_type: &str, manifest: &Piece) -> Result<()> {
        let path = self.path(&format!("manifests/{reference}"));
        let answer = self.caller.send(Method::PUT, &path, &[("content-type", media_type)], Some(&manifest.bytes)).await?;
        self.status(&answer, 201, &format!("PUT {path}"));
        self.check(!answer.header("location").is_empty(), || format!("PUT {path}: no location"));
        let document: Value = serde_json::from_slice(&manifest.bytes)?;
        let subject = document["subject"]["digest"].as_str().unwrap_or_default();
        self.check(answer.header("oci-subject") == subject, || format!("PUT {path}: the subject is not named"));
        Ok(())
    }

    async fn gone(&mut self, blobs: &[&Piece], manifests: &[&Piece], blobs_first: bool) -> Result<()> {
        let path = |kind: &str, piece: &&Piece| format!("{kind}/{}", piece.digest);
        let blobs: Vec<String> = blobs.iter().map(|piece| path("blobs", piece)).collect();
        let manifests: Vec<String> = manifests.iter().map(|piece| path("manifests", piece)).collect();
        let order = if blobs_first { [blobs, manifests] } else { [manifests, blobs] };
        for rest in order.into_iter().flatten() {
            let path = self.path(&rest);
            let answer = self.caller.delete(&path).await?;
            self.status(&answer, 202, &format!("DELETE {path}"));
        }
        Ok(())
    }

    async fn pull_workflow(&mut self, image: &Image, blobs_first: bool) -> Result<()> {
        self.push(&image.config, true).await?;
        self.push(&image.layer, true).await?;
        self.put_one("tagtest0", MANIFEST_TYPE, &image.manifest).await?;
        self.look(&format!("blobs/{}", random_digest()), 404).await?;
        self.look(&format!("blobs/{}", image.config.digest), 200).await?;
        self.look(&format!("manifests/{NO_TAG}"), 404).await?;
        for reference in ["tagtest0", &image.manifest.digest] {
            let answer = self.look(&format!("manifests/{reference}"), 200).await?;
            self.check(answer.header("docker-content-digest") == image.manifest.digest, || format!("the digest of {reference}"));
        }
        let path = self.path("manifests/sha256:totallywrong");
        let answer = self.caller.send(Method::PUT, &path, &[("content-type", MANIFEST_TYPE)], Some(b"blablabla")).await?;
        self.status(&answer, 400, "a digest that is none");
        error_code(&answer)?;
        self.gone(&[&image.config, &image.layer], &[&image.manifest], blobs_first).await
    }

    async fn push_workflow(&mut self, image: &Image, blobs_first: bool) -> Result<()> {
        let streamed = Piece::random("sha256", SIZE);
        self.push_stream(&streamed, true).await?;
        self.push_by_post(&image.config, true).await?;
        self.push(&image.config, true).await?;
        self.push(&image.layer, true).await?;
        self.two_chunks().await?;
        let (source, target) = (self.repository.clone(), self.other.clone());
        let uploads = format!("/v2/{target}/blobs/uploads/");
        for (query, expected) in [
            (format!("mount={}", random_digest()), 202),
            (format!("mount={}&from={source}", streamed.digest), 201),
            (format!("mount={}", streamed.digest), 201),
        ] {
            let answer = self.caller.send(Method::POST, &format!("{uploads}?{query}"), &[], None).await?;
            self.status(&answer, expected, &query);
            if expected == 201 {
                let place = format!("/v2/{target}/blobs/{}", streamed.digest);
                self.check(answer.header("location") == place, || format!("{query}: {}", answer.header("location")));
                let answer = self.caller.get(&place).await?;
                self.status(&answer, 200, &place);
            }
        }
        for number in 0..4 {
            self.put_one(&format!("test{number}"), MANIFEST_TYPE, &image.manifest).await?;
        }
        let bare = image.bare();
        self.put_one("emptylayer", MANIFEST_TYPE, &bare).await?;
        self.look(&format!("manifests/{}", image.manifest.digest), 200).await?;
        self.gone(&[&image.config, &image.layer], &[&image.manifest, &bare], blobs_first).await
    }

    /// The second chunk first, then in order, the first one twice, and on from where an old location says the session is.
    async fn two_chunks(&mut self) -> Result<()> {
        let blob = Piece::random("sha256", SIZE);
        let (first, second) =
            ((format!("0-{}", SECOND - 1), &blob.bytes[..SECOND]), (format!("{SECOND}-{}", SIZE - 1), &blob.bytes[SECOND..]));
        let early = self.begin().await?;
        let opened = self.begin().await?;
        for (location, (range, bytes), expected) in [(&early, &second, 416), (&opened, &first, 202), (&opened, &first, 416)] {
            let answer = self.caller.send(Method::PATCH, location, &[OCTETS, ("content-range", range)], Some(*bytes)).await?;
            self.status(&answer, expected, &format!("chunk {range}"));
        }
        let answer = self.caller.get(&opened).await?;
        self.status(&answer, 204, "a session");
        self.check(answer.header("range") == first.0, || format!("a session after {}: {}", first.0, answer.header("range")));
        let last = answer.header("location").to_owned();
        let answer = self.caller.send(Method::PATCH, &last, &[OCTETS, ("content-range", &second.0)], Some(second.1)).await?;
        self.status(&answer, 202, "the second chunk");
        let close = with_digest(answer.header("location"), &blob.digest);
        let answer = self.caller.send(Method::PUT, &close, &[OCTETS], None).await?;
        self.status(&answer, 201, "the end of two chunks");
        Ok(())
    }

    async fn discovery_workflow(&mut self, image: &Image, subject: &Image, absent: &Image) -> Result<()> {
        for blob in [&image.config, &image.layer, &subject.config] {
            self.push(blob, true).await?;
        }
        for number in 0..4 {
            self.put_one(&format!("test{number}"), MANIFEST_TYPE, &image.manifest).await?;
        }
        let nothing = Piece::new("sha256", "{}");
        self.push(&nothing, true).await?;
        let mut referrers: Vec<Piece> = Vec::new();
        for artifact_type in TYPES {
            let content = Piece::new("sha256", artifact_type);
            self.push(&content, true).await?;
            let content = descriptor(&content, artifact_type);
            let about = json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "subject": descriptor(&subject.manifest, MANIFEST_TYPE),
                "annotations": { NOTE: artifact_type } });
            let (mut by_config, mut by_type) = (about.clone(), about);
            by_config["config"] = content.clone();
            by_config["layers"] = json!([descriptor(&nothing, NOTHING)]);
            by_type["artifactType"] = artifact_type.into();
            by_type["config"] = descriptor(&nothing, NOTHING);
            by_type["layers"] = json!([content]);
            referrers.extend([piece(&by_config), piece(&by_type)]);
            if artifact_type == TYPES[1] {
                // Before its subject, which never comes.
                by_type["subject"] = descriptor(&absent.manifest, MANIFEST_TYPE);
                let one = piece(&by_type);
                self.put_one(&one.digest, MANIFEST_TYPE, &one).await?;
            } else {
                self.put_one("tagtest0", MANIFEST_TYPE, &subject.manifest).await?;
            }
        }
        for referrer in &referrers {
            self.put_one(&referrer.digest, MANIFEST_TYPE, referrer).await?;
        }
        let entries: Vec<Value> = referrers[..2].iter().map(|referrer| descriptor(referrer, MANIFEST_TYPE)).collect();
        let index = piece(&json!({ "schemaVersion": 2, "mediaType": INDEX, "artifactType": "application/vnd.example.stand",
            "manifests": entries, "subject": descriptor(&subject.manifest, MANIFEST_TYPE), "annotations": { NOTE: "index" } }));
        self.put_one(&index.digest, INDEX, &index).await?;
        self.half_of_the_tags().await?;
        for (digest, query, expected) in [
            (random_digest(), String::new(), 0),
            (subject.manifest.digest.clone(), String::new(), 5),
            (subject.manifest.digest.clone(), format!("?artifactType={}", TYPES[0].replace('/', "%2F")), 2),
            (absent.manifest.digest.clone(), String::new(), 1),
        ] {
            let answer = self.caller.get(&self.path(&format!("referrers/{digest}{query}"))).await?;
            self.status(&answer, 200, "referrers");
            let listed = answer.json()["manifests"].as_array().cloned().unwrap_or_default();
            let noted = listed.iter().all(|entry| entry["annotations"].as_object().is_some_and(|notes| notes.len() == 1));
            let is_index = answer.header("content-type") == INDEX;
            let filtered = query.is_empty() || answer.header("oci-filters-applied") == "artifactType";
            self.check(listed.len() == expected && noted && is_index && filtered, || format!("{query}: {}", answer.text()));
        }
        Ok(())
    }

    async fn half_of_the_tags(&mut self) -> Result<()> {
        let all = strings(&self.caller.get(&self.path("tags/list")).await?.expect(200)?.json()["tags"])?;
        let half = all.len() / 2;
        let first = strings(&self.caller.get(&self.path(&format!("tags/list?n={half}"))).await?.expect(200)?.json()["tags"])?;
        self.check(first == all[..half], || format!("{half} of {all:?}: {first:?}"));
        let query = format!("tags/list?n={half}&last={}", all[half - 1]);
        let next = strings(&self.caller.get(&self.path(&query)).await?.expect(200)?.json()["tags"])?;
        self.check(next == all[half..2 * half], || format!("the next {half} of {all:?}: {next:?}"));
        Ok(())
    }

    async fn management_workflow(&mut self, image: &Image) -> Result<()> {
        self.push(&image.config, true).await?;
        self.push(&image.layer, true).await?;
        self.put_one("todelete", MANIFEST_TYPE, &image.manifest).await?;
        let before = strings(&self.caller.get(&self.path("tags/list")).await?.expect(200)?.json()["tags"])?;
        let answer = self.caller.delete(&self.path("manifests/todelete")).await?;
        self.status(&answer, 202, "a deleted tag");
        self.gone(&[], &[&image.manifest], false).await?;
        self.look(&format!("manifests/{}", image.manifest.digest), 404).await?;
        let after = strings(&self.caller.get(&self.path("tags/list")).await?.expect(200)?.json()["tags"])?;
        self.check(after.len() + 1 == before.len(), || format!("{before:?}, then {after:?}"));
        self.gone(&[&image.config, &image.layer], &[], true).await?;
        self.look(&format!("blobs/{}", image.config.digest), 404).await.map(drop)
    }
}

#[tokio::test]
async fn the_requests_of_the_suite_of_1_1_with_blobs_deleted_first_and_last() -> Result<()> {
    let registry = Registry::start_as_it_comes().await?;
    for blobs_first in [true, false] {
        let mut suite = Suite::new(Caller::new(registry.client.clone(), Tokens::Each));
        let layer = Piece::random("sha256", 200);
        let images = [0; 5].map(|_| Image::new(&layer));
        suite.pull_workflow(&images[0], blobs_first).await?;
        suite.push_workflow(&images[1], blobs_first).await?;
        suite.discovery_workflow(&images[2], &images[3], &images[4]).await?;
        suite.management_workflow(&images[4]).await?;
        ensure!(suite.failed.is_empty(), "{} of {} checks: {:#?}", suite.failed.len(), suite.checks, suite.failed);
    }
    Ok(())
}
