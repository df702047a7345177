//! Clusters: a name under which instances, services and tasks stand.

use crate::clock::Timestamp;
use crate::ids::ClusterName;
use serde::{Deserialize, Serialize};

/// ACTIVE, or INACTIVE once deleted: it stays describable and can be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ClusterStatus {
    Active,
    Inactive,
}

impl ClusterStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Inactive].into_iter().find(|status| status.as_str() == text)
    }
}

/// What clients set on a cluster and read back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterSettings {
    /// Names and values as given (`containerInsights: disabled`).
    pub settings: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub name: ClusterName,
    pub status: ClusterStatus,
    pub created_at: Timestamp,
    pub tags: Vec<(String, String)>,
    pub client_settings: ClusterSettings,
}
