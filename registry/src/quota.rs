//! Whether content fits into its repository: asked in the transaction that links it, which decides, and while it streams in, so that
//! what cannot fit is cut off early. What is used is counted when it is asked, and only in repositories that have a quota.

use crate::context::Context;
use crate::error::RegistryError;
use crate::settings;
use crate::store::blobs;
use crate::store::repositories::{self, Standing};
use model::repository::{OverQuota, RepositorySettings};
use model::{Digest, RepositoryName};
use platform::db::Tx;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room for an upload: what the repository holds, and what its open uploads hold.
#[derive(Clone)]
pub struct Room {
    repository: RepositoryName,
    settings: Arc<RepositorySettings>,
    used: u64,
    pending: Arc<AtomicU64>,
}

impl Room {
    /// Room in `repository`, whose open uploads hold `pending` bytes; none when it has no quota.
    pub async fn of(ctx: &Context, repository: &RepositoryName, pending: &Arc<AtomicU64>) -> Result<Option<Self>, RegistryError> {
        let settings = settings::of(ctx, repository).await?;
        if settings.quota_bytes.is_none() {
            return Ok(None);
        }
        let mut connection = ctx.db.read().await?;
        let used = match repositories::standing(&mut connection, repository).await? {
            Some(standing) => repositories::used_bytes(&mut connection, standing.id).await?,
            None => 0,
        };
        Ok(Some(Self { repository: repository.clone(), settings, used, pending: pending.clone() }))
    }

    /// Whether `more` bytes fit beside everything that is held by now.
    pub fn has(&self, more: u64) -> bool {
        self.settings.fits(self.used.saturating_add(self.pending.load(Ordering::Acquire)), more).is_ok()
    }

    /// The answer to what does not fit.
    pub fn refusal(&self) -> RegistryError {
        let over = OverQuota { quota_bytes: self.settings.quota_bytes.unwrap_or_default(), used_bytes: self.used };
        RegistryError::QuotaExceeded { repository: self.repository.clone(), over }
    }
}

/// Refuses `adding` bytes that do not fit.
pub async fn require(tx: &mut Tx, name: &RepositoryName, repository: &Standing, adding: u64) -> Result<(), RegistryError> {
    if repository.settings.quota_bytes.is_none() {
        return Ok(());
    }
    let used = repositories::used_bytes(tx, repository.id).await?;
    exceeded(name, repository.settings.fits(used, adding))
}

/// Refuses a blob that does not fit; one that is in the repository already takes no more room.
pub async fn require_for_blob(
    tx: &mut Tx,
    name: &RepositoryName,
    repository: &Standing,
    digest: &Digest,
    size: u64,
) -> Result<(), RegistryError> {
    if repository.settings.quota_bytes.is_none() || blobs::link_of(tx, repository.id, digest.as_str()).await?.is_some() {
        return Ok(());
    }
    require(tx, name, repository, size).await
}

fn exceeded(repository: &RepositoryName, fits: Result<(), OverQuota>) -> Result<(), RegistryError> {
    fits.map_err(|over| RegistryError::QuotaExceeded { repository: repository.clone(), over })
}
