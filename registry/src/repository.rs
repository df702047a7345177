//! Repositories as a thing of their own, for ECR's CreateRepository and DescribeRepositories. A push makes them as well.

use crate::context::Context;
use crate::error::RegistryError;
use crate::store::Sight;
use crate::store::repositories as store;
pub use crate::store::repositories::Repository;
use model::RepositoryName;

/// Repositories in one answer at most.
pub const REPOSITORIES_MAX: usize = 1000;

/// Which repositories are asked for.
#[derive(Debug, Clone)]
pub enum Filter {
    /// These; unknown ones are left out.
    Names(Vec<RepositoryName>),
    /// All, in byte order after a name.
    After(Option<RepositoryName>),
}

/// Makes an empty repository. `tags` are resource tags, JSON.
pub async fn create(ctx: &Context, name: &RepositoryName, principal: &str, tags: &str) -> Result<Repository, RegistryError> {
    let (now, name, principal, tags) = (ctx.clock.now(), name.clone(), principal.to_owned(), tags.to_owned());
    ctx.db
        .write(move |tx| {
            let (name, created_by, tags) = (name.clone(), principal.clone(), tags.clone());
            Box::pin(async move {
                if store::standing(tx, &name).await?.is_some() {
                    return Err(RegistryError::RepositoryExists(name));
                }
                store::insert(tx, now, &name, &created_by, &tags).await?;
                store::get(tx, &name).await?.ok_or_else(|| RegistryError::Internal("a new repository is not there".into()))
            })
        })
        .await
}

/// A repository and the bytes that it holds; permissions are the caller's business.
pub async fn detail(ctx: &Context, name: &RepositoryName) -> Result<Option<(Repository, u64)>, RegistryError> {
    let mut connection = ctx.db.read().await?;
    let Some(repository) = store::get(&mut connection, name).await? else { return Ok(None) };
    let used = store::used_bytes(&mut connection, repository.id).await?;
    Ok(Some((repository, used)))
}

/// Whether everybody may pull from `name`.
pub async fn is_public(ctx: &Context, name: &RepositoryName) -> Result<bool, RegistryError> {
    Ok(store::visible(&mut *ctx.db.read().await?, name, Sight::PublicOnly).await?.is_some())
}

/// At most `limit` repositories; permissions are the caller's business.
pub async fn list(ctx: &Context, filter: &Filter, limit: usize) -> Result<Vec<Repository>, RegistryError> {
    let limit = limit.min(REPOSITORIES_MAX);
    let mut connection = ctx.db.read().await?;
    match filter {
        Filter::After(after) => {
            let after = after.as_ref().map_or("", RepositoryName::as_str);
            Ok(store::after(&mut connection, after, i64::try_from(limit).unwrap_or(i64::MAX)).await?)
        }
        Filter::Names(names) => {
            let mut found = Vec::new();
            for name in names.iter().take(limit) {
                found.extend(store::get(&mut connection, name).await?);
            }
            Ok(found)
        }
    }
}
