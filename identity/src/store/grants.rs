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

/// How an enabled principal comes to `admin` on the server: a grant of its own or of a team of its.
pub(crate) struct ServerAdmin {
    pub grant_id: String,
    pub principal: Principal,
    /// Whose grant it is: the principal itself or a team.
    pub holder: Principal,
    pub pattern: Pattern,
}

pub(crate) async fn server_admins(tx: &mut Tx) -> Result<Vec<ServerAdmin>, DbError> {
    let rows = sqlx::query(
        "select g.id, p.id as principal_id, g.principal_id as holder_id, g.pattern from grants g \
         join principals p on p.id = g.principal_id where g.kind = 'server' and g.role = 'admin' and p.disabled = 0 \
         union all \
         select g.id, p.id as principal_id, g.principal_id as holder_id, g.pattern from grants g \
         join team_members m on m.team_id = g.principal_id join principals p on p.id = m.member_id \
         where g.kind = 'server' and g.role = 'admin' and p.disabled = 0",
    )
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let text = |column: &'static str| row.try_get::<String, _>(column);
            Ok(ServerAdmin {
                grant_id: text("id")?,
                principal: parse("principals", "id", &text("principal_id")?)?,
                holder: parse("grants", "principal_id", &text("holder_id")?)?,
                pattern: parse("grants", "pattern", &text("pattern")?)?,
            })
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
