//! What a lane measured.

use serde_json::{Value, json};

/// Bytes of a GiB.
const GIB: f64 = 1_073_741_824.0;

#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The lane, with what distinguishes its runs.
    pub lane: String,
    /// Bytes that travelled, in lanes that are about bytes.
    pub bytes: Option<usize>,
    pub wall_secs: f64,
    pub latencies_ms: Vec<f64>,
    pub errors: usize,
    /// Processor time that the server used.
    pub cpu_secs: f64,
    pub resident_mb: f64,
    pub peak_mb: f64,
}

impl Measured {
    /// MB/s where bytes travelled, operations per second elsewhere.
    pub fn rate(&self) -> f64 {
        match self.bytes {
            Some(bytes) => count(bytes) / 1e6 / self.wall_secs,
            None => count(self.latencies_ms.len()) / self.wall_secs,
        }
    }

    pub fn unit(&self) -> &'static str {
        if self.bytes.is_some() { "MB/s" } else { "op/s" }
    }

    /// Processor seconds per GiB, or microseconds per operation.
    pub fn cost(&self) -> f64 {
        match self.bytes {
            Some(bytes) => self.cpu_secs / (count(bytes) / GIB),
            None => self.cpu_secs * 1e6 / count(self.latencies_ms.len().max(1)),
        }
    }

    pub fn cost_unit(&self) -> &'static str {
        if self.bytes.is_some() { "s/GiB" } else { "us/op" }
    }

    /// One line for a file.
    pub fn to_json(&self, label: &str) -> Value {
        json!({
            "label": label, "lane": self.lane, "bytes": self.bytes, "operations": self.latencies_ms.len(), "errors": self.errors,
            "wall_s": self.wall_secs, "rate": self.rate(), "rate_unit": self.unit(), "cpu": self.cost(), "cpu_unit": self.cost_unit(),
            "p50_ms": percentile(&self.latencies_ms, 0.5), "p99_ms": percentile(&self.latencies_ms, 0.99),
            "rss_mb": self.resident_mb, "peak_rss_mb": self.peak_mb,
        })
    }
}

/// The value below which `part` (0 to 1) of the values lie; 0 without values.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index between 0 and the length")]
    let index = (count(sorted.len().saturating_sub(1)) * part) as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

/// The middle value; the mean of the two in the middle of an even number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert!((percentile(&hundred, 0.99) - 99.0).abs() < f64::EPSILON);
    }

    #[test]
    fn rates_have_the_unit_of_their_lane() {
        let bytes = Measured { bytes: Some(2_000_000), wall_secs: 2.0, ..Measured::default() };
        assert!((bytes.rate() - 1.0).abs() < f64::EPSILON && bytes.unit() == "MB/s");
        let operations = Measured { latencies_ms: vec![1.0; 10], wall_secs: 2.0, ..Measured::default() };
        assert!((operations.rate() - 5.0).abs() < f64::EPSILON && operations.unit() == "op/s");
    }
}
