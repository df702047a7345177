//! The list of operations: name, API, allowed fields, function. The router dispatches from it and tests iterate it.

use crate::aws::fields::Field;
use crate::error::{Code, EcsError};
use crate::operations::call::Call;
use crate::operations::services::deployments;
use crate::operations::{clusters, ecr, instances, services, task_definitions, tasks};
use api::aws::{self, Api, Request};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One operation of ECS or ECR.
pub struct Operation {
    pub name: &'static str,
    pub api: Api,
    pub fields: &'static [Field],
    pub run: Run,
}

type Run = for<'a> fn(&'a Call, Value) -> BoxFuture<'a, Result<Value, EcsError>>;

macro_rules! operation {
    ($request:ident, $fields:path, $function:path) => {
        Operation {
            name: <aws::$request as Request>::NAME,
            api: <aws::$request as Request>::API,
            fields: $fields,
            run: |call, body| Box::pin(async move { answer(&$function(call, request::<aws::$request>(body)?).await?) }),
        }
    };
}

pub const OPERATIONS: &[Operation] = &[
    operation!(CreateClusterRequest, clusters::CREATE, clusters::create),
    operation!(DescribeClustersRequest, clusters::DESCRIBE, clusters::describe),
    operation!(ListClustersRequest, clusters::LIST, clusters::list),
    operation!(DeleteClusterRequest, clusters::DELETE, clusters::delete),
    operation!(RegisterTaskDefinitionRequest, task_definitions::REGISTER, task_definitions::register),
    operation!(DescribeTaskDefinitionRequest, task_definitions::DESCRIBE, task_definitions::describe),
    operation!(ListTaskDefinitionsRequest, task_definitions::LIST, task_definitions::list),
    operation!(ListTaskDefinitionFamiliesRequest, task_definitions::FAMILIES, task_definitions::families),
    operation!(DeregisterTaskDefinitionRequest, task_definitions::DEREGISTER, task_definitions::deregister),
    operation!(CreateServiceRequest, services::create::FIELDS, services::create::create),
    operation!(UpdateServiceRequest, services::update::FIELDS, services::update::update),
    operation!(DescribeServicesRequest, services::DESCRIBE, services::describe),
    operation!(ListServicesRequest, services::LIST, services::list),
    operation!(DeleteServiceRequest, services::delete::FIELDS, services::delete::delete),
    operation!(ListServiceDeploymentsRequest, deployments::LIST, deployments::list),
    operation!(DescribeServiceDeploymentsRequest, deployments::DESCRIBE, deployments::describe),
    operation!(DescribeServiceRevisionsRequest, deployments::revisions::FIELDS, deployments::revisions::describe),
    operation!(StopServiceDeploymentRequest, deployments::stop::FIELDS, deployments::stop::stop),
    operation!(RunTaskRequest, tasks::run::FIELDS, tasks::run::run),
    operation!(StopTaskRequest, tasks::stop::FIELDS, tasks::stop::stop),
    operation!(DescribeTasksRequest, tasks::DESCRIBE, tasks::describe),
    operation!(ListTasksRequest, tasks::LIST, tasks::list),
    operation!(ListContainerInstancesRequest, instances::LIST, instances::list),
    operation!(DescribeContainerInstancesRequest, instances::DESCRIBE, instances::describe),
    operation!(UpdateContainerInstancesStateRequest, instances::drain::FIELDS, instances::drain::update_state),
    operation!(DeregisterContainerInstanceRequest, instances::deregister::FIELDS, instances::deregister::deregister),
    operation!(GetAuthorizationTokenRequest, ecr::TOKEN, ecr::authorization_token),
    operation!(CreateRepositoryRequest, ecr::CREATE, ecr::create),
    operation!(DescribeRepositoriesRequest, ecr::DESCRIBE, ecr::describe),
    operation!(PutImageTagMutabilityRequest, ecr::mutability::FIELDS, ecr::mutability::put),
];

/// The operation that `name` of `api` is, when there is one.
pub fn find(api: Api, name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.api == api && operation.name == name)
}

fn request<T: DeserializeOwned>(body: Value) -> Result<T, EcsError> {
    serde_json::from_value(body)
        .map_err(|error| EcsError::new(Code::SerializationException, format!("the request cannot be read: {error}")))
}

fn answer<T: Serialize>(response: &T) -> Result<Value, EcsError> {
    serde_json::to_value(response).map_err(|error| EcsError::Internal(format!("an answer cannot be written: {error}")))
}
