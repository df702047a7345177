//! Task definition documents: which fields may stand in one, ECS's limits, the defaults ECS adds. Pure.

pub mod defaults;
pub mod fields;
pub mod images;
pub mod validate;

pub use validate::validate;

use model::ids::Family;
use model::task_definition::{NetworkMode, TaskDefinition};
use serde_json::Value;

/// A document that was found good.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    pub family: Family,
    pub definition: TaskDefinition,
    /// As given, with ECS's defaults: what is stored and returned.
    pub document: Value,
}

/// Whether what the definition asks of the host (a folder of it, its network) is only for people who hold `admin` on the cluster.
pub fn wants_cluster_admin(definition: &TaskDefinition) -> Option<&'static str> {
    if definition.network_mode() == NetworkMode::Host {
        return Some("networkMode host");
    }
    let host_path = |volume: &model::task_definition::Volume| volume.host.as_ref().is_some_and(|host| host.source_path.is_some());
    definition.volumes.iter().any(host_path).then_some("a volume with host.sourcePath")
}
