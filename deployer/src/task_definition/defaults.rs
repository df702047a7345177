//! What ECS adds to a task definition and returns: no more, so that clients that compare what they sent see no difference. Pure.

use serde_json::{Map, Value, json};

/// Adds ECS's defaults to `document`, in place.
pub fn fill(document: &mut Map<String, Value>) {
    for list in ["volumes", "placementConstraints"] {
        document.entry(list).or_insert_with(|| json!([]));
    }
    let host_network = document.get("networkMode").and_then(Value::as_str) == Some("host");
    let containers = document.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
        container.entry("cpu").or_insert_with(|| json!(0));
        container.entry("essential").or_insert_with(|| json!(true));
        for list in ["portMappings", "environment", "mountPoints", "volumesFrom", "systemControls"] {
            container.entry(list).or_insert_with(|| json!([]));
        }
        let mappings = container.get_mut("portMappings").and_then(Value::as_array_mut);
        mappings.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|mapping| fill_mapping(mapping, host_network));
    }
}

/// On the host's network a container's port is the host's; on a bridge 0 has Docker choose one.
fn fill_mapping(mapping: &mut Map<String, Value>, host_network: bool) {
    mapping.entry("protocol").or_insert_with(|| json!("tcp"));
    let same = mapping.get("containerPort").cloned().unwrap_or_default();
    let host_port = mapping.entry("hostPort").or_insert_with(|| json!(0));
    if host_network && *host_port == json!(0) {
        *host_port = same;
    }
}

/// Task-level CPU in units, from `1024`, `"1024"`, `"1 vCPU"` or `".5 vcpu"`.
pub fn cpu_units(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.strip_suffix("vcpu") {
        Some(count) => thousandths(count.trim()).map(|thousandths| thousandths * 1024 / 1000),
        None => lower.parse().ok(),
    }
}

/// Task-level memory in MiB, from `512`, `"512"`, `"0.5 GB"` or `"1gb"`.
pub fn memory_mib(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.strip_suffix("gb") {
        Some(count) => thousandths(count.trim()).map(|thousandths| thousandths * 1024 / 1000),
        None => lower.parse().ok(),
    }
}

/// A decimal number in thousandths, without going through floating point.
fn thousandths(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    Some(whole * 1000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_tasks_are_read_in_both_ways_ecs_writes_them() {
        for (text, expected) in
            [("1024", Some(1024)), ("1 vCPU", Some(1024)), (".5 vcpu", Some(512)), ("0.25vCPU", Some(256)), ("x", None), ("vcpu", None)]
        {
            assert_eq!(cpu_units(text), expected, "{text}");
        }
        for (text, expected) in
            [("512", Some(512)), ("0.5 GB", Some(512)), ("2GB", Some(2048)), ("GB", None), ("1.x GB", None), ("-1 GB", None)]
        {
            assert_eq!(memory_mib(text), expected, "{text}");
        }
    }

    #[test]
    fn a_document_gets_what_ecs_adds_and_nothing_else() {
        let Value::Object(mut document) = json!({
            "family": "web",
            "containerDefinitions": [{"name": "app", "image": "a", "memory": 64, "portMappings": [{"containerPort": 80}]}]
        }) else {
            panic!("an object")
        };
        fill(&mut document);
        assert_eq!(
            Value::Object(document),
            json!({
                "family": "web", "volumes": [], "placementConstraints": [],
                "containerDefinitions": [{
                    "name": "app", "image": "a", "memory": 64, "cpu": 0, "essential": true, "environment": [], "mountPoints": [],
                    "volumesFrom": [], "systemControls": [],
                    "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}]
                }]
            })
        );
    }
}
