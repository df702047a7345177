//! `/api/v1/repositories`: what they are, what they hold, their settings.

use super::{Api, fault, require_admin};
use crate::context::Context;
use crate::repository::{self, Filter, Repository};
use crate::settings::{self, Change};
use api::v1::repositories::{self as wire, RepositoryChange, RepositoryDetail, Settings};
use api::v1::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Page, PageQuery, Problem};
use axum::Json;
use axum::extract::State;
use identity::http::{ApiError, ApiJson, ApiPath, ApiQuery, Authenticated};
use identity::{Caller, Snapshot, decide};
use model::RepositoryName;
use model::access::{Resource, Role};
use model::repository::{SettingsError, TagPattern};

/// Repositories by name, those that the caller may pull. A page may be shorter than asked for.
#[utoipa::path(get, path = "/api/v1/repositories", tag = "repositories", operation_id = "list_repositories", params(PageQuery), responses(
    (status = 200, body = Page<wire::Repository>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(Api(ctx)): State<Api>,
    Authenticated(caller): Authenticated,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<wire::Repository>>, ApiError> {
    let limit = query.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Err(ApiError::invalid(format!("limit is 1 to {PAGE_ITEMS_MAX}")));
    }
    let snapshot = ctx.gate.identity().snapshot().await?;
    let after = query.after.as_deref().map(name).transpose()?;
    let found = repository::list(&ctx, &Filter::After(after), limit).await.map_err(fault)?;
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.name.to_string());
    let seen = found.into_iter().filter(|repository| sees(&snapshot, &caller, repository));
    Ok(Json(Page { items: seen.map(|repository| shown(&ctx, repository)).collect(), next }))
}

/// One repository, with what it holds.
#[utoipa::path(get, path = "/api/v1/repositories/{name}", tag = "repositories", operation_id = "get_repository",
    params(("name" = String, Path, description = "percent-encoded: `acme%2Fweb`")), responses(
    (status = 200, body = RepositoryDetail),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    State(Api(ctx)): State<Api>,
    Authenticated(caller): Authenticated,
    ApiPath(text): ApiPath<String>,
) -> Result<Json<RepositoryDetail>, ApiError> {
    let name = name(&text)?;
    let snapshot = ctx.gate.identity().snapshot().await?;
    let found = repository::detail(&ctx, &name).await.map_err(fault)?;
    let (repository, used_bytes) = found.filter(|(repository, _)| sees(&snapshot, &caller, repository)).ok_or_else(|| unknown(&name))?;
    Ok(Json(RepositoryDetail { repository: shown(&ctx, repository), used_bytes }))
}

/// Changes settings; what is absent stays. Takes `admin` on the repository. Acts on the next request.
#[utoipa::path(patch, path = "/api/v1/repositories/{name}", tag = "repositories", operation_id = "change_repository",
    params(("name" = String, Path, description = "percent-encoded: `acme%2Fweb`")), request_body = RepositoryChange, responses(
    (status = 200, body = wire::Repository),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(Api(ctx)): State<Api>,
    Authenticated(caller): Authenticated,
    ApiPath(text): ApiPath<String>,
    ApiJson(wish): ApiJson<RepositoryChange>,
) -> Result<Json<wire::Repository>, ApiError> {
    let name = name(&text)?;
    require_admin(&ctx, &caller, &Resource::repository(name.as_str())).await?;
    let changed = settings::change(&ctx, &name, &caller, change_of(wish)?).await.map_err(fault)?;
    changed.map(|repository| Json(shown(&ctx, repository))).ok_or_else(|| unknown(&name))
}

fn change_of(wish: RepositoryChange) -> Result<Change, ApiError> {
    let RepositoryChange { tag_overwrite, tag_exceptions, quota_bytes, sparse, public } = wish;
    let parse = |text: String| text.parse().map_err(|error: SettingsError| ApiError::invalid(error.to_string()));
    let tag_exceptions = tag_exceptions.map(|texts| texts.into_iter().map(parse).collect::<Result<Vec<TagPattern>, _>>()).transpose()?;
    Ok(Change { tag_overwrite, tag_exceptions, quota_bytes, sparse, public })
}

fn sees(snapshot: &Snapshot, caller: &Caller, repository: &Repository) -> bool {
    repository.public || decide(snapshot, caller, Role::Pull, &Resource::repository(repository.name.as_str())).allowed
}

fn shown(ctx: &Context, repository: Repository) -> wire::Repository {
    let settings = repository.settings;
    wire::Repository {
        name: repository.name.to_string(),
        created_by: repository.created_by,
        created_at: repository.created_at.to_rfc3339(),
        settings: Settings {
            tag_overwrite: settings.tag_overwrite,
            tag_exceptions: settings.tag_exceptions.into_iter().map(String::from).collect(),
            quota_bytes: settings.quota_bytes,
            sparse: settings.sparse.unwrap_or(ctx.config.sparse),
            public: repository.public,
        },
    }
}

fn name(text: &str) -> Result<RepositoryName, ApiError> {
    text.parse().map_err(|error: model::name::NameError| ApiError::invalid(error.to_string()))
}

fn unknown(name: &RepositoryName) -> ApiError {
    ApiError::not_found(format!("there is no repository {name}, or you may not pull from it"))
}
