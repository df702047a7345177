//! Settings of repositories: where requests find them, and how they change.
//!
//! A transaction reads them with the repository's row. Requests that want to know before (the quota of an upload) ask [`of`]: memory
//! where this process is the only writer, the database otherwise.

use crate::context::Context;
use crate::error::RegistryError;
use crate::store::repositories::{self as store, Repository};
use crate::store::tags;
use identity::Caller;
use model::repository::{RepositorySettings, Sparse, TagOverwrite, TagPattern};
use model::{Digest, RepositoryName, Timestamp};
use platform::db::{Db, DbError, Tx};
use platform::events::{self, NewEvent};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What is to be changed; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub tag_overwrite: Option<TagOverwrite>,
    pub tag_exceptions: Option<Vec<TagPattern>>,
    /// `Some(None)` takes the quota away.
    pub quota_bytes: Option<Option<u64>>,
    pub sparse: Option<Sparse>,
    pub public: Option<bool>,
}

/// Settings that are not the usual ones, by repository.
#[derive(Default)]
pub struct Current {
    unusual: RwLock<HashMap<RepositoryName, Arc<RepositorySettings>>>,
    usual: Arc<RepositorySettings>,
    /// Held while a change is written and remembered, so that memory follows the order of commits.
    changing: tokio::sync::Mutex<()>,
}

impl Current {
    pub async fn load(db: &Db) -> Result<Self, DbError> {
        let rows = if db.is_exclusive() { store::unusual(&mut *db.read().await?).await? } else { Vec::new() };
        let unusual = rows.into_iter().map(|(name, settings)| (name, Arc::new(settings))).collect();
        Ok(Self { unusual: RwLock::new(unusual), ..Self::default() })
    }

    fn get(&self, name: &RepositoryName) -> Arc<RepositorySettings> {
        self.unusual.read().unwrap_or_else(PoisonError::into_inner).get(name).unwrap_or(&self.usual).clone()
    }

    fn put(&self, name: &RepositoryName, settings: &RepositorySettings) {
        let mut unusual = self.unusual.write().unwrap_or_else(PoisonError::into_inner);
        if *settings == *self.usual {
            unusual.remove(name);
        } else {
            unusual.insert(name.clone(), Arc::new(settings.clone()));
        }
    }
}

/// The settings of `name`; the usual ones where there is no such repository.
pub async fn of(ctx: &Context, name: &RepositoryName) -> Result<Arc<RepositorySettings>, RegistryError> {
    if ctx.exclusive {
        return Ok(ctx.settings.get(name));
    }
    let standing = store::standing(&mut *ctx.db.read().await?, name).await?;
    Ok(standing.map_or_else(|| ctx.settings.usual.clone(), |standing| Arc::new(standing.settings)))
}

/// Refuses to take `digest` away while an immutable tag needs it. Looked up only where there can be such a tag.
pub async fn require_spare(
    tx: &mut Tx,
    name: &RepositoryName,
    id: i64,
    settings: &RepositorySettings,
    digest: &Digest,
) -> Result<(), RegistryError> {
    if settings.leaves_tags_free() {
        return Ok(());
    }
    let needing = tags::needing(tx, id, digest).await?;
    match needing.into_iter().find(|tag| settings.may_delete(tag).is_err()) {
        Some(tag) => Err(RegistryError::TagImmutable { repository: name.clone(), tag, digest: digest.clone() }),
        None => Ok(()),
    }
}

/// Changes the settings of `name`; none when there is no such repository. Acts on the next request anywhere.
pub async fn change(ctx: &Arc<Context>, name: &RepositoryName, by: &Caller, change: Change) -> Result<Option<Repository>, RegistryError> {
    let (ctx, name, by) = (ctx.clone(), name.clone(), by.clone());
    // Runs to its end even if the client goes away, so that memory never lags behind the database.
    let task = tokio::spawn(async move {
        let _one_at_a_time = ctx.settings.changing.lock().await;
        let (now, target) = (ctx.clock.now(), name.clone());
        let changed = ctx
            .db
            .write(move |tx| {
                let (name, by, change) = (target.clone(), by.clone(), change.clone());
                Box::pin(async move { write(tx, now, &name, &by, &change).await })
            })
            .await?;
        if let Some(repository) = &changed
            && ctx.exclusive
        {
            ctx.settings.put(&name, &repository.settings);
            // They carry whether everybody may pull them.
            ctx.manifests.forget(&name, |_, _| true);
            ctx.blobs.forget(&name, |_, _| true);
        }
        Ok(changed)
    });
    task.await.map_err(|_| RegistryError::Internal("a change of settings did not end".into()))?
}

async fn write(
    tx: &mut Tx,
    now: Timestamp,
    name: &RepositoryName,
    by: &Caller,
    change: &Change,
) -> Result<Option<Repository>, RegistryError> {
    let Some(mut repository) = store::get(tx, name).await? else { return Ok(None) };
    let before = (repository.settings.clone(), repository.public);
    change.apply(&mut repository.settings, &mut repository.public);
    repository.settings.validate().map_err(|error| RegistryError::SettingsInvalid(error.to_string()))?;
    if before == (repository.settings.clone(), repository.public) {
        return Ok(Some(repository));
    }
    store::set_settings(tx, repository.id, &repository.settings, repository.public).await?;
    let mut detail = by.detail();
    detail["settings"] = serde_json::json!(repository.settings);
    detail["public"] = repository.public.into();
    let event = NewEvent {
        kind: "repository.settings",
        principal: Some(by.principal.to_string()),
        subject: format!("repository:{name}"),
        message: format!("settings of repository {name} changed: {}", said(&repository)),
        detail,
    };
    events::append(tx, now, event).await?;
    Ok(Some(repository))
}

impl Change {
    fn apply(&self, settings: &mut RepositorySettings, public: &mut bool) {
        if let Some(tag_overwrite) = self.tag_overwrite {
            settings.tag_overwrite = tag_overwrite;
        }
        if let Some(tag_exceptions) = &self.tag_exceptions {
            settings.tag_exceptions.clone_from(tag_exceptions);
        }
        if let Some(quota_bytes) = self.quota_bytes {
            settings.quota_bytes = quota_bytes;
        }
        settings.sparse = self.sparse.or(settings.sparse);
        if let Some(wanted) = self.public {
            *public = wanted;
        }
    }
}

/// The settings in one line, for the audit.
fn said(repository: &Repository) -> String {
    let settings = &repository.settings;
    let exceptions: Vec<&str> = settings.tag_exceptions.iter().map(TagPattern::as_str).collect();
    let except = if exceptions.is_empty() { String::new() } else { format!(" except {}", exceptions.join(" ")) };
    let quota = settings.quota_bytes.map_or_else(|| "none".to_owned(), |bytes| format!("{bytes} bytes"));
    let pulled_by = if repository.public { "everybody" } else { "grants" };
    let (tags, sparse) = (settings.tag_overwrite.as_str(), settings.sparse.map_or("as the server does", Sparse::as_str));
    format!("tags are moved by {tags}{except}, quota {quota}, incomplete manifests {sparse}, pulled by {pulled_by}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_change_does_not_name_stays() {
        let mut settings = RepositorySettings { quota_bytes: Some(5), ..RepositorySettings::default() };
        let mut public = true;
        Change { sparse: Some(Sparse::Accept), ..Change::default() }.apply(&mut settings, &mut public);
        assert_eq!((settings.quota_bytes, settings.sparse, public), (Some(5), Some(Sparse::Accept), true));
        let change = Change { quota_bytes: Some(None), public: Some(false), ..Change::default() };
        change.apply(&mut settings, &mut public);
        assert_eq!((settings.quota_bytes, settings.sparse, public), (None, Some(Sparse::Accept), false));
    }

    #[test]
    fn memory_holds_what_is_unusual_only() {
        let current = Current::default();
        let name: RepositoryName = "acme/web".parse().unwrap();
        current.put(&name, &RepositorySettings { quota_bytes: Some(5), ..RepositorySettings::default() });
        assert_eq!(current.get(&name).quota_bytes, Some(5));
        current.put(&name, &RepositorySettings::default());
        assert_eq!(*current.get(&name), RepositorySettings::default());
        assert!(current.unusual.read().unwrap().is_empty());
    }
}
