//! Tables of what is a manifest and what is not.

use super::*;
use serde_json::json;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn digest(text: &str) -> String {
    hash::digest(model::name::Algorithm::Sha256, text.as_bytes()).to_string()
}

fn descriptor(media_type: &str, text: &str) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest(text), "size": text.len() })
}

fn image() -> serde_json::Value {
    json!({
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", "config"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "layer")],
    })
}

fn check(content_type: Option<&str>, value: &serde_json::Value) -> Result<Manifest, Invalid> {
    validate(content_type, value.to_string().as_bytes())
}

fn with(mut value: serde_json::Value, field: &str, part: serde_json::Value) -> serde_json::Value {
    value[field] = part;
    value
}

#[test]
fn an_image_needs_its_config_and_layers() {
    let manifest = check(Some(IMAGE), &image()).unwrap();
    assert_eq!(manifest.media_type, MediaType::OciManifest);
    assert_eq!(manifest.references.len(), 2);
    assert!(manifest.references.iter().all(|reference| reference.kind == Kind::Blob && reference.required));
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
}

#[test]
fn parameters_and_a_missing_type_on_one_side_are_fine() {
    assert!(check(Some(&format!("{IMAGE}; charset=utf-8")), &image()).is_ok());
    assert!(check(None, &image()).is_ok());
    let mut untyped = image();
    untyped.as_object_mut().unwrap().remove("mediaType");
    assert!(check(Some(IMAGE), &untyped).is_ok());
    assert_eq!(check(None, &untyped), Err(Invalid::NoMediaType));
}

#[test]
fn layers_may_be_absent_empty_or_null() {
    for layers in [json!([]), serde_json::Value::Null] {
        assert_eq!(check(Some(IMAGE), &with(image(), "layers", layers)).unwrap().references.len(), 1);
    }
    let mut none = image();
    none.as_object_mut().unwrap().remove("layers");
    assert!(check(Some(IMAGE), &none).is_ok());
}

#[test]
fn an_index_needs_manifests_and_build_caches_need_blobs() {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        descriptor(IMAGE, "child"), descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "layer") ] });
    let kinds: Vec<_> = check(Some(INDEX), &index).unwrap().references.iter().map(|reference| reference.kind).collect();
    assert!(kinds.contains(&Kind::Blob) && kinds.contains(&Kind::Manifest));
    assert!(check(Some(INDEX), &with(index, "manifests", json!([]))).unwrap().references.is_empty());
}

#[test]
fn manifest_and_index_cannot_be_confused() {
    let both = with(image(), "manifests", json!([]));
    assert!(matches!(check(Some(IMAGE), &both), Err(Invalid::Confused { field: "manifests", .. })));
    let mut untyped = both;
    untyped.as_object_mut().unwrap().remove("mediaType");
    assert!(matches!(check(Some(INDEX), &untyped), Err(Invalid::Confused { .. })));
    assert!(matches!(check(Some(INDEX), &image()), Err(Invalid::MediaTypesDiffer { .. })));
    let cased = with(image(), "Manifests", json!([]));
    assert!(matches!(check(Some(IMAGE), &cased), Err(Invalid::Json(_))));
}

#[test]
fn a_key_twice_is_refused_at_any_depth() {
    let text = image().to_string();
    let top = text.replacen('{', "{\"schemaVersion\":2,", 1);
    assert!(matches!(validate(Some(IMAGE), top.as_bytes()), Err(Invalid::Json(_))));
    let deep = text.replacen("\"size\":", "\"x\":{\"y\":[{\"a\":1,\"a\":1}]},\"size\":", 1);
    assert!(matches!(validate(Some(IMAGE), deep.as_bytes()), Err(Invalid::Json(_))));
    let escaped = text.replacen('{', "{\"\\u0073chemaVersion\":2,", 1);
    assert!(matches!(validate(Some(IMAGE), escaped.as_bytes()), Err(Invalid::Json(_))));
}

#[test]
fn what_is_not_a_manifest_is_refused() {
    assert!(matches!(check(Some("application/json"), &image()), Err(Invalid::MediaType(_))));
    assert!(matches!(check(Some("text/plain"), &image()), Err(Invalid::MediaType(_))));
    assert!(matches!(check(None, &with(image(), "mediaType", json!("x/y"))), Err(Invalid::MediaType(_))));
    assert_eq!(check(Some(IMAGE), &with(image(), "schemaVersion", json!(1))), Err(Invalid::SchemaVersion));
    for body in [&b""[..], b"{", b"[]", b"null", b"{} {}", b"\xff"] {
        assert!(validate(Some(IMAGE), body).is_err(), "{body:?}");
    }
    let nested = "[".repeat(100_000);
    assert!(validate(Some(IMAGE), nested.as_bytes()).is_err());
    let mut bare = image();
    bare.as_object_mut().unwrap().remove("config");
    assert!(matches!(check(Some(IMAGE), &bare), Err(Invalid::Lacks { .. })));
}

#[test]
fn descriptors_are_checked() {
    for (field, value) in [
        ("digest", json!("sha256:00")),
        ("digest", json!("../../etc")),
        ("digest", json!(5)),
        ("size", json!(-1)),
        ("size", json!("2")),
        ("mediaType", json!("")),
        ("data", json!("e30=")),
        ("data", json!("!")),
    ] {
        let config = with(descriptor("a/b", "config"), field, value.clone());
        assert!(check(Some(IMAGE), &with(image(), "config", config)).is_err(), "{field} {value}");
    }
    let empty = json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": digest("{}"), "size": 2, "data": "e30=" });
    assert!(check(Some(IMAGE), &with(image(), "config", empty)).is_ok());
}

#[test]
fn digests_of_other_algorithms_are_legal_but_missing() {
    let config = with(descriptor("a/b", "config"), "digest", json!("blake3:abc"));
    assert_eq!(check(Some(IMAGE), &with(image(), "config", config)).unwrap().unsupported, ["blake3:abc"]);
}

#[test]
fn foreign_layers_may_be_absent() {
    let layer = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign");
    let manifest = check(Some(IMAGE), &with(image(), "layers", json!([layer]))).unwrap();
    assert_eq!(manifest.references.iter().filter(|reference| !reference.required).count(), 1);
}

#[test]
fn subject_artifact_type_and_annotations_are_taken_from_oci_documents() {
    let value = with(image(), "subject", descriptor(IMAGE, "subject"));
    let value = with(value, "artifactType", json!("application/vnd.x+json"));
    let value = with(value, "annotations", json!({ "a": "b" }));
    let manifest = check(Some(IMAGE), &value).unwrap();
    assert_eq!(manifest.subject, Some(digest("subject")));
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.x+json"));
    assert_eq!(manifest.annotations.as_deref(), Some("{\"a\":\"b\"}"));
    assert!(check(Some(IMAGE), &with(value, "annotations", json!({ "a": 1 }))).is_err());
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": descriptor(IMAGE, "s") });
    assert_eq!(check(Some(INDEX), &index).unwrap().artifact_type, None);
}

#[test]
fn descriptors_are_limited() {
    let layers = |count: usize| vec![descriptor("application/vnd.oci.image.layer.v1.tar", "layer"); count];
    assert!(check(Some(IMAGE), &with(image(), "layers", json!(layers(DESCRIPTORS_MAX)))).is_ok());
    assert_eq!(check(Some(IMAGE), &with(image(), "layers", json!(layers(DESCRIPTORS_MAX + 1)))), Err(Invalid::TooMany));
    let manifests = vec![descriptor(IMAGE, "child"); DESCRIPTORS_MAX + 1];
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    assert_eq!(check(Some(INDEX), &index), Err(Invalid::TooMany));
}

#[test]
fn urls_are_found_wherever_content_is_named() {
    assert!(!leads_elsewhere(image().to_string().as_bytes()));
    let elsewhere = with(descriptor("a/b", "x"), "urls", json!(["http://elsewhere.example/x"]));
    let nowhere = with(descriptor("a/b", "x"), "urls", json!([]));
    for (field, part, expected) in [
        ("layers", json!([elsewhere]), true),
        ("layers", json!([nowhere, elsewhere]), true),
        ("layers", json!([nowhere]), false),
        ("layers", json!(null), false),
        ("config", elsewhere.clone(), true),
        ("manifests", json!([elsewhere]), true),
        // Nobody fetches a subject.
        ("subject", elsewhere.clone(), false),
    ] {
        assert_eq!(leads_elsewhere(with(image(), field, part.clone()).to_string().as_bytes()), expected, "{field} {part}");
    }
    let escaped = with(image(), "layers", json!([elsewhere])).to_string().replace("\"urls\"", "\"\\u0075rls\"");
    assert!(leads_elsewhere(escaped.as_bytes()) && leads_elsewhere(b"{"));
}
