//! Lists by pages: tags, repositories, referrers. A page costs by its length, not by how much there is.

use crate::auth::Access;
use crate::context::Context;
use crate::error::RegistryError;
use crate::query::Page;
use crate::store::manifests::Referrer;
use crate::store::{Sight, manifests, repositories, tags};
use model::{Digest, RepositoryName};
use serde_json::json;

/// Rows read at a time where some may be left out.
const SCAN_ROWS: i64 = 500;
/// Rows looked at for one page of a filtered list; a page may end early there and say where to go on.
const SCAN_ROWS_MAX: usize = 20_000;
/// Bytes of manifests read at a time for their annotations, and in all for one page of referrers.
const SCAN_BYTES: i64 = 8 * 1024 * 1024;
const SCAN_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// Entries, and bytes of them, in one page of referrers. A page must fit a client's limit on manifests (4 MiB).
const REFERRERS_MAX: usize = 1000;
const REFERRERS_BYTES_MAX: usize = 3 * 1024 * 1024;

/// A page, and after what the next one begins, if there is one.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed<T> {
    pub entries: Vec<T>,
    pub next: Option<String>,
}

/// Tags of a repository in byte order (TAG-1..6).
pub async fn tags(ctx: &Context, repository: &RepositoryName, sight: Sight, page: &Page) -> Result<Listed<String>, RegistryError> {
    let mut connection = ctx.db.read().await?;
    let id = repositories::visible(&mut connection, repository, sight).await?;
    let id = id.ok_or_else(|| RegistryError::NameUnknown(repository.clone()))?;
    if page.entries == 0 {
        return Ok(Listed { entries: Vec::new(), next: None });
    }
    let after = page.last.as_deref().unwrap_or_default();
    let limit = i64::try_from(page.entries + 1).unwrap_or(i64::MAX);
    let mut entries = tags::after(&mut connection, id, after, limit).await?;
    let more = entries.len() > page.entries;
    entries.truncate(page.entries);
    let next = if more { entries.last().cloned() } else { None };
    Ok(Listed { entries, next })
}

/// Repositories that the caller may pull from, in byte order.
pub async fn catalog(ctx: &Context, access: &Access, page: &Page) -> Result<Listed<String>, RegistryError> {
    let mut listed = Listed { entries: Vec::new(), next: None };
    if page.entries == 0 {
        return Ok(listed);
    }
    let mut connection = ctx.db.read().await?;
    let mut after = page.last.clone().unwrap_or_default();
    let mut scanned = 0;
    // Who may see everything is given a page for what a page costs; only where some are left out more is read.
    let mut batch = i64::try_from(page.entries + 1).unwrap_or(i64::MAX).min(SCAN_ROWS);
    loop {
        let rows = repositories::after(&mut connection, &after, batch).await?;
        let last = rows.len() < usize::try_from(batch).unwrap_or(usize::MAX);
        batch = SCAN_ROWS;
        for row in rows {
            scanned += 1;
            row.name.as_str().clone_into(&mut after);
            if !row.public && !access.may_see(&row.name) {
                continue;
            }
            if listed.entries.len() == page.entries {
                listed.next = listed.entries.last().cloned();
                return Ok(listed);
            }
            listed.entries.push(row.name.into());
        }
        if last {
            return Ok(listed);
        }
        if scanned >= SCAN_ROWS_MAX {
            listed.next = Some(after);
            return Ok(listed);
        }
    }
}

/// Manifests that have `subject` as their subject, as descriptors (REF-1..7). None is an answer too, even in an unknown repository.
pub async fn referrers(
    ctx: &Context,
    repository: &RepositoryName,
    sight: Sight,
    subject: &Digest,
    artifact_types: &[String],
    page: &Page,
) -> Result<Listed<serde_json::Value>, RegistryError> {
    let mut listed = Listed { entries: Vec::new(), next: None };
    let entries_max = page.entries.min(REFERRERS_MAX);
    let mut connection = ctx.db.read().await?;
    let mut after = page.last.clone().unwrap_or_default();
    let (mut scanned, mut scanned_bytes, mut bytes) = (0, 0, 0);
    loop {
        let batch = (SCAN_ROWS, SCAN_BYTES);
        let rows = manifests::referrers(&mut connection, repository, sight, subject, &after, batch).await?;
        let read: i64 = rows.iter().map(|row| row.size).sum();
        scanned_bytes += read;
        let last = rows.len() < usize::try_from(SCAN_ROWS).unwrap_or(usize::MAX) && read < SCAN_BYTES;
        for row in rows {
            let wanted = artifact_types.is_empty() || row.artifact_type.as_ref().is_some_and(|own| artifact_types.contains(own));
            let row_bytes = 400 + row.annotations.as_ref().map_or(0, String::len);
            if wanted && (listed.entries.len() >= entries_max || (bytes > 0 && bytes + row_bytes > REFERRERS_BYTES_MAX)) {
                listed.next = (entries_max > 0).then_some(after);
                return Ok(listed);
            }
            scanned += 1;
            row.digest.clone_into(&mut after);
            if wanted {
                bytes += row_bytes;
                listed.entries.push(descriptor(row));
            }
        }
        if last {
            return Ok(listed);
        }
        if scanned >= SCAN_ROWS_MAX || scanned_bytes >= SCAN_BYTES_MAX {
            listed.next = Some(after);
            return Ok(listed);
        }
    }
}

fn descriptor(row: Referrer) -> serde_json::Value {
    let mut descriptor = json!({ "mediaType": row.media_type, "digest": row.digest, "size": row.size });
    if let Some(artifact_type) = row.artifact_type {
        descriptor["artifactType"] = artifact_type.into();
    }
    if let Some(annotations) = row.annotations.and_then(|text| serde_json::from_str(&text).ok()) {
        descriptor["annotations"] = annotations;
    }
    descriptor
}
