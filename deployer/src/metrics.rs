//! What the planner costs, for `/metrics`.

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the buckets, in seconds: what planning one service is to cost lies in the lower half.
const BUCKETS_SECS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

#[derive(Debug, Clone)]
pub struct Metrics {
    /// Observing one service and planning it.
    pub plan: Histogram,
    /// Writing a plan, until it is on disk.
    pub apply: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { plan: Histogram::new(BUCKETS_SECS), apply: Histogram::new(BUCKETS_SECS) }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("rollout");
        registry.register_with_unit("plan", "Time to observe and plan one service", Unit::Seconds, self.plan.clone());
        registry.register_with_unit("apply", "Time to write the plan of one service", Unit::Seconds, self.apply.clone());
    }
}
