//! Who may do what: users, robots, teams, grants, tokens, access keys, SigV4, registry tokens, the private authority, the permission API.
//!
//! Registry and deployer authenticate a request ([`Identity::authenticate`], `_registry`, `_aws`), take the [`Snapshot`] and ask
//! [`decide`]. Everything those read is in memory; a change of identity acts on the next request. This crate knows no repositories
//! and no services, only their names.

pub mod audit;
pub mod authenticate;
pub mod authority;
mod bootstrap;
mod caller;
mod decide;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod join_tokens;
pub mod operations;
mod passwords;
pub mod preview;
mod registry_token;
mod seal;
mod secrets;
mod sigv4;
mod snapshot;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use authenticate::AuthError;
pub use authority::Authority;
pub use bootstrap::{BootstrapAdmin, Bootstrapped, bootstrap};
pub use caller::{Caller, Credential, ScopeRule};
pub use decide::{Decision, NearMiss, WhoCan, decide, may, nearest, who_can};
pub use error::{IdentityError, Refusal};
pub use http::router;
pub use registry_token::{ECR_PASSWORD_LIFE, REGISTRY_TOKEN_LIFE, RegistryAction, RegistryCaller, ecr_password};
pub use sigv4::AwsAuthError;
pub use snapshot::{AccessKeyEntry, PrincipalEntry, Snapshot, TokenEntry};

use futures_util::future::BoxFuture;
use model::access::Principal;
use model::{Clock, RepositoryName, Timestamp};
use platform::db::{Db, Tx, WriteError};
use platform::rate::{Rate, Rates};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Whether everybody may pull from a repository. Identity knows names only; the registry knows this.
pub type PublicPull = Arc<dyn Fn(RepositoryName) -> BoxFuture<'static, bool> + Send + Sync>;

/// What identity needs to know at start.
#[derive(Debug, Clone)]
pub struct IdentityConfig {
    /// 32 bytes, readable by their owner only; made when absent. Servers on one database share it.
    pub master_key_file: PathBuf,
}

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Identity(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) db: Db,
    clock: Arc<dyn Clock>,
    pub(crate) seals: seal::Seals,
    pub(crate) passwords: passwords::Passwords,
    pub(crate) cache: authenticate::cache::Cache,
    pub(crate) throttle: authenticate::throttle::Throttle,
    pub(crate) authority: Authority,
    pub(crate) audit: audit::Audit,
    /// Requests of each principal, where they are limited.
    pub(crate) rates: OnceLock<Rates<Principal>>,
    current: RwLock<Arc<Snapshot>>,
    /// Highest version this process has committed.
    committed: AtomicI64,
    public_pull: OnceLock<PublicPull>,
    loading: tokio::sync::Mutex<()>,
}

impl Identity {
    /// Opens identity on `db`: the master key and the authority are made at first start.
    pub async fn open(config: IdentityConfig, db: Db, clock: Arc<dyn Clock>) -> Result<Self, IdentityError> {
        let seals = tokio::task::spawn_blocking(move || seal::Seals::open(&config.master_key_file));
        let seals = seals.await.map_err(|_| IdentityError::Interrupted)??;
        let authority = Authority::load(&db, clock.clone(), &seals.authority).await?;
        let snapshot = store::load(&db).await?;
        Ok(Self(Arc::new(Inner {
            committed: AtomicI64::new(snapshot.version()),
            current: RwLock::new(Arc::new(snapshot)),
            loading: tokio::sync::Mutex::new(()),
            public_pull: OnceLock::new(),
            passwords: passwords::Passwords::new(),
            cache: authenticate::cache::Cache::new(),
            throttle: authenticate::throttle::Throttle::default(),
            authority,
            audit: audit::Audit::default(),
            rates: OnceLock::new(),
            seals,
            clock,
            db,
        })))
    }

    /// Everything there is to decide on, not older than any change that was answered before this call, by whichever server.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, IdentityError> {
        let wanted = self.wanted_version().await?;
        let current = self.current();
        if current.version() >= wanted {
            return Ok(current);
        }
        let _one_load_at_a_time = self.0.loading.lock().await;
        let current = self.current();
        if current.version() >= wanted {
            return Ok(current);
        }
        let loaded = Arc::new(store::load(&self.0.db).await?);
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = loaded.clone();
        Ok(loaded)
    }

    /// Limits the requests of each principal; once, before any comes. Without a limit nothing is counted.
    pub fn limit_requests(&self, per_second: u32) {
        self.0.rates.get_or_init(|| Rates::new(Rate::per_second(per_second)));
    }

    /// Where what was asked of the server is written down.
    pub fn audit(&self) -> &audit::Audit {
        &self.0.audit
    }

    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Tells identity, once, who knows from which repositories everybody may pull; until then it is from none.
    pub fn set_public_pull(&self, public_pull: PublicPull) {
        // A second call changes nothing.
        let _ = self.0.public_pull.set(public_pull);
    }

    /// Whether everybody may pull from `repository`.
    pub(crate) async fn is_public(&self, repository: &RepositoryName) -> bool {
        match self.0.public_pull.get() {
            Some(public_pull) => public_pull(repository.clone()).await,
            None => false,
        }
    }

    /// Alone on the database, this process knows every version; otherwise the counter in the database is asked.
    async fn wanted_version(&self) -> Result<i64, IdentityError> {
        if self.0.db.is_exclusive() {
            return Ok(self.0.committed.load(Ordering::Acquire));
        }
        let mut connection = self.0.db.read().await?;
        Ok(store::version::current(&mut connection).await?)
    }

    fn current(&self) -> Arc<Snapshot> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a change of identity and raises the version in its transaction. Goes on to its end when the caller goes away, so that
    /// the new version is always known to this process.
    pub(crate) async fn change<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Tx) -> BoxFuture<'c, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: WriteError + From<IdentityError>,
    {
        let identity = self.clone();
        let change = Arc::new(change);
        let task = tokio::spawn(async move {
            let write = identity.0.db.write(move |tx| {
                let change = change.clone();
                Box::pin(async move {
                    let done = change(&mut *tx).await?;
                    Ok::<_, E>((done, store::version::raise(tx).await?))
                })
            });
            let (done, version) = write.await?;
            identity.0.committed.fetch_max(version, Ordering::AcqRel);
            Ok(done)
        });
        task.await.unwrap_or_else(|_| Err(IdentityError::Interrupted.into()))
    }

    /// The secret of an access key, in clear.
    pub(crate) fn open_access_key(&self, key: &AccessKeyEntry) -> Option<String> {
        let secret = self.0.seals.access_keys.open(&operations::access_keys::seal_context(&key.id), &key.secret_sealed)?;
        String::from_utf8(secret).ok()
    }
}

#[cfg(test)]
pub(crate) mod tests;
