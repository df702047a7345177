//! All SQL of the control plane, one file per table. Functions take the transaction and never commit.
//!
//! Rows become the types of `model` here; a row that cannot is [`DbError::Inconsistent`], never a panic.

pub mod changes;
pub mod clusters;
pub mod deployments;
pub mod held;
pub mod instances;
pub mod service_deployments;
pub mod services;
pub mod task_definitions;
pub mod tasks;
pub mod unknown;

use model::Timestamp;
use platform::db::DbError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::any::AnyRow;

/// `value` as the JSON text of a column.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("maps here have text keys, and nothing else can fail")
}

/// A JSON column of `table`.
pub(crate) fn json<T: DeserializeOwned>(row: &AnyRow, table: &'static str, column: &'static str) -> Result<T, DbError> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| DbError::Inconsistent { table, column, value: error.to_string() })
}

/// A JSON column that may be null.
pub(crate) fn json_option<T: DeserializeOwned>(row: &AnyRow, table: &'static str, column: &'static str) -> Result<Option<T>, DbError> {
    let text: Option<String> = row.try_get(column)?;
    let parse =
        |text: String| serde_json::from_str(&text).map_err(|error| DbError::Inconsistent { table, column, value: error.to_string() });
    text.map(parse).transpose()
}

/// A text column of `table` that `parse` understands.
pub(crate) fn parsed<T>(
    row: &AnyRow,
    table: &'static str,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, DbError> {
    let text: String = row.try_get(column)?;
    parse(&text).ok_or(DbError::Inconsistent { table, column, value: text })
}

/// A text column that may be null.
pub(crate) fn parsed_option<T>(
    row: &AnyRow,
    table: &'static str,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, DbError> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| parse(&text).ok_or(DbError::Inconsistent { table, column, value: text })).transpose()
}

pub(crate) fn time(row: &AnyRow, column: &'static str) -> Result<Timestamp, DbError> {
    Ok(Timestamp::from_micros(row.try_get(column)?))
}

pub(crate) fn time_option(row: &AnyRow, column: &'static str) -> Result<Option<Timestamp>, DbError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_micros))
}
