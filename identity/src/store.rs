//! All SQL of identity, one file per table. Functions take the transaction and never commit; rows are private to each file.

pub(crate) mod access_keys;
pub(crate) mod authorities;
pub(crate) mod certificates;
pub(crate) mod grants;
pub(crate) mod join_tokens;
pub(crate) mod last_pulls;
pub(crate) mod principals;
pub(crate) mod team_members;
pub(crate) mod tokens;
pub(crate) mod version;

use crate::snapshot::Snapshot;
use platform::db::{Db, DbError};

/// Runs of a load whose tables kept changing underneath, at most.
const LOAD_RUNS_MAX: u32 = 20;

/// Loads everything as of one version. Every change raises the version in its transaction, so that equal versions before and after
/// mean that nothing changed in between.
pub(crate) async fn load(db: &Db) -> Result<Snapshot, DbError> {
    let mut tx = db.read().await?;
    for _ in 0..LOAD_RUNS_MAX {
        let version = version::current(&mut tx).await?;
        let principals = principals::all(&mut tx).await?;
        let grants = grants::all(&mut tx).await?;
        let members = team_members::all(&mut tx).await?;
        let tokens = tokens::all(&mut tx).await?;
        let access_keys = access_keys::all(&mut tx).await?;
        if version::current(&mut tx).await? == version {
            return Ok(Snapshot::new(version, principals, grants, members, tokens, access_keys));
        }
    }
    Err(DbError::Conflict)
}

/// Parses the text of a column, or says which column is wrong.
pub(crate) fn parse<T: std::str::FromStr>(table: &'static str, column: &'static str, text: &str) -> Result<T, DbError> {
    text.parse().map_err(|_| DbError::Inconsistent { table, column, value: text.chars().take(100).collect() })
}
