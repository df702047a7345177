//! What the registry tells the audit: what it sent, took and refused. Deletes and moved tags are written by their transactions.

use crate::auth::{Access, role_of};
use crate::context::Context;
use crate::error::RegistryError;
use crate::route::Route;
use http::Method;
use identity::audit::{Action, Content, Outcome, Record, Rule, Who};
use model::access::Role;
use model::{Digest, Reference, RepositoryName, Tag};
use std::net::IpAddr;
use std::sync::Arc;

/// The content of a manifest, as `reference` names it.
pub fn manifest(repository: &RepositoryName, reference: &Reference, digest: &Digest) -> Arc<Content> {
    Arc::new(Content::of_repository(repository.as_str(), Some(reference.to_string()), Some(digest.to_string())))
}

/// The content of a blob.
pub fn blob(repository: &RepositoryName, digest: &Digest) -> Arc<Content> {
    Arc::new(Content::of_repository(repository.as_str(), None, Some(digest.to_string())))
}

/// Something was sent to, or taken from, `access`.
pub async fn done(ctx: &Context, access: &Access, action: Action, content: &Arc<Content>) {
    let who = access.who();
    let record = Record { at: ctx.clock.now(), action, outcome: Outcome::Done, who, address: access.address(), content: content.clone() };
    ctx.gate.audit().record(record).await;
}

/// Something was sent to the agent of a container instance.
pub async fn sent_to_instance(ctx: &Context, instance: &str, address: Option<IpAddr>, action: Action, content: &Arc<Content>) {
    let who = Who::Instance(instance.into());
    let record = Record { at: ctx.clock.now(), action, outcome: Outcome::Done, who, address, content: content.clone() };
    ctx.gate.audit().record(record).await;
}

/// What was refused, and in which way.
pub struct Refused {
    action: Action,
    outcome: Outcome,
    content: Content,
}

/// What the audit says of a request that came to `error`: not granted (`denied`), or forbidden by a setting of the repository. None for
/// what failed otherwise. `named` is the digest in the query.
pub fn refused(method: &Method, route: &Route, named: Option<&str>, error: &RegistryError, denied: bool) -> Option<Refused> {
    let tag = |tag: &Tag, digest: &Digest| (Some(tag.to_string()), Some(digest.to_string()));
    let asked = || match route {
        Route::Manifest(_, reference) => (Some(reference.to_string()), None),
        Route::Blob(_, digest) => (None, Some(digest.to_string())),
        _ => (None, named.map(str::to_owned)),
    };
    let (outcome, (reference, digest)) = match error {
        _ if denied => (Outcome::Denied, asked()),
        RegistryError::TagNeedsMaintain { tag: name, digest, .. } => (Outcome::Denied, tag(name, digest)),
        RegistryError::TagImmutable { tag: name, digest, .. } => (Outcome::Refused(Rule::TagImmutable), tag(name, digest)),
        RegistryError::QuotaExceeded { .. } => (Outcome::Refused(Rule::QuotaExceeded), asked()),
        RegistryError::ReferencesMissing(_) => (Outcome::Refused(Rule::ContentMissing), asked()),
        _ => return None,
    };
    let content = Content::of_repository(route.repository()?.as_str(), reference, digest);
    Some(Refused { action: action_of(method, route), outcome, content })
}

fn action_of(method: &Method, route: &Route) -> Action {
    match (role_of(method, route), route) {
        (Role::Pull, Route::Blob(..)) => Action::PullBlob,
        (Role::Pull, _) => Action::Pull,
        (Role::Push, Route::Manifest(..)) => Action::Push,
        (Role::Push, _) => Action::PushBlob,
        _ => Action::Delete,
    }
}

impl Refused {
    /// The record of it, asked for by `access`.
    pub fn by(self, ctx: &Context, access: &Access) -> Record {
        let Self { action, outcome, content } = self;
        Record { at: ctx.clock.now(), action, outcome, who: access.who(), address: access.address(), content: content.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::repository::OverQuota;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_right_or_rule_refuses_is_told_with_what_it_was_about() {
        let (repository, digest): (RepositoryName, Digest) = ("acme/web".parse().unwrap(), DIGEST.parse().unwrap());
        let tag: Tag = "v1".parse().unwrap();
        let manifest = |reference: &str| Route::Manifest(repository.clone(), reference.parse().unwrap());
        let uploads = Route::Uploads(repository.clone());
        let immutable = || RegistryError::TagImmutable { repository: repository.clone(), tag: tag.clone(), digest: digest.clone() };
        let full = || RegistryError::QuotaExceeded { repository: repository.clone(), over: OverQuota { quota_bytes: 1, used_bytes: 1 } };
        let maintain = RegistryError::TagNeedsMaintain {
            principal: "user:bob".into(),
            repository: repository.clone(),
            tag: tag.clone(),
            digest: digest.clone(),
        };
        let unknown = RegistryError::NameUnknown(repository.clone());
        for (method, route, error, denied, expected) in [
            (Method::PUT, manifest("v1"), immutable(), false, Some(("push.manifest", "refused", Some("tag_immutable"), Some("v1"), true))),
            (Method::DELETE, manifest(DIGEST), immutable(), false, Some(("delete", "refused", Some("tag_immutable"), Some("v1"), true))),
            (Method::PUT, manifest("v1"), maintain, false, Some(("push.manifest", "denied", None, Some("v1"), true))),
            (Method::POST, uploads, full(), false, Some(("push.blob", "refused", Some("quota_exceeded"), None, true))),
            (Method::PUT, manifest("v1"), full(), false, Some(("push.manifest", "refused", Some("quota_exceeded"), Some("v1"), false))),
            (
                Method::PUT,
                manifest("v1"),
                RegistryError::ReferencesMissing(Vec::new()),
                false,
                Some(("push.manifest", "refused", Some("content_missing"), Some("v1"), false)),
            ),
            (Method::GET, manifest("v1"), unknown, true, Some(("pull", "denied", None, Some("v1"), false))),
            (Method::PUT, manifest("v1"), RegistryError::PreconditionFailed, false, None),
        ] {
            let told = refused(&method, &route, Some(DIGEST), &error, denied);
            let told = told.as_ref().map(|told| {
                let Content { reference, digest, .. } = &told.content;
                (told.action.as_str(), told.outcome.as_str(), told.outcome.reason(), reference.as_deref(), digest.is_some())
            });
            assert_eq!(told, expected, "{method} {route}: {error}");
        }
    }
}
