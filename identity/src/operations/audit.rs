//! Reading the audit: for server admins, for everybody about themselves, and about a resource for who has `admin` on it.

use super::is_server_admin;
use crate::Identity;
use crate::audit::query::{Direction, Filter, Merged, Part, Place, Source, merge, of_event, of_line, of_push};
use crate::audit::segments::{self, Wanted};
use crate::caller::Caller;
use crate::decide::decide;
use crate::error::{IdentityError, Refusal};
use crate::snapshot::Snapshot;
use crate::store::last_pulls::{self, LastPull};
use model::Timestamp;
use model::access::{Resource, Role};
use platform::db::{DbError, Tx};
use platform::events::{self, Moment, OfSomebody};
use platform::exchange::{self, PushesOf};

/// Bytes of segments read for one page at most; the next page goes on from there.
const SCAN_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Rows of each table read for one page at most.
const SCAN_ROWS_MAX: i64 = 2000;

/// A page of records.
#[derive(Debug, Clone)]
pub struct Question {
    pub filter: Filter,
    /// Both inside.
    pub since: Timestamp,
    pub until: Timestamp,
    pub direction: Direction,
    /// Not inside.
    pub from: Place,
    pub limit: usize,
}

/// Whose last pulls.
#[derive(Debug, Clone)]
pub enum LastPullsOf {
    /// After this tag and principal.
    Repository(String, (String, String)),
    Principal(String),
}

/// Records in the direction asked for. What was handed over before the question is in it.
pub async fn find(identity: &Identity, caller: &Caller, question: Question) -> Result<Merged, Refusal> {
    require_reader(&*identity.snapshot().await?, caller, question.filter.principal.as_deref(), question.filter.target.as_deref())?;
    identity.audit().flush().await;
    let lines = lines(identity, question.clone()).await?;
    let mut connection = identity.0.db.read().await?;
    let events = events(&mut connection, &question).await?;
    let pushes = pushes(&mut connection, &question).await?;
    Ok(merge(vec![lines, events, pushes], question.limit, question.direction))
}

/// The last pulls of a repository by tag and principal, or of a principal with the newest first.
pub async fn last_pulls(identity: &Identity, caller: &Caller, of: &LastPullsOf, limit: usize) -> Result<Vec<LastPull>, Refusal> {
    let (principal, target) = match of {
        LastPullsOf::Repository(name, _) => (None, Some(format!("repository:{name}"))),
        LastPullsOf::Principal(principal) => (Some(principal.as_str()), None),
    };
    require_reader(&*identity.snapshot().await?, caller, principal, target.as_deref())?;
    identity.audit().flush().await;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut connection = identity.0.db.read().await?;
    Ok(match of {
        LastPullsOf::Repository(name, (tag, by)) => last_pulls::of_repository(&mut connection, name, (tag, by), limit).await?,
        LastPullsOf::Principal(principal) => last_pulls::of_principal(&mut connection, principal, limit).await?,
    })
}

/// Everybody reads what they did themselves; who has admin on a resource, what was done to it; server admins everything.
fn require_reader(snapshot: &Snapshot, caller: &Caller, principal: Option<&str>, target: Option<&str>) -> Result<(), Refusal> {
    let own = principal.is_some_and(|principal| principal == caller.principal.to_string());
    let resource = target.and_then(|target| target.parse::<Resource>().ok());
    let admin = resource.is_some_and(|resource| decide(snapshot, caller, Role::Admin, &resource).allowed);
    if own || admin || is_server_admin(snapshot, caller) {
        Ok(())
    } else {
        Err(Refusal::forbidden(&caller.principal, Role::Admin, &Resource::server()))
    }
}

impl Question {
    /// The moments between which `source` is read, both not inside.
    fn between(&self, source: Source) -> (Moment, Moment) {
        let (after, before) = ((Timestamp(self.since.0 - 1), i64::MAX), (Timestamp(self.until.0.saturating_add(1)), 0));
        match self.direction {
            Direction::Forward => (after.max(self.from.moment_in(source)), before),
            Direction::Back => (after, before.min(self.from.moment_in(source))),
        }
    }
}

/// What the segments of this server hold.
async fn lines(identity: &Identity, question: Question) -> Result<Part, Refusal> {
    let Some(folder) = identity.audit().folder() else { return Ok(Part::default()) };
    let search = tokio::task::spawn_blocking(move || {
        let matches = |line: &crate::audit::Line| question.filter.matches(line);
        let needles = question.filter.needles();
        let wanted = Wanted { needles, matches: &matches, lines_max: question.limit + 1, bytes_max: SCAN_BYTES_MAX };
        let ((after, _), (before, part)) = question.between(Source::Segments);
        match question.direction {
            Direction::Forward => segments::later(&folder, after, Timestamp(before.0.saturating_sub(1)), &wanted),
            // Each line has a time of its own: of the last time only what comes before that record is meant.
            Direction::Back => {
                segments::earlier(&folder, if part > 0 { Timestamp(before.0.saturating_add(1)) } else { before }, question.since, &wanted)
            }
        }
    });
    let found = search.await.map_err(|_| IdentityError::Interrupted)?.map_err(|error| {
        tracing::error!(%error, "the audit's segments cannot be read");
        IdentityError::Interrupted
    })?;
    let stopped_at = found.stopped_at.map(|at| Place { at, source: Source::Segments, sequence: 0 });
    Ok(Part { found: found.lines.into_iter().map(of_line).collect(), stopped_at })
}

async fn events(tx: &mut Tx, question: &Question) -> Result<Part, DbError> {
    let (after, before) = question.between(Source::Events);
    let Filter { principal, action, target, .. } = &question.filter;
    let of = OfSomebody { principal: principal.clone(), kind: action.clone().unwrap_or_default(), subject: target.clone() };
    let rows = match question.direction {
        Direction::Forward => events::later_of_somebody(tx, &of, after, before, SCAN_ROWS_MAX).await?,
        Direction::Back => events::earlier_of_somebody(tx, &of, after, before, SCAN_ROWS_MAX).await?,
    };
    Ok(part(rows.into_iter().map(of_event), question))
}

async fn pushes(tx: &mut Tx, question: &Question) -> Result<Part, DbError> {
    let (after, before) = question.between(Source::Pushes);
    let repository = question.filter.repository().map(str::to_owned);
    if repository.is_none() && question.filter.target.is_some() {
        return Ok(Part::default());
    }
    let of = PushesOf { principal: question.filter.principal.clone(), repository };
    let rows = match question.direction {
        Direction::Forward => exchange::later_pushes(tx, &of, after, before, SCAN_ROWS_MAX).await?,
        Direction::Back => exchange::earlier_pushes(tx, &of, after, before, SCAN_ROWS_MAX).await?,
    };
    Ok(part(rows.into_iter().map(of_push), question))
}

/// Rows of a table that match; when there may be more of them, up to where they were read.
fn part(rows: impl ExactSizeIterator<Item = crate::audit::query::Found>, question: &Question) -> Part {
    let full = rows.len() >= usize::try_from(SCAN_ROWS_MAX).unwrap_or(usize::MAX);
    let rows: Vec<_> = rows.collect();
    let stopped_at = rows.last().filter(|_| full).map(|row| row.place);
    Part { found: rows.into_iter().filter(|row| question.filter.matches(&row.line)).collect(), stopped_at }
}
