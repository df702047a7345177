//! How requests name things: short name or ARN. Pure.

use crate::error::{Code, EcsError};
use model::ids::{
    ClusterName, DeploymentId, Family, InstanceId, ServiceDeploymentId, ServiceName, TaskDefinitionId, TaskId, arn_resource, short_name,
};

/// The cluster that is named; `default` when none is.
pub fn cluster(text: Option<&str>) -> Result<ClusterName, EcsError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(ClusterName::default_cluster()) };
    short_name(text, "cluster").and_then(str::parse).map_err(|error| EcsError::invalid(format!("Invalid identifier: {error}")))
}

/// A service by name or ARN; the cluster in an ARN has to be the one that is asked.
pub fn service(text: &str, cluster: &ClusterName) -> Result<ServiceName, EcsError> {
    within(text, "service", cluster)?.parse().map_err(|error| EcsError::invalid(format!("Invalid identifier: {error}")))
}

pub fn task(text: &str, cluster: &ClusterName) -> Result<TaskId, EcsError> {
    within(text, "task", cluster)?
        .parse()
        .map_err(|_| EcsError::invalid("taskId longer than 36, or not an id: a task is named by its 32 hex digits or its ARN."))
}

pub fn instance(text: &str, cluster: &ClusterName) -> Result<InstanceId, EcsError> {
    within(text, "container-instance", cluster)?
        .parse()
        .map_err(|_| EcsError::invalid("Identifier is not a container instance: name it by its 32 hex digits or its ARN."))
}

/// Something of a service, named by its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfService<T> {
    pub cluster: ClusterName,
    pub service: ServiceName,
    pub id: T,
}

/// `arn:…:service-deployment/CLUSTER/SERVICE/ID`
pub fn service_deployment(arn: &str) -> Result<OfService<ServiceDeploymentId>, EcsError> {
    of_service(arn, "service-deployment", |id| id.parse().ok())
}

/// `arn:…:service-revision/CLUSTER/SERVICE/DIGITS`
pub fn service_revision(arn: &str) -> Result<OfService<DeploymentId>, EcsError> {
    let digits = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
    of_service(arn, "service-revision", |id| digits(id).then(|| DeploymentId(id.to_owned())))
}

fn of_service<T>(arn: &str, kind: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<OfService<T>, EcsError> {
    let refuse = || EcsError::invalid(format!("Invalid identifier: `{}` is not the ARN of a {kind}.", clip(arn)));
    let rest = arn_resource(arn, kind).map_err(|_| refuse())?;
    let (cluster, rest) = rest.split_once('/').ok_or_else(refuse)?;
    let (service, id) = rest.split_once('/').ok_or_else(refuse)?;
    Ok(OfService {
        cluster: cluster.parse().map_err(|_| refuse())?,
        service: service.parse().map_err(|_| refuse())?,
        id: parse(id).ok_or_else(refuse)?,
    })
}

/// The short name in `text`; of an ARN that says its cluster, only when that is `cluster`.
fn within<'a>(text: &'a str, kind: &str, cluster: &ClusterName) -> Result<&'a str, EcsError> {
    let invalid = |error| EcsError::invalid(format!("Invalid identifier: {error}"));
    if !text.starts_with("arn:") {
        return Ok(text);
    }
    let rest = arn_resource(text, kind).map_err(invalid)?;
    match rest.split_once('/') {
        Some((of, short)) if of == cluster.as_str() => Ok(short),
        Some((of, _)) => {
            Err(EcsError::invalid(format!("Identifier is of cluster {}, and the request is about cluster {cluster}.", clip(of))))
        }
        None => Ok(rest),
    }
}

/// A task definition as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskDefinitionReference {
    /// The latest ACTIVE revision.
    Family(Family),
    Revision(TaskDefinitionId),
}

impl TaskDefinitionReference {
    pub fn family(&self) -> &Family {
        match self {
            Self::Family(family) => family,
            Self::Revision(id) => &id.family,
        }
    }
}

/// `family`, `family:revision` or an ARN.
pub fn task_definition(text: &str) -> Result<TaskDefinitionReference, EcsError> {
    let refuse = |_| {
        EcsError::new(Code::ClientException, format!("`{}` does not name a task definition: write FAMILY or FAMILY:REVISION.", clip(text)))
    };
    let short = short_name(text, "task-definition").map_err(refuse)?;
    match short.split_once(':') {
        None => short.parse().map(TaskDefinitionReference::Family).map_err(refuse),
        Some((family, revision)) => {
            let family: Family = family.parse().map_err(refuse)?;
            let revision = revision.parse::<i64>().ok().filter(|revision| *revision > 0);
            let revision = revision.ok_or_else(|| EcsError::client(format!("Invalid revision number. Number: {}", clip(short))))?;
            Ok(TaskDefinitionReference::Revision(TaskDefinitionId { family, revision }))
        }
    }
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_named_by_short_name_or_arn() {
        let default = ClusterName::default_cluster();
        assert_eq!(cluster(None).unwrap(), default);
        assert_eq!(cluster(Some("arn:aws:ecs:eu:123456789012:cluster/prod")).unwrap().as_str(), "prod");
        assert_eq!(service("arn:aws:ecs:eu:123456789012:service/default/web", &default).unwrap().as_str(), "web");
        assert_eq!(service("arn:aws:ecs:eu:123456789012:service/web", &default).unwrap().as_str(), "web");
        assert!(service("arn:aws:ecs:eu:123456789012:service/prod/web", &default).is_err());
        assert!(service("arn:aws:ecs:eu:123456789012:task/default/web", &default).is_err());
        assert!(task("nonsense", &default).is_err());
        let family = task_definition("web").unwrap();
        assert_eq!(family, TaskDefinitionReference::Family("web".parse().unwrap()));
        let id = TaskDefinitionId { family: "web".parse().unwrap(), revision: 7 };
        assert_eq!(task_definition("arn:aws:ecs:eu:123456789012:task-definition/web:7").unwrap(), TaskDefinitionReference::Revision(id));
        for bad in ["", "web:0", "web:x", "a/b", "web:1:2", "web:-1"] {
            assert!(task_definition(bad).is_err(), "{bad}");
        }
    }
}
