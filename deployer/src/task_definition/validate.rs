//! Decides whether a task definition document can be registered: ECS's limits, and Berth's own where ECS has none. Pure.
//!
//! The fields have been checked against `fields::DOCUMENT` before. A refusal names the field the way it stands in the document.

use super::{Validated, defaults};
use model::ImageReference;
use model::ids::Family;
use model::instance::Protocol;
use model::task::ContainerOverride;
use model::task_definition::{ContainerDefinition, HealthCheck, MountPoint, NetworkMode, PortMapping, TaskDefinition, Volume};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Longest document, in bytes of JSON.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Most containers in one definition.
pub const CONTAINERS_MAX: usize = 10;
/// Most port mappings of one container.
pub const PORT_MAPPINGS_MAX: usize = 100;
/// Most volumes of one definition.
pub const VOLUMES_MAX: usize = 50;
/// Least memory Docker runs a container with, in MiB.
pub const MEMORY_MIB_MIN: i64 = 6;
/// Most memory of a container or task, in MiB.
pub const MEMORY_MIB_MAX: i64 = 32 * 1024 * 1024;
/// Task-level CPU that ECS takes on instances, in units.
pub const TASK_CPU_UNITS: RangeInclusive<i64> = 128..=196_608;
/// Longest stop timeout, in seconds.
pub const STOP_TIMEOUT_SECS_MAX: u64 = 24 * 60 * 60;
/// Labels of the agent's own; a definition that set them could pass a container off as another task's.
pub const RESERVED_LABEL_PREFIX: &str = "io.berth.";

/// Why a document is refused; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(Invalid(format!($($message)*)));
        }
    };
}

pub fn validate(mut document: Map<String, Value>) -> Result<Validated, Invalid> {
    document.remove("tags");
    let bytes = serde_json::to_string(&document).map_or(usize::MAX, |text| text.len());
    ensure!(bytes <= DOCUMENT_BYTES_MAX, "The task definition is longer than {DOCUMENT_BYTES_MAX} bytes.");
    task_size(&mut document, "cpu", defaults::cpu_units, "units or vCPU (\"256\", \"0.25 vCPU\")")?;
    task_size(&mut document, "memory", defaults::memory_mib, "MiB or GB (\"512\", \"0.5 GB\")")?;
    defaults::fill(&mut document);
    let document = Value::Object(document);
    let definition: TaskDefinition =
        serde_json::from_value(document.clone()).map_err(|error| Invalid(format!("The task definition cannot be read: {error}.")))?;
    let family: Family = definition.family.parse().map_err(|error| Invalid(format!("family: {error}.")))?;
    check(&definition)?;
    Ok(Validated { family, definition, document })
}

/// Rewrites a task-level size as ECS does: text that holds units or MiB.
fn task_size(document: &mut Map<String, Value>, name: &str, parse: fn(&str) -> Option<i64>, wanted: &str) -> Result<(), Invalid> {
    let Some(value) = document.get(name) else { return Ok(()) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match parse(&text) {
        Some(size) => {
            document.insert(name.to_owned(), Value::String(size.to_string()));
            Ok(())
        }
        None => Err(Invalid(format!("{name} has to be in {wanted}."))),
    }
}

/// Decides whether `container` can run with `change`: the limits are those of a definition.
pub fn check_override(container: &ContainerDefinition, change: &ContainerOverride, definition: &TaskDefinition) -> Result<(), Invalid> {
    let mut changed = container.clone();
    changed.cpu = change.cpu.unwrap_or(changed.cpu);
    changed.memory = change.memory.or(changed.memory);
    changed.memory_reservation = change.memory_reservation.or(changed.memory_reservation);
    changed.command = change.command.clone().or(changed.command);
    changed.environment.clone_from(&change.environment);
    check_container(&format!("containerOverrides.{}", container.name), &changed, definition)
}

fn check(definition: &TaskDefinition) -> Result<(), Invalid> {
    let containers = &definition.container_definitions;
    ensure!(!containers.is_empty(), "Container list cannot be empty: containerDefinitions needs at least one.");
    ensure!(containers.len() <= CONTAINERS_MAX, "containerDefinitions can hold at most {CONTAINERS_MAX} containers.");
    ensure!(containers.iter().any(|container| container.essential), "At least one container has to be essential.");
    check_volumes(&definition.volumes)?;
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        let path = format!("containerDefinitions[{at}]");
        check_container(&path, container, definition)?;
        ensure!(names.insert(container.name.as_str()), "{path}.name: two containers are named {}.", container.name);
        check_ports(&path, container, definition.network_mode(), &mut ports)?;
    }
    check_task_sizes(definition)
}

fn check_container(path: &str, container: &ContainerDefinition, definition: &TaskDefinition) -> Result<(), Invalid> {
    ensure!(is_name(&container.name), "{path}.name has to be 1 to 255 letters, digits, `_` and `-`.");
    container.image.parse::<ImageReference>().map_err(|error| Invalid(format!("{path}.image: {error}.")))?;
    ensure!((0..=*TASK_CPU_UNITS.end()).contains(&container.cpu), "{path}.cpu has to be between 0 and {}.", TASK_CPU_UNITS.end());
    check_memory(path, container, definition.memory.is_some())?;
    check_texts(path, container)?;
    check_mounts(path, &container.mount_points, &definition.volumes)?;
    container.health_check.as_ref().map_or(Ok(()), |check| check_health(path, check))?;
    let stop = container.stop_timeout.unwrap_or(0);
    ensure!(stop <= STOP_TIMEOUT_SECS_MAX, "{path}.stopTimeout has to be at most {STOP_TIMEOUT_SECS_MAX} seconds.");
    Ok(())
}

fn check_memory(path: &str, container: &ContainerDefinition, task_memory: bool) -> Result<(), Invalid> {
    let range = MEMORY_MIB_MIN..=MEMORY_MIB_MAX;
    for (name, memory) in [("memory", container.memory), ("memoryReservation", container.memory_reservation)] {
        ensure!(
            memory.is_none_or(|memory| range.contains(&memory)),
            "{path}.{name} has to be at least {MEMORY_MIB_MIN} MiB and at most {MEMORY_MIB_MAX} MiB."
        );
    }
    match (container.memory, container.memory_reservation) {
        (None, None) => ensure!(task_memory, "{path}: at least one of memory and memoryReservation has to be set, or memory of the task."),
        (Some(hard), Some(soft)) => ensure!(hard > soft, "{path}.memory has to be greater than memoryReservation."),
        _ => {}
    }
    Ok(())
}

fn check_texts(path: &str, container: &ContainerDefinition) -> Result<(), Invalid> {
    for (at, variable) in container.environment.iter().enumerate() {
        let ok = !variable.name.is_empty() && !variable.name.contains(['=', '\0']) && !variable.value.contains('\0');
        ensure!(ok, "{path}.environment[{at}] needs a name without `=`, and no NUL.");
    }
    let commands = [("command", &container.command), ("entryPoint", &container.entry_point)];
    for (name, words) in commands {
        let ok = words.iter().flatten().all(|word| !word.contains('\0'));
        ensure!(ok, "{path}.{name} cannot hold NUL.");
    }
    let directory = container.working_directory.as_deref().unwrap_or("/");
    ensure!(is_absolute(directory), "{path}.workingDirectory has to be an absolute path.");
    let user = container.user.as_deref().unwrap_or("root");
    let ok = (1..=255).contains(&user.len()) && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:$@".contains(&b));
    ensure!(ok, "{path}.user has to be a name or number, with a group after `:`.");
    for label in container.docker_labels.keys() {
        let reserved = label.to_ascii_lowercase().starts_with(RESERVED_LABEL_PREFIX);
        ensure!(
            !label.is_empty() && !reserved,
            "{path}.dockerLabels cannot set labels that begin with {RESERVED_LABEL_PREFIX}, or empty ones."
        );
    }
    Ok(())
}

fn check_mounts(path: &str, mounts: &[MountPoint], volumes: &[Volume]) -> Result<(), Invalid> {
    let mut targets = BTreeSet::new();
    for (at, mount) in mounts.iter().enumerate() {
        let source = mount.source_volume.as_deref().unwrap_or_default();
        let known = volumes.iter().any(|volume| volume.name == source);
        ensure!(known, "{path}.mountPoints[{at}].sourceVolume: there is no volume of that name in volumes.");
        let target = mount.container_path.as_deref().unwrap_or_default();
        ensure!(is_absolute(target) && target != "/", "{path}.mountPoints[{at}].containerPath has to be an absolute path, and not `/`.");
        ensure!(targets.insert(target), "{path}.mountPoints[{at}].containerPath: another volume is mounted there.");
    }
    Ok(())
}

fn check_volumes(volumes: &[Volume]) -> Result<(), Invalid> {
    ensure!(volumes.len() <= VOLUMES_MAX, "volumes can hold at most {VOLUMES_MAX}.");
    let mut names = BTreeSet::new();
    for (at, volume) in volumes.iter().enumerate() {
        ensure!(is_name(&volume.name), "volumes[{at}].name has to be 1 to 255 letters, digits, `_` and `-`.");
        ensure!(names.insert(volume.name.as_str()), "volumes[{at}].name: two volumes are named {}.", volume.name);
        let source = volume.host.as_ref().and_then(|host| host.source_path.as_deref());
        let ok = source.is_none_or(|source| is_absolute(source) && !source.split('/').any(|part| part == ".."));
        ensure!(ok, "volumes[{at}].host.sourcePath has to be an absolute path without `..`.");
    }
    Ok(())
}

fn check_health(path: &str, check: &HealthCheck) -> Result<(), Invalid> {
    let ok = match check.command.split_first() {
        Some((kind, rest)) => (kind == "CMD" && !rest.is_empty()) || (kind == "CMD-SHELL" && rest.len() == 1),
        None => false,
    };
    ensure!(ok, "{path}.healthCheck.command has to be [\"CMD\", PROGRAM, …] or [\"CMD-SHELL\", LINE].");
    let ranges = [
        ("interval", check.interval, 5..=300),
        ("timeout", check.timeout, 2..=60),
        ("retries", check.retries.map(u64::from), 1..=10),
        ("startPeriod", check.start_period, 0..=300),
    ];
    for (name, value, range) in ranges {
        let ok = value.is_none_or(|value| range.contains(&value));
        ensure!(ok, "{path}.healthCheck.{name} has to be between {} and {}.", range.start(), range.end());
    }
    Ok(())
}

type HostPorts = BTreeSet<(Protocol, u16)>;

fn check_ports(path: &str, container: &ContainerDefinition, mode: NetworkMode, taken: &mut HostPorts) -> Result<(), Invalid> {
    let mappings = &container.port_mappings;
    ensure!(mappings.len() <= PORT_MAPPINGS_MAX, "{path}.portMappings can hold at most {PORT_MAPPINGS_MAX}.");
    ensure!(mode != NetworkMode::None || mappings.is_empty(), "{path}.portMappings cannot be set with networkMode none.");
    for (at, mapping) in mappings.iter().enumerate() {
        let path = format!("{path}.portMappings[{at}]");
        ensure!(mapping.container_port > 0, "{path}.containerPort has to be between 1 and 65535.");
        ensure!(mapping.name.as_deref().is_none_or(is_name), "{path}.name has to be letters, digits, `_` and `-`.");
        check_host_port(&path, mapping, mode, taken)?;
    }
    Ok(())
}

fn check_host_port(path: &str, mapping: &PortMapping, mode: NetworkMode, taken: &mut HostPorts) -> Result<(), Invalid> {
    let Some(port) = mapping.host_port.filter(|port| *port > 0) else { return Ok(()) };
    let same = mode != NetworkMode::Host || port == mapping.container_port;
    ensure!(same, "{path}.hostPort has to be the containerPort with networkMode host.");
    let free = taken.insert((mapping.protocol.unwrap_or_default(), port));
    ensure!(free, "{path}.hostPort: host port {port} is used twice in this task definition.");
    Ok(())
}

fn check_task_sizes(definition: &TaskDefinition) -> Result<(), Invalid> {
    let containers = &definition.container_definitions;
    if let Some(cpu) = size(definition.cpu.as_deref()) {
        ensure!(TASK_CPU_UNITS.contains(&cpu), "cpu has to be between {} and {}.", TASK_CPU_UNITS.start(), TASK_CPU_UNITS.end());
        let sum: i64 = containers.iter().map(|container| container.cpu).sum();
        ensure!(sum <= cpu, "The containers' cpu is {sum} in all, more than the task's {cpu}.");
    }
    if let Some(memory) = size(definition.memory.as_deref()) {
        let range = MEMORY_MIB_MIN..=MEMORY_MIB_MAX;
        ensure!(range.contains(&memory), "memory has to be at least {MEMORY_MIB_MIN} MiB and at most {MEMORY_MIB_MAX} MiB.");
        let fits = containers.iter().all(|container| container.memory.is_none_or(|hard| hard <= memory));
        ensure!(fits, "No container's memory can be more than the task's {memory} MiB.");
        let sum: i64 = containers.iter().filter_map(|container| container.memory_reservation.or(container.memory)).sum();
        ensure!(sum <= memory, "The containers reserve {sum} MiB in all, more than the task's {memory} MiB.");
    }
    Ok(())
}

fn size(text: Option<&str>) -> Option<i64> {
    text.and_then(|text| text.parse().ok())
}

fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 4096 && !path.contains(['\0', ':'])
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
