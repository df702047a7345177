//! `blobs/uploads/…`: POST, PATCH, PUT, GET and DELETE of a session.

use super::{Call, empty};
use crate::error::{self, RegistryError};
use crate::manifest::CONTENT_DIGEST;
use crate::route::{Route, UploadId};
use crate::upload::sessions::Session;
use crate::upload::{self, Incoming};
use crate::{audit, blob, hash, range};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, StatusCode, header};
use identity::audit::Action;
use model::name::Algorithm;
use model::{Digest, RepositoryName};

/// For old clients, which read the session's id here.
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Call<'_> {
    /// A mount, a whole blob, or a new session.
    pub(super) async fn start_upload(&self, repository: &RepositoryName, body: Body) -> Result<Response, RegistryError> {
        if let Some(text) = self.query("mount") {
            let digest = digest(&text)?;
            // A source that is no name is a source that does not exist.
            let from = self.query("from").filter(|from| !from.is_empty()).map(|from| from.parse::<RepositoryName>());
            let mounted = match &from {
                Some(Err(_)) => false,
                Some(Ok(source)) => blob::mount(self.ctx, &self.access, repository, &digest, Some(source)).await?,
                None => blob::mount(self.ctx, &self.access, repository, &digest, None).await?,
            };
            if mounted {
                self.record_blob(repository, &digest).await;
                return Ok(created(repository, digest));
            }
        } else if let Some(text) = self.query("digest") {
            let digest = digest(&text)?;
            upload::single(self.ctx, &self.access, repository, self.incoming(body)?, digest.clone()).await?;
            self.record_blob(repository, &digest).await;
            return Ok(created(repository, digest));
        }
        let algorithm = match self.query("digest-algorithm") {
            None => Algorithm::Sha256,
            Some(text) => hash::algorithm(&text)
                .ok_or_else(|| RegistryError::DigestInvalid("digest-algorithm is not supported: use sha256 or sha512".into()))?,
        };
        let session = upload::begin(self.ctx, &self.access, repository, algorithm)?;
        Ok(progress(StatusCode::ACCEPTED, &session, 0))
    }

    pub(super) async fn upload_status(&self, repository: &RepositoryName, id: &UploadId) -> Result<Response, RegistryError> {
        let session = upload::find(self.ctx, &self.access, repository, id).await?;
        Ok(progress(StatusCode::NO_CONTENT, &session, session.length()))
    }

    pub(super) async fn upload_chunk(&self, repository: &RepositoryName, id: &UploadId, body: Body) -> Result<Response, RegistryError> {
        let session = upload::find(self.ctx, &self.access, repository, id).await?;
        let held = upload::append(self.ctx, session.clone(), self.incoming(body)?).await?;
        Ok(progress(StatusCode::ACCEPTED, &session, held))
    }

    pub(super) async fn upload_finish(&self, repository: &RepositoryName, id: &UploadId, body: Body) -> Result<Response, RegistryError> {
        let session = upload::find(self.ctx, &self.access, repository, id).await?;
        let text = self.query("digest").ok_or_else(|| RegistryError::DigestInvalid("the query names no digest".into()))?;
        let digest = digest(&text)?;
        upload::finish(self.ctx, session, self.incoming(body)?, digest.clone()).await?;
        self.record_blob(repository, &digest).await;
        Ok(created(repository, digest))
    }

    pub(super) async fn upload_cancel(&self, repository: &RepositoryName, id: &UploadId) -> Result<Response, RegistryError> {
        let session = upload::find(self.ctx, &self.access, repository, id).await?;
        upload::cancel(self.ctx, session).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    async fn record_blob(&self, repository: &RepositoryName, digest: &Digest) {
        audit::done(self.ctx, &self.access, Action::PushBlob, &audit::blob(repository, digest)).await;
    }

    fn incoming(&self, body: Body) -> Result<Incoming, RegistryError> {
        let place = match self.parts.headers.get(header::CONTENT_RANGE) {
            None => None,
            Some(value) => {
                let place = value.to_str().ok().and_then(range::chunk);
                Some(place.ok_or_else(|| RegistryError::UploadInvalid("Content-Range must be <first>-<last>, inclusive".into()))?)
            }
        };
        let length = self.header(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        Ok(Incoming { body, place, length })
    }
}

/// PUSH-1: an invalid digest or an unknown algorithm is a 400 in every style of push.
fn digest(text: &str) -> Result<Digest, RegistryError> {
    text.parse().map_err(|e: model::name::NameError| RegistryError::DigestInvalid(e.to_string()))
}

fn created(repository: &RepositoryName, digest: Digest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    error::insert(response.headers_mut(), CONTENT_DIGEST, digest.as_str());
    error::insert(response.headers_mut(), header::LOCATION, &Route::Blob(repository.clone(), digest).to_string());
    response
}

/// Where the session is and how far (PUSH-STAT-1). A session without a byte says `0-0`, as there is no other way to write it.
fn progress(status: StatusCode, session: &Session, held: u64) -> Response {
    let mut response = empty(status);
    let headers: &mut HeaderMap = response.headers_mut();
    error::insert(headers, header::LOCATION, &upload::location(session));
    error::insert(headers, header::RANGE, &format!("0-{}", held.saturating_sub(1)));
    error::insert(headers, UPLOAD_UUID, session.stored.id.as_str());
    response
}
