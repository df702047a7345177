//! Table `team_members`: who is in which team.

use super::parse;
use model::Timestamp;
use model::access::{Membership, Principal};
use platform::db::{DbError, Tx};
use sqlx::Row;

pub(crate) async fn all(tx: &mut Tx) -> Result<Vec<Membership>, DbError> {
    let rows = sqlx::query("select team_id, member_id from team_members").fetch_all(tx).await?;
    rows.iter()
        .map(|row| {
            let (team, member): (String, String) = (row.try_get("team_id")?, row.try_get("member_id")?);
            Ok(Membership { team: parse("team_members", "team_id", &team)?, member: parse("team_members", "member_id", &member)? })
        })
        .collect()
}

/// Whether it was not there before.
pub(crate) async fn insert(tx: &mut Tx, membership: &Membership, now: Timestamp, by: &str) -> Result<bool, DbError> {
    let done =
        sqlx::query("insert into team_members (team_id, member_id, created_at, created_by) values ($1, $2, $3, $4) on conflict do nothing")
            .bind(membership.team.to_string())
            .bind(membership.member.to_string())
            .bind(now.as_micros())
            .bind(by.to_owned())
            .execute(tx)
            .await?;
    Ok(done.rows_affected() > 0)
}

/// Whether there was one to delete.
pub(crate) async fn delete(tx: &mut Tx, membership: &Membership) -> Result<bool, DbError> {
    let done = sqlx::query("delete from team_members where team_id = $1 and member_id = $2")
        .bind(membership.team.to_string())
        .bind(membership.member.to_string())
        .execute(tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Every membership of a principal that goes, and of a team that goes.
pub(crate) async fn delete_of(tx: &mut Tx, principal: &Principal) -> Result<(), DbError> {
    sqlx::query("delete from team_members where team_id = $1 or member_id = $1").bind(principal.to_string()).execute(tx).await?;
    Ok(())
}
