//! Reading lists whole: pages followed to their end, names described in the batches that the API takes.

use crate::failure::{Exit, Failure, Result};
use crate::session::Session;
use api::aws;
use api::v1::Page;
use serde::de::DeserializeOwned;

/// Pages followed before a list is called endless.
const PAGES_MAX: usize = 10_000;
/// Most services in one `DescribeServices`.
const SERVICES_MAX: usize = 10;
/// Most tasks, instances or clusters in one describe.
const DESCRIBED_MAX: usize = 100;

/// All items of a list of the Berth API.
pub async fn all_pages<T: DeserializeOwned>(session: &Session, path: &str, query: &[(&str, String)]) -> Result<Vec<T>> {
    let mut items = Vec::new();
    let mut query = query.to_vec();
    for _ in 0..PAGES_MAX {
        let page: Page<T> = session.v1.get(path, &query).await?;
        items.extend(page.items);
        query.retain(|(name, _)| *name != "after");
        match page.next {
            Some(next) => query.push(("after", next)),
            None => return Ok(items),
        }
    }
    Err(endless(path))
}

fn endless(what: &str) -> Failure {
    Failure::error(format!("{what} has no end")).why(format!("stopped after {PAGES_MAX} pages"))
}

/// Follows `nextToken`: `request` makes the request of a page, `split` takes an answer apart.
macro_rules! list_all {
    ($session:expr, $request:expr, $items:ident) => {{
        let mut request = $request;
        let mut all = Vec::new();
        loop {
            let page = $session.call(&request).await?;
            all.extend(page.$items);
            match page.next_token {
                Some(next) if all.len() < PAGES_MAX * DESCRIBED_MAX => request.next_token = Some(next),
                Some(_) => return Err(endless("the list")),
                None => break all,
            }
        }
    }};
}

/// The last component of an ARN: a name or id.
pub fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// A service as people write it: `NAME`, `CLUSTER/NAME`, or its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTarget {
    pub cluster: Option<String>,
    pub name: String,
}

impl ServiceTarget {
    /// `cluster` is what the flag says; what the name says has to agree with it.
    pub fn parse(text: &str, cluster: Option<&str>) -> Result<Self> {
        let path = match model::ids::arn_resource(text, "service") {
            Ok(rest) => rest,
            Err(_) if text.starts_with("arn:") => return Err(Failure::usage(format!("`{text}` is not the ARN of a service"))),
            Err(_) => text,
        };
        match path.split_once('/') {
            None => Ok(Self { cluster: cluster.map(str::to_owned), name: path.to_owned() }),
            Some((own, _)) if cluster.is_some_and(|cluster| cluster != own) => {
                Err(Failure::usage(format!("`{text}` is not in cluster {}", cluster.unwrap_or_default())))
            }
            Some((own, name)) => Ok(Self { cluster: Some(own.to_owned()), name: name.to_owned() }),
        }
    }

    /// `CLUSTER/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.cluster.as_deref().unwrap_or("default"), self.name)
    }
}

/// The named cluster, or all of them.
pub async fn clusters(session: &Session, cluster: Option<&String>) -> Result<Vec<String>> {
    if let Some(cluster) = cluster {
        return Ok(vec![cluster.clone()]);
    }
    let arns = list_all!(session, aws::ListClustersRequest::default(), cluster_arns);
    Ok(arns.iter().map(|arn| short(arn).to_owned()).collect())
}

pub async fn describe_clusters(session: &Session, names: &[String]) -> Result<Vec<aws::Cluster>> {
    let mut all = Vec::new();
    for names in names.chunks(DESCRIBED_MAX) {
        let request = aws::DescribeClustersRequest { clusters: Some(names.to_vec()), include: None };
        all.extend(session.call(&request).await?.clusters);
    }
    Ok(all)
}

/// All services of a cluster that are not gone.
pub async fn services(session: &Session, cluster: &str) -> Result<Vec<aws::Service>> {
    let request = aws::ListServicesRequest { cluster: Some(cluster.to_owned()), ..Default::default() };
    let arns = list_all!(session, request, service_arns);
    let mut all = Vec::new();
    for arns in arns.chunks(SERVICES_MAX) {
        let request = aws::DescribeServicesRequest { cluster: Some(cluster.to_owned()), services: arns.to_vec(), include: None };
        all.extend(session.call(&request).await?.services);
    }
    all.sort_by(|a, b| a.service_name.cmp(&b.service_name));
    Ok(all)
}

/// One service; INACTIVE ones count as not found.
pub async fn service(session: &Session, target: &ServiceTarget) -> Result<aws::Service> {
    let request = aws::DescribeServicesRequest { cluster: target.cluster.clone(), services: vec![target.name.clone()], include: None };
    let found = session.call(&request).await?.services.into_iter().find(|service| service.status != "INACTIVE");
    found.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("there is no service {} that you may see", target.full_name()))
            .next("`berth services` lists the services")
    })
}

/// Ids of tasks that match `request`, which says what it wants of them.
pub async fn task_arns(session: &Session, request: aws::ListTasksRequest) -> Result<Vec<String>> {
    Ok(list_all!(session, request, task_arns))
}

/// Tasks of one cluster by id or ARN; those that are gone are left out.
pub async fn describe_tasks(session: &Session, cluster: &str, ids: &[String]) -> Result<Vec<aws::Task>> {
    let mut all = Vec::new();
    for ids in ids.chunks(DESCRIBED_MAX) {
        let request = aws::DescribeTasksRequest { cluster: Some(cluster.to_owned()), tasks: ids.to_vec(), include: None };
        all.extend(session.call(&request).await?.tasks);
    }
    Ok(all)
}

/// All container instances of a cluster.
pub async fn instances(session: &Session, cluster: &str) -> Result<Vec<aws::ContainerInstance>> {
    let request = aws::ListContainerInstancesRequest { cluster: Some(cluster.to_owned()), ..Default::default() };
    let arns = list_all!(session, request, container_instance_arns);
    let mut all = Vec::new();
    for arns in arns.chunks(DESCRIBED_MAX) {
        let request =
            aws::DescribeContainerInstancesRequest { cluster: Some(cluster.to_owned()), container_instances: arns.to_vec(), include: None };
        all.extend(session.call(&request).await?.container_instances);
    }
    Ok(all)
}

pub async fn task_definition_arns(session: &Session, request: aws::ListTaskDefinitionsRequest) -> Result<Vec<String>> {
    Ok(list_all!(session, request, task_definition_arns))
}

pub async fn families(session: &Session) -> Result<Vec<String>> {
    let request = aws::ListTaskDefinitionFamiliesRequest { status: Some("ACTIVE".into()), ..Default::default() };
    Ok(list_all!(session, request, families))
}

pub async fn repositories(session: &Session) -> Result<Vec<aws::Repository>> {
    Ok(list_all!(session, aws::DescribeRepositoriesRequest::default(), repositories))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_with_or_without_their_cluster() {
        let target = |text: &str, cluster: Option<&str>| ServiceTarget::parse(text, cluster).map(|t| (t.cluster, t.name)).ok();
        assert_eq!(target("web", None), Some((None, "web".into())));
        assert_eq!(target("web", Some("prod")), Some((Some("prod".into()), "web".into())));
        assert_eq!(target("prod/web", None), Some((Some("prod".into()), "web".into())));
        assert_eq!(target("arn:aws:ecs:r:1:service/prod/web", None), Some((Some("prod".into()), "web".into())));
        assert_eq!(target("prod/web", Some("test")), None);
        assert_eq!(target("arn:aws:ecs:r:1:task/prod/web", None), None);
    }
}
