//! Counters of the registry, for `/metrics`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub manifests_served: Counter,
    pub manifests_pushed: Counter,
    pub blobs_served: Counter,
    pub blobs_pushed: Counter,
    pub blob_bytes_served: Counter,
    pub blob_bytes_received: Counter,
    pub uploads_started: Counter,
    pub uploads_expired: Counter,
    pub manifests_expired: Counter,
    pub links_collected: Counter,
    pub blobs_collected: Counter,
    pub files_removed: Counter,
    pub file_bytes_removed: Counter,
    pub gc_passes: Counter,
    pub gc_candidates: Counter,
    pub gc_failures: Counter,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("registry");
        registry.register("manifests_served", "Manifests sent, HEAD requests included", self.manifests_served.clone());
        registry.register("manifests_pushed", "Manifest pushes committed", self.manifests_pushed.clone());
        registry.register("blobs_served", "Blob downloads begun", self.blobs_served.clone());
        registry.register("blobs_pushed", "Blobs committed or mounted", self.blobs_pushed.clone());
        registry.register("blob_sent_bytes", "Bytes of blobs asked for by downloads", self.blob_bytes_served.clone());
        registry.register("blob_received_bytes", "Bytes of blobs received by uploads", self.blob_bytes_received.clone());
        registry.register("uploads_started", "Upload sessions opened", self.uploads_started.clone());
        registry.register("uploads_expired", "Upload sessions that nobody finished in time", self.uploads_expired.clone());
        registry.register("manifests_expired", "Untagged manifests that the garbage collector took", self.manifests_expired.clone());
        registry.register("links_collected", "Blobs taken out of a repository by the garbage collector", self.links_collected.clone());
        registry.register("blobs_collected", "Blobs that the garbage collector took", self.blobs_collected.clone());
        registry.register("files_removed", "Files that were removed from storage as garbage", self.files_removed.clone());
        registry.register(
            "file_removed_bytes",
            "Bytes of files that were removed from storage as garbage",
            self.file_bytes_removed.clone(),
        );
        registry.register("gc_passes", "Passes of the garbage collector", self.gc_passes.clone());
        registry.register("gc_candidates", "Rows that the garbage collector looked at", self.gc_candidates.clone());
        registry.register("gc_failures", "Passes of the garbage collector that failed", self.gc_failures.clone());
    }
}
