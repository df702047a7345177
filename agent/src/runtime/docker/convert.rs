//! From bollard's shapes to the agent's. Pure; what Docker leaves out is tolerated.

use crate::runtime::{Event, EventKind, Found, Owner, RuntimeError, Sighting};
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum, EventMessage, PortMap,
    PortSummary, PortSummaryTypeEnum,
};
use model::instance::Protocol;
use model::task::NetworkBinding;
use std::time::Duration;

pub(super) fn error(error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { status_code, message } => RuntimeError::Refused { status: status_code, message },
        // The engine began with 200 and changed its mind.
        Error::DockerStreamError { error } => RuntimeError::Refused { status: 200, message: error },
        Error::RequestTimeoutError => RuntimeError::Timeout(Duration::from_secs(super::CLIENT_TIMEOUT_SECS)),
        Error::SocketNotFoundError(_) | Error::IOError { .. } | Error::HyperResponseError { .. } | Error::HyperLegacyError { .. } => {
            RuntimeError::Unavailable(causes(&error))
        }
        other => RuntimeError::Refused { status: 500, message: other.to_string() },
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

pub(super) fn summary(summary: ContainerSummary) -> Option<Found> {
    let owner = Owner::from_labels(summary.labels.as_ref()?)?;
    let status = summary.status.unwrap_or_default();
    let sighting = match summary.state? {
        ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EMPTY => Sighting::Created,
        ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD | ContainerSummaryStateEnum::REMOVING => {
            Sighting::Exited { exit_code: exit_code(&status), out_of_memory: false }
        }
        _ => Sighting::Running { bindings: listed_bindings(summary.ports.unwrap_or_default()) },
    };
    let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    let name = name.trim_start_matches('/').to_owned();
    Some(Found { id: summary.id?, name, owner, image: summary.image.unwrap_or_default(), status, sighting })
}

/// `Exited (137) 2 minutes ago`: the only place of a list that has the exit code.
fn exit_code(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

pub(super) fn inspected(response: ContainerInspectResponse) -> Option<Found> {
    let config = response.config.unwrap_or_default();
    let foreign = Owner { control_plane: String::new(), task_id: None, container: String::new() };
    let state = response.state.unwrap_or_default();
    let ports = response.network_settings.and_then(|network| network.ports).unwrap_or_default();
    Some(Found {
        id: response.id?,
        name: response.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        owner: config.labels.as_ref().and_then(Owner::from_labels).unwrap_or(foreign),
        image: config.image.unwrap_or_default(),
        status: state.status.map(|status| status.to_string()).unwrap_or_default(),
        sighting: sighting(&state, ports),
    })
}

fn sighting(state: &ContainerState, ports: PortMap) -> Sighting {
    match state.status {
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => Sighting::Created,
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::REMOVING) => {
            Sighting::Exited { exit_code: state.exit_code, out_of_memory: state.oom_killed.unwrap_or(false) }
        }
        Some(_) => Sighting::Running { bindings: bindings(ports) },
    }
}

/// The published ports, IPv4 only: what is bound is 0.0.0.0.
fn bindings(ports: PortMap) -> Vec<NetworkBinding> {
    let mut bindings: Vec<NetworkBinding> = ports
        .into_iter()
        .flat_map(|(key, published)| published.unwrap_or_default().into_iter().map(move |binding| (key.clone(), binding)))
        .filter_map(|(key, binding)| {
            let (port, protocol) = key.split_once('/')?;
            let bind_ip = binding.host_ip.filter(|ip| !ip.contains(':'))?;
            let host_port = binding.host_port?.parse().ok()?;
            Some(NetworkBinding { bind_ip, container_port: port.parse().ok()?, host_port, protocol: protocol_of(protocol) })
        })
        .collect();
    bindings.sort_by_key(|binding| (binding.container_port, binding.host_port));
    bindings
}

fn protocol_of(text: &str) -> Protocol {
    if text == "udp" { Protocol::Udp } else { Protocol::Tcp }
}

fn listed_bindings(ports: Vec<PortSummary>) -> Vec<NetworkBinding> {
    let mut bindings: Vec<NetworkBinding> = ports
        .into_iter()
        .filter_map(|port| {
            let protocol = if port.typ == Some(PortSummaryTypeEnum::UDP) { Protocol::Udp } else { Protocol::Tcp };
            let bind_ip = port.ip.filter(|ip| !ip.contains(':'))?;
            Some(NetworkBinding { bind_ip, container_port: port.private_port, host_port: port.public_port?, protocol })
        })
        .collect();
    bindings.sort_by_key(|binding| (binding.container_port, binding.host_port));
    bindings
}

pub(super) fn event(message: EventMessage) -> Option<Event> {
    let actor = message.actor?;
    let attributes = actor.attributes?;
    let kind = match message.action?.as_str() {
        "start" => EventKind::Started,
        "die" => EventKind::Died { exit_code: attributes.get("exitCode").and_then(|code| code.parse().ok()).unwrap_or(-1) },
        "destroy" => EventKind::Removed,
        _ => return None,
    };
    Some(Event { id: actor.id?, owner: Owner::from_labels(&attributes)?, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_read_from_the_text_of_a_list() {
        for (status, expected) in
            [("Exited (137) 2 minutes ago", Some(137)), ("Exited (0) Less than a second ago", Some(0)), ("Dead", None), ("Up 3 s", None)]
        {
            assert_eq!(exit_code(status), expected, "{status}");
        }
    }

    #[test]
    fn an_event_carries_its_owner_and_exit_code() {
        let message = serde_json::json!({"Type": "container", "Action": "die", "Actor": {"ID": "abc", "Attributes": {
            "exitCode": "7", "io.berth.control-plane": "p", "io.berth.task": format!("{:032x}", 5), "io.berth.container": "app"}}});
        let event = event(serde_json::from_value(message).unwrap()).unwrap();
        assert_eq!((event.id.as_str(), event.kind), ("abc", EventKind::Died { exit_code: 7 }));
        assert_eq!(event.owner.container, "app");
    }

    #[test]
    fn ports_are_those_bound_on_ipv4() {
        let response = serde_json::json!({"Id": "a", "Name": "/n", "State": {"Status": "running"}, "Config": {"Labels": {}},
            "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "49153"}, {"HostIp": "::", "HostPort": "49153"}], "81/tcp": null}}});
        let found = inspected(serde_json::from_value(response).unwrap()).unwrap();
        let Sighting::Running { bindings } = found.sighting else { panic!("it runs") };
        assert_eq!(bindings.iter().map(|b| (b.container_port, b.host_port)).collect::<Vec<_>>(), [(80, 49153)]);
        assert_eq!(found.owner.control_plane, "", "without labels it is nobody's");
    }
}
