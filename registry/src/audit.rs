//! What the registry tells the audit: what it sent, took and refused. Deletes and moved tags are written by their transactions.

use crate::auth::{Access, role_of};
use crate::context::Context;
use crate::route::Route;
use http::Method;
use identity::audit::{Action, Content, Outcome, Record, Who};
use model::access::{Resource, Role};
use model::{Digest, Reference, RepositoryName};
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

/// The caller is refused because nothing grants it what it asks for.
pub fn denied(ctx: &Context, access: &Access, method: &Method, route: &Route, resource: &Resource) -> Record {
    let action = match (role_of(method, route), route) {
        (Role::Pull, Route::Blob(..)) => Action::PullBlob,
        (Role::Pull, _) => Action::Pull,
        (Role::Push, Route::Manifest(..)) => Action::Push,
        (Role::Push, _) => Action::PushBlob,
        _ => Action::Delete,
    };
    let (reference, digest) = match route {
        Route::Manifest(_, reference) => (Some(reference.to_string()), None),
        Route::Blob(_, digest) => (None, Some(digest.to_string())),
        _ => (None, None),
    };
    let content = Content::of_repository(&resource.name, reference, digest).into();
    Record { at: ctx.clock.now(), action, outcome: Outcome::Denied, who: access.who(), address: access.address(), content }
}
