//! Shapes of the garbage collection of the registry.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/registry/garbage` | [`GarbagePlan`]: what a collection would take now, and why; nothing is changed |
//! | `POST /api/v1/registry/garbage/collect` | [`GarbageCollected`]: what was taken |
//!
//! Both are for server admins.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a collection would take now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GarbagePlan {
    /// How long a blob stays that no manifest names, in seconds.
    pub grace_secs: u64,
    /// How long a manifest stays that no tag and no index names, in seconds; absent: for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged_secs: Option<u64>,
    /// What is due, at most 1000 of each kind, oldest first.
    pub items: Vec<GarbageItem>,
    /// Whether there are more than were listed.
    pub more: bool,
    /// Bytes of files that go at once.
    pub bytes: u64,
    /// Bytes that only manifests hold which go now; theirs go when the grace time after that is over.
    pub bytes_later: u64,
    /// Files of blobs that are gone already, as after a crash.
    pub files: u64,
    /// Blobs that no manifest of their repository names, whose grace time is not over.
    pub waiting_blobs: u64,
    pub waiting_blob_bytes: u64,
    /// Manifests that no tag names, whose time is not over.
    pub waiting_manifests: u64,
}

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GarbageItem {
    /// `manifest`; `link`: a repository lets go of a blob; `blob`: the blob itself
    pub kind: String,
    /// Where a manifest or a link is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    pub digest: String,
    /// Bytes that go with it: of a manifest, after the grace time, those that only it holds; of a link, those of the blob when nobody
    /// else holds it.
    pub bytes: u64,
    /// False: it is due, and is kept for the reason that is given.
    pub goes: bool,
    pub reason: String,
    /// When its time began.
    pub since: String,
}

/// What a collection took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GarbageCollected {
    pub manifests: u64,
    /// Blobs that repositories let go of.
    pub links: u64,
    pub blobs: u64,
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Left alone because a task definition or a service needs them.
    pub pinned: u64,
    /// Whether more is due than one request takes: ask again, or leave it to the server.
    pub more: bool,
}
