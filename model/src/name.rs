//! Repository names, tags and digests, checked once at the edge (OCI distribution-spec, clauses NAME-1..5 and DIG-1..3).
//!
//! Names are limited to 255 characters, which the spec advises and clients enforce. Only sha256 and sha512 digests are known.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest repository name accepted, in bytes.
pub const REPOSITORY_NAME_BYTES_MAX: usize = 255;
/// Longest tag accepted, in bytes (NAME-4).
pub const TAG_BYTES_MAX: usize = 128;

/// Why a name, tag or digest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("repository name is empty")]
    EmptyName,
    #[error("repository name is longer than {REPOSITORY_NAME_BYTES_MAX} characters")]
    NameTooLong,
    #[error(
        "repository name `{0}` is not valid: lower-case letters, digits and single separators (`.`, `_`, `__`, `-`) in components joined by `/`"
    )]
    BadName(String),
    #[error("tag is not valid: up to {TAG_BYTES_MAX} letters, digits, `_`, `.` and `-`, not starting with `.` or `-`")]
    BadTag,
    #[error("digest is not valid: `sha256:` and 64, or `sha512:` and 128, lower-case hex digits")]
    BadDigest,
    #[error("digest algorithm `{0}` is not supported: use sha256 or sha512")]
    UnknownAlgorithm(String),
}

macro_rules! string_newtype {
    ($name:ident) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = <Self as FromStr>::Err;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use string_newtype;

/// `acme/web`: path components of a repository (NAME-1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);
string_newtype!(RepositoryName);

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::EmptyName);
        }
        if text.len() > REPOSITORY_NAME_BYTES_MAX {
            return Err(NameError::NameTooLong);
        }
        if text.split('/').all(is_name_component) { Ok(Self(text.to_owned())) } else { Err(NameError::BadName(text.to_owned())) }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_name_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

/// `v1.2.3`: a movable name of a manifest (NAME-4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);
string_newtype!(Tag);

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let ok = (1..=TAG_BYTES_MAX).contains(&text.len())
            && text.bytes().enumerate().all(|(at, b)| word(b) || (at > 0 && matches!(b, b'.' | b'-')));
        if ok { Ok(Self(text.to_owned())) } else { Err(NameError::BadTag) }
    }
}

/// The hash functions a digest may name (DIG-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// `sha256:…`: the identity of bytes. Only sha256 and sha512, exact length, lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);
string_newtype!(Digest);

impl Digest {
    /// The digest whose hash bytes, in hex, are `hex`. Fails when the length does not fit the algorithm.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Result<Self, NameError> {
        format!("{}:{hex}", algorithm.as_str()).parse()
    }

    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The hex part, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// Twelve hex digits, as people read them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (algorithm, encoded) = text.split_once(':').ok_or(NameError::BadDigest)?;
        let known = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other if other.len() <= 32 && other.bytes().all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b)) => {
                return Err(NameError::UnknownAlgorithm(other.to_owned()));
            }
            _ => return Err(NameError::BadDigest),
        };
        let hex = encoded.len() == known.hex_len() && encoded.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex { Ok(Self(text.to_owned())) } else { Err(NameError::BadDigest) }
    }
}

/// What comes after `/manifests/`: a tag or a digest; only a digest has `:` (NAME-5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') { text.parse().map(Self::Digest) } else { text.parse().map(Self::Tag) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar_of_the_spec() {
        for good in ["a", "a/b", "a--b", "a__b", "a.b_c-d/e0", "0"] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        let long = "a".repeat(300);
        for bad in ["", "A", "a..b", "a___b", "a/../b", "..", "/a", "a/", "a//b", "a_-b", "-a", "a-", "a b", "a\0", long.as_str()] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_have_at_most_128_word_characters() {
        for good in ["latest", "_x", "v1.2-rc.3", &"t".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a:b", &"t".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_want_exact_length_and_lower_case() {
        let hex = "0123456789abcdef".repeat(4);
        assert!(format!("sha256:{hex}").parse::<Digest>().is_ok());
        assert!(format!("sha512:{hex}{hex}").parse::<Digest>().is_ok());
        assert_eq!(format!("blake3:{hex}").parse::<Digest>(), Err(NameError::UnknownAlgorithm("blake3".into())));
        for bad in
            [format!("sha256:{}", hex.to_uppercase()), format!("sha256:{}", &hex[1..]), format!("sha512:{hex}"), hex.clone(), ":".into()]
        {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
