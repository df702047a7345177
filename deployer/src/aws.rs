//! The wire of the ECS and ECR API: AWS JSON 1.1 on `POST /`.
//!
//! Finds the operation by `X-Amz-Target`, authenticates, checks the fields, runs it, and turns what comes back into a body and a
//! request id. Refusals have HTTP status 400 and `__type`; what nobody expected is logged here and leaves as a bare
//! `ServerException`.

pub mod fields;
pub mod operation;

pub use operation::{OPERATIONS, Operation};

use crate::context::Context;
use crate::error::{Code, EcsError};
use crate::operations::call::Call;
use api::aws::{Api, BODY_BYTES_MAX, CONTENT_TYPE, ECR_TARGET, ECS_TARGET, ErrorBody};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};
use identity::AwsAuthError;
use serde_json::Value;
use std::sync::Arc;

pub fn router(context: Arc<Context>) -> Router {
    Router::new().route("/", post(handle)).with_state(context)
}

async fn handle(State(context): State<Arc<Context>>, request: Request) -> Response {
    let id = request_id();
    let answer = serve(&context, &id, request).await;
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body.to_string()),
        Err(refusal) => {
            let status = refusal.status;
            let body = ErrorBody { kind: refusal.code, message: refusal.message };
            (status, serde_json::to_string(&body).expect("two texts can be written as JSON"))
        }
    };
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE), (header::HeaderName::from_static("x-amzn-requestid"), id.as_str())], body)
        .into_response()
}

/// A refusal as it goes out.
struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }
}

async fn serve(context: &Arc<Context>, id: &str, request: Request) -> Result<Value, Refusal> {
    let (head, body) = request.into_parts();
    let (api, name) = target(&head.headers)?;
    let body = read(body).await?;
    let address = platform::http::client_address(&head.extensions);
    let caller = context.identity.authenticate_aws(&head.method, &head.uri, &head.headers, &body, api.as_str(), address).await;
    let caller = caller.map_err(|error| unauthenticated(&error, id))?;
    let operation = operation::find(api, &name).ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, Code::UnknownOperationException, format!("{name} is not an operation of Berth"))
    })?;
    let action = format!("{}:{}", api.as_str(), operation.name);
    let outcome = async {
        let body = checked(&body, operation)?;
        let call = Call::new(context.clone(), caller, action).await?;
        (operation.run)(&call, body).await
    };
    outcome.await.map_err(|error| refusal(&error, id, operation))
}

/// API and operation of `X-Amz-Target: PREFIX.NAME`.
fn target(headers: &HeaderMap) -> Result<(Api, String), Refusal> {
    let refuse = |message: &str| Refusal::new(StatusCode::BAD_REQUEST, Code::UnknownOperationException, message);
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let target = target.ok_or_else(|| refuse("the header X-Amz-Target is missing"))?;
    let (prefix, name) = target.rsplit_once('.').ok_or_else(|| refuse("the header X-Amz-Target is not PREFIX.OPERATION"))?;
    let api = match prefix {
        ECS_TARGET => Api::Ecs,
        ECR_TARGET => Api::Ecr,
        _ => return Err(refuse("the header X-Amz-Target names neither ECS nor ECR")),
    };
    Ok((api, name.chars().take(100).collect()))
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let message = format!("the body is longer than {BODY_BYTES_MAX} bytes, or broke off");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", message)
    })
}

/// The body as JSON that holds only fields the operation takes.
fn checked(body: &[u8], operation: &Operation) -> Result<Value, EcsError> {
    let refuse = |message: String| EcsError::new(Code::SerializationException, message);
    let body = if body.is_empty() { b"{}" } else { body };
    let value: Value = serde_json::from_slice(body).map_err(|error| refuse(format!("the body is not JSON: {error}")))?;
    let value = fields::without_nulls(value);
    let object = value.as_object().ok_or_else(|| refuse("the body is not a JSON object".into()))?;
    fields::check(object, operation.fields).map_err(|error| match operation.name {
        "RegisterTaskDefinition" => EcsError::client(error.to_string()),
        _ => EcsError::invalid(error.to_string()),
    })?;
    Ok(value)
}

fn unauthenticated(error: &AwsAuthError, id: &str) -> Refusal {
    if let AwsAuthError::Unavailable(cause) = error {
        tracing::error!(error = %cause, request.id = id, "cannot authenticate");
    }
    Refusal::new(StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST), error.code(), error.message())
}

fn refusal(error: &EcsError, id: &str, operation: &Operation) -> Refusal {
    if let EcsError::Refused { code, message } = error {
        return Refusal::new(StatusCode::BAD_REQUEST, *code, message);
    }
    tracing::error!(%error, request.id = id, operation.name = operation.name, "{} failed", operation.name);
    let message = format!("the server could not do this; its log has the cause under request id {id}");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "ServerException", message)
}

/// A request id in the form of AWS's.
fn request_id() -> String {
    let hex = format!("{:032x}", platform::random::bits128());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
