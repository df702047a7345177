//! Every SQL statement of the registry, one file per noun. A function takes the connection or transaction it is given and never
//! commits; rows become domain values here, and a row that cannot is an inconsistency, not a panic.

pub mod blobs;
pub mod garbage;
pub mod manifests;
pub mod removals;
pub mod repositories;
pub mod tags;
pub mod uploads;

use platform::db::DbError;

/// The error of a column that holds what it must not.
fn bad(table: &'static str, column: &'static str, value: &str) -> DbError {
    DbError::Inconsistent { table, column, value: value.chars().take(200).collect() }
}

#[cfg(test)]
mod tests;
