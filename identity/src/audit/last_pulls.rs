//! The last pull of each tag by each principal, on its way to the database: gathered in memory, written every few seconds.
//!
//! Where in the segments that was last done is kept beside them, so that a start after a crash reads the rest again. Reading too much
//! again does no harm: the latest pull wins.

use super::segments::{self, Wanted};
use super::{Action, Line, Outcome};
use crate::store;
use crate::store::last_pulls::LastPull;
use model::Timestamp;
use platform::db::{Db, DbError};
use std::collections::HashMap;
use std::path::Path;

/// Pulls that wait at most; more are written at once.
pub(super) const PENDING_MAX: usize = 10_000;
/// Rows of one transaction.
const ROWS_MAX: usize = 500;
/// In the place of a principal, where everybody may pull.
const NOBODY: &str = "anonymous";
/// Says up to which time the segments are in the database.
const POSITION_FILE: &str = "position";
/// Bytes of segments read again at the start at most: far more than comes between two writes.
const AGAIN_BYTES_MAX: u64 = 256 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct LastPulls(HashMap<(String, String, String), LastPull>);

impl LastPulls {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes note of a line, if it is a pull.
    pub fn note(&mut self, line: &Line) {
        let is_pull = line.action == Action::Pull.as_str() && line.outcome == Outcome::Done.as_str();
        let Some(repository) = line.target.strip_prefix("repository:").filter(|_| is_pull) else { return };
        let principal = line.principal.clone().unwrap_or_else(|| NOBODY.to_owned());
        // A digest has a `:`, a tag never.
        let tag = line.reference.as_deref().filter(|reference| !reference.contains(':')).unwrap_or_default();
        let pull = LastPull {
            repository: repository.to_owned(),
            reference: tag.to_owned(),
            principal,
            at: line.until.unwrap_or(line.at),
            digest: line.digest.clone().unwrap_or_default(),
            credential: line.credential.clone().unwrap_or_default(),
            address: line.address.clone(),
        };
        let key = (pull.repository.clone(), pull.reference.clone(), pull.principal.clone());
        let last = self.0.entry(key).or_insert_with(|| pull.clone());
        if pull.at > last.at {
            *last = pull;
        }
    }

    /// Writes all that wait; those that cannot be written wait on.
    pub async fn write(&mut self, db: &Db) -> Result<(), DbError> {
        let mut rows: Vec<LastPull> = self.0.values().cloned().collect();
        // In one order everywhere, so that servers on one database do not wait for each other in a circle.
        rows.sort_by(|a, b| (&a.repository, &a.reference, &a.principal).cmp(&(&b.repository, &b.reference, &b.principal)));
        for chunk in rows.chunks(ROWS_MAX) {
            let chunk = chunk.to_vec();
            db.write(move |tx| {
                let chunk = chunk.clone();
                Box::pin(async move {
                    for pull in &chunk {
                        store::last_pulls::set(tx, pull).await?;
                    }
                    Ok::<_, DbError>(())
                })
            })
            .await?;
        }
        self.0.clear();
        Ok(())
    }
}

/// Remembers that everything up to `at` is in the database. Blocks.
pub(super) fn remember(folder: &Path, at: Timestamp) -> std::io::Result<()> {
    let new = folder.join("position.new");
    std::fs::write(&new, at.0.to_string())?;
    std::fs::rename(new, folder.join(POSITION_FILE))
}

/// What the segments hold that the database may not. Blocks.
pub(super) fn read_again(folder: &Path) -> std::io::Result<LastPulls> {
    let after = std::fs::read_to_string(folder.join(POSITION_FILE)).ok().and_then(|text| text.trim().parse().ok());
    let mut pulls = LastPulls::default();
    // Without a position nothing was ever written, or somebody took the file away: the newest segment is enough then.
    let newest = || segments::list(folder).ok().and_then(|list| list.last().map(|segment| Timestamp(segment.start.0 - 1)));
    let Some(after) = after.map(Timestamp).or_else(newest) else { return Ok(pulls) };
    let wanted =
        Wanted { needles: vec![b"\"action\":\"pull\"".to_vec()], matches: &|_| true, lines_max: usize::MAX, bytes_max: AGAIN_BYTES_MAX };
    for line in segments::later(folder, after, Timestamp(i64::MAX), &wanted)?.lines {
        pulls.note(&line);
    }
    Ok(pulls)
}
