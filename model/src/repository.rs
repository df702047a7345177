//! Settings of a repository, and what they decide: whether a tag may move or go, whether content fits, whether references may be
//! missing.
//!
//! Pure. The registry asks inside the transaction that moves the tag or links the blob, so that no race gets around an answer.

use crate::access::glob_component;
use crate::{Digest, Tag};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Patterns of tags in one repository's settings.
pub const TAG_EXCEPTIONS_MAX: usize = 50;
/// Longest pattern of tags, in bytes.
pub const TAG_PATTERN_BYTES_MAX: usize = 128;

/// Why settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("`{0}` is not a pattern of tags: letters, digits, `_`, `.`, `-` and `*`, at most {TAG_PATTERN_BYTES_MAX} characters")]
    TagPattern(String),
    #[error("at most {TAG_EXCEPTIONS_MAX} patterns of tags can be exceptions")]
    TooManyExceptions,
    #[error("`{0}` does not say who may move a tag: push, maintain or nobody")]
    TagOverwrite(String),
    #[error("`{0}` is not a policy for incomplete manifests: refuse or accept")]
    Sparse(String),
}

/// What holds in a repository beside who may do what in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RepositorySettings {
    /// Who may move a tag that stands.
    #[serde(skip_serializing_if = "is_default")]
    pub tag_overwrite: TagOverwrite,
    /// Tags for which it is the other way round: free where others are not, immutable where others are free.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tag_exceptions: Vec<TagPattern>,
    /// Most bytes of blobs and manifests in it; none: no limit. A blob that other repositories have too counts in each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// None: as the server does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparse: Option<Sparse>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Who may move a tag that stands. Setting a new one takes `push` only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagOverwrite {
    /// Whoever may push.
    #[default]
    Push,
    /// Whoever holds `maintain`.
    Maintain,
    /// Tags are immutable: they neither move nor go.
    Nobody,
}

/// What becomes of a manifest that names content which is not in the repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sparse {
    #[default]
    Refuse,
    /// It is stored: an index of many platforms of which some are here. But what the garbage collector took is never taken for
    /// something that is elsewhere.
    Accept,
}

/// Why a tag stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagRefusal {
    Immutable,
    /// It may move, but not by somebody who may only push.
    NeedsMaintain,
}

/// Content that does not fit any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverQuota {
    pub quota_bytes: u64,
    pub used_bytes: u64,
}

impl RepositorySettings {
    pub fn validate(&self) -> Result<(), SettingsError> {
        if self.tag_exceptions.len() > TAG_EXCEPTIONS_MAX { Err(SettingsError::TooManyExceptions) } else { Ok(()) }
    }

    /// Who may move this tag.
    pub fn overwrite_of(&self, tag: &Tag) -> TagOverwrite {
        match (self.tag_overwrite, self.tag_exceptions.iter().any(|pattern| pattern.matches(tag))) {
            (usual, false) => usual,
            (TagOverwrite::Push, true) => TagOverwrite::Nobody,
            (TagOverwrite::Maintain | TagOverwrite::Nobody, true) => TagOverwrite::Push,
        }
    }

    /// Whether everybody who pushes may move every tag: then nothing need be looked up.
    pub fn leaves_tags_free(&self) -> bool {
        self.tag_overwrite == TagOverwrite::Push && self.tag_exceptions.is_empty()
    }

    /// Whether `tag`, which names `standing`, may be made to name `new`. The same again is always fine: clients push twice.
    pub fn may_set(&self, tag: &Tag, standing: Option<&Digest>, new: &Digest, maintains: bool) -> Result<(), TagRefusal> {
        match (standing, self.overwrite_of(tag)) {
            (None, _) | (Some(_), TagOverwrite::Push) => Ok(()),
            (Some(standing), _) if standing == new => Ok(()),
            (Some(_), TagOverwrite::Maintain) if maintains => Ok(()),
            (Some(_), TagOverwrite::Maintain) => Err(TagRefusal::NeedsMaintain),
            (Some(_), TagOverwrite::Nobody) => Err(TagRefusal::Immutable),
        }
    }

    /// Whether `tag` may go, alone or with its manifest: an immutable one that went could come back as something else.
    pub fn may_delete(&self, tag: &Tag) -> Result<(), TagRefusal> {
        if self.overwrite_of(tag) == TagOverwrite::Nobody { Err(TagRefusal::Immutable) } else { Ok(()) }
    }

    /// Whether `adding` bytes fit beside the `used` ones.
    pub fn fits(&self, used: u64, adding: u64) -> Result<(), OverQuota> {
        match self.quota_bytes {
            Some(quota_bytes) if used.saturating_add(adding) > quota_bytes => Err(OverQuota { quota_bytes, used_bytes: used }),
            _ => Ok(()),
        }
    }
}

impl TagOverwrite {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Maintain => "maintain",
            Self::Nobody => "nobody",
        }
    }
}

impl FromStr for TagOverwrite {
    type Err = SettingsError;
    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let all = [Self::Push, Self::Maintain, Self::Nobody];
        all.into_iter().find(|known| known.as_str() == text).ok_or_else(|| SettingsError::TagOverwrite(text.chars().take(100).collect()))
    }
}

impl Sparse {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Accept => "accept",
        }
    }
}

impl FromStr for Sparse {
    type Err = SettingsError;
    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let all = [Self::Refuse, Self::Accept];
        all.into_iter().find(|known| known.as_str() == text).ok_or_else(|| SettingsError::Sparse(text.chars().take(100).collect()))
    }
}

/// Which tags: `latest`, `dev-*`; `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagPattern(String);
crate::name::string_newtype!(TagPattern);

impl FromStr for TagPattern {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-*".contains(&b);
        if text.is_empty() || text.len() > TAG_PATTERN_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(SettingsError::TagPattern(text.chars().take(100).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TagPattern {
    pub fn matches(&self, tag: &Tag) -> bool {
        glob_component(self.0.as_bytes(), tag.as_str().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TagOverwrite::{Maintain, Nobody, Push};

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    fn digest(of: char) -> Digest {
        format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
    }

    fn settings(tag_overwrite: TagOverwrite, exceptions: &[&str]) -> RepositorySettings {
        let tag_exceptions = exceptions.iter().map(|text| text.parse().unwrap()).collect();
        RepositorySettings { tag_overwrite, tag_exceptions, ..RepositorySettings::default() }
    }

    #[test]
    fn who_may_move_a_tag() {
        let (old, new) = (digest('a'), digest('b'));
        let (immutable, maintainers) = (Err(TagRefusal::Immutable), Err(TagRefusal::NeedsMaintain));
        for (usual, exceptions, text, by_pusher, by_maintainer) in [
            (Push, &[][..], "v1", Ok(()), Ok(())),
            (Maintain, &[], "v1", maintainers, Ok(())),
            (Nobody, &[], "v1", immutable, immutable),
            (Nobody, &["dev-*", "latest"], "latest", Ok(()), Ok(())),
            (Nobody, &["dev-*", "latest"], "dev-7", Ok(()), Ok(())),
            (Nobody, &["dev-*", "latest"], "latest2", immutable, immutable),
            (Maintain, &["dev-*"], "dev-7", Ok(()), Ok(())),
            (Push, &["v*"], "v1", immutable, immutable),
            (Push, &["v*"], "latest", Ok(()), Ok(())),
        ] {
            let settings = settings(usual, exceptions);
            let move_it = |maintains| settings.may_set(&tag(text), Some(&old), &new, maintains);
            assert_eq!((move_it(false), move_it(true)), (by_pusher, by_maintainer), "{usual:?} but {exceptions:?}: {text}");
            // A new tag, and the same digest again, are fine for everybody who may push.
            assert_eq!(settings.may_set(&tag(text), None, &new, false), Ok(()));
            assert_eq!(settings.may_set(&tag(text), Some(&new), &new, false), Ok(()));
            // What nobody can move, nobody can take away.
            assert_eq!(settings.may_delete(&tag(text)).is_err(), by_maintainer == immutable, "{usual:?} but {exceptions:?}: {text}");
        }
        assert!(settings(Push, &[]).leaves_tags_free());
        assert!(!settings(Push, &["v*"]).leaves_tags_free() && !settings(Maintain, &[]).leaves_tags_free());
    }

    #[test]
    fn what_fits_is_counted_to_the_byte_and_never_wraps() {
        let quota = |quota_bytes| RepositorySettings { quota_bytes, ..RepositorySettings::default() };
        assert_eq!(quota(None).fits(u64::MAX, u64::MAX), Ok(()));
        assert_eq!(quota(Some(10)).fits(4, 6), Ok(()));
        assert_eq!(quota(Some(10)).fits(4, 7), Err(OverQuota { quota_bytes: 10, used_bytes: 4 }));
        assert_eq!(quota(Some(10)).fits(11, 0), Err(OverQuota { quota_bytes: 10, used_bytes: 11 }));
        assert!(quota(Some(10)).fits(1, u64::MAX).is_err());
        assert_eq!(quota(Some(0)).fits(0, 0), Ok(()));
    }

    #[test]
    fn settings_are_stored_as_what_differs_from_the_usual() {
        assert_eq!(serde_json::to_string(&RepositorySettings::default()).unwrap(), "{}");
        let all = RepositorySettings { quota_bytes: Some(5), sparse: Some(Sparse::Accept), ..settings(Nobody, &["dev-*"]) };
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"{"tag_overwrite":"nobody","tag_exceptions":["dev-*"],"quota_bytes":5,"sparse":"accept"}"#);
        assert_eq!(serde_json::from_str::<RepositorySettings>(&text).unwrap(), all);
        assert!(serde_json::from_str::<RepositorySettings>(r#"{"tag_exceptions":["a/b"]}"#).is_err());
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["", "a b", "a/b", "v?", "é", &"a".repeat(129)] {
            assert!(bad.parse::<TagPattern>().is_err(), "{bad}");
        }
        assert_eq!(settings(Push, &["a"; TAG_EXCEPTIONS_MAX + 1]).validate(), Err(SettingsError::TooManyExceptions));
    }
}
