//! What every operation of the registry is given.

use crate::auth::Gate;
use crate::blob::Served as ServedBlob;
use crate::blob::buffers::Buffers;
use crate::cache::Cache;
use crate::manifest::Served as ServedManifest;
use crate::metrics::Metrics;
use crate::settings::Current;
use crate::storage::Storage;
use crate::upload::marks::Marks;
use crate::upload::sessions::Sessions;
use model::Clock;
use model::repository::Sparse;
use platform::db::Db;
use platform::wake::Wake;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// How the registry is run.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Holds `blobs/`.
    pub data_dir: PathBuf,
    /// `https://registry.example.com`: where clients reach this server. Absent: the scheme below and the `Host` they sent.
    pub external_url: Option<String>,
    /// Whether the public listener speaks TLS.
    pub tls: bool,
    /// Largest blob, in bytes.
    pub blob_bytes_max: u64,
    /// Woken after each push that moved a tag.
    pub pushed: Wake,
    pub gc: GcConfig,
    /// What becomes of incomplete manifests in repositories whose settings do not say.
    pub sparse: Sparse,
}

/// When the garbage collector may take what nothing refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcConfig {
    /// How long a blob stays that no manifest names: at least as long as a client takes from its first blob to its manifest.
    pub grace: Duration,
    /// How long a manifest stays that no tag and no index names; none: for good.
    pub untagged: Option<Duration>,
    /// How long an upload stays that nobody goes on with.
    pub uploads: Duration,
}

impl GcConfig {
    /// Unless configured otherwise, in seconds: half a day, two weeks, and a day.
    pub const GRACE_SECS: u64 = 12 * 60 * 60;
    pub const UNTAGGED_SECS: u64 = 14 * 24 * 60 * 60;
    pub const UPLOAD_SECS: u64 = 24 * 60 * 60;
}

impl Default for GcConfig {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(Self::GRACE_SECS),
            untagged: Some(Duration::from_secs(Self::UNTAGGED_SECS)),
            uploads: Duration::from_secs(Self::UPLOAD_SECS),
        }
    }
}

impl RegistryConfig {
    /// Largest blob unless configured otherwise, in bytes: 64 GiB, above the largest layers seen in other registries.
    pub const BLOB_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;

    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            external_url: None,
            tls: false,
            blob_bytes_max: Self::BLOB_BYTES_MAX,
            pushed: Wake::default(),
            gc: GcConfig::default(),
            sparse: Sparse::default(),
        }
    }
}

pub struct Context {
    pub config: RegistryConfig,
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub gate: Gate,
    pub storage: Storage,
    /// Whether memory may answer: this process is the only writer.
    pub exclusive: bool,
    pub manifests: Cache<ServedManifest>,
    pub blobs: Cache<ServedBlob>,
    pub sessions: Sessions,
    pub marks: Arc<Marks>,
    /// Settings of repositories.
    pub settings: Current,
    pub buffers: Arc<Buffers>,
    /// Uploads being received.
    pub receiving: Arc<AtomicUsize>,
    pub metrics: Metrics,
    /// Held by the one garbage collection of this process.
    pub collecting: tokio::sync::Mutex<()>,
}

impl Context {
    /// A manifest from memory, where memory is current.
    pub fn cached_manifest(&self, name: &str, path: &str) -> Option<Arc<ServedManifest>> {
        if self.exclusive { self.manifests.get(name, path) } else { None }
    }

    /// A blob's place from memory, where memory is current.
    pub fn cached_blob(&self, name: &str, path: &str) -> Option<Arc<ServedBlob>> {
        if self.exclusive { self.blobs.get(name, path) } else { None }
    }
}
