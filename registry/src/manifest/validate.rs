//! Whether bytes are a manifest this registry takes, and what it needs. Pure: no lookups, no storage.
//!
//! Bytes are judged, never changed. An image manifest with the fields of an index, or the reverse, is refused, as is a document with
//! a key twice: two readers must not see two different things in one digest (CVE-2021-41190). Unknown fields, and unknown
//! `artifactType`, config, layer and entry types are fine (image-spec).

use crate::hash;
use base64::Engine as _;
use model::{Digest, name::NameError};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Largest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most descriptors in one manifest: each is looked up in the transaction of the push, during which nobody else writes.
const DESCRIPTORS_MAX: usize = 5000;
/// Longest media type or artifact type, in bytes.
const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// The four media types of manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    OciManifest,
    OciIndex,
    DockerManifest,
    DockerList,
}

impl MediaType {
    pub const ALL: [Self; 4] = [Self::OciManifest, Self::OciIndex, Self::DockerManifest, Self::DockerList];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    const fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    const fn is_oci(self) -> bool {
        matches!(self, Self::OciManifest | Self::OciIndex)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// What an edge leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Blob,
    Manifest,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Manifest => "manifest",
        }
    }
}

/// Something a manifest needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub digest: Digest,
    pub kind: Kind,
    /// False for foreign layers, whose bytes may be elsewhere.
    pub required: bool,
}

/// A manifest that may be stored, once what it needs is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: MediaType,
    /// As referrers show it: an image manifest without one has its config's media type (REF-4).
    pub artifact_type: Option<String>,
    /// Digest of the subject, which need not exist.
    pub subject: Option<String>,
    /// JSON object
    pub annotations: Option<String>,
    /// Each digest once per kind, sorted.
    pub references: Vec<Reference>,
    /// Digests under an algorithm that cannot be here, so that what they name is missing.
    pub unsupported: Vec<String>,
}

/// Why bytes are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("media type `{0}` is not one of a manifest: use an OCI image manifest or index, or a Docker schema 2 manifest or list")]
    MediaType(String),
    #[error("neither Content-Type nor mediaType says what this is")]
    NoMediaType,
    #[error("Content-Type is `{content_type}` but mediaType is `{media_type}`")]
    MediaTypesDiffer { content_type: String, media_type: String },
    #[error("manifest is not JSON as it should be: {0}")]
    Json(String),
    #[error("schemaVersion is not 2")]
    SchemaVersion,
    #[error("{what} must not have `{field}`")]
    Confused { what: &'static str, field: &'static str },
    #[error("{what} must have `{field}`")]
    Lacks { what: &'static str, field: &'static str },
    #[error("descriptor in `{place}`: {reason}")]
    Descriptor { place: &'static str, reason: String },
    #[error("{0} is longer than {MEDIA_TYPE_BYTES_MAX} characters")]
    TooLong(&'static str),
    #[error("more than {DESCRIPTORS_MAX} descriptors")]
    TooMany,
}

/// Judges `body`, pushed with `content_type` (parameters ignored, PUSH-MAN-3).
pub fn validate(content_type: Option<&str>, body: &[u8]) -> Result<Manifest, Invalid> {
    let content_type = content_type.map(|text| text.split(';').next().unwrap_or_default().trim()).filter(|text| !text.is_empty());
    if let Some(text) = content_type
        && MediaType::parse(text).is_none()
    {
        return Err(Invalid::MediaType(text.chars().take(100).collect()));
    }
    refuse_doubled_keys(body)?;
    let document: Document = serde_json::from_slice(body).map_err(|e| Invalid::Json(e.to_string()))?;
    let media_type = media_type(content_type, document.media_type.as_deref())?;
    if document.schema_version != Some(2) {
        return Err(Invalid::SchemaVersion);
    }
    let lists = [&document.layers, &document.manifests];
    if lists.into_iter().flatten().map(Vec::len).sum::<usize>() > DESCRIPTORS_MAX {
        return Err(Invalid::TooMany);
    }
    let mut found = Found::default();
    if media_type.is_index() {
        found.index(&document)?;
    } else {
        found.image(&document)?;
    }
    found.finish(media_type, document)
}

fn media_type(content_type: Option<&str>, field: Option<&str>) -> Result<MediaType, Invalid> {
    match (content_type, field) {
        (Some(content_type), Some(field)) if content_type != field => {
            Err(Invalid::MediaTypesDiffer { content_type: content_type.to_owned(), media_type: field.chars().take(100).collect() })
        }
        (Some(text), _) | (None, Some(text)) => MediaType::parse(text).ok_or_else(|| Invalid::MediaType(text.chars().take(100).collect())),
        (None, None) => Err(Invalid::NoMediaType),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: Option<i64>,
    #[serde(borrow)]
    media_type: Option<std::borrow::Cow<'a, str>>,
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "present")]
    layers: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "present")]
    manifests: Option<Vec<Descriptor>>,
    artifact_type: Option<String>,
    subject: Option<Descriptor>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

struct Descriptor {
    media_type: String,
    digest: String,
    size: i64,
    data: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", remote = "Descriptor")]
struct DescriptorFields {
    media_type: String,
    digest: String,
    size: i64,
    data: Option<String>,
}

/// Only from an object: derived code would take an array as well.
impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Descriptor;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a descriptor object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Descriptor, A::Error> {
                DescriptorFields::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A list that is there; `null`, as some clients write an empty one, is an empty list.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Descriptor>>, D::Error> {
    Ok(Some(Option::<Vec<Descriptor>>::deserialize(deserializer)?.unwrap_or_default()))
}

#[derive(Default)]
struct Found {
    references: BTreeMap<(Digest, Kind), bool>,
    unsupported: Vec<String>,
}

impl Found {
    fn image(&mut self, document: &Document) -> Result<(), Invalid> {
        const WHAT: &str = "an image manifest";
        if document.manifests.is_some() {
            return Err(Invalid::Confused { what: WHAT, field: "manifests" });
        }
        if document.fs_layers.is_some() {
            return Err(Invalid::Confused { what: WHAT, field: "fsLayers" });
        }
        let config = document.config.as_ref().ok_or(Invalid::Lacks { what: WHAT, field: "config" })?;
        self.add("config", config, Kind::Blob, true)?;
        for layer in document.layers.iter().flatten() {
            self.add("layers", layer, Kind::Blob, !is_foreign(&layer.media_type))?;
        }
        Ok(())
    }

    fn index(&mut self, document: &Document) -> Result<(), Invalid> {
        const WHAT: &str = "an index";
        for (present, field) in
            [(document.config.is_some(), "config"), (document.layers.is_some(), "layers"), (document.fs_layers.is_some(), "fsLayers")]
        {
            if present {
                return Err(Invalid::Confused { what: WHAT, field });
            }
        }
        let entries = document.manifests.as_ref().ok_or(Invalid::Lacks { what: WHAT, field: "manifests" })?;
        for entry in entries {
            // Build caches are indexes whose entries are layers.
            let kind = if MediaType::parse(&entry.media_type).is_some() { Kind::Manifest } else { Kind::Blob };
            self.add("manifests", entry, kind, true)?;
        }
        Ok(())
    }

    fn add(&mut self, place: &'static str, descriptor: &Descriptor, kind: Kind, required: bool) -> Result<(), Invalid> {
        match checked(place, descriptor)? {
            Some(digest) => *self.references.entry((digest, kind)).or_insert(false) |= required,
            None if required => self.unsupported.push(descriptor.digest.clone()),
            None => {}
        }
        Ok(())
    }

    fn finish(self, media_type: MediaType, document: Document) -> Result<Manifest, Invalid> {
        let annotations = annotations(document.annotations)?;
        let mut manifest = Manifest {
            media_type,
            artifact_type: None,
            subject: None,
            annotations: None,
            references: self.references.into_iter().map(|((digest, kind), required)| Reference { digest, kind, required }).collect(),
            unsupported: self.unsupported,
        };
        // Docker's types know none of these fields.
        if media_type.is_oci() {
            manifest.artifact_type = artifact_type(document.artifact_type, document.config)?;
            if let Some(subject) = &document.subject {
                checked("subject", subject)?;
                manifest.subject = Some(subject.digest.clone());
            }
            manifest.annotations = annotations;
        }
        Ok(manifest)
    }
}

fn artifact_type(own: Option<String>, config: Option<Descriptor>) -> Result<Option<String>, Invalid> {
    let own = own.filter(|text| !text.is_empty()).or(config.map(|config| config.media_type));
    match own {
        Some(text) if text.len() > MEDIA_TYPE_BYTES_MAX => Err(Invalid::TooLong("artifactType")),
        other => Ok(other),
    }
}

fn annotations(raw: Option<&RawValue>) -> Result<Option<String>, Invalid> {
    let Some(raw) = raw else { return Ok(None) };
    let pairs: BTreeMap<String, String> =
        serde_json::from_str(raw.get()).map_err(|_| Invalid::Json("annotations are not an object of strings".into()))?;
    Ok((!pairs.is_empty()).then(|| raw.get().to_owned()))
}

/// The digest of a descriptor in order; `None` when its algorithm is legal but none that can be here (DIG-3).
fn checked(place: &'static str, descriptor: &Descriptor) -> Result<Option<Digest>, Invalid> {
    let refuse = |reason: String| Invalid::Descriptor { place, reason };
    if descriptor.media_type.is_empty() || descriptor.media_type.len() > MEDIA_TYPE_BYTES_MAX {
        return Err(refuse(format!("mediaType is empty or longer than {MEDIA_TYPE_BYTES_MAX} characters")));
    }
    if descriptor.size < 0 {
        return Err(refuse("size is negative".into()));
    }
    let digest = match descriptor.digest.parse::<Digest>() {
        Ok(digest) => Some(digest),
        Err(NameError::UnknownAlgorithm(_)) if is_legal_digest(&descriptor.digest) => None,
        Err(_) => return Err(refuse(format!("`{}` is not a digest", descriptor.digest.chars().take(100).collect::<String>()))),
    };
    if let (Some(data), Some(digest)) = (&descriptor.data, &digest) {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).map_err(|_| refuse("data is not base64".into()))?;
        if i64::try_from(bytes.len()) != Ok(descriptor.size) || hash::digest(digest.algorithm(), &bytes) != *digest {
            return Err(refuse("data is not what size and digest say".into()));
        }
    }
    Ok(digest)
}

/// The grammar of DIG-1: `alg:encoded`.
fn is_legal_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let parts_ok = algorithm.split(['+', '.', '_', '-']).all(|part| !part.is_empty() && part.bytes().all(alphanumeric));
    parts_ok && (1..=256).contains(&encoded.len()) && encoded.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'))
}

/// Layers whose bytes need not be here: clients fetch them from `urls`, this registry never does.
fn is_foreign(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
        || media_type == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
}

/// Whether a client that unpacks this manifest would fetch content from elsewhere first.
pub fn leads_elsewhere(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Content {
        config: Option<Urls>,
        #[serde(default)]
        layers: Option<Vec<Urls>>,
        #[serde(default)]
        manifests: Option<Vec<Urls>>,
    }
    #[derive(Deserialize)]
    struct Urls {
        urls: Option<serde_json::Value>,
    }
    // What is stored is a manifest; what could not be read as one is not given out.
    let Ok(content) = serde_json::from_slice::<Content>(body) else { return true };
    let lists = [content.layers, content.manifests].into_iter().flatten().flatten();
    content
        .config
        .into_iter()
        .chain(lists)
        .any(|descriptor| descriptor.urls.is_some_and(|urls| !urls.as_array().is_some_and(Vec::is_empty)))
}

/// Names of the top level that readers with loose rules would take for the exact ones.
const NAMES: [&str; 9] =
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "artifactType", "subject", "annotations", "fsLayers"];

fn refuse_doubled_keys(body: &[u8]) -> Result<(), Invalid> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let walked = Keys { depth: 0 }.deserialize(&mut json).and_then(|()| json.end());
    walked.map_err(|e| Invalid::Json(e.to_string()))
}

/// Walks any JSON, keeping only the keys of the objects it is inside of.
#[derive(Clone, Copy)]
struct Keys {
    depth: usize,
}

impl Keys {
    fn below(self) -> Self {
        Self { depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for Keys {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if self.depth == 0
                && let Some(name) = NAMES.iter().find(|name| name.eq_ignore_ascii_case(&key) && **name != key)
            {
                return Err(A::Error::custom(format_args!("`{key}` could be taken for `{name}`")));
            }
            map.next_value_seed(self.below())?;
            if !seen.insert(key) {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.depth == 0 {
            return Err(A::Error::custom("not an object"));
        }
        while seq.next_element_seed(self.below())?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
