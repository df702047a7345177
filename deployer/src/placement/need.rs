//! What a task of a definition needs of an instance: ECS's arithmetic.

use model::instance::Resources;
use model::task::ContainerOverride;
use model::task_definition::{ContainerDefinition, NetworkMode, TaskDefinition};

/// CPU, memory and fixed host ports of one task. Task-level sizes win over the containers' sums; a container counts its
/// `memoryReservation` if it has one, else its `memory`; overrides count in place of what they override.
pub fn need(definition: &TaskDefinition, overrides: &[ContainerOverride]) -> Resources {
    let containers = &definition.container_definitions;
    let of = |container: &ContainerDefinition| overrides.iter().find(|change| change.name == container.name);
    let cpu = |container: &ContainerDefinition| of(container).and_then(|change| change.cpu).unwrap_or(container.cpu);
    let memory = |container: &ContainerDefinition| {
        let change = of(container);
        let soft = change.and_then(|change| change.memory_reservation).or(container.memory_reservation);
        soft.or_else(|| change.and_then(|change| change.memory)).or(container.memory).unwrap_or(0)
    };
    Resources {
        cpu: task_level(definition.cpu.as_ref()).unwrap_or_else(|| containers.iter().map(cpu).sum()),
        memory: task_level(definition.memory.as_ref()).unwrap_or_else(|| containers.iter().map(memory).sum()),
        ports: containers.iter().flat_map(|container| fixed_ports(definition.network_mode(), container)).collect(),
    }
}

fn task_level(text: Option<&String>) -> Option<i64> {
    text.and_then(|text| text.parse().ok())
}

fn fixed_ports(mode: NetworkMode, container: &ContainerDefinition) -> impl Iterator<Item = (model::instance::Protocol, u16)> + '_ {
    container.port_mappings.iter().filter_map(move |mapping| {
        let port = match mode {
            NetworkMode::Bridge => mapping.host_port.filter(|port| *port != 0),
            NetworkMode::Host => Some(mapping.container_port),
            NetworkMode::None => None,
        };
        port.map(|port| (mapping.protocol.unwrap_or_default(), port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::instance::Protocol::{Tcp, Udp};
    use serde_json::json;

    fn definition(extra: &serde_json::Value) -> TaskDefinition {
        let mut document = json!({"family": "web", "containerDefinitions": [
            {"name": "a", "image": "a", "cpu": 100, "memory": 64, "memoryReservation": 32,
             "portMappings": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]},
            {"name": "b", "image": "b", "cpu": 10, "memory": 16, "portMappings": [{"containerPort": 53, "hostPort": 53, "protocol": "udp"}]},
        ]});
        document.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn sums_reservations_and_fixed_ports() {
        let found = need(&definition(&json!({})), &[]);
        assert_eq!(found, Resources { cpu: 110, memory: 48, ports: [(Tcp, 8080), (Udp, 53)].into() });
    }

    #[test]
    fn task_level_sizes_win_and_host_mode_fixes_every_port() {
        let found = need(&definition(&json!({"cpu": "256", "memory": "512", "networkMode": "host"})), &[]);
        assert_eq!(found, Resources { cpu: 256, memory: 512, ports: [(Tcp, 80), (Tcp, 81), (Udp, 53)].into() });
    }

    #[test]
    fn overrides_count_in_place_of_what_they_override() {
        let change = ContainerOverride { name: "b".into(), cpu: Some(20), memory: Some(100), ..Default::default() };
        let found = need(&definition(&json!({})), &[change]);
        assert_eq!((found.cpu, found.memory), (120, 132));
    }
}
