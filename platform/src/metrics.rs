//! Counters of a server process and their Prometheus text.
//!
//! The composition root makes one [`Metrics`], counts every request with it and answers `/metrics` from [`Metrics::render`].
//! Names follow Prometheus: `berth_…`, seconds and bytes, counters end in `_total`.

use crate::db::Db;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt::Write as _;
use std::sync::Arc;

/// Size of a memory page on the platforms Berth runs on, in bytes.
const PAGE_BYTES: i64 = 4096;

/// Which of the server's faces a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Face {
    /// `/v2/…` and `/token`
    Registry,
    /// `POST /`: ECS and ECR
    Control,
    /// `/api/v1/…`
    Api,
    /// `/agent/v1/…`
    Agent,
    /// `/healthz`, `/readyz`, `/metrics` and everything else
    Operations,
}

impl Face {
    /// The face a path belongs to.
    pub fn of_path(path: &str) -> Self {
        let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if below("/v2") || path == "/token" {
            Self::Registry
        } else if path == "/" {
            Self::Control
        } else if below("/api") {
            Self::Api
        } else if below("/agent") {
            Self::Agent
        } else {
            Self::Operations
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Control => "control",
            Self::Api => "api",
            Self::Agent => "agent",
            Self::Operations => "operations",
        }
    }
}

impl EncodeLabelValue for Face {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    face: Face,
    status: u16,
}

/// The process's metrics; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    in_flight: Gauge,
}

impl Metrics {
    /// `more` registers what other crates count, below the same prefix.
    pub fn new(version: &str, db: Db, more: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix("berth");
        let requests = Family::<RequestLabels, Counter>::default();
        let in_flight = Gauge::default();
        registry.register("build", "Version of the running binary", Info::new([("version", version.to_owned())]));
        registry.register("http_requests", "HTTP requests answered, by face and status", requests.clone());
        registry.register("http_requests_in_flight", "HTTP requests being answered", in_flight.clone());
        registry.register_collector(Box::new(DatabaseCollector(db)));
        registry.register_collector(Box::new(ProcessCollector));
        more(&mut registry);
        Self(Arc::new(Inner { registry, requests, in_flight }))
    }

    /// Counts a request as in flight until the returned guard is finished or dropped.
    pub fn request(&self, face: Face) -> RequestGuard {
        self.0.in_flight.inc();
        RequestGuard { metrics: self.clone(), face }
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.0.registry).is_err() {
            text.clear();
        }
        text
    }
}

/// A request in flight. Dropping it without [`RequestGuard::finish`] means that the client went away.
#[derive(Debug)]
pub struct RequestGuard {
    metrics: Metrics,
    face: Face,
}

impl RequestGuard {
    /// The request was answered with `status`.
    pub fn finish(self, status: u16) {
        let labels = RequestLabels { face: self.face, status };
        self.metrics.0.requests.get_or_create(&labels).inc();
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.metrics.0.in_flight.dec();
    }
}

/// Reads the counters that the database handle keeps.
struct DatabaseCollector(Db);

impl std::fmt::Debug for DatabaseCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseCollector")
    }
}

impl Collector for DatabaseCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let writes = ConstCounter::new(self.0.writes());
        writes.encode(encoder.encode_descriptor("db_writes", "Write transactions asked for", None, MetricType::Counter)?)
    }
}

/// Reads `/proc` at each scrape.
#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(resident) = resident_bytes() else { return Ok(()) };
        let metric = encoder.encode_descriptor("process_resident_memory", "Resident memory", Some(&Unit::Bytes), MetricType::Gauge)?;
        ConstGauge::new(resident).encode(metric)
    }
}

/// Resident memory of this process in bytes; `None` where there is no `/proc`.
pub fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse::<i64>().ok().map(|pages| pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_belong_to_faces() {
        for (path, face) in [
            ("/v2/", Face::Registry),
            ("/v2", Face::Registry),
            ("/token", Face::Registry),
            ("/", Face::Control),
            ("/api/v1/users", Face::Api),
            ("/agent/v1/poll", Face::Agent),
            ("/healthz", Face::Operations),
            ("/v22", Face::Operations),
        ] {
            assert_eq!(Face::of_path(path), face, "{path}");
        }
    }

    #[tokio::test]
    async fn requests_are_counted_by_face_and_status() {
        let dir = std::env::temp_dir().join(format!("berth-metrics-{}", crate::random::bits64()));
        std::fs::create_dir_all(&dir).unwrap();
        let db = Db::open(&crate::db::DatabaseUrl::Sqlite(dir.join("berth.db"))).await.unwrap();
        let metrics = Metrics::new("1.2.3", db, |_| {});
        metrics.request(Face::Registry).finish(200);
        let open = metrics.request(Face::Control);
        let text = metrics.render();
        assert!(text.contains(r#"berth_http_requests_total{face="registry",status="200"} 1"#), "{text}");
        assert!(text.contains("berth_http_requests_in_flight 1"), "{text}");
        assert!(text.contains("berth_db_writes_total 0"), "{text}");
        assert!(text.contains(r#"berth_build_info{version="1.2.3"} 1"#), "{text}");
        assert!(text.contains("berth_process_resident_memory_bytes"), "{text}");
        drop(open);
        assert!(metrics.render().contains("berth_http_requests_in_flight 0"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
