//! From a container definition to Docker's create request: a pure function, so that every field has a row in a table test.
//!
//! Volumes: ECS ties a named volume without a host path to the task. Here it is tied to the *family* (`berth-<family>-<volume>`), so that
//! the data of a replaced task are still there. Docker's own health check (also one baked into the image) is switched off: the agent
//! runs the one of the task definition itself. Output is kept by `json-file` with a bound, so that a chatty container cannot fill the disk.

use crate::failure::{FailureKind, LaunchFailure};
use crate::runtime::{LABEL_CLUSTER, LABEL_CONTAINER, LABEL_CONTROL_PLANE, LABEL_GROUP, LABEL_TASK, LABEL_TASK_ARN, LABEL_TASK_DEFINITION};
use api::agent::TaskOrder;
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions, PortBinding, PortMap,
    RestartPolicy, RestartPolicyNameEnum,
};
use model::instance::Protocol;
use model::task::{ContainerOverride, NetworkBinding};
use model::task_definition::{ContainerDefinition, MountPoint, NetworkMode, TaskDefinition};
use std::collections::HashMap;

const MIB: i64 = 1024 * 1024;
/// The least CPU shares Docker takes; what ECS gives a container with `cpu` 0 or 1.
const CPU_SHARES_MIN: i64 = 2;
/// Bound of a container's kept output: this many files of this size.
const LOG_FILES: &str = "3";
const LOG_FILE_SIZE: &str = "16m";

/// `berth-<family>-<revision>-<container>-<task id, first 12>`: found again by name after any crash, and never made twice.
pub fn container_name(order: &TaskOrder, container: &str) -> String {
    let task: String = order.task_id.as_str().chars().take(12).collect();
    format!("berth-{}-{container}-{task}", order.task_definition.replace(':', "-"))
}

/// Docker's name of a named volume of `family`.
pub fn volume_name(family: &str, volume: &str) -> String {
    format!("berth-{family}-{volume}")
}

/// The create request for one container of a task, with `image` as Docker knows it.
pub fn create_body(
    order: &TaskOrder,
    definition: &ContainerDefinition,
    control_plane: &str,
    image: &str,
) -> Result<ContainerCreateBody, LaunchFailure> {
    let none = ContainerOverride::default();
    let changed = order.overrides.iter().find(|change| change.name == definition.name).unwrap_or(&none);
    let (ports, bindings) = ports(order, definition);
    let (mounts, binds) = mounts(order, definition)?;
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: changed.command.clone().or_else(|| definition.command.clone()),
        entrypoint: definition.entry_point.clone(),
        env: Some(environment(definition, changed)),
        exposed_ports: Some(ports),
        user: definition.user.clone(),
        working_dir: definition.working_directory.clone(),
        labels: Some(labels(order, definition, control_plane)),
        stop_timeout: i64::try_from(definition.stop_timeout().as_secs()).ok(),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(HostConfig {
            network_mode: Some(network_mode(order.definition.network_mode()).to_owned()),
            port_bindings: Some(bindings),
            memory: changed.memory.or(definition.memory).map(|mib| mib.saturating_mul(MIB)),
            memory_reservation: changed.memory_reservation.or(definition.memory_reservation).map(|mib| mib.saturating_mul(MIB)),
            cpu_shares: Some(changed.cpu.unwrap_or(definition.cpu).max(CPU_SHARES_MIN)),
            mounts: Some(mounts),
            binds: Some(binds),
            restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
            log_config: Some(log_config()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

/// Ports that are known before the container runs: all of them on the host's network, none behind a bridge.
pub fn static_bindings(order: &TaskOrder, container: &str) -> Vec<NetworkBinding> {
    if order.definition.network_mode() != NetworkMode::Host {
        return Vec::new();
    }
    let mappings = order.definition.container(container).map(|definition| definition.port_mappings.as_slice()).unwrap_or_default();
    let binding = |mapping: &model::task_definition::PortMapping| NetworkBinding {
        bind_ip: "0.0.0.0".to_owned(),
        container_port: mapping.container_port,
        host_port: mapping.container_port,
        protocol: mapping.protocol.unwrap_or_default(),
    };
    mappings.iter().map(binding).collect()
}

/// Whether Docker must be asked which host ports the container got.
pub fn has_published_ports(definition: &TaskDefinition, container: &str) -> bool {
    definition.network_mode() == NetworkMode::Bridge && definition.container(container).is_some_and(|c| !c.port_mappings.is_empty())
}

fn network_mode(mode: NetworkMode) -> &'static str {
    match mode {
        NetworkMode::Bridge => "bridge",
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
    }
}

/// The definition's environment, with RunTask's values in place of those of the same name.
fn environment(definition: &ContainerDefinition, changed: &ContainerOverride) -> Vec<String> {
    let overridden = |name: &str| changed.environment.iter().any(|pair| pair.name == name);
    let kept = definition.environment.iter().filter(|pair| !overridden(&pair.name));
    kept.chain(&changed.environment).map(|pair| format!("{}={}", pair.name, pair.value)).collect()
}

/// Exposed ports and their bindings; a dynamic host port is Docker's empty text. Only a bridge publishes.
fn ports(order: &TaskOrder, definition: &ContainerDefinition) -> (Vec<String>, PortMap) {
    let mut bindings = PortMap::new();
    if order.definition.network_mode() != NetworkMode::Bridge {
        return (Vec::new(), bindings);
    }
    for mapping in &definition.port_mappings {
        let key = format!("{}/{}", mapping.container_port, mapping.protocol.unwrap_or(Protocol::Tcp).as_str());
        let host_port = mapping.host_port.filter(|port| *port != 0).map_or_else(String::new, |port| port.to_string());
        let binding = PortBinding { host_ip: Some("0.0.0.0".to_owned()), host_port: Some(host_port) };
        bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    let mut exposed: Vec<String> = bindings.keys().cloned().collect();
    exposed.sort();
    (exposed, bindings)
}

fn labels(order: &TaskOrder, definition: &ContainerDefinition, control_plane: &str) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = definition.docker_labels.clone().into_iter().collect();
    // Ours win: what the agent finds again must not depend on a task definition.
    for (label, value) in [
        (LABEL_CONTROL_PLANE, control_plane),
        (LABEL_TASK, order.task_id.as_str()),
        (LABEL_TASK_ARN, &order.task_arn),
        (LABEL_CONTAINER, &definition.name),
        (LABEL_TASK_DEFINITION, &order.task_definition),
        (LABEL_CLUSTER, &order.cluster),
        (LABEL_GROUP, &order.group),
    ] {
        labels.insert(label.to_owned(), value.to_owned());
    }
    labels
}

/// Named volumes as mounts; folders of the host as binds, which Docker makes when they are absent, as ECS's agent does.
fn mounts(order: &TaskOrder, definition: &ContainerDefinition) -> Result<(Vec<Mount>, Vec<String>), LaunchFailure> {
    let (mut mounts, mut binds) = (Vec::new(), Vec::new());
    for point in &definition.mount_points {
        let refuse = |text: String| LaunchFailure { container: definition.name.clone(), kind: FailureKind::HostConfig, text };
        let (source, target) = endpoints(point).ok_or_else(|| refuse("a mount point needs sourceVolume and containerPath".to_owned()))?;
        let volume = order.definition.volumes.iter().find(|volume| volume.name == source);
        let volume =
            volume.ok_or_else(|| refuse(format!("mount point names volume `{source}`, which the task definition does not have")))?;
        match volume.host.as_ref().and_then(|host| host.source_path.as_deref()).filter(|path| !path.is_empty()) {
            Some(path) if path.contains(':') || target.contains(':') => {
                return Err(refuse(format!("a path with `:` cannot be mounted: {path} at {target}")));
            }
            Some(path) => binds.push(format!("{path}:{target}{}", if point.read_only { ":ro" } else { "" })),
            None => mounts.push(volume_mount(&order.definition.family, source, target, point.read_only)),
        }
    }
    Ok((mounts, binds))
}

fn endpoints(point: &MountPoint) -> Option<(&str, &str)> {
    Some((point.source_volume.as_deref()?, point.container_path.as_deref()?))
}

fn volume_mount(family: &str, volume: &str, target: &str, read_only: bool) -> Mount {
    let labels = HashMap::from([("io.berth.family".to_owned(), family.to_owned()), ("io.berth.volume".to_owned(), volume.to_owned())]);
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume_name(family, volume)),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        volume_options: Some(MountVolumeOptions { labels: Some(labels), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

fn log_config() -> HostConfigLogConfig {
    let options = HashMap::from([("max-size".to_owned(), LOG_FILE_SIZE.to_owned()), ("max-file".to_owned(), LOG_FILES.to_owned())]);
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(options) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::order_with;
    use serde_json::{Value, json};

    /// The create request as Docker gets it, for a task definition given as ECS has it.
    fn mapped(definition: &Value, overrides: &Value) -> Value {
        let mut order = order_with(1, definition.clone());
        order.overrides = serde_json::from_value(overrides.clone()).unwrap();
        let body = create_body(&order, &order.definition.container_definitions[0], "plane", "img@sha256:1").unwrap();
        serde_json::to_value(body).unwrap()
    }

    fn with(container: &Value) -> Value {
        let mut whole = json!({"name": "app", "image": "x"});
        whole.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        json!({"family": "web", "containerDefinitions": [whole], "volumes": [
            {"name": "data"}, {"name": "etc", "host": {"sourcePath": "/etc/x"}}, {"name": "odd", "host": {"sourcePath": "/a:b"}}]})
    }

    #[test]
    fn every_field_arrives_where_docker_expects_it() {
        for (definition, pointer, expected) in &[
            (json!({}), "/Image", json!("img@sha256:1")),
            (json!({}), "/Healthcheck/Test", json!(["NONE"])),
            (json!({}), "/HostConfig/CpuShares", json!(2)),
            (json!({}), "/HostConfig/RestartPolicy/Name", json!("no")),
            (json!({}), "/HostConfig/NetworkMode", json!("bridge")),
            (json!({}), "/StopTimeout", json!(30)),
            (json!({"command": ["a"]}), "/Cmd", json!(["a"])),
            (json!({"entryPoint": ["/e", "x"]}), "/Entrypoint", json!(["/e", "x"])),
            (json!({"environment": [{"name": "A", "value": "1=2"}]}), "/Env", json!(["A=1=2"])),
            (json!({"cpu": 256}), "/HostConfig/CpuShares", json!(256)),
            (json!({"memory": 6}), "/HostConfig/Memory", json!(6 * 1024 * 1024)),
            (json!({"memoryReservation": 4}), "/HostConfig/MemoryReservation", json!(4 * 1024 * 1024)),
            (json!({"user": "1:2"}), "/User", json!("1:2")),
            (json!({"workingDirectory": "/w"}), "/WorkingDir", json!("/w")),
            (json!({"stopTimeout": 5}), "/StopTimeout", json!(5)),
            (json!({"dockerLabels": {"a": "b"}}), "/Labels/a", json!("b")),
            (json!({"dockerLabels": {"io.berth.task": "forged"}}), "/Labels/io.berth.task", json!(format!("{:032x}", 1))),
            (json!({}), "/Labels/io.berth.control-plane", json!("plane")),
            (json!({"portMappings": [{"containerPort": 80}]}), "/HostConfig/PortBindings/80~1tcp/0/HostPort", json!("")),
            (json!({"portMappings": [{"containerPort": 80, "hostPort": 0}]}), "/HostConfig/PortBindings/80~1tcp/0/HostPort", json!("")),
            (
                json!({"portMappings": [{"containerPort": 53, "hostPort": 5353, "protocol": "udp"}]}),
                "/HostConfig/PortBindings/53~1udp/0",
                json!({"HostIp": "0.0.0.0", "HostPort": "5353"}),
            ),
            (
                json!({"mountPoints": [{"sourceVolume": "data", "containerPath": "/d"}]}),
                "/HostConfig/Mounts/0/Source",
                json!("berth-web-data"),
            ),
            (
                json!({"mountPoints": [{"sourceVolume": "data", "containerPath": "/d", "readOnly": true}]}),
                "/HostConfig/Mounts/0/ReadOnly",
                json!(true),
            ),
            (json!({"mountPoints": [{"sourceVolume": "etc", "containerPath": "/e"}]}), "/HostConfig/Binds", json!(["/etc/x:/e"])),
            (
                json!({"mountPoints": [{"sourceVolume": "etc", "containerPath": "/e", "readOnly": true}]}),
                "/HostConfig/Binds",
                json!(["/etc/x:/e:ro"]),
            ),
        ] {
            let body = mapped(&with(definition), &json!([]));
            assert_eq!(body.pointer(pointer), Some(expected), "{definition} at {pointer}: {body}");
        }
    }

    #[test]
    fn an_override_replaces_what_it_names_and_nothing_else() {
        let definition = with(&json!({"command": ["a"], "cpu": 10, "memory": 64, "memoryReservation": 32,
            "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}));
        let body = mapped(
            &definition,
            &json!([{"name": "app", "command": ["z"], "cpu": 20, "memory": 128, "memoryReservation": 100,
            "environment": [{"name": "B", "value": "3"}]}, {"name": "other", "command": ["no"]}]),
        );
        assert_eq!(body["Cmd"], json!(["z"]));
        assert_eq!(body["Env"], json!(["A=1", "B=3"]));
        assert_eq!(body["HostConfig"]["CpuShares"], json!(20));
        assert_eq!(body["HostConfig"]["Memory"], json!(128 * 1024 * 1024));
        assert_eq!(body["HostConfig"]["MemoryReservation"], json!(100 * 1024 * 1024));
    }

    #[test]
    fn only_a_bridge_publishes_ports() {
        for (mode, published) in [("bridge", true), ("host", false), ("none", false)] {
            let mut definition = with(&json!({"portMappings": [{"containerPort": 80, "hostPort": 80}]}));
            definition["networkMode"] = json!(mode);
            let body = mapped(&definition, &json!([]));
            assert_eq!(body["HostConfig"]["NetworkMode"], json!(mode));
            assert_eq!(body["HostConfig"]["PortBindings"].as_object().is_some_and(|map| !map.is_empty()), published, "{mode}");
            let order = order_with(1, definition);
            assert_eq!(static_bindings(&order, "app").len(), usize::from(mode == "host"));
        }
    }

    #[test]
    fn mounts_that_cannot_be_honoured_are_refused_by_name() {
        for point in [
            json!({"sourceVolume": "absent", "containerPath": "/d"}),
            json!({"sourceVolume": "odd", "containerPath": "/d"}),
            json!({"containerPath": "/d"}),
        ] {
            let order = order_with(1, with(&json!({"mountPoints": [point]})));
            let failure = create_body(&order, &order.definition.container_definitions[0], "plane", "x").unwrap_err();
            assert_eq!(failure.kind, FailureKind::HostConfig, "{point}");
        }
    }

    #[test]
    fn a_container_is_named_after_family_revision_container_and_task() {
        let order = order_with(0xabc, with(&json!({})));
        assert_eq!(container_name(&order, "app"), "berth-web-1-app-000000000000");
    }
}
