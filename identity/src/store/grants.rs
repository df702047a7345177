//! Table `grants`.

use super::parse;
use model::Timestamp;
use model::access::{Grant, Pattern, Principal, ResourceKind, Role};
use platform::db::{DbError, Tx};
use sqlx::Row;

pub(crate) async fn all(tx: &mut Tx) -> Result<Vec<Grant>, DbError> {
    let rows = sqlx::query("select id, principal_id, role, kind, pattern, created_at, created_by from grants").fetch_all(tx).await?;
    rows.iter().map(grant).collect()
}

pub(crate) async fn get(tx: &mut Tx, id: &str) -> Result<Option<Grant>, DbError> {
    let row = sqlx::query("select id, principal_id, role, kind, pattern, created_at, created_by from grants where id = $1")
        .bind(id.to_owned())
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(grant).transpose()
}

/// The grant that says the same, if there is one.
pub(crate) async fn find(
    tx: &mut Tx,
    principal: &Principal,
    role: Role,
    kind: ResourceKind,
    pattern: &Pattern,
) -> Result<Option<Grant>, DbError> {
    let row = sqlx::query(
        "select id, principal_id, role, kind, pattern, created_at, created_by from grants \
         where principal_id = $1 and role = $2 and kind = $3 and pattern = $4",
    )
    .bind(principal.to_string())
    .bind(role.as_str())
    .bind(kind.as_str())
    .bind(pattern.to_string())
    .fetch_optional(tx)
    .await?;
    row.as_ref().map(grant).transpose()
}

/// A grant of `admin` on the server to an enabled principal.
pub(crate) struct ServerAdmin {
    pub grant_id: String,
    pub principal: Principal,
    pub pattern: Pattern,
}

pub(crate) async fn server_admins(tx: &mut Tx) -> Result<Vec<ServerAdmin>, DbError> {
    let rows = sqlx::query(
        "select g.id, g.principal_id, g.pattern from grants g join principals p on p.id = g.principal_id \
         where g.kind = 'server' and g.role = 'admin' and p.disabled = 0",
    )
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let (principal, pattern): (String, String) = (row.try_get("principal_id")?, row.try_get("pattern")?);
            let (principal, pattern) = (parse("grants", "principal_id", &principal)?, parse("grants", "pattern", &pattern)?);
            Ok(ServerAdmin { grant_id: row.try_get("id")?, principal, pattern })
        })
        .collect()
}

pub(crate) async fn insert(tx: &mut Tx, grant: &Grant) -> Result<(), DbError> {
    sqlx::query("insert into grants (id, principal_id, role, kind, pattern, created_at, created_by) values ($1, $2, $3, $4, $5, $6, $7)")
        .bind(grant.id.clone())
        .bind(grant.principal.to_string())
        .bind(grant.role.as_str())
        .bind(grant.kind.as_str())
        .bind(grant.pattern.to_string())
        .bind(grant.created_at.as_micros())
        .bind(grant.created_by.clone())
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn delete(tx: &mut Tx, id: &str) -> Result<(), DbError> {
    sqlx::query("delete from grants where id = $1").bind(id.to_owned()).execute(tx).await?;
    Ok(())
}

pub(crate) async fn delete_of(tx: &mut Tx, principal: &Principal) -> Result<(), DbError> {
    sqlx::query("delete from grants where principal_id = $1").bind(principal.to_string()).execute(tx).await?;
    Ok(())
}

fn grant(row: &sqlx::any::AnyRow) -> Result<Grant, DbError> {
    let text = |column: &'static str| row.try_get::<String, _>(column);
    Ok(Grant {
        id: text("id")?,
        principal: parse("grants", "principal_id", &text("principal_id")?)?,
        role: parse("grants", "role", &text("role")?)?,
        kind: parse("grants", "kind", &text("kind")?)?,
        pattern: parse("grants", "pattern", &text("pattern")?)?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        created_by: text("created_by")?,
    })
}
