//! What the agent tells of its host: name, CPU, memory, address, and host ports that something else holds.

use crate::config::AgentConfig;
use crate::runtime::EngineInfo;
use api::agent::RegisterRequest;
use model::instance::{DEFAULT_ZONE, ZONE_ATTRIBUTE};
use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};

const MIB: i64 = 1024 * 1024;
/// Memory kept back for Docker, the agent and the system, in MiB; never more than a tenth of the host.
const MEMORY_RESERVE_MIB: i64 = 256;
/// Most foreign ports reported (ECS's limit of reserved ports per instance).
const RESERVED_PORTS_MAX: usize = 100;
/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The registration of this host.
pub(crate) fn registration(config: &AgentConfig, engine: &EngineInfo, own_ports: &BTreeSet<u16>) -> RegisterRequest {
    let memory = engine.memory_bytes / MIB;
    RegisterRequest {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        docker_version: engine.version.clone(),
        cpu: engine.cpus * 1024,
        memory: memory - MEMORY_RESERVE_MIB.min(memory / 10),
        reserved_ports: foreign_ports(own_ports),
        attributes: attributes(config, engine),
        address: config.address.clone().unwrap_or_else(|| address_towards(&config.server)),
    }
}

/// The host's name: as configured, or as the kernel has it.
pub(crate) fn host_name(config: &AgentConfig) -> String {
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default();
    config.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(kernel)
}

fn attributes(config: &AgentConfig, engine: &EngineInfo) -> std::collections::BTreeMap<String, String> {
    let mut attributes = config.attributes.clone();
    let zone = config.zone.clone().unwrap_or_else(|| DEFAULT_ZONE.to_owned());
    attributes.insert(ZONE_ATTRIBUTE.to_owned(), zone);
    attributes.insert("ecs.os-type".to_owned(), "linux".to_owned());
    attributes.insert("ecs.cpu-architecture".to_owned(), engine.architecture.clone());
    attributes
}

/// The address this host uses towards the server: published ports are reached at it by whoever reaches the server.
fn address_towards(server: &str) -> String {
    let authority = server.split_once("://").map_or(server, |(_, rest)| rest).trim_end_matches('/');
    let local = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind(if authority.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" })?;
        // Connecting a UDP socket sends nothing; it only chooses the route.
        socket.connect(authority)?;
        Ok(socket.local_addr()?.ip())
    };
    local().map_or_else(|_| "127.0.0.1".to_owned(), |address| address.to_string())
}

fn foreign_ports(own: &BTreeSet<u16>) -> Vec<u16> {
    let mut ports = BTreeSet::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        ports.extend(listening(&std::fs::read_to_string(file).unwrap_or_default()));
    }
    ports.difference(own).copied().take(RESERVED_PORTS_MAX).collect()
}

/// Ports of the listening sockets in the kernel's table.
fn listening(table: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, state) = (columns.next()?, columns.nth(1)?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (state == LISTEN).then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
                     \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n\
                     \x20  1: 0100007F:0016 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0\n\
                     \x20  2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0\n";
        assert_eq!(listening(table).collect::<Vec<_>>(), [8080, 80]);
    }

    #[test]
    fn the_registration_leaves_room_for_the_host() {
        let engine = EngineInfo { version: "20.10".into(), cpus: 2, memory_bytes: 1024 * MIB, architecture: "x86_64".into() };
        let config = AgentConfig { server: "https://127.0.0.1:5001".into(), zone: Some("a".into()), ..AgentConfig::default() };
        let facts = registration(&config, &engine, &BTreeSet::new());
        assert_eq!((facts.cpu, facts.memory), (2048, 922));
        assert_eq!(facts.attributes[ZONE_ATTRIBUTE], "a");
        assert_eq!(facts.address, "127.0.0.1");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listening(&std::fs::read_to_string("/proc/net/tcp").unwrap()).any(|listening| listening == port));
    }
}
