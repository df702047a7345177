//! Which thing a `/v2` path names: one pure parser for all of them, matching from the right, so that `blobs`, `manifests`, `tags` and
//! `uploads` stay legal components of a repository name (NAME-3).
//!
//! The path is percent-decoded once, then checked against the grammars in `model::name`; nothing here touches storage.

use model::{Digest, Reference, RepositoryName, name::NameError};
use percent_encoding::percent_decode_str;
use std::fmt;
use std::str::FromStr;

/// Longest path looked at, in bytes: the longest name, the longest digest, and the words between, percent-encoded.
pub const PATH_BYTES_MAX: usize = 3 * 512;

/// A well-formed path below `/v2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, Reference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, UploadId),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
}

/// Why a path names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("no such path")]
    NotFound,
    #[error("path is longer than {PATH_BYTES_MAX} characters or not UTF-8")]
    Unreadable,
    #[error("{0}")]
    Name(NameError),
    #[error("{source}")]
    Digest { repository: RepositoryName, text: String, source: NameError },
    #[error("{source}")]
    Tag { repository: RepositoryName, text: String, source: NameError },
    #[error("upload id is not 32 hex digits")]
    UploadId { repository: RepositoryName },
}

/// The id of an upload session: 128 random bits in hex, so that it can be neither guessed nor made up by a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    pub fn from_random(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UploadId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

/// Parses the path of a request, still percent-encoded and with its leading `/v2`.
pub fn parse(path: &str) -> Result<Route, RouteError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(RouteError::Unreadable);
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| RouteError::Unreadable)?;
    let rest = path.strip_prefix("/v2").ok_or(RouteError::NotFound)?;
    match rest {
        "" | "/" => return Ok(Route::Base),
        "/_catalog" => return Ok(Route::Catalog),
        _ => {}
    }
    let rest = rest.strip_prefix('/').ok_or(RouteError::NotFound)?;
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Ok(Route::Tags(repository(name)?));
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
        return Ok(Route::Uploads(repository(name)?));
    }
    let (head, last) = rest.rsplit_once('/').ok_or(RouteError::NotFound)?;
    if let Some(name) = head.strip_suffix("/manifests") {
        return manifest(repository(name)?, last);
    }
    if let Some(name) = head.strip_suffix("/blobs/uploads") {
        let repository = repository(name)?;
        return match last.parse() {
            Ok(id) => Ok(Route::Upload(repository, id)),
            Err(()) => Err(RouteError::UploadId { repository }),
        };
    }
    if let Some(name) = head.strip_suffix("/blobs") {
        return digest(repository(name)?, last).map(|(name, digest)| Route::Blob(name, digest));
    }
    if let Some(name) = head.strip_suffix("/referrers") {
        return digest(repository(name)?, last).map(|(name, digest)| Route::Referrers(name, digest));
    }
    Err(RouteError::NotFound)
}

fn repository(name: &str) -> Result<RepositoryName, RouteError> {
    name.parse().map_err(RouteError::Name)
}

fn manifest(repository: RepositoryName, text: &str) -> Result<Route, RouteError> {
    match text.parse() {
        Ok(reference) => Ok(Route::Manifest(repository, reference)),
        Err(source) if text.contains(':') => Err(RouteError::Digest { repository, text: shorten(text), source }),
        Err(source) => Err(RouteError::Tag { repository, text: shorten(text), source }),
    }
}

fn digest(repository: RepositoryName, text: &str) -> Result<(RepositoryName, Digest), RouteError> {
    match text.parse() {
        Ok(digest) => Ok((repository, digest)),
        Err(source) => Err(RouteError::Digest { repository, text: shorten(text), source }),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

impl Route {
    /// The repository the path is in, if any.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
        }
    }
}

impl RouteError {
    /// The repository of the path, where that much of it could be read.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::NotFound | Self::Unreadable | Self::Name(_) => None,
            Self::Digest { repository, .. } | Self::Tag { repository, .. } | Self::UploadId { repository } => Some(repository),
        }
    }
}

impl fmt::Display for Route {
    /// The canonical path: what a `Location` says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("/v2/"),
            Self::Catalog => f.write_str("/v2/_catalog"),
            Self::Tags(name) => write!(f, "/v2/{name}/tags/list"),
            Self::Manifest(name, reference) => write!(f, "/v2/{name}/manifests/{reference}"),
            Self::Blob(name, digest) => write!(f, "/v2/{name}/blobs/{digest}"),
            Self::Uploads(name) => write!(f, "/v2/{name}/blobs/uploads/"),
            Self::Upload(name, id) => write!(f, "/v2/{name}/blobs/uploads/{id}"),
            Self::Referrers(name, digest) => write!(f, "/v2/{name}/referrers/{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    fn digest() -> Digest {
        format!("sha256:{}", "a1".repeat(32)).parse().unwrap()
    }

    #[test]
    fn words_of_the_protocol_are_legal_components_of_a_name() {
        for (path, route) in [
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/_catalog", Route::Catalog),
            ("/v2/a/tags/list", Route::Tags(name("a"))),
            ("/v2/tags/tags/list", Route::Tags(name("tags"))),
            ("/v2/a/tags/manifests/list", Route::Manifest(name("a/tags"), "list".parse().unwrap())),
            ("/v2/a/manifests/tags/list", Route::Tags(name("a/manifests"))),
            ("/v2/manifests/manifests/manifests", Route::Manifest(name("manifests"), "manifests".parse().unwrap())),
            ("/v2/blobs/uploads/blobs/uploads/", Route::Uploads(name("blobs/uploads"))),
            ("/v2/a/blobs/uploads", Route::Uploads(name("a"))),
        ] {
            assert_eq!(parse(path), Ok(route), "{path}");
        }
        let text = digest();
        assert_eq!(parse(&format!("/v2/a/blobs/{text}")), Ok(Route::Blob(name("a"), digest())));
        assert_eq!(parse(&format!("/v2/a/blobs/uploads/blobs/{text}")), Ok(Route::Blob(name("a/blobs/uploads"), digest())));
        assert_eq!(parse(&format!("/v2/a/blobs/{}", text.as_str().replace(':', "%3A"))), Ok(Route::Blob(name("a"), digest())));
    }

    #[test]
    fn what_is_not_a_path_of_the_protocol_is_refused_by_kind() {
        let name_error = |path: &str| matches!(parse(path), Err(RouteError::Name(_)));
        for path in ["/v2/A/tags/list", "/v2/a/../b/tags/list", "/v2/a%2f..%2fb/manifests/x", "/v2//manifests/x", "/v2/a%00/manifests/x"] {
            assert!(name_error(path), "{path}");
        }
        assert!(name_error(&format!("/v2/{}/tags/list", "a".repeat(300))));
        for path in ["/", "/v2x", "/v2/a", "/v2/tags/list", "/v2/a/b/c", "/v2/_oci/ext/discover", "/v3/a/tags/list"] {
            assert_eq!(parse(path), Err(RouteError::NotFound), "{path}");
        }
        assert!(matches!(parse("/v2/a/blobs/sha256:00"), Err(RouteError::Digest { .. })));
        assert!(matches!(parse("/v2/a/manifests/sha256:00"), Err(RouteError::Digest { .. })));
        assert!(matches!(parse("/v2/a/manifests/.x"), Err(RouteError::Tag { .. })));
        assert!(matches!(parse("/v2/a/blobs/uploads/x"), Err(RouteError::UploadId { .. })));
        assert_eq!(parse("/v2/a/tags%ff/list"), Err(RouteError::Unreadable));
        assert_eq!(parse(&format!("/v2/{}", "a/".repeat(1000))), Err(RouteError::Unreadable));
    }

    fn component() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("blobs".to_owned()),
            Just("uploads".to_owned()),
            Just("manifests".to_owned()),
            Just("tags".to_owned()),
            Just("list".to_owned()),
            Just("referrers".to_owned()),
            "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}",
        ]
    }

    fn any_route() -> impl Strategy<Value = Route> {
        let any_name = proptest::collection::vec(component(), 1..6).prop_map(|parts| name(&parts.join("/")));
        let any_digest =
            prop_oneof!["[0-9a-f]{64}".prop_map(|hex| format!("sha256:{hex}")), "[0-9a-f]{128}".prop_map(|hex| format!("sha512:{hex}"))]
                .prop_map(|text| text.parse::<Digest>().unwrap());
        (any_name, any_digest, "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", any::<u128>(), 0..7u8).prop_map(|(name, digest, tag, bits, kind)| {
            match kind {
                0 => Route::Tags(name),
                1 => Route::Manifest(name, Reference::Digest(digest)),
                2 => Route::Manifest(name, tag.parse().unwrap()),
                3 => Route::Blob(name, digest),
                4 => Route::Uploads(name),
                5 => Route::Upload(name, UploadId::from_random(bits)),
                _ => Route::Referrers(name, digest),
            }
        })
    }

    proptest! {
        #[test]
        fn every_route_is_read_back_from_its_path(route in any_route()) {
            prop_assert_eq!(parse(&route.to_string()), Ok(route));
        }

        #[test]
        fn any_text_is_parsed_or_refused_and_what_is_parsed_is_canonical(text in "/v2(/[a-z0-9%:._-]{0,12}){0,7}") {
            if let Ok(route) = parse(&text) {
                prop_assert_eq!(parse(&route.to_string()), Ok(route));
            }
        }
    }
}
