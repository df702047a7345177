//! The part of ECR that logs Docker in and makes repositories.

pub mod mutability;

use super::call::Call;
use super::{paging, tags};
use crate::aws::fields::{Field, Rule};
use crate::context::RepositoryEntry;
use crate::error::{Code, EcsError};
use api::aws::{
    AuthorizationData, CreateRepositoryRequest, CreateRepositoryResponse, DescribeRepositoriesRequest, DescribeRepositoriesResponse,
    EncryptionConfiguration, GetAuthorizationTokenRequest, GetAuthorizationTokenResponse, ImageScanningConfiguration, Repository, Tag,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::RepositoryName;
use model::access::{Resource, Role};

pub const TOKEN: &[Field] = &[("registryIds", Rule::Taken)];
pub const CREATE: &[Field] = &[
    ("repositoryName", Rule::Required),
    ("registryId", Rule::Taken),
    ("tags", Rule::Taken),
    ("imageTagMutability", Rule::Taken),
    ("imageTagMutabilityExclusionFilters", mutability::FILTERS),
    ("imageScanningConfiguration", Rule::Object(&[("scanOnPush", Rule::Only(&["false"]))])),
    ("encryptionConfiguration", Rule::Object(&[("encryptionType", Rule::Only(&["AES256"]))])),
];
pub const DESCRIBE: &[Field] =
    &[("repositoryNames", Rule::Taken), ("registryId", Rule::Taken), ("nextToken", Rule::Taken), ("maxResults", Rule::Taken)];

/// Most repositories named in one call.
const NAMED_MAX: usize = 100;
/// Repositories read at once, and most batches read, in a call without names.
const BATCH: i64 = 1000;
const BATCHES_MAX: usize = 1000;

/// A password for `docker login --username AWS`. Anybody who is authenticated gets one; it can do what they can.
pub async fn authorization_token(call: &Call, request: GetAuthorizationTokenRequest) -> Result<GetAuthorizationTokenResponse, EcsError> {
    request.registry_ids.iter().flatten().try_for_each(|id| own_registry(call, Some(id)))?;
    let (password, expires_at) = identity::ecr_password(&call.context.identity, &call.caller).await?;
    let data = AuthorizationData {
        authorization_token: STANDARD.encode(format!("AWS:{password}")),
        expires_at: expires_at.as_secs_f64(),
        proxy_endpoint: call.context.config.public_url.trim_end_matches('/').to_owned(),
    };
    Ok(GetAuthorizationTokenResponse { authorization_data: vec![data] })
}

pub async fn create(call: &Call, request: CreateRepositoryRequest) -> Result<CreateRepositoryResponse, EcsError> {
    let name = repository_name(&request.repository_name)?;
    own_registry(call, request.registry_id.as_deref())?;
    call.require(Role::Push, &Resource::repository(name.as_str()))?;
    let mutability = mutability::parse(request.image_tag_mutability.as_deref(), request.image_tag_mutability_exclusion_filters)?;
    let tags = request.tags.map(|tags| tags.into_iter().map(Tag::from).collect());
    let tags = tags::checked(tags)?;
    let made =
        (call.context.registry.create_repository)(name.clone(), call.caller.principal.clone(), tags).await.map_err(EcsError::Internal)?;
    let made = made.ok_or_else(|| {
        let message =
            format!("The repository with name '{name}' already exists in the registry with id '{}'", call.context.partition.account_id);
        EcsError::new(Code::RepositoryAlreadyExistsException, message)
    })?;
    let made = match mutability {
        None => made,
        Some(mutability) => mutability::set(call, &name, mutability).await?,
    };
    Ok(CreateRepositoryResponse { repository: wire(call, &made) })
}

/// Repositories that the caller may pull; a named one that is not among them is as if it did not exist.
pub async fn describe(call: &Call, request: DescribeRepositoriesRequest) -> Result<DescribeRepositoriesResponse, EcsError> {
    own_registry(call, request.registry_id.as_deref())?;
    let names = request.repository_names.filter(|names| !names.is_empty());
    let found = match names {
        Some(names) if names.len() > NAMED_MAX => {
            return Err(EcsError::invalid(format!("repositoryNames can name at most {NAMED_MAX} repositories.")));
        }
        Some(names) => named(call, &names).await?,
        None => visible(call).await?,
    };
    let repositories = found.iter().map(|entry| (entry.name.to_string(), wire(call, entry))).collect();
    let page = paging::page(repositories, request.next_token.as_deref(), request.max_results, paging::ECR)?;
    Ok(DescribeRepositoriesResponse { repositories: page.items, next_token: page.next_token })
}

/// Every repository that the caller may pull, read in batches.
async fn visible(call: &Call) -> Result<Vec<RepositoryEntry>, EcsError> {
    let mut visible: Vec<RepositoryEntry> = Vec::new();
    let mut after = None;
    for _ in 0..BATCHES_MAX {
        let batch = (call.context.registry.list_repositories)(None, after.take(), BATCH).await.map_err(EcsError::Internal)?;
        let Some(last) = batch.last() else { break };
        after = Some(last.name.clone());
        visible.extend(batch.into_iter().filter(|entry| may_pull(call, &entry.name)));
    }
    Ok(visible)
}

async fn named(call: &Call, names: &[String]) -> Result<Vec<RepositoryEntry>, EcsError> {
    let names = names.iter().map(|name| repository_name(name)).collect::<Result<Vec<_>, _>>()?;
    let found = (call.context.registry.list_repositories)(Some(names.clone()), None, BATCH).await.map_err(EcsError::Internal)?;
    let visible: Vec<RepositoryEntry> = found.into_iter().filter(|entry| may_pull(call, &entry.name)).collect();
    match names.iter().find(|name| !visible.iter().any(|entry| entry.name == **name)) {
        Some(missing) => Err(not_found(call, missing)),
        None => Ok(visible),
    }
}

fn not_found(call: &Call, name: &RepositoryName) -> EcsError {
    let account = &call.context.partition.account_id;
    let message = format!("The repository with name '{name}' does not exist in the registry with id '{account}'");
    EcsError::new(Code::RepositoryNotFoundException, message)
}

fn may_pull(call: &Call, name: &RepositoryName) -> bool {
    call.may(Role::Pull, &Resource::repository(name.as_str()))
}

fn repository_name(text: &str) -> Result<RepositoryName, EcsError> {
    text.parse().map_err(|error| EcsError::invalid(format!("Invalid parameter at 'repositoryName' failed to satisfy constraint: {error}")))
}

/// There is one registry, and its id is the account's.
fn own_registry(call: &Call, id: Option<&str>) -> Result<(), EcsError> {
    match id {
        Some(id) if id != call.context.partition.account_id => {
            Err(EcsError::invalid(format!("There is one registry here, with id {}.", call.context.partition.account_id)))
        }
        _ => Ok(()),
    }
}

fn wire(call: &Call, entry: &RepositoryEntry) -> Repository {
    let (image_tag_mutability, image_tag_mutability_exclusion_filters) = mutability::wire(&entry.settings);
    Repository {
        repository_arn: call.context.partition.repository(entry.name.as_str()),
        registry_id: call.context.partition.account_id.clone(),
        repository_name: entry.name.to_string(),
        repository_uri: format!("{}/{}", call.context.config.image_host, entry.name),
        created_at: entry.created_at.as_secs_f64(),
        image_tag_mutability,
        image_tag_mutability_exclusion_filters,
        image_scanning_configuration: ImageScanningConfiguration { scan_on_push: false },
        encryption_configuration: EncryptionConfiguration { encryption_type: "AES256".into() },
    }
}
