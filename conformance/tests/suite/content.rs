//! The sets of content that the suite pushes, pulls and deletes, one after the other: each has what some registry cannot take.

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256, Sha512};
use std::collections::BTreeMap;
use testing::images::{CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE};

pub const INDEX: &str = INDEX_TYPE;
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const LAYER_PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const ELSEWHERE: [&str; 2] =
    ["application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar"];
const NOTHING: &str = "application/vnd.oci.empty.v1+json";
const ARTIFACT: [&str; 2] = ["application/vnd.example.suite.v1", "application/vnd.example.suite.v2"];
/// Annotations that make a manifest of nearly 4 MB, and the length of each.
const ANNOTATIONS: usize = 390;
const ANNOTATION_BYTES: usize = 10_000;

/// Bytes under the digest by which they are pushed, which may be wrong.
#[derive(Debug, Clone)]
pub struct Piece {
    pub digest: String,
    pub bytes: Bytes,
}

impl Piece {
    pub fn new(algorithm: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: digest(algorithm, &bytes), bytes }
    }

    pub fn random(algorithm: &str, size: usize) -> Self {
        Self::new(algorithm, random(size))
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

/// What belongs together: blobs, manifests in the order in which they are pushed, tags, and who refers to whom.
#[derive(Debug, Default)]
pub struct Set {
    pub name: &'static str,
    algorithm: &'static str,
    pub blobs: Vec<Piece>,
    pub manifests: Vec<Piece>,
    /// Digest of the manifest by tag.
    pub tags: BTreeMap<String, String>,
    /// Descriptors of referrers by subject, as a list has to have them.
    pub referrers: BTreeMap<String, Vec<Value>>,
    /// Whether tags are set by `?tag=` of the push by digest.
    pub tags_by_digest: bool,
    /// Whether the manifests are not what their digests say.
    pub corrupt: bool,
}

/// How a manifest differs from that of a plain image.
#[derive(Debug, Clone)]
struct Kind {
    layers: usize,
    layer_type: &'static str,
    config_type: &'static str,
    artifact_type: Option<&'static str>,
    annotations: Option<Map<String, Value>>,
    subject: Option<Value>,
    /// Content in the descriptors.
    data: bool,
    /// A field that nobody knows.
    odd: bool,
}

const IMAGE: Kind = Kind {
    layers: 2,
    layer_type: LAYER,
    config_type: CONFIG_TYPE,
    artifact_type: None,
    annotations: None,
    subject: None,
    data: false,
    odd: false,
};

fn artifact(artifact_type: &'static str) -> Kind {
    Kind { layers: 1, layer_type: artifact_type, config_type: NOTHING, artifact_type: Some(artifact_type), ..IMAGE }
}

fn about(subject: &Value, kind: &Kind) -> Kind {
    let annotations = json!({ "org.example.suite": "hello", format!("org.example.{}", hex::encode(random(8))): "unique" });
    Kind { subject: Some(subject.clone()), annotations: annotations.as_object().cloned(), ..kind.clone() }
}

impl Set {
    fn new(name: &'static str) -> Self {
        Self { name, algorithm: "sha256", ..Self::default() }
    }

    fn blob(&mut self, bytes: impl Into<Bytes>, media_type: &str, data: bool) -> Value {
        let blob = Piece::new(self.algorithm, bytes);
        let mut descriptor = blob.descriptor(media_type);
        if data {
            descriptor["data"] = base64::engine::general_purpose::STANDARD.encode(&blob.bytes).into();
        }
        if self.blobs.iter().all(|known| known.digest != blob.digest) {
            self.blobs.push(blob);
        }
        descriptor
    }

    /// An image or artifact; gives its descriptor.
    fn image(&mut self, architecture: &str, kind: &Kind) -> Value {
        let layers: Vec<Value> = (0..kind.layers).map(|_| self.blob(random(700), kind.layer_type, kind.data)).collect();
        let config = if kind.config_type == NOTHING {
            self.blob("{}", NOTHING, kind.data)
        } else {
            let unpacked = vec![digest("sha256", b""); layers.len()];
            let mut config = json!({ "author": "suite", "architecture": architecture, "os": "linux", "config": {},
                "rootfs": { "type": "layers", "diff_ids": unpacked } });
            if kind.odd {
                config[format!("org.{}", hex::encode(random(8)))] = "odd".into();
            }
            self.blob(config.to_string(), kind.config_type, kind.data)
        };
        self.manifest(json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers }), kind)
    }

    fn manifest(&mut self, mut body: Value, kind: &Kind) -> Value {
        let fields = [
            ("artifactType", kind.artifact_type.map(Value::from)),
            ("annotations", kind.annotations.clone().map(Value::from)),
            ("subject", kind.subject.clone()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        if kind.odd {
            body[format!("org.{}", hex::encode(random(8)))] = "odd".into();
        }
        let manifest = Piece::new(self.algorithm, body.to_string());
        let descriptor = manifest.descriptor(body["mediaType"].as_str().unwrap_or_default());
        if let Some(subject) = &kind.subject {
            let mut entry = descriptor.clone();
            entry["artifactType"] = body.get("artifactType").unwrap_or(&body["config"]["mediaType"]).clone();
            entry["annotations"] = body["annotations"].clone();
            self.referrers.entry(subject["digest"].as_str().unwrap_or_default().to_owned()).or_default().push(entry);
        }
        self.manifests.push(manifest);
        descriptor
    }

    fn index_over(&mut self, entries: &[Value], kind: &Kind) -> Value {
        self.manifest(json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }), kind)
    }

    /// Two images and an index over them, all of the kind.
    fn index(&mut self, kind: &Kind) -> Value {
        let entries = ["amd64", "arm64"].map(|architecture| {
            let mut entry = self.image(architecture, kind);
            entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
            entry
        });
        self.index_over(&entries, kind)
    }

    fn tagged(mut self, tag: &str) -> Self {
        if let Some(last) = self.manifests.last() {
            self.tags.insert(tag.to_owned(), last.digest.clone());
        }
        self
    }
}

fn set(name: &'static str, fill: impl FnOnce(&mut Set)) -> Set {
    let mut set = Set::new(name);
    fill(&mut set);
    set.tagged(name)
}

/// An image of one layer.
pub fn small() -> Set {
    set("small", |set| drop(set.image("amd64", &Kind { layers: 1, ..IMAGE })))
}

/// All of them, in the suite's order.
pub fn sets() -> Vec<Set> {
    let large = (0..ANNOTATIONS).map(|at| (format!("large-{at}"), Value::from("A".repeat(ANNOTATION_BYTES)))).collect();
    let large = Kind { annotations: Some(large), ..IMAGE };
    let mut sets = vec![
        set("image", |set| drop(set.image("amd64", &IMAGE))),
        set("image-uncompressed", |set| drop(set.image("amd64", &Kind { layer_type: LAYER_PLAIN, ..IMAGE }))),
        set("large-manifest", |set| drop(set.image("amd64", &large))),
        set("index", |set| drop(set.index(&IMAGE))),
        set("index-of-indexes", |set| {
            let entries = [set.index(&IMAGE), set.index(&IMAGE)];
            set.index_over(&entries, &IMAGE);
        }),
        set("index-of-nothing", |set| drop(set.index_over(&[], &IMAGE))),
        set("artifact", |set| drop(set.image("amd64", &artifact(ARTIFACT[0])))),
        set("artifact-index", |set| drop(set.index(&artifact(ARTIFACT[0])))),
        set("artifact-without-content", |set| {
            let nothing = set.blob("{}", NOTHING, false);
            let body = json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": nothing, "layers": [nothing] });
            set.manifest(body, &artifact(ARTIFACT[0]));
        }),
    ];
    sets.extend(with_subjects());
    sets.extend([
        set("data-field", |set| drop(set.image("amd64", &Kind { data: true, ..IMAGE }))),
        set("layers-elsewhere", layers_elsewhere),
        set("odd-fields", |set| drop(set.index(&Kind { odd: true, ..IMAGE }))),
        set("no-layers", |set| drop(set.image("amd64", &Kind { layers: 0, ..IMAGE }))),
        incomplete(),
        by_digest("sha512", "sha512", false),
        by_digest("tags-by-digest-sha256", "sha256", true),
        by_digest("tags-by-digest-sha512", "sha512", true),
        corrupt(),
    ]);
    sets
}

fn with_subjects() -> [Set; 3] {
    let mut artifacts = Set::new("artifacts-with-subject");
    let subject = artifacts.image("amd64", &IMAGE);
    artifacts = artifacts.tagged("subject");
    artifacts.image("amd64", &Kind { subject: Some(subject.clone()), ..IMAGE });
    for (artifact_type, tag) in ARTIFACT.into_iter().zip(["artifact1", "artifact2"]) {
        artifacts.image("amd64", &about(&subject, &artifact(artifact_type)));
        artifacts = artifacts.tagged(tag);
    }
    let indexes = set("index-with-subject", |set| {
        let subject = set.index(&IMAGE);
        set.index(&about(&subject, &artifact(ARTIFACT[0])));
    });
    let missing = set("missing-subject", |set| {
        let subject = json!({ "mediaType": MANIFEST_TYPE, "size": 123, "digest": random_digest() });
        set.image("amd64", &about(&subject, &artifact(ARTIFACT[0])));
    });
    [artifacts, indexes, missing]
}

fn layers_elsewhere(set: &mut Set) {
    let mut layers: Vec<Value> = Vec::new();
    for media_type in ELSEWHERE {
        let digest = random_digest();
        let url = format!("https://store.example.com/blobs/{}", digest.replace(':', "/"));
        layers.push(json!({ "mediaType": media_type, "digest": digest, "size": 12345, "urls": [url] }));
    }
    layers.push(set.blob(random(700), LAYER, false));
    let config = set.blob(json!({ "architecture": "amd64", "os": "linux" }).to_string(), CONFIG_TYPE, false);
    set.manifest(json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers }), &IMAGE);
}

/// An image that lacks a layer, and an index that lacks an image.
fn incomplete() -> Set {
    let mut set = Set::new("incomplete");
    set.image("amd64", &IMAGE);
    set.blobs.remove(0);
    set = set.tagged("incomplete-image");
    let here = set.image("amd64", &IMAGE);
    let missing = json!({ "mediaType": MANIFEST_TYPE, "digest": random_digest(), "size": 1024 });
    set.index_over(&[here, missing], &IMAGE);
    set.tagged("incomplete-index")
}

/// An index whose manifests are pushed by digest, with tags or without any.
fn by_digest(name: &'static str, algorithm: &'static str, tags: bool) -> Set {
    let mut set = Set { algorithm, tags_by_digest: tags, ..Set::new(name) };
    set.index(&IMAGE);
    if tags {
        set = set.tagged(name);
        let numbered = set.manifests.iter().enumerate().map(|(at, manifest)| (format!("{name}-{at}"), manifest.digest.clone()));
        let numbered: Vec<(String, String)> = numbered.collect();
        set.tags.extend(numbered);
    }
    set
}

fn corrupt() -> Set {
    let mut set = Set { corrupt: true, ..Set::new("corrupt") };
    set.image("amd64", &IMAGE);
    for manifest in &mut set.manifests {
        manifest.bytes = [manifest.bytes.as_ref(), b"  "].concat().into();
    }
    set
}

/// What manifests are asked for as.
pub fn manifest_types() -> [(&'static str, &'static str); 1] {
    [("accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")]
}

pub fn random(size: usize) -> Vec<u8> {
    (0..size).map(|_| rand::random()).collect()
}

pub fn random_digest() -> String {
    digest("sha256", &random(16))
}

fn digest(algorithm: &str, bytes: &[u8]) -> String {
    let hash = if algorithm == "sha512" { hex::encode(Sha512::digest(bytes)) } else { hex::encode(Sha256::digest(bytes)) };
    format!("{algorithm}:{hash}")
}
