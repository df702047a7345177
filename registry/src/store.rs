//! Every SQL statement of the registry, one file per noun. A function takes the connection or transaction it is given and never
//! commits; rows become domain values here, and a row that cannot is an inconsistency, not a panic.

pub mod blobs;
pub mod collected;
pub mod garbage;
pub mod manifests;
pub mod removals;
pub mod repositories;
pub mod tags;
pub mod uploads;

use platform::db::DbError;
use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

/// Digests that one statement asks for.
const ASKED: usize = 8;

/// What a read may look at. Who holds no grant runs the very statements of those who do, and finds what is not there: the answer and
/// what it takes to give it are those of a name that nothing has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The repository, by a grant.
    Granted,
    /// The repository only when everybody may pull from it.
    PublicOnly,
}

impl Sight {
    fn as_bigint(self) -> i64 {
        i64::from(self == Self::Granted)
    }
}

/// Binds [`ASKED`] digests, of which there may be fewer: what is over asks for the last one again, so that one text serves all numbers.
fn bind_asked<'q>(query: Query<'q, Any, AnyArguments>, asked: &[&str]) -> Query<'q, Any, AnyArguments> {
    (0..ASKED).fold(query, |query, at| query.bind(asked.get(at).or(asked.last()).map(|digest| (*digest).to_owned())))
}

/// The error of a column that holds what it must not.
fn bad(table: &'static str, column: &'static str, value: &str) -> DbError {
    DbError::Inconsistent { table, column, value: value.chars().take(200).collect() }
}

#[cfg(test)]
mod tests;
