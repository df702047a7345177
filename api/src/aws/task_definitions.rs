//! Task definitions. The document travels as it was given; [`model::task_definition`] has its typed form.

use super::{Absent, Tag, operations, wire};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A registered revision: the document as given (`family`, `containerDefinitions`, `volumes`, …), and what the server adds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TaskDefinition {
    pub task_definition_arn: String,
    pub revision: i64,
    /// ACTIVE or INACTIVE.
    pub status: String,
    pub registered_at: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<f64>,
    pub registered_by: String,
    pub compatibilities: Vec<String>,
    #[serde(flatten)]
    pub document: Map<String, Value>,
}

impl Absent for TaskDefinition {}

impl TaskDefinition {
    /// The document in its typed form.
    pub fn definition(&self) -> Result<model::task_definition::TaskDefinition, serde_json::Error> {
        serde_json::from_value(Value::Object(self.document.clone()))
    }
}

/// The document: `family`, `containerDefinitions` and the rest of ECS's fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RegisterTaskDefinitionRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
    #[serde(flatten)]
    pub document: Map<String, Value>,
}

wire! {
    pub struct RegisterTaskDefinitionResponse { task_definition: TaskDefinition, tags: Option<Vec<Tag>> }

    pub struct DescribeTaskDefinitionRequest {
        /// `family`, `family:revision` or ARN.
        task_definition: String,
        /// TAGS.
        include: Option<Vec<String>>,
    }
    pub struct DescribeTaskDefinitionResponse { task_definition: TaskDefinition, tags: Option<Vec<Tag>> }

    pub struct ListTaskDefinitionsRequest {
        /// The whole name of a family.
        family_prefix: Option<String>,
        /// ACTIVE (default) or INACTIVE.
        status: Option<String>,
        /// ASC (default) or DESC.
        sort: Option<String>,
        next_token: Option<String>,
        max_results: Option<i64>,
    }
    pub struct ListTaskDefinitionsResponse { task_definition_arns: Vec<String>, next_token: Option<String> }

    pub struct ListTaskDefinitionFamiliesRequest {
        family_prefix: Option<String>,
        /// ACTIVE, INACTIVE or ALL (default).
        status: Option<String>,
        next_token: Option<String>,
        max_results: Option<i64>,
    }
    pub struct ListTaskDefinitionFamiliesResponse { families: Vec<String>, next_token: Option<String> }

    pub struct DeregisterTaskDefinitionRequest { task_definition: String }
    pub struct DeregisterTaskDefinitionResponse { task_definition: TaskDefinition }
}

operations! { Ecs:
    "RegisterTaskDefinition" RegisterTaskDefinitionRequest => RegisterTaskDefinitionResponse,
    "DescribeTaskDefinition" DescribeTaskDefinitionRequest => DescribeTaskDefinitionResponse,
    "ListTaskDefinitions" ListTaskDefinitionsRequest => ListTaskDefinitionsResponse,
    "ListTaskDefinitionFamilies" ListTaskDefinitionFamiliesRequest => ListTaskDefinitionFamiliesResponse,
    "DeregisterTaskDefinition" DeregisterTaskDefinitionRequest => DeregisterTaskDefinitionResponse,
}
