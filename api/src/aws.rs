//! ECS (2014-11-13) and ECR (2015-09-21) request and response shapes, as AWS JSON 1.1 carries them.
//!
//! Names are exactly ECS's in camelCase; timestamps are epoch seconds with a fraction; what is absent is left out. Only fields
//! that Berth takes or gives are here: which others a request may hold is decided by the server. [`Client`] calls the operations
//! with a Bearer token; SDKs of AWS call the same ones with SigV4.

pub mod client;
pub mod clusters;
pub mod ecr;
pub mod instances;
pub mod service_deployments;
pub mod services;
pub mod task_definitions;
pub mod tasks;

pub use client::{Client, ClientError};
pub use clusters::*;
pub use ecr::*;
pub use instances::*;
pub use service_deployments::*;
pub use services::*;
pub use task_definitions::*;
pub use tasks::*;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// `X-Amz-Target` prefix of ECS.
pub const ECS_TARGET: &str = "AmazonEC2ContainerServiceV20141113";
/// `X-Amz-Target` prefix of ECR.
pub const ECR_TARGET: &str = "AmazonEC2ContainerRegistry_V20150921";
/// Content type of requests and responses.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// Longest request body, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Which of the two APIs an operation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Ecs,
    Ecr,
}

impl Api {
    pub const fn target(self) -> &'static str {
        match self {
            Self::Ecs => ECS_TARGET,
            Self::Ecr => ECR_TARGET,
        }
    }

    /// The name it is signed with, and the prefix of its actions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Ecr => "ecr",
        }
    }
}

/// The request of one operation.
pub trait Request: Serialize + DeserializeOwned + Send + 'static {
    const NAME: &'static str;
    const API: Api;
    type Response: Serialize + DeserializeOwned + Send + 'static;
}

/// Whether a field is left out of the JSON.
pub(crate) trait Absent {
    fn is_absent(&self) -> bool {
        false
    }
}

impl<T> Absent for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl Absent for String {}
impl Absent for bool {}
impl Absent for i64 {}
impl Absent for u16 {}
impl Absent for f64 {}
impl<T> Absent for Vec<T> {}

/// A shape of the wire: camelCase, absent fields left out, missing ones at their default.
macro_rules! wire {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            $($(#[$field_meta])* #[serde(skip_serializing_if = "crate::aws::Absent::is_absent")] pub $field: $type,)*
        }
        impl crate::aws::Absent for $name {}
    )*};
}
pub(crate) use wire;

macro_rules! operations {
    ($api:ident: $($name:literal $request:ident => $response:ident),* $(,)?) => {$(
        impl crate::aws::Request for $request {
            const NAME: &'static str = $name;
            const API: crate::aws::Api = crate::aws::Api::$api;
            type Response = $response;
        }
    )*};
}
pub(crate) use operations;

wire! {
    /// A label of a resource.
    pub struct Tag { key: String, value: String }

    /// Why one of several things asked for is not in the answer.
    pub struct Failure {
        arn: Option<String>,
        /// `MISSING`, `RESOURCE:CPU`, …
        reason: Option<String>,
        detail: Option<String>,
    }

    pub struct KeyValuePair { name: String, value: String }

    /// Body of every refusal.
    pub struct ErrorBody {
        #[serde(rename = "__type")]
        kind: String,
        message: String,
    }
}
