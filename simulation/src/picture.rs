//! What the database holds, read after every change: what the oracle judges.

use crate::store;
use deployer::store as rows;
use model::ids::{ClusterName, DeploymentId, InstanceId, TaskId};
use model::instance::Instance;
use model::service::{Deployment, DeploymentStatus, Service};
use model::task::Task;
use platform::db::{Db, DbError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One moment of the database. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    pub services: BTreeMap<String, Arc<Service>>,
    pub deployments: BTreeMap<DeploymentId, Arc<Deployment>>,
    pub instances: BTreeMap<InstanceId, Arc<Instance>>,
}

impl Picture {
    /// Reads what changed since.
    pub async fn refresh(&mut self, db: &Db) -> Result<(), DbError> {
        let mut tx = db.read().await?;
        let versions = store::task_versions(&mut tx).await?;
        let mut tasks = BTreeMap::new();
        for (id, version) in versions {
            let task = match self.tasks.get(&id) {
                Some(known) if known.version == version => known.clone(),
                _ => match rows::tasks::get(&mut tx, &id).await? {
                    Some(task) => Arc::new(task),
                    None => continue,
                },
            };
            tasks.insert(id, task);
        }
        self.tasks = tasks;
        for (id, version) in store::service_versions(&mut tx).await? {
            if self.services.get(&id).is_none_or(|known| known.version != version)
                && let Some(service) = rows::services::by_id(&mut tx, &id).await?
            {
                self.services.insert(id, Arc::new(service));
            }
        }
        for (id, inactive) in store::deployment_ids(&mut tx).await? {
            let settled = inactive && self.deployments.get(&id).is_some_and(|known| known.status == DeploymentStatus::Inactive);
            if !settled && let Some(deployment) = rows::deployments::get(&mut tx, &id).await? {
                self.deployments.insert(id, Arc::new(deployment));
            }
        }
        for instance in rows::instances::list(&mut tx, &ClusterName::default_cluster()).await? {
            self.instances.insert(instance.id.clone(), Arc::new(instance));
        }
        Ok(())
    }

    pub fn of_service<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Arc<Task>> {
        self.tasks.values().filter(move |task| task.service_id.as_deref() == Some(service))
    }

    pub fn primary(&self, service: &str) -> Option<&Arc<Deployment>> {
        self.deployments.values().find(|deployment| deployment.service_id == service && deployment.status == DeploymentStatus::Primary)
    }
}
