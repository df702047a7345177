//! The OCI distribution registry: `/v2`, over SQL for what is known and files for what is large.
//!
//! The composition root opens a [`Registry`], mounts [`Registry::router`] and starts [`Registry::start`]. The deployer is given
//! [`resolve`], [`serve_assigned`], [`create_repository`] and [`list_repositories`]. Nothing here knows services or tasks.

mod assigned;
mod audit;
mod auth;
mod blob;
mod cache;
mod context;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gc;
mod handlers;
mod hash;
mod listing;
mod manifest;
mod metrics;
mod query;
mod quota;
mod range;
mod repository;
mod route;
mod settings;
mod storage;
mod store;
mod upload;
mod v1;

pub use assigned::{AssignedKind, AssignedRequest};
pub use context::{GcConfig, RegistryConfig};
pub use error::RegistryError;
pub use gc::Collected;
pub use repository::{Filter, Repository};
pub use settings::Change as SettingsChange;

use auth::Gate;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use context::Context;
use identity::{Caller, Identity, PublicPull};
use model::access::Principal;
use model::{Clock, Digest, Reference, RepositoryName};
use platform::db::Db;
use platform::lifecycle::Lifecycle;
use platform::wake::Wake;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

/// Memory for hot manifests, and for where hot blobs are, in bytes.
const MANIFEST_CACHE_BYTES: usize = 12 * 1024 * 1024;
const BLOB_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// The registry; cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Context>);

impl Registry {
    /// Opens the blob folder. No walk of it, however much it holds.
    pub async fn open(config: RegistryConfig, db: Db, clock: Arc<dyn Clock>, identity: Identity) -> Result<Self, RegistryError> {
        let data_dir = config.data_dir.clone();
        let (storage, marked) = tokio::task::spawn_blocking(move || {
            let storage = storage::Storage::open(&data_dir)?;
            let marked = storage.marked()?;
            Ok((storage, marked))
        })
        .await
        .map_err(|_| RegistryError::Internal("the blob folder was not opened".into()))?
        .map_err(error::io("opening the blob folder"))?;
        let registry = Self(Arc::new(Context {
            gate: Gate::new(identity.clone(), &config),
            exclusive: db.is_exclusive(),
            settings: settings::Current::load(&db).await?,
            config,
            db,
            clock,
            storage,
            manifests: cache::Cache::new(MANIFEST_CACHE_BYTES),
            blobs: cache::Cache::new(BLOB_CACHE_BYTES),
            sessions: upload::sessions::Sessions::default(),
            marks: Arc::new(upload::marks::Marks::new(marked.into_iter().map(|marked| marked.upload).collect())),
            buffers: Arc::default(),
            receiving: Arc::default(),
            metrics: metrics::Metrics::default(),
            collecting: tokio::sync::Mutex::default(),
        }));
        identity.set_public_pull(registry.public_pull());
        Ok(registry)
    }

    /// From which repositories everybody may pull; identity asks for it. A registry that is gone and a database that does not answer
    /// say no.
    fn public_pull(&self) -> PublicPull {
        let registry = Arc::downgrade(&self.0);
        Arc::new(move |name| {
            let registry = registry.upgrade();
            Box::pin(async move {
                match registry {
                    Some(ctx) => repository::is_public(&ctx, &name).await.unwrap_or(false),
                    None => false,
                }
            })
        })
    }

    /// `/v2` and everything below.
    pub fn router(&self) -> Router {
        async fn v2(State(registry): State<Registry>, request: Request) -> Response {
            registry.handle(request).await
        }
        Router::new().route("/v2", any(v2)).route("/v2/", any(v2)).route("/v2/{*path}", any(v2)).with_state(self.clone())
    }

    /// Answers one request whose path is `/v2` or below: what the router does, for a caller that has routed already.
    pub async fn handle(&self, request: Request) -> Response {
        handlers::handle(&self.0, request).await
    }

    /// `/api/v1` as far as it is about the registry.
    pub fn v1_router(&self) -> OpenApiRouter {
        v1::router(self.0.clone())
    }

    /// Starts the background work: unfinished uploads expire, garbage is collected.
    pub fn start(&self, lifecycle: &Lifecycle) {
        let registry = self.clone();
        lifecycle.every(Wake::default(), self.0.config.gc.uploads_period(), move || {
            let registry = registry.clone();
            async move {
                match registry.expire_uploads().await {
                    Ok(0) => {}
                    Ok(ended) => tracing::info!(uploads = ended, "unfinished uploads expired"),
                    Err(error) => tracing::warn!(%error, "cannot expire unfinished uploads"),
                }
                match registry.clear_marks().await {
                    Ok(0) => {}
                    Ok(files) => tracing::info!(files, "files of uploads that were cut off removed"),
                    Err(error) => tracing::warn!(%error, "cannot remove the files of uploads that were cut off"),
                }
            }
        });
        let (registry, wake) = (self.clone(), Wake::default());
        lifecycle.every(wake.clone(), self.0.config.gc.period(), move || {
            let (registry, wake) = (registry.clone(), wake.clone());
            async move {
                match registry.collect_garbage().await {
                    Ok(done) if done.more => wake.wake(),
                    Ok(_) => {}
                    Err(error) => {
                        registry.0.metrics.gc_failures.inc();
                        tracing::warn!(%error, "cannot collect garbage");
                    }
                }
            }
        });
    }

    /// One bounded pass of the garbage collector.
    pub async fn collect_garbage(&self) -> Result<Collected, RegistryError> {
        let done = gc::pass(&self.0, None).await?;
        if done.manifests + done.blobs + done.files > 0 {
            tracing::info!(manifests = done.manifests, blobs = done.blobs, files = done.files, bytes = done.bytes, "garbage collected");
        }
        Ok(done)
    }

    /// One batch of expiry; returns how many uploads ended.
    pub async fn expire_uploads(&self) -> Result<usize, RegistryError> {
        upload::expiry::expire(&self.0).await
    }

    /// Removes files that a crash left before any row named them, a batch of them; returns how many went.
    pub async fn clear_marks(&self) -> Result<usize, RegistryError> {
        upload::marks::clear(&self.0).await
    }

    /// Adds the registry's counters.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.0.metrics.register(registry);
    }
}

/// The digest that a tag or digest names in a repository; none when it is not there. Permissions are the caller's business.
pub async fn resolve(registry: &Registry, repository: &RepositoryName, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
    manifest::resolve(&registry.0, repository, reference).await
}

/// Serves content to an agent, when it is reachable from what is assigned to it.
pub async fn serve_assigned(registry: &Registry, request: AssignedRequest) -> Response {
    assigned::serve(&registry.0, request).await
}

/// Makes an empty repository; [`RegistryError::RepositoryExists`] when there is one. `tags` are resource tags, JSON.
pub async fn create_repository(
    registry: &Registry,
    name: &RepositoryName,
    principal: &Principal,
    tags: &str,
) -> Result<Repository, RegistryError> {
    repository::create(&registry.0, name, &principal.to_string(), tags).await
}

/// Changes the settings of a repository; none when there is no such one. Permissions are the caller's business.
pub async fn change_settings(
    registry: &Registry,
    name: &RepositoryName,
    caller: &Caller,
    change: SettingsChange,
) -> Result<Option<Repository>, RegistryError> {
    settings::change(&registry.0, name, caller, change).await
}

/// Repositories by name, or all in byte order; at most `limit`. Permissions are the caller's business.
pub async fn list_repositories(registry: &Registry, filter: &Filter, limit: usize) -> Result<Vec<Repository>, RegistryError> {
    repository::list(&registry.0, filter, limit).await
}
