//! Shapes of the part of `/api/v1` about repositories and their settings.
//!
//! | request | body or query | answer |
//! |---|---|---|
//! | `GET /api/v1/repositories` | [`super::PageQuery`] | page of [`Repository`], those that the caller may pull |
//! | `GET /api/v1/repositories/{name}` | | [`RepositoryDetail`] |
//! | `PATCH /api/v1/repositories/{name}` | [`RepositoryChange`] | [`Repository`]; takes `admin` on it |
//!
//! A name stands in a path percent-encoded: `acme%2Fweb`.

pub use model::repository::{Sparse, TagOverwrite};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repository {
    /// `acme/web`
    pub name: String,
    pub created_by: String,
    pub created_at: String,
    pub settings: Settings,
}

/// What holds in a repository beside who may do what in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// Who may move a tag that stands: `push`, `maintain` or `nobody`. Tags that nobody may move cannot be deleted either.
    #[schema(value_type = String)]
    pub tag_overwrite: TagOverwrite,
    /// Patterns of tags for which it is the other way round: free where others are not, immutable where others are free.
    pub tag_exceptions: Vec<String>,
    /// Most bytes of blobs and manifests; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Manifests that name content which is not here: `refuse` or `accept`.
    #[schema(value_type = String)]
    pub sparse: Sparse,
    /// Whether everybody may pull, without logging in.
    pub public: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryDetail {
    #[serde(flatten)]
    pub repository: Repository,
    /// Bytes of its blobs and manifests. A blob that other repositories have too counts in each.
    pub used_bytes: u64,
}

/// What is to be changed; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tag_overwrite: Option<TagOverwrite>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_exceptions: Option<Vec<String>>,
    /// `null` takes the quota away.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<u64>)]
    pub quota_bytes: Option<Option<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub sparse: Option<Sparse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
}

/// A member that is there, be it `null`.
#[expect(clippy::option_option, reason = "a number, null and absence are three things")]
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::<u64>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_quota_and_nothing_said_of_it_are_different() {
        let read = |text: &str| serde_json::from_str::<RepositoryChange>(text).unwrap();
        assert_eq!(read("{}").quota_bytes, None);
        assert_eq!(read(r#"{"quota_bytes":null}"#).quota_bytes, Some(None));
        assert_eq!(read(r#"{"quota_bytes":7}"#).quota_bytes, Some(Some(7)));
        for text in ["{}", r#"{"quota_bytes":null}"#, r#"{"quota_bytes":7}"#] {
            assert_eq!(serde_json::to_string(&read(text)).unwrap(), text);
        }
        assert!(serde_json::from_str::<RepositoryChange>(r#"{"quota":7}"#).is_err());
    }
}
