//! Image references as they stand in a task definition: `[host[:port]/]path[:tag][@digest]`.

use crate::name::{Digest, NameError, Tag};
use std::fmt;
use std::str::FromStr;

/// Longest image reference accepted, in bytes.
pub const IMAGE_BYTES_MAX: usize = 512;

/// A parsed image reference. `host` is set only when the first component looks like one (has `.` or `:`, or is `localhost`),
/// which is Docker's own rule. The path is kept as text: foreign registries have their own ideas of names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    pub host: Option<String>,
    pub path: String,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

/// Why an image reference was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("image reference is empty or longer than {IMAGE_BYTES_MAX} characters")]
    Length,
    #[error("image reference `{0}` has no repository name, or one with characters that are not allowed")]
    Path(String),
    #[error("image reference `{image}`: {source}")]
    Part { image: String, source: NameError },
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if text.is_empty() || text.len() > IMAGE_BYTES_MAX {
            return Err(ImageError::Length);
        }
        let part = |source| ImageError::Part { image: text.to_owned(), source };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(part)?)),
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first.to_owned()), rest),
            _ => (None, rest),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag.parse().map_err(part)?)),
            None => (rest, None),
        };
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
        if path.is_empty() || path.starts_with('/') || path.ends_with('/') || path.contains("//") || !path.bytes().all(allowed) {
            return Err(ImageError::Path(text.to_owned()));
        }
        Ok(Self { host, path: path.to_owned(), tag, digest })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        f.write_str(&self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_paths_as_docker_does() {
        let image: ImageReference = "localhost:5000/acme/web:v1".parse().unwrap();
        assert_eq!((image.host.as_deref(), image.path.as_str()), (Some("localhost:5000"), "acme/web"));
        let image: ImageReference = "acme/web".parse().unwrap();
        assert_eq!((image.host, image.path.as_str(), image.tag), (None, "acme/web", None));
        let digest = format!("sha256:{}", "0".repeat(64));
        let text = format!("r.example.com/a/b:t@{digest}");
        assert_eq!(text.parse::<ImageReference>().unwrap().to_string(), text);
    }

    #[test]
    fn broken_references_are_refused() {
        for bad in ["", "a:b:c", "A/b", "a//b", "a@sha256:00", "h.io/", "a b"] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }
}
