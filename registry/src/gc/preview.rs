//! What a collection would take now, and why: the same queries and the same judgement, and nothing is written.

use super::judge::{Kind, Verdict, judge};
use crate::context::Context;
use crate::error::RegistryError;
use crate::store::garbage::{self, Candidate, Waiting};
use crate::store::removals;
use model::Timestamp;
use platform::db::Tx;
use std::collections::HashSet;

/// Candidates of each kind that are listed.
const LISTED_MAX: i64 = 1000;

/// What would become of the candidates that are due.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub entries: Vec<Entry>,
    /// Whether there are more than were listed.
    pub more: bool,
    /// Bytes that files give back at once.
    pub bytes: u64,
    /// Bytes that only manifests hold which go now: theirs after the grace time.
    pub bytes_later: u64,
    /// Files whose blobs are gone already.
    pub files: u64,
    /// Unused blobs, and untagged manifests, whose time is not over.
    pub waiting_blobs: Waiting,
    pub waiting_manifests: Waiting,
}

/// One candidate.
#[derive(Debug, Clone)]
pub struct Entry {
    pub candidate: Candidate,
    pub verdict: Verdict,
    /// Bytes that are given back: of a manifest those that only it holds, later; of a link those of the blob when it goes with it.
    pub frees: u64,
}

pub async fn preview(ctx: &Context) -> Result<Plan, RegistryError> {
    let now = ctx.clock.now();
    let mut tx = ctx.db.read().await?;
    let mut plan = Plan::default();
    let mut counted = HashSet::new();
    for kind in Kind::ALL {
        let cutoff = ctx.config.gc.cutoff(kind, now);
        // Of what never goes everything waits.
        let waiting = garbage::waiting(&mut tx, kind, cutoff.unwrap_or_default()).await?;
        match kind {
            Kind::Manifest => plan.waiting_manifests = waiting,
            Kind::Link => plan.waiting_blobs = waiting,
            Kind::Blob => {}
        }
        let Some(cutoff) = cutoff else { continue };
        let due = garbage::due(&mut tx, kind, cutoff, LISTED_MAX).await?;
        plan.more |= i64::try_from(due.len()).unwrap_or(LISTED_MAX) == LISTED_MAX;
        for candidate in due {
            let entry = entry(&mut tx, candidate, cutoff, &mut counted).await?;
            match kind {
                Kind::Manifest => plan.bytes_later += entry.frees,
                Kind::Link | Kind::Blob => plan.bytes += entry.frees,
            }
            plan.entries.push(entry);
        }
    }
    let queued = removals::some(&mut tx, LISTED_MAX).await?;
    plan.files = queued.len() as u64;
    plan.bytes += queued.iter().map(|removal| removal.size).sum::<u64>();
    Ok(plan)
}

async fn entry(tx: &mut Tx, candidate: Candidate, cutoff: Timestamp, counted: &mut HashSet<model::Digest>) -> Result<Entry, RegistryError> {
    let verdict = judge(garbage::facts(tx, &candidate).await?.as_ref(), cutoff);
    let mut frees = 0;
    if verdict == Verdict::Remove {
        frees = match candidate.kind {
            Kind::Manifest => garbage::bytes_only_of(tx, &candidate).await?,
            Kind::Link if garbage::goes_with_its_links(tx, &candidate.digest, cutoff).await? => candidate.bytes,
            Kind::Link => 0,
            Kind::Blob => candidate.bytes,
        };
        // A blob goes once, however many repositories let go of it.
        if candidate.kind != Kind::Manifest && frees > 0 && !counted.insert(candidate.digest.clone()) {
            frees = 0;
        }
    }
    Ok(Entry { candidate, verdict, frees })
}
