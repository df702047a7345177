//! RegisterTaskDefinition, DescribeTaskDefinition, ListTaskDefinitions, ListTaskDefinitionFamilies, DeregisterTaskDefinition.

use super::call::Call;
use super::references::{self, TaskDefinitionReference};
use super::{images, paging, tags};
use crate::aws::fields::{Field, Rule};
use crate::error::EcsError;
use crate::pins;
use crate::store;
use crate::store::task_definitions::{Registered, TaskDefinitionStatus};
use crate::task_definition::validate;
use api::aws::{
    self, DeregisterTaskDefinitionRequest, DeregisterTaskDefinitionResponse, DescribeTaskDefinitionRequest, DescribeTaskDefinitionResponse,
    ListTaskDefinitionFamiliesRequest, ListTaskDefinitionFamiliesResponse, ListTaskDefinitionsRequest, ListTaskDefinitionsResponse,
    RegisterTaskDefinitionRequest, RegisterTaskDefinitionResponse,
};
use model::access::{Resource, Role};
use model::ids::{Family, Partition, TaskDefinitionId};
use platform::db::Tx;
use platform::events;
use serde_json::Value;

pub const REGISTER: &[Field] = crate::task_definition::fields::DOCUMENT;
pub const DESCRIBE: &[Field] = &[("taskDefinition", Rule::Required), ("include", Rule::Taken)];
pub const LIST: &[Field] = &[
    ("familyPrefix", Rule::Taken),
    ("status", Rule::Taken),
    ("sort", Rule::Taken),
    ("nextToken", Rule::Taken),
    ("maxResults", Rule::Taken),
];
pub const FAMILIES: &[Field] =
    &[("familyPrefix", Rule::Taken), ("status", Rule::Taken), ("nextToken", Rule::Taken), ("maxResults", Rule::Taken)];
pub const DEREGISTER: &[Field] = &[("taskDefinition", Rule::Required)];

/// A new revision of a family. Whoever names an image must be allowed to pull it.
pub async fn register(call: &Call, request: RegisterTaskDefinitionRequest) -> Result<RegisterTaskDefinitionResponse, EcsError> {
    let validated = validate(request.document).map_err(|error| EcsError::client(error.to_string()))?;
    let resource = Resource::family(validated.family.as_str());
    call.require(Role::Deploy, &resource)?;
    let images = images::classify(call, &validated.definition).await?;
    images::require_pull(call, &images)?;
    let registered = Registered {
        id: TaskDefinitionId { family: validated.family, revision: 0 },
        status: TaskDefinitionStatus::Active,
        definition: validated.definition,
        document: validated.document,
        images,
        tags: tags::checked(request.tags)?,
        registered_at: call.now,
        registered_by: call.caller.principal.to_string(),
        deregistered_at: None,
    };
    let event = call.event("task-definition.registered", &resource, String::new());
    let registered = call
        .context
        .db
        .write(move |tx| {
            let (mut registered, mut event) = (registered.clone(), event.clone());
            Box::pin(async move {
                registered.id.revision = store::task_definitions::next_revision(tx, &registered.id.family).await?;
                store::task_definitions::insert(tx, &registered).await?;
                pins::task_definition(tx, registered.registered_at, &registered.id, &registered.images).await?;
                event.message = format!("task definition {} registered", registered.id);
                events::append(tx, registered.registered_at, event).await?;
                Ok::<_, EcsError>(registered)
            })
        })
        .await?;
    let tags = Some(tags::wire(&registered.tags)).filter(|tags| !tags.is_empty());
    Ok(RegisterTaskDefinitionResponse { task_definition: wire(&call.context.partition, &registered), tags })
}

pub async fn describe(call: &Call, request: DescribeTaskDefinitionRequest) -> Result<DescribeTaskDefinitionResponse, EcsError> {
    let with_tags = tags::included(request.include.as_ref(), "TAGS", &["TAGS"])?;
    let reference = references::task_definition(&request.task_definition)?;
    call.require(Role::View, &Resource::family(reference.family().as_str()))?;
    let registered = find(&mut *call.context.db.read().await?, &reference).await?.ok_or_else(missing)?;
    let tags = with_tags.then(|| tags::wire(&registered.tags));
    Ok(DescribeTaskDefinitionResponse { task_definition: wire(&call.context.partition, &registered), tags })
}

pub async fn list(call: &Call, request: ListTaskDefinitionsRequest) -> Result<ListTaskDefinitionsResponse, EcsError> {
    let status = match request.status.as_deref() {
        None | Some("ACTIVE") => TaskDefinitionStatus::Active,
        Some("INACTIVE") => TaskDefinitionStatus::Inactive,
        Some(_) => return Err(EcsError::invalid("status can be ACTIVE or INACTIVE.")),
    };
    let descending = match request.sort.as_deref() {
        None | Some("ASC") => false,
        Some("DESC") => true,
        Some(_) => return Err(EcsError::invalid("sort can be ASC or DESC.")),
    };
    let family = request.family_prefix.as_deref().map(family).transpose()?;
    let ids = store::task_definitions::list(&mut *call.context.db.read().await?, family.as_ref(), status).await?;
    let mut ids: Vec<TaskDefinitionId> = ids.into_iter().filter(|id| call.may(Role::View, &Resource::family(id.family.as_str()))).collect();
    if descending {
        ids.reverse();
    }
    let arns = ids.iter().map(|id| (sort_key(id, descending), call.context.partition.task_definition(id))).collect();
    let page = paging::page(arns, request.next_token.as_deref(), request.max_results, paging::ECS)?;
    Ok(ListTaskDefinitionsResponse { task_definition_arns: page.items, next_token: page.next_token })
}

/// A text that sorts as the list does, so that a page can begin after it.
fn sort_key(id: &TaskDefinitionId, descending: bool) -> String {
    if !descending {
        return format!("{}\0{:019}", id.family, id.revision);
    }
    // Every byte turned round; names are ASCII, and what is no prefix of another stays none because of the last byte.
    let turned: String = id.family.as_str().bytes().map(|b| char::from(127 - b)).collect();
    format!("{turned}\u{7f}{:019}", i64::MAX - id.revision)
}

pub async fn families(call: &Call, request: ListTaskDefinitionFamiliesRequest) -> Result<ListTaskDefinitionFamiliesResponse, EcsError> {
    let wanted: fn(bool) -> bool = match request.status.as_deref() {
        None | Some("ALL") => |_| true,
        Some("ACTIVE") => |active| active,
        Some("INACTIVE") => |active| !active,
        Some(_) => return Err(EcsError::invalid("status can be ACTIVE, INACTIVE or ALL.")),
    };
    let prefix = request.family_prefix.unwrap_or_default();
    let found = store::task_definitions::families(&mut *call.context.db.read().await?).await?;
    let visible = found.into_iter().filter(|(family, active)| {
        wanted(*active) && family.as_str().starts_with(&prefix) && call.may(Role::View, &Resource::family(family.as_str()))
    });
    let names = visible.map(|(family, _)| (family.to_string(), family.to_string())).collect();
    let page = paging::page(names, request.next_token.as_deref(), request.max_results, paging::ECS)?;
    Ok(ListTaskDefinitionFamiliesResponse { families: page.items, next_token: page.next_token })
}

/// What runs goes on; nothing new starts from the revision.
pub async fn deregister(call: &Call, request: DeregisterTaskDefinitionRequest) -> Result<DeregisterTaskDefinitionResponse, EcsError> {
    let TaskDefinitionReference::Revision(id) = references::task_definition(&request.task_definition)? else {
        return Err(EcsError::client("A revision is needed to deregister a task definition: write FAMILY:REVISION."));
    };
    let resource = Resource::family(id.family.as_str());
    call.require(Role::Deploy, &resource)?;
    let (now, event) = (call.now, call.event("task-definition.deregistered", &resource, format!("task definition {id} deregistered")));
    let registered = call
        .context
        .db
        .write(move |tx| {
            let (id, event) = (id.clone(), event.clone());
            Box::pin(async move {
                let mut registered = store::task_definitions::get(tx, &id).await?.ok_or_else(missing)?;
                if registered.status == TaskDefinitionStatus::Active {
                    store::task_definitions::deregister(tx, &id, now).await?;
                    pins::release_task_definition(tx, &id).await?;
                    events::append(tx, now, event).await?;
                    registered.status = TaskDefinitionStatus::Inactive;
                    registered.deregistered_at = Some(now);
                }
                Ok::<_, EcsError>(registered)
            })
        })
        .await?;
    Ok(DeregisterTaskDefinitionResponse { task_definition: wire(&call.context.partition, &registered) })
}

/// The revision that is named; of a family the latest ACTIVE one.
pub async fn find(tx: &mut Tx, reference: &TaskDefinitionReference) -> Result<Option<Registered>, EcsError> {
    Ok(match reference {
        TaskDefinitionReference::Family(family) => store::task_definitions::latest_active(tx, family).await?,
        TaskDefinitionReference::Revision(id) => store::task_definitions::get(tx, id).await?,
    })
}

/// The revision that is named, when something new may start from it.
pub async fn find_active(call: &Call, text: &str) -> Result<Registered, EcsError> {
    let reference = references::task_definition(text)?;
    call.require(Role::View, &Resource::family(reference.family().as_str()))?;
    let registered =
        find(&mut *call.context.db.read().await?, &reference).await?.ok_or_else(|| EcsError::client("TaskDefinition not found."))?;
    match registered.status {
        TaskDefinitionStatus::Active => Ok(registered),
        TaskDefinitionStatus::Inactive => Err(EcsError::client("TaskDefinition is inactive")),
    }
}

fn family(text: &str) -> Result<Family, EcsError> {
    text.parse().map_err(|error| EcsError::invalid(format!("familyPrefix: {error}.")))
}

/// ECS's words for a task definition that is not there.
fn missing() -> EcsError {
    EcsError::client("Unable to describe task definition.")
}

fn wire(partition: &Partition, registered: &Registered) -> aws::TaskDefinition {
    let document = match &registered.document {
        Value::Object(document) => document.clone(),
        _ => serde_json::Map::new(),
    };
    aws::TaskDefinition {
        task_definition_arn: partition.task_definition(&registered.id),
        revision: registered.id.revision,
        status: registered.status.as_str().into(),
        registered_at: registered.registered_at.as_secs_f64(),
        deregistered_at: registered.deregistered_at.map(model::Timestamp::as_secs_f64),
        registered_by: registered.registered_by.clone(),
        compatibilities: vec!["EXTERNAL".into(), "EC2".into()],
        document,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_sort_as_the_list_does() {
        let id = |family: &str, revision| TaskDefinitionId { family: family.parse().unwrap(), revision };
        let ids = [id("a", 2), id("a", 10), id("a-b", 1), id("ab", 1), id("b", 1)];
        let ascending: Vec<String> = ids.iter().map(|id| sort_key(id, false)).collect();
        assert!(ascending.is_sorted());
        let descending: Vec<String> = ids.iter().rev().map(|id| sort_key(id, true)).collect();
        assert!(descending.is_sorted());
    }
}
