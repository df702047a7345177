//! `PUT manifests/<reference>`.

use super::{Call, empty};
use crate::audit;
use crate::error::{self, RegistryError};
use crate::manifest::validate::MANIFEST_BYTES_MAX;
use crate::manifest::{self, CONTENT_DIGEST, Condition};
use crate::query;
use crate::route::Route;
use crate::upload::receive_all;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use identity::audit::Action;
use model::{Digest, Reference, RepositoryName, Tag};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Tags set by one push of a digest (PUSH-TAG-2 wants ten at least).
const TAGS_MAX: usize = 100;

impl Call<'_> {
    pub(super) async fn put_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        body: Body,
    ) -> Result<Response, RegistryError> {
        let tags = self.tags_asked()?;
        let condition = self.condition()?;
        let body = receive_all(body, MANIFEST_BYTES_MAX).await?;
        let content_type = self.header(header::CONTENT_TYPE);
        let mut push = manifest::check(repository, &self.access, reference, content_type, body)?;
        push.condition = condition;
        push.tags.extend(tags.iter().filter(|tag| !matches!(reference, Reference::Tag(own) if own == *tag)).cloned());
        let (digest, subject) = (push.manifest.digest.clone(), push.manifest.subject.clone());
        let moves_tags = !push.tags.is_empty();
        manifest::put(self.ctx, push).await?;
        if !moves_tags {
            // Moved tags are push events, in the transaction that moved them.
            audit::done(self.ctx, &self.access, Action::Push, &audit::manifest(repository, reference, &digest)).await;
        }
        let mut response = empty(StatusCode::CREATED);
        let headers = response.headers_mut();
        error::insert(headers, header::LOCATION, &Route::Manifest(repository.clone(), Reference::Digest(digest.clone())).to_string());
        error::insert(headers, CONTENT_DIGEST, digest.as_str());
        if let Some(subject) = subject {
            error::insert(headers, SUBJECT, &subject);
        }
        for tag in tags {
            headers.extend(HeaderValue::from_str(tag.as_str()).ok().map(|value| (TAG, value)));
        }
        Ok(response)
    }

    /// `?tag=a&tag=b` (PUSH-TAG-1): all of them or none.
    fn tags_asked(&self) -> Result<Vec<Tag>, RegistryError> {
        let mut tags: Vec<Tag> = Vec::new();
        for text in query::all(self.parts.uri.query(), "tag") {
            let tag = text.parse().map_err(|e: model::name::NameError| RegistryError::TagInvalid(e.to_string()))?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
            if tags.len() > TAGS_MAX {
                return Err(RegistryError::TooManyTags(TAGS_MAX));
            }
        }
        Ok(tags)
    }

    /// RFC 9110 §13: a tag is only moved when it is what the client thinks it is.
    fn condition(&self) -> Result<Condition, RegistryError> {
        if let Some(text) = self.header(header::IF_MATCH) {
            let digest: Result<Digest, _> = text.trim().trim_matches('"').parse();
            return digest.map(Condition::Is).map_err(|_| RegistryError::PreconditionFailed);
        }
        match self.header(header::IF_NONE_MATCH).map(str::trim) {
            Some("*") => Ok(Condition::Absent),
            Some(_) => Err(RegistryError::ManifestInvalid("If-None-Match of a push can only be `*`".into())),
            None => Ok(Condition::None),
        }
    }
}
