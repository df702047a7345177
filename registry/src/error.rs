//! What can go wrong in the registry, and how each of it looks on the wire: the one place where OCI error codes (ERR-1..4) and
//! statuses are chosen. Internal text is logged here and never sent.

use crate::route::RouteError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use model::access::Role;
use model::repository::OverQuota;
use model::{Digest, RepositoryName, Tag};
use platform::db::{DbError, WriteError};
use serde_json::json;

/// Missing references named in one answer; the rest are left out.
pub const MISSING_NAMED_MAX: usize = 100;
/// What a client is told to wait after too many requests, and while something that is needed does not answer, in seconds.
const RETRY_AFTER_SECS: &str = "10";

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{reason}")]
    Unauthorized { challenge: HeaderValue, reason: &'static str },
    #[error("{principal} needs {role} on repository:{repository}")]
    Denied { principal: String, role: Role, repository: RepositoryName },
    #[error("no such path")]
    PathUnknown,
    #[error("{0}")]
    NameInvalid(String),
    #[error("repository {0} does not exist, or you may not pull from it")]
    NameUnknown(RepositoryName),
    #[error("repository {0} exists already")]
    RepositoryExists(RepositoryName),
    #[error("manifest {reference} is not in repository {repository}, or you may not pull from it")]
    ManifestUnknown { repository: RepositoryName, reference: String },
    #[error("blob {digest} is not in repository {repository}, or you may not pull from it")]
    BlobUnknown { repository: RepositoryName, digest: String },
    #[error("no such upload in repository {0}")]
    UploadUnknown(RepositoryName),
    #[error("{0}")]
    UploadInvalid(String),
    #[error("chunk does not start where the upload ends, at byte {held}")]
    OutOfOrder { location: String, held: u64 },
    #[error("range does not overlap the {size} bytes of the blob")]
    RangeUnsatisfiable { size: u64 },
    #[error("{0}")]
    DigestInvalid(String),
    #[error("content has digest {actual}, not {expected}")]
    DigestMismatch { expected: Digest, actual: Digest },
    #[error("{0}")]
    SizeInvalid(String),
    #[error("content is larger than {0} bytes")]
    TooLarge(u64),
    #[error("manifest names content that is not in this repository")]
    ReferencesMissing(Vec<String>),
    #[error("{0}")]
    ManifestInvalid(String),
    #[error("manifest {0} names `urls`, and hosts fetch content from this registry alone: push the image with all its layers")]
    LeadsElsewhere(Digest),
    #[error("{0}")]
    TagInvalid(String),
    #[error("tag {tag} of repository {repository} is immutable: neither it nor what it needs can be changed or deleted")]
    TagImmutable { repository: RepositoryName, tag: Tag, digest: Digest },
    #[error("{principal} needs maintain on repository:{repository} to move tag {tag}")]
    TagNeedsMaintain { principal: String, repository: RepositoryName, tag: Tag, digest: Digest },
    #[error("repository {repository} may hold {} bytes and holds {}: this does not fit", over.quota_bytes, over.used_bytes)]
    QuotaExceeded { repository: RepositoryName, over: OverQuota },
    #[error("{0}")]
    SettingsInvalid(String),
    #[error("more than {0} tags in one request")]
    TooManyTags(usize),
    #[error("the tag is not as the condition wants it")]
    PreconditionFailed,
    #[error("{0}")]
    PageInvalid(String),
    #[error("{method} is not offered on this path")]
    Unsupported { method: Method, allow: &'static str },
    #[error("{0}")]
    TooMany(String),
    #[error("{0}")]
    Stalled(String),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl WriteError for RegistryError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_conflict())
    }
}

/// Names what was being done when the file system failed.
pub fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> RegistryError {
    move |source| RegistryError::Io { doing, source }
}

impl RegistryError {
    /// The error of a path that could not be read. A malformed reference that is only read is an unknown one; one that is to be
    /// written is invalid.
    pub fn from_route(error: RouteError, method: &Method) -> Self {
        match error {
            RouteError::NotFound => Self::PathUnknown,
            RouteError::Unreadable | RouteError::Name(_) => Self::NameInvalid(error.to_string()),
            RouteError::Digest { source, .. } => Self::DigestInvalid(source.to_string()),
            RouteError::Tag { repository, text, .. } if matches!(*method, Method::GET | Method::HEAD | Method::DELETE) => {
                Self::ManifestUnknown { repository, reference: text }
            }
            RouteError::Tag { source, .. } => Self::TagInvalid(source.to_string()),
            RouteError::UploadId { repository } => Self::UploadUnknown(repository),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Denied { .. } | Self::TagNeedsMaintain { .. } | Self::QuotaExceeded { .. } => StatusCode::FORBIDDEN,
            Self::PathUnknown | Self::NameUnknown(_) | Self::ManifestUnknown { .. } | Self::BlobUnknown { .. } | Self::UploadUnknown(_) => {
                StatusCode::NOT_FOUND
            }
            Self::OutOfOrder { .. } | Self::RangeUnsatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyTags(_) => StatusCode::URI_TOO_LONG,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::RepositoryExists(_) => StatusCode::CONFLICT,
            Self::Unsupported { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
            Self::NameInvalid(_)
            | Self::UploadInvalid(_)
            | Self::DigestInvalid(_)
            | Self::DigestMismatch { .. }
            | Self::SizeInvalid(_)
            | Self::ReferencesMissing(_)
            | Self::ManifestInvalid(_)
            | Self::TagInvalid(_)
            | Self::LeadsElsewhere(_)
            // ECR's status for it, and one of the two that DEL-1 allows for deletes that are not done.
            | Self::TagImmutable { .. }
            | Self::SettingsInvalid(_)
            | Self::PageInvalid(_) => StatusCode::BAD_REQUEST,
            Self::Unavailable(_) | Self::Db(DbError::Unavailable(_) | DbError::Conflict) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Io { source, .. } if is_full(source) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Io { source, .. } if is_read_only(source) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Db(_) | Self::Io { .. } | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "UNAUTHORIZED",
            Self::Denied { .. } | Self::TagNeedsMaintain { .. } | Self::QuotaExceeded { .. } | Self::LeadsElsewhere(_) => "DENIED",
            // The nearest that the specification has: it is no fault of the upload, and trying again at once is of no use.
            Self::Io { source, .. } if is_full(source) => "DENIED",
            Self::NameInvalid(_) | Self::RepositoryExists(_) => "NAME_INVALID",
            Self::PathUnknown | Self::NameUnknown(_) => "NAME_UNKNOWN",
            Self::ManifestUnknown { .. } => "MANIFEST_UNKNOWN",
            Self::BlobUnknown { .. } => "BLOB_UNKNOWN",
            Self::UploadUnknown(_) => "BLOB_UPLOAD_UNKNOWN",
            Self::UploadInvalid(_) | Self::OutOfOrder { .. } | Self::RangeUnsatisfiable { .. } | Self::Stalled(_) => "BLOB_UPLOAD_INVALID",
            Self::DigestInvalid(_) | Self::DigestMismatch { .. } => "DIGEST_INVALID",
            Self::SizeInvalid(_) | Self::TooLarge(_) => "SIZE_INVALID",
            Self::ReferencesMissing(_) => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid(_) | Self::PreconditionFailed => "MANIFEST_INVALID",
            Self::TagInvalid(_) | Self::TooManyTags(_) | Self::TagImmutable { .. } => "TAG_INVALID",
            Self::PageInvalid(_) => "PAGINATION_NUMBER_INVALID",
            Self::Unsupported { .. } | Self::SettingsInvalid(_) => "UNSUPPORTED",
            Self::TooMany(_) => "TOOMANYREQUESTS",
            // As other registries call it; the specification has no name for either.
            Self::Unavailable(_) | Self::Db(DbError::Unavailable(_) | DbError::Conflict) => "UNAVAILABLE",
            Self::Io { source, .. } if is_read_only(source) => "UNAVAILABLE",
            Self::Db(_) | Self::Io { .. } | Self::Internal(_) => "UNKNOWN",
        }
    }

    fn detail(&self) -> serde_json::Value {
        match self {
            Self::Denied { principal, role, repository } => {
                json!({ "principal": principal, "role": role, "resource": format!("repository:{repository}") })
            }
            Self::NameUnknown(repository) | Self::UploadUnknown(repository) => json!({ "name": repository }),
            Self::ManifestUnknown { repository, reference } => json!({ "name": repository, "reference": reference }),
            Self::BlobUnknown { repository, digest } => json!({ "name": repository, "digest": digest }),
            Self::TagImmutable { repository, tag, .. } => json!({ "name": repository, "tag": tag }),
            Self::TagNeedsMaintain { principal, repository, tag, .. } => {
                json!({ "principal": principal, "role": Role::Maintain, "resource": format!("repository:{repository}"), "tag": tag })
            }
            Self::QuotaExceeded { repository, over } => {
                json!({ "name": repository, "quotaBytes": over.quota_bytes, "usedBytes": over.used_bytes })
            }
            _ => serde_json::Value::Null,
        }
    }

    fn body(&self, status: StatusCode) -> serde_json::Value {
        let entry = |message: String, detail: serde_json::Value| json!({ "code": self.code(), "message": message, "detail": detail });
        let errors = match self {
            Self::ReferencesMissing(missing) => missing
                .iter()
                .take(MISSING_NAMED_MAX)
                .map(|digest| entry(format!("{digest} is not in this repository: push it first"), json!({ "digest": digest })))
                .collect(),
            Self::Io { source, .. } if is_full(source) => {
                vec![entry("the registry's disk is full: it takes no pushes until there is room again".into(), serde_json::Value::Null)]
            }
            Self::Io { source, .. } if is_read_only(source) => {
                vec![entry("the registry's disk is read-only: it takes no pushes until that is mended".into(), serde_json::Value::Null)]
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => vec![entry("unavailable, try again".into(), serde_json::Value::Null)],
            _ if status.is_server_error() => vec![entry("internal error".into(), serde_json::Value::Null)],
            _ => vec![entry(self.to_string(), self.detail())],
        };
        json!({ "errors": errors })
    }

    fn add_headers(&self, status: StatusCode, headers: &mut http::HeaderMap) {
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECS));
        }
        match self {
            Self::Unauthorized { challenge, .. } => {
                headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
            }
            Self::OutOfOrder { location, held } => {
                insert(headers, header::LOCATION, location);
                insert(headers, header::RANGE, &format!("0-{}", held.saturating_sub(1)));
            }
            Self::RangeUnsatisfiable { size } => insert(headers, header::CONTENT_RANGE, &format!("bytes */{size}")),
            Self::Unsupported { allow, .. } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            _ => {}
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn is_read_only(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ReadOnlyFilesystem
}

/// Sets a header from text that is known to be plain ASCII: paths, digests, numbers.
pub fn insert(headers: &mut http::HeaderMap, name: http::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = %self, "registry request failed");
        }
        let mut response = Response::new(Body::from(self.body(status).to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.add_headers(status, response.headers_mut());
        response
    }
}
