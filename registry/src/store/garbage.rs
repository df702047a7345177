//! What the garbage collector asks: which rows may be garbage since when (each by the index of just those rows), and what still needs
//! one of them. The columns that say since when are written by `blobs`, `manifests` and `tags`, with what takes a reference away.

use super::bad;
use crate::gc::judge::{Facts, Kind, Need};
use model::{Digest, RepositoryName, Timestamp};
use platform::db::{DbError, Tx};
use platform::exchange;
use sqlx::Row;
use sqlx::any::AnyRow;

/// A row that may be garbage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub kind: Kind,
    /// Where it stands; a blob that no repository holds stands nowhere.
    pub place: Option<Place>,
    pub digest: Digest,
    /// Of a link: those of its blob.
    pub bytes: u64,
    pub since: Timestamp,
}

/// A repository, by id and by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub id: i64,
    pub repository: RepositoryName,
}

/// What is in the queue and not yet due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    pub count: u64,
    pub bytes: u64,
}

// The joins are written in the order in which they are to be made: beginning with the few rows of the partial index.
const MANIFESTS_DUE: &str = "select m.repository_id, r.name as repository, m.digest, cast(length(m.body) as bigint) as bytes, \
     m.untagged_since as since from manifests m cross join repositories r \
     where m.untagged_since <= $1 and r.id = m.repository_id order by m.untagged_since limit $2";
const LINKS_DUE: &str = "select l.repository_id, r.name as repository, l.digest, b.size as bytes, l.unused_since as since \
     from repository_blobs l cross join repositories r cross join blobs b \
     where l.unused_since <= $1 and r.id = l.repository_id and b.digest = l.digest order by l.unused_since limit $2";
const BLOBS_DUE: &str =
    "select digest, size as bytes, unlinked_since as since from blobs where unlinked_since <= $1 order by unlinked_since limit $2";

const GOES_WITH_ITS_LINKS: &str = "select cast(case \
         when exists (select 1 from repository_blobs l where l.digest = $1 and (l.unused_since is null or l.unused_since > $2)) then 0 \
         when exists (select 1 from manifest_references e where e.child = $1) then 0 else 1 end as bigint) as goes";
const BYTES_ONLY_OF: &str = "select cast(coalesce(sum(b.size), 0) as bigint) as bytes from manifest_references n cross join blobs b \
     where n.repository_id = $1 and n.digest = $2 and b.digest = n.child and not exists (select 1 from manifest_references o \
         where o.child = n.child and not (o.repository_id = $1 and o.digest = $2))";

/// Every statement of this file, for the test that looks at their plans.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let of_kind = |kind| [due_statement(kind), waiting_statement(kind), facts_statement(kind).0, since_statement(kind)];
    Kind::ALL.into_iter().flat_map(of_kind).chain([GOES_WITH_ITS_LINKS, BYTES_ONLY_OF]).collect()
}

const fn waiting_statement(kind: Kind) -> &'static str {
    match kind {
        Kind::Manifest => {
            "select count(*) as count, cast(coalesce(sum(length(body)), 0) as bigint) as bytes from manifests where untagged_since > $1"
        }
        Kind::Link => {
            "select count(*) as count, cast(coalesce(sum(b.size), 0) as bigint) as bytes \
             from repository_blobs l cross join blobs b where l.unused_since > $1 and b.digest = l.digest"
        }
        Kind::Blob => "select count(*) as count, cast(coalesce(sum(size), 0) as bigint) as bytes from blobs where unlinked_since > $1",
    }
}

const fn due_statement(kind: Kind) -> &'static str {
    match kind {
        Kind::Manifest => MANIFESTS_DUE,
        Kind::Link => LINKS_DUE,
        Kind::Blob => BLOBS_DUE,
    }
}

/// What may be garbage since `cutoff` or earlier, oldest first, at most `limit`.
pub async fn due(tx: &mut Tx, kind: Kind, cutoff: Timestamp, limit: i64) -> Result<Vec<Candidate>, DbError> {
    let rows = sqlx::query(due_statement(kind)).bind(cutoff.as_micros()).bind(limit).fetch_all(tx).await?;
    rows.iter().map(|row| candidate(kind, row)).collect()
}

/// What is in the queue after `cutoff`.
pub async fn waiting(tx: &mut Tx, kind: Kind, cutoff: Timestamp) -> Result<Waiting, DbError> {
    let row = sqlx::query(waiting_statement(kind)).bind(cutoff.as_micros()).fetch_one(tx).await?;
    Ok(Waiting { count: unsigned(&row, "count")?, bytes: unsigned(&row, "bytes")? })
}

/// What is known of a candidate now; none when its row is gone.
pub async fn facts(tx: &mut Tx, candidate: &Candidate) -> Result<Option<Facts>, DbError> {
    let mut facts = facts_by(tx, candidate).await?;
    if let (Some(facts), Some(place)) = (&mut facts, &candidate.place) {
        facts.pinned_by = exchange::pinned_by(tx, place.repository.as_str(), &candidate.digest).await?;
    }
    Ok(facts)
}

async fn facts_by(tx: &mut Tx, candidate: &Candidate) -> Result<Option<Facts>, DbError> {
    let (statement, needs) = facts_statement(candidate.kind);
    let row = sqlx::query(statement).bind(id(candidate)).bind(candidate.digest.to_string()).fetch_optional(tx).await?;
    row.map(|row| facts_of(&row, needs)).transpose()
}

/// What is asked of a candidate, and what the numbers of its answer mean, from one on. What is looked for is written as parameters:
/// PostgreSQL would fetch whole tables to answer `exists` about a column.
const fn facts_statement(kind: Kind) -> (&'static str, [Need; 3]) {
    match kind {
        Kind::Manifest => (
            "select m.untagged_since as since, cast(case \
                 when exists (select 1 from tags t where t.repository_id = $1 and t.digest = $2) then 1 \
                 when exists (select 1 from manifest_references e where e.child = $2 and e.repository_id = $1) then 2 \
                 when m.subject = (select s.digest from manifests s where s.repository_id = $1 and s.digest = m.subject) then 3 \
                 else 0 end as bigint) as need \
             from manifests m where m.repository_id = $1 and m.digest = $2",
            [Need::Tag, Need::Index, Need::Subject],
        ),
        Kind::Link => (
            "select l.unused_since as since, cast(case \
                 when exists (select 1 from manifest_references e where e.child = $2 and e.repository_id = $1) then 1 \
                 else 0 end as bigint) as need \
             from repository_blobs l where l.repository_id = $1 and l.digest = $2",
            [Need::Manifest; 3],
        ),
        // It stands nowhere, and -1 is the id of nowhere.
        Kind::Blob => (
            "select b.unlinked_since as since, cast(case \
                 when exists (select 1 from repository_blobs l where l.digest = $2) then 1 \
                 when exists (select 1 from manifest_references e where e.child = $2) then 2 \
                 else 0 end as bigint) as need \
             from blobs b where b.digest = $2 and $1 = -1",
            [Need::Repository, Need::Manifest, Need::Manifest],
        ),
    }
}

/// Writes since when a candidate's time counts; none: something needs it.
pub async fn set_since(tx: &mut Tx, candidate: &Candidate, since: Option<Timestamp>) -> Result<(), DbError> {
    sqlx::query(since_statement(candidate.kind))
        .bind(id(candidate))
        .bind(candidate.digest.to_string())
        .bind(since.map(Timestamp::as_micros))
        .execute(tx)
        .await?;
    Ok(())
}

const fn since_statement(kind: Kind) -> &'static str {
    match kind {
        Kind::Manifest => "update manifests set untagged_since = $3 where repository_id = $1 and digest = $2",
        Kind::Link => "update repository_blobs set unused_since = $3 where repository_id = $1 and digest = $2",
        Kind::Blob => "update blobs set unlinked_since = $3 where digest = $2 and $1 = -1",
    }
}

/// Whether the blob goes when all its links go whose time is over at `cutoff`.
pub async fn goes_with_its_links(tx: &mut Tx, digest: &Digest, cutoff: Timestamp) -> Result<bool, DbError> {
    let row = sqlx::query(GOES_WITH_ITS_LINKS).bind(digest.to_string()).bind(cutoff.as_micros()).fetch_one(tx).await?;
    Ok(row.try_get::<i64, _>("goes")? == 1)
}

/// Bytes of the blobs that this manifest needs and no other.
pub async fn bytes_only_of(tx: &mut Tx, candidate: &Candidate) -> Result<u64, DbError> {
    let row = sqlx::query(BYTES_ONLY_OF).bind(id(candidate)).bind(candidate.digest.to_string()).fetch_one(tx).await?;
    unsigned(&row, "bytes")
}

fn id(candidate: &Candidate) -> i64 {
    candidate.place.as_ref().map_or(-1, |place| place.id)
}

fn candidate(kind: Kind, row: &AnyRow) -> Result<Candidate, DbError> {
    let digest: String = row.try_get("digest")?;
    let place = match kind {
        Kind::Blob => None,
        Kind::Manifest | Kind::Link => {
            let name: String = row.try_get("repository")?;
            let repository = name.parse().map_err(|_| bad("repositories", "name", &name))?;
            Some(Place { id: row.try_get("repository_id")?, repository })
        }
    };
    Ok(Candidate {
        kind,
        place,
        digest: digest.parse().map_err(|_| bad("blobs", "digest", &digest))?,
        bytes: unsigned(row, "bytes")?,
        since: Timestamp::from_micros(row.try_get("since")?),
    })
}

/// `need` counts from one; zero is nothing.
fn facts_of(row: &AnyRow, needs: [Need; 3]) -> Result<Facts, DbError> {
    let since: Option<i64> = row.try_get("since")?;
    let need: i64 = row.try_get("need")?;
    let need = usize::try_from(need).ok().and_then(|need| need.checked_sub(1)).and_then(|at| needs.get(at)).copied();
    Ok(Facts { since: since.map(Timestamp::from_micros), need, pinned_by: None })
}

fn unsigned(row: &AnyRow, column: &'static str) -> Result<u64, DbError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| bad("garbage", column, &value.to_string()))
}
