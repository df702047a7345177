//! Table `authorities`: the private certificate authority, its key sealed.

use model::Timestamp;
use platform::db::{DbError, Tx};
use sqlx::Row;

/// The one authority there is in this version of Berth.
const ID: &str = "agents";

pub(crate) struct StoredAuthority {
    pub certificate: String,
    pub key_sealed: Vec<u8>,
}

pub(crate) async fn get(tx: &mut Tx) -> Result<Option<StoredAuthority>, DbError> {
    let row = sqlx::query("select certificate, key_sealed from authorities where id = $1").bind(ID).fetch_optional(tx).await?;
    row.map(|row| Ok(StoredAuthority { certificate: row.try_get("certificate")?, key_sealed: row.try_get("key_sealed")? })).transpose()
}

/// Inserts unless there is one; of two servers that start together the first one's stays.
pub(crate) async fn insert_if_absent(tx: &mut Tx, certificate: String, key_sealed: Vec<u8>, now: Timestamp) -> Result<(), DbError> {
    sqlx::query("insert into authorities (id, certificate, key_sealed, created_at) values ($1, $2, $3, $4) on conflict do nothing")
        .bind(ID)
        .bind(certificate)
        .bind(key_sealed)
        .bind(now.as_micros())
        .execute(tx)
        .await?;
    Ok(())
}
