//! The revision that a push makes: a copy of what the service runs, with the image of one container replaced. Pure.
//!
//! The image is named by digest, with the tag beside it for people; the host stands as it was written before.

use crate::operations::images::Images;
use crate::store::task_definitions::{Registered, TaskDefinitionStatus};
use model::access::Principal;
use model::ids::TaskDefinitionId;
use model::task::ResolvedImage;
use model::trigger::Push;
use model::{ImageReference, Timestamp};

/// An image for a container.
#[derive(Debug, Clone)]
pub struct Replacement<'a> {
    pub container: &'a str,
    pub push: &'a Push,
}

/// A revision to be registered, and the images of the deployment that runs it.
#[derive(Debug, Clone)]
pub struct Revision {
    /// Its number is not given yet.
    pub registered: Registered,
    pub images: Images,
}

/// Why a copy cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    #[error("{of} has no container {container}")]
    NoContainer { of: TaskDefinitionId, container: String },
    #[error("the document of {of} cannot be read: {why}")]
    Document { of: TaskDefinitionId, why: String },
}

/// A copy of `of`, which runs with `images`. `host` is written where no name of this registry stood.
pub fn copy(
    of: &Registered,
    images: &Images,
    replacements: &[Replacement<'_>],
    host: &str,
    by: &Principal,
    now: Timestamp,
) -> Result<Revision, RevisionError> {
    let mut revision = Revision { registered: of.clone(), images: images.clone() };
    for replacement in replacements {
        replace(&mut revision, replacement, host)?;
    }
    let registered = &mut revision.registered;
    registered.definition = serde_json::from_value(registered.document.clone())
        .map_err(|error| RevisionError::Document { of: of.id.clone(), why: error.to_string() })?;
    registered.id.revision = 0;
    registered.status = TaskDefinitionStatus::Active;
    registered.registered_at = now;
    registered.registered_by = by.to_string();
    registered.deregistered_at = None;
    Ok(revision)
}

fn replace(revision: &mut Revision, replacement: &Replacement<'_>, host: &str) -> Result<(), RevisionError> {
    let Replacement { container, push } = replacement;
    let id = revision.registered.id.clone();
    let missing = || RevisionError::NoContainer { of: id.clone(), container: (*container).to_owned() };
    let before = revision.registered.images.get(*container).ok_or_else(missing)?;
    let image = written(before, push, host).to_string();
    let containers = revision.registered.document.get_mut("containerDefinitions").and_then(serde_json::Value::as_array_mut);
    let found = containers.into_iter().flatten().find(|definition| definition["name"] == *container).ok_or_else(missing)?;
    found["image"] = image.clone().into();
    let resolved = ResolvedImage { repository: Some(push.repository.to_string()), digest: Some(push.digest.clone()), image };
    revision.registered.images.insert((*container).to_owned(), resolved.clone());
    revision.images.insert((*container).to_owned(), resolved);
    Ok(())
}

/// How the image of `push` is written in place of `before`.
fn written(before: &ResolvedImage, push: &Push, host: &str) -> ImageReference {
    let ours = before.repository.is_some();
    let as_before = before.image.parse::<ImageReference>().ok().filter(|_| ours).map(|reference| reference.host);
    ImageReference {
        host: as_before.unwrap_or_else(|| Some(host.to_owned())),
        path: push.repository.to_string(),
        tag: Some(push.tag.clone()),
        digest: Some(push.digest.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn registered(image: &str, repository: Option<&str>) -> Registered {
        let document = json!({"family": "web", "cpu": "256", "containerDefinitions": [
            {"name": "app", "image": image, "memory": 64}, {"name": "side", "image": "r.io/side:v1", "memory": 64}]});
        let own = ResolvedImage { repository: repository.map(str::to_owned), digest: None, image: image.into() };
        let side = ResolvedImage { repository: None, digest: None, image: "r.io/side:v1".into() };
        Registered {
            id: TaskDefinitionId { family: "web".parse().unwrap(), revision: 3 },
            status: TaskDefinitionStatus::Inactive,
            definition: serde_json::from_value(document.clone()).unwrap(),
            document,
            images: BTreeMap::from([("app".to_owned(), own), ("side".to_owned(), side)]),
            tags: vec![("team".into(), "x".into())],
            registered_at: Timestamp::from_secs(1),
            registered_by: "user:alice".into(),
            deregistered_at: Some(Timestamp::from_secs(2)),
        }
    }

    fn push() -> Push {
        Push {
            sequence: 7,
            repository: "acme/web".parse().unwrap(),
            tag: "v2".parse().unwrap(),
            digest: format!("sha256:{}", "2".repeat(64)).parse().unwrap(),
            principal: "robot:ci".parse().unwrap(),
            scope: None,
            at: Timestamp::from_secs(3),
        }
    }

    fn copied(of: &Registered, container: &str) -> Result<Revision, RevisionError> {
        let push = push();
        let replacement = Replacement { container, push: &push };
        copy(of, &of.images, &[replacement], "127.0.0.1:5000", &push.principal, Timestamp::from_secs(9))
    }

    #[test]
    fn the_host_stands_as_it_was_written() {
        let digest = push().digest;
        for (image, repository, expected) in [
            ("registry.example.com/acme/web:v1", Some("acme/web"), format!("registry.example.com/acme/web:v2@{digest}")),
            ("acme/web:v1", Some("acme/web"), format!("acme/web:v2@{digest}")),
            ("127.0.0.1:5000/acme/old@sha256:1", Some("acme/old"), format!("127.0.0.1:5000/acme/web:v2@{digest}")),
            ("docker.io/library/nginx", None, format!("127.0.0.1:5000/acme/web:v2@{digest}")),
            ("nginx", None, format!("127.0.0.1:5000/acme/web:v2@{digest}")),
        ] {
            let revision = copied(&registered(image, repository), "app").unwrap();
            assert_eq!(revision.registered.document["containerDefinitions"][0]["image"], expected.as_str(), "{image}");
            let resolved = ResolvedImage { repository: Some("acme/web".into()), digest: Some(digest.clone()), image: expected };
            assert_eq!(revision.images["app"], resolved);
            assert_eq!(revision.registered.images["app"], resolved);
        }
    }

    #[test]
    fn the_rest_is_a_copy() {
        let of = registered("acme/web:v1", Some("acme/web"));
        let copy = copied(&of, "app").unwrap().registered;
        assert_eq!((copy.id.revision, copy.status, copy.deregistered_at), (0, TaskDefinitionStatus::Active, None));
        assert_eq!((copy.registered_by.as_str(), copy.tags), ("robot:ci", of.tags.clone()));
        assert_eq!(copy.document["containerDefinitions"][1], of.document["containerDefinitions"][1]);
        assert_eq!(copy.document["cpu"], "256");
        assert!(copy.definition.container_definitions[0].image.starts_with("acme/web:v2@"));
        assert!(matches!(copied(&of, "gone"), Err(RevisionError::NoContainer { .. })));
    }
}
