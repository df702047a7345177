//! Identifiers and ARNs. Bare ids are stored; ARNs are rendered and parsed here, in ECS's long format.
//!
//! `arn:aws:ecs:R:A:cluster/C`, `task-definition/F:N`, `service/C/S`, `task/C/<32 hex>`, `container-instance/C/<32 hex>`,
//! `service-deployment/C/S/<32 hex>`, `service-revision/C/S/<digits>`.

use crate::name::string_newtype;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest cluster, service or family name, in bytes (the limit ECS documents).
pub const ECS_NAME_BYTES_MAX: usize = 255;

/// Why an identifier was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("a {0} name has 1 to {ECS_NAME_BYTES_MAX} letters, digits, `_` and `-`")]
    Name(&'static str),
    #[error("`{0}` is not an id of 32 hex digits")]
    Hex(String),
    #[error("an account id has 12 digits")]
    Account,
    #[error("a region has 1 to 32 lower-case letters, digits and `-`")]
    Region,
    #[error("`{0}` is not an ARN of the expected kind")]
    Arn(String),
}

fn is_ecs_name(text: &str) -> bool {
    (1..=ECS_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

macro_rules! ecs_name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);
        string_newtype!($name);

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if is_ecs_name(text) { Ok(Self(text.to_owned())) } else { Err(IdError::Name($what)) }
            }
        }
    };
}

ecs_name!(/// Name of a cluster.
    ClusterName, "cluster");
ecs_name!(/// Name of a service, unique among the active ones of its cluster.
    ServiceName, "service");
ecs_name!(/// Family of a task definition.
    Family, "task definition family");

impl ClusterName {
    /// The cluster that always exists and that an absent `cluster` parameter means.
    pub fn default_cluster() -> Self {
        Self("default".to_owned())
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);
        string_newtype!($name);

        impl $name {
            /// An id from 128 random bits.
            pub fn from_random(bits: u128) -> Self {
                Self(format!("{bits:032x}"))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if hex { Ok(Self(text.to_owned())) } else { Err(IdError::Hex(text.chars().take(100).collect())) }
            }
        }
    };
}

hex_id!(/// Id of a task.
    TaskId);
hex_id!(/// Id of a container instance: one agent on one Docker host.
    InstanceId);
hex_id!(/// Id of one attempt to bring a service to a revision.
    ServiceDeploymentId);

/// Digits of a deployment; shown as `ecs-svc/<digits>`. The service revision of the deployment has the same digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(pub String);

impl DeploymentId {
    /// Nineteen digits from random bits, like ECS's own.
    pub fn from_random(bits: u64) -> Self {
        Self(format!("{:019}", bits % 9_000_000_000_000_000_000 + 1_000_000_000_000_000_000))
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ecs-svc/{}", self.0)
    }
}

/// `family:revision`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskDefinitionId {
    pub family: Family,
    pub revision: i64,
}

impl fmt::Display for TaskDefinitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.family, self.revision)
    }
}

/// The account and region that every ARN of this control plane carries. Set at first start, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub account_id: String,
    pub region: String,
}

impl Partition {
    pub fn new(account_id: &str, region: &str) -> Result<Self, IdError> {
        if account_id.len() != 12 || !account_id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdError::Account);
        }
        if !(1..=32).contains(&region.len()) || !region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(IdError::Region);
        }
        Ok(Self { account_id: account_id.to_owned(), region: region.to_owned() })
    }

    fn ecs(&self, rest: fmt::Arguments<'_>) -> String {
        format!("arn:aws:ecs:{}:{}:{rest}", self.region, self.account_id)
    }

    pub fn cluster(&self, cluster: &ClusterName) -> String {
        self.ecs(format_args!("cluster/{cluster}"))
    }

    pub fn service(&self, cluster: &ClusterName, service: &ServiceName) -> String {
        self.ecs(format_args!("service/{cluster}/{service}"))
    }

    pub fn task_definition(&self, id: &TaskDefinitionId) -> String {
        self.ecs(format_args!("task-definition/{id}"))
    }

    pub fn task(&self, cluster: &ClusterName, task: &TaskId) -> String {
        self.ecs(format_args!("task/{cluster}/{task}"))
    }

    pub fn container(&self, cluster: &ClusterName, task: &TaskId, container: &str) -> String {
        self.ecs(format_args!("container/{cluster}/{task}/{container}"))
    }

    pub fn container_instance(&self, cluster: &ClusterName, instance: &InstanceId) -> String {
        self.ecs(format_args!("container-instance/{cluster}/{instance}"))
    }

    pub fn service_deployment(&self, cluster: &ClusterName, service: &ServiceName, id: &ServiceDeploymentId) -> String {
        self.ecs(format_args!("service-deployment/{cluster}/{service}/{id}"))
    }

    /// The revision that a deployment of the service brings.
    pub fn service_revision(&self, cluster: &ClusterName, service: &ServiceName, id: &DeploymentId) -> String {
        self.ecs(format_args!("service-revision/{cluster}/{service}/{}", id.0))
    }

    pub fn repository(&self, name: &str) -> String {
        format!("arn:aws:ecr:{}:{}:repository/{name}", self.region, self.account_id)
    }
}

/// The part of an ECS ARN after the account, when `text` is one and its kind is `kind`: `("task", "default/0ab…")`.
/// Account and region are not compared: clients configured for any region work.
pub fn arn_resource<'a>(text: &'a str, kind: &str) -> Result<&'a str, IdError> {
    let refuse = || IdError::Arn(text.chars().take(200).collect());
    let mut parts = text.splitn(6, ':');
    let (Some("arn"), Some(_), Some("ecs"), Some(_), Some(_), Some(resource)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(refuse());
    };
    resource.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')).ok_or_else(refuse)
}

/// The last path component of an ARN of `kind`, or `text` itself when it is no ARN: the short name or id.
pub fn short_name<'a>(text: &'a str, kind: &str) -> Result<&'a str, IdError> {
    if text.starts_with("arn:") { arn_resource(text, kind).map(|rest| rest.rsplit('/').next().unwrap_or(rest)) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_round_trip_through_their_short_names() {
        let partition = Partition::new("123456789012", "eu-home-1").unwrap();
        let cluster = ClusterName::default_cluster();
        let task = TaskId::from_random(7);
        let arn = partition.task(&cluster, &task);
        assert_eq!(arn, "arn:aws:ecs:eu-home-1:123456789012:task/default/00000000000000000000000000000007");
        assert_eq!(short_name(&arn, "task").unwrap(), task.as_str());
        assert!(short_name(&arn, "service").is_err());
        assert_eq!(short_name("web", "service").unwrap(), "web");
    }

    #[test]
    fn names_and_partitions_are_checked() {
        assert!("web_1-a".parse::<ServiceName>().is_ok());
        for bad in ["", "a/b", "ä", "..", &"a".repeat(256)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
        assert!(Partition::new("12", "eu").is_err());
        assert!(Partition::new("123456789012", "EU").is_err());
        assert_eq!(DeploymentId::from_random(u64::MAX).0.len(), 19);
    }
}
