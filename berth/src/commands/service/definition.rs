//! Task definitions made from flags. The document is built here and judged by the server.

use super::{no_such_container, parse_env, parse_port, short};
use crate::failure::{Failure, Result};
use crate::session::Session;
use api::aws;
use clap::Args;
use serde_json::{Map, Value, json};

/// Memory set aside for a container that does not say, in MiB: no hard limit, so that nothing is killed by surprise.
const MEMORY_RESERVATION_MIB: i64 = 128;

/// Flags that describe the one container of a task.
#[derive(Debug, Clone, Default, Args)]
pub struct ContainerArgs {
    /// Container port to publish on any free host port, or HOSTPORT:PORT; may be given several times
    #[arg(long = "port", short = 'p', value_name = "PORT", value_parser = parse_port)]
    pub ports: Vec<(Option<u16>, u16)>,
    /// Hard memory limit in MiB [default: none; 128 MiB are set aside]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(i64).range(6..))]
    pub memory: Option<i64>,
    /// CPU units, 1024 per CPU
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(i64).range(0..))]
    pub cpu: Option<i64>,
    /// NAME=VALUE; may be given several times
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parse_env)]
    pub env: Vec<(String, String)>,
    /// Shell command that says by its exit code whether the container is healthy
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Seconds between health checks
    #[arg(long, value_name = "SECS", requires = "health_cmd", value_parser = clap::value_parser!(u64).range(5..=300))]
    pub health_interval: Option<u64>,
    /// User in the container
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Command instead of the image's own
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// The document of a family with one container of the same name.
pub fn document(family: &str, image: &str, args: &ContainerArgs) -> Result<Map<String, Value>> {
    let mut container = json!({
        "name": family,
        "image": image,
        "essential": true,
        "portMappings": args.ports.iter().map(|(host, port)| json!({
            "containerPort": port, "hostPort": host.unwrap_or(0), "protocol": "tcp"
        })).collect::<Vec<_>>(),
        "environment": args.env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
    });
    match args.memory {
        Some(memory) => container["memory"] = memory.into(),
        None => container["memoryReservation"] = MEMORY_RESERVATION_MIB.into(),
    }
    if let Some(cpu) = args.cpu {
        container["cpu"] = cpu.into();
    }
    if let Some(user) = &args.user {
        container["user"] = user.clone().into();
    }
    if !args.command.is_empty() {
        container["command"] = args.command.clone().into();
    }
    if let Some(command) = &args.health_cmd {
        container["healthCheck"] = json!({ "command": ["CMD-SHELL", command] });
        if let Some(interval) = args.health_interval {
            container["healthCheck"]["interval"] = interval.into();
        }
    }
    match json!({ "family": family, "containerDefinitions": [container] }) {
        Value::Object(document) => Ok(document),
        _ => Err(Failure::error("a document is an object")),
    }
}

/// Registers `document`; the new revision's ARN.
pub async fn register(session: &Session, document: Map<String, Value>) -> Result<String> {
    let request = aws::RegisterTaskDefinitionRequest { tags: None, document };
    Ok(session.call(&request).await?.task_definition.task_definition_arn)
}

/// Registers a copy of `arn` with another image; the new revision's ARN.
pub async fn with_image(session: &Session, arn: &str, container: Option<&str>, image: &str) -> Result<String> {
    let request = aws::DescribeTaskDefinitionRequest { task_definition: arn.to_owned(), include: None };
    let mut document = session.call(&request).await?.task_definition.document;
    replace_image(&mut document, short(arn), container, image)?;
    register(session, document).await
}

/// Puts `image` into the named container, or into the only one.
fn replace_image(document: &mut Map<String, Value>, of: &str, container: Option<&str>, image: &str) -> Result<()> {
    // What a description adds to the document and a registration does not take.
    for added in ["requiresAttributes", "compatibilities"] {
        document.remove(added);
    }
    let containers = document.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    let containers = containers.ok_or_else(|| Failure::error(format!("{of} has no containers")))?;
    if container.is_none() && containers.len() > 1 {
        return Err(Failure::usage(format!("{of} has {} containers", containers.len())).next("say which one with --container NAME"));
    }
    let named = |definition: &&mut Value| container.is_none_or(|name| definition["name"] == name);
    let found = containers.iter_mut().find(named).ok_or_else(|| no_such_container(container.unwrap_or_default(), of))?;
    found["image"] = image.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_document_that_the_model_reads() {
        let args = ContainerArgs {
            ports: vec![(None, 8080), (Some(80), 81)],
            memory: Some(256),
            env: vec![("A".into(), "b".into())],
            health_cmd: Some("true".into()),
            command: vec!["serve".into()],
            ..Default::default()
        };
        let document = document("web", "acme/web:v1", &args).unwrap();
        let typed: model::task_definition::TaskDefinition = serde_json::from_value(Value::Object(document)).unwrap();
        let container = &typed.container_definitions[0];
        assert_eq!((typed.family.as_str(), container.image.as_str()), ("web", "acme/web:v1"));
        assert_eq!((container.memory, container.memory_reservation), (Some(256), None));
        assert_eq!(container.port_mappings[1].host_port, Some(80));
        assert_eq!(container.health_check.as_ref().unwrap().command, ["CMD-SHELL", "true"]);
    }

    #[test]
    fn the_image_of_one_container_is_replaced() {
        let two = json!({ "containerDefinitions": [{ "name": "a", "image": "x" }, { "name": "b", "image": "y" }] });
        let Value::Object(mut document) = two else { unreachable!() };
        assert!(replace_image(&mut document, "web:1", None, "z").is_err());
        assert!(replace_image(&mut document, "web:1", Some("c"), "z").is_err());
        replace_image(&mut document, "web:1", Some("b"), "z").unwrap();
        assert_eq!(document["containerDefinitions"][1]["image"], "z");
        assert_eq!(document["containerDefinitions"][0]["image"], "x");
    }
}
