//! How far a pull is: what Docker says of each layer, added up. For people who watch; nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Most layers of one image that are followed.
const LAYERS_MAX: usize = 512;

/// Layers of one image, while it is pulled.
#[derive(Debug, Default)]
pub struct Meter(Mutex<BTreeMap<String, Layer>>);

#[derive(Debug, Default, Clone, Copy)]
struct Layer {
    bytes_done: u64,
    bytes: u64,
    complete: bool,
}

/// The sum over the layers known so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    pub layers_done: u32,
    pub layers: u32,
    pub bytes_done: u64,
    pub bytes: u64,
}

impl Meter {
    /// Takes one word of Docker: `status` is its text for people, the only one it has.
    pub fn note(&self, layer: &str, status: &str, current: Option<u64>, total: Option<u64>) {
        // Its id is the tag, not a layer.
        if status.starts_with("Pulling from") {
            return;
        }
        let mut layers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if layers.len() >= LAYERS_MAX && !layers.contains_key(layer) {
            return;
        }
        let layer = layers.entry(layer.to_owned()).or_default();
        match status {
            "Downloading" => {
                layer.bytes = layer.bytes.max(total.unwrap_or_default());
                layer.bytes_done = layer.bytes_done.max(current.unwrap_or_default());
            }
            "Verifying Checksum" | "Download complete" | "Extracting" => layer.bytes_done = layer.bytes,
            "Pull complete" | "Already exists" => (layer.bytes_done, layer.complete) = (layer.bytes, true),
            _ => {}
        }
    }

    pub fn level(&self) -> Level {
        let layers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        layers.values().fold(Level::default(), |sum, layer| Level {
            layers_done: sum.layers_done + u32::from(layer.complete),
            layers: sum.layers + 1,
            bytes_done: sum.bytes_done + layer.bytes_done.min(layer.bytes),
            bytes: sum.bytes + layer.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_add_up_and_never_go_back() {
        let meter = Meter::default();
        meter.note("v1", "Pulling from acme/web", None, None);
        assert_eq!(meter.level(), Level::default());
        for layer in ["a", "b", "c"] {
            meter.note(layer, "Pulling fs layer", None, None);
        }
        meter.note("a", "Already exists", None, None);
        meter.note("b", "Downloading", Some(40), Some(100));
        meter.note("b", "Downloading", Some(20), Some(100));
        assert_eq!(meter.level(), Level { layers_done: 1, layers: 3, bytes_done: 40, bytes: 100 });
        meter.note("c", "Downloading", Some(7), Some(50));
        meter.note("c", "Extracting", Some(1), Some(900));
        assert_eq!(meter.level(), Level { layers_done: 1, layers: 3, bytes_done: 90, bytes: 150 });
        meter.note("b", "Pull complete", None, None);
        meter.note("c", "Pull complete", None, None);
        assert_eq!(meter.level(), Level { layers_done: 3, layers: 3, bytes_done: 150, bytes: 150 });
    }
}
