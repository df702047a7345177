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
    }
}
