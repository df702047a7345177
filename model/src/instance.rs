//! Container instances: a Docker host with an agent, what it offers and what of it is taken.

use crate::clock::Timestamp;
use crate::ids::{ClusterName, InstanceId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Attribute that carries the zone; ECS's own name, used by the default placement.
pub const ZONE_ATTRIBUTE: &str = "ecs.availability-zone";
/// Zone of an agent that was not told one.
pub const DEFAULT_ZONE: &str = "default";
/// Attribute under which the API shows [`Instance::address`].
pub const ADDRESS_ATTRIBUTE: &str = "berth.address";
/// Host ports that ECS reserves on every instance: ssh, Docker, the ECS agent.
pub const RESERVED_PORTS: [u16; 6] = [22, 2375, 2376, 51678, 51679, 51680];

/// Administrative state. Whether the agent answers is separate: [`Instance::agent_connected`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InstanceStatus {
    Active,
    Draining,
    Inactive,
}

impl InstanceStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Draining, Self::Inactive].into_iter().find(|status| status.as_str() == text)
    }
}

/// `tcp` or `udp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// What a task needs of, or holds on, one instance. CPU in units (1024 per virtual CPU), memory in MiB, fixed host ports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    pub cpu: i64,
    pub memory: i64,
    pub ports: BTreeSet<(Protocol, u16)>,
}

/// A container instance as the control plane sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub id: InstanceId,
    pub cluster: ClusterName,
    /// Host name as given at join.
    pub name: String,
    pub status: InstanceStatus,
    /// Written by the leader from the lease; observed by clients as `agentConnected`.
    pub agent_connected: bool,
    /// What the instance offers: `ports` here are the reserved ones, never available.
    pub registered: Resources,
    pub attributes: BTreeMap<String, String>,
    pub agent_version: String,
    pub docker_version: String,
    /// Address at which published ports of its tasks are reached.
    pub address: String,
    /// Raised on every change of the row; placement is guarded by it.
    pub version: i64,
    pub registered_at: Timestamp,
}

impl Instance {
    pub fn zone(&self) -> &str {
        self.attributes.get(ZONE_ATTRIBUTE).map_or(DEFAULT_ZONE, String::as_str)
    }
}
