//! Garbage collection, online: no walk of storage, no moment in which nothing may be pushed.
//!
//! Whoever takes a reference away marks in the same transaction what lost it ([`crate::store`]); a pass reads these marks by an index
//! of nothing else. Each candidate is judged again in the transaction that takes it: a push, a mount or an index that came to need it
//! was either committed before, and is seen, or finds it gone and is refused. What a client was told is there (HEAD, mount, commit)
//! stays for a grace time from then.
//!
//! Manifests go first, then what repositories hold of blobs, then blobs, then files. The row of a blob becomes a row of `removals` in
//! one transaction; then the file goes, then that row. A pass that was cut off anywhere is taken up by the next one.

mod files;
pub mod judge;
mod preview;

pub use preview::{Entry, Plan, preview};

use crate::context::{Context, GcConfig};
use crate::error::RegistryError;
use crate::store::garbage::{self, Candidate};
use crate::store::manifests::{self, Since};
use crate::store::{blobs, collected, removals};
use crate::{blob, manifest};
use identity::Caller;
use judge::{Kind, Verdict, judge};
use model::Timestamp;
use model::access::Resource;
use platform::db::{DbError, Tx};
use platform::events::{self, NewEvent};
use platform::failpoint;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Candidates judged in one transaction.
const BATCH: u16 = 50;
/// Passes that one request makes at most.
const PASSES_MAX: usize = 200;
/// Shortest and longest time between two looks, in seconds.
const PERIOD_SECS_MIN: u64 = 1;
const PERIOD_SECS_MAX: u64 = 10 * 60;
/// How long it is known what was taken out of a repository.
const COLLECTED_KEPT: Duration = Duration::from_hours(7 * 24);

/// What a pass, or several, took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Rows that were looked at.
    pub candidates: u64,
    pub manifests: u64,
    /// Blobs that a repository held and that none of its manifests named.
    pub links: u64,
    pub blobs: u64,
    pub files: u64,
    /// Of the files.
    pub bytes: u64,
    /// Left alone because they are pinned.
    pub pinned: u64,
    /// Whether a batch was full, so that more may be due.
    pub more: bool,
}

impl Collected {
    fn add(&mut self, pass: &Self) {
        self.candidates += pass.candidates;
        self.manifests += pass.manifests;
        self.links += pass.links;
        self.blobs += pass.blobs;
        self.files += pass.files;
        self.bytes += pass.bytes;
        self.pinned += pass.pinned;
        self.more = pass.more;
    }
}

impl GcConfig {
    /// The moment at which the time of a candidate must have begun for it to be over; none: it never is.
    pub fn cutoff(&self, kind: Kind, now: Timestamp) -> Option<Timestamp> {
        match kind {
            Kind::Manifest => self.untagged.map(|untagged| now.minus(untagged)),
            Kind::Link | Kind::Blob => Some(now.minus(self.grace)),
        }
    }

    /// How often to look: often enough for what is due to be gone a little later.
    pub fn period(&self) -> Duration {
        let shortest = self.untagged.map_or(self.grace, |untagged| untagged.min(self.grace));
        period_of(shortest)
    }

    /// How often to look for uploads that nobody goes on with.
    pub fn uploads_period(&self) -> Duration {
        period_of(self.uploads)
    }

    /// From when the time of what a collected manifest kept counts. Its blobs are seen as in use until now. Manifests that it kept
    /// were as long without a tag as it was: they stay for the grace time only.
    fn since(&self, now: Timestamp) -> Since {
        let waited = self.untagged.map_or(Duration::ZERO, |untagged| untagged.saturating_sub(self.grace));
        Since { blobs: now, manifests: now.minus(waited) }
    }
}

fn period_of(time: Duration) -> Duration {
    (time / 4).clamp(Duration::from_secs(PERIOD_SECS_MIN), Duration::from_secs(PERIOD_SECS_MAX))
}

/// Passes until nothing is due any more, because `by` asked for it; runs to its end whether or not the caller waits.
pub async fn run(ctx: &Arc<Context>, by: &Caller) -> Result<Collected, RegistryError> {
    let (ctx, by) = (ctx.clone(), by.clone());
    let task = tokio::spawn(async move {
        let mut all = Collected::default();
        for _ in 0..PASSES_MAX {
            all.add(&pass(&ctx, Some(&by)).await?);
            if !all.more {
                break;
            }
        }
        Ok(all)
    });
    task.await.map_err(|_| RegistryError::Internal("a garbage collection did not end".into()))?
}

/// One bounded batch of each kind; `by` is who asked for it, none where the server began by itself.
pub async fn pass(ctx: &Arc<Context>, by: Option<&Caller>) -> Result<Collected, RegistryError> {
    let _turn = ctx.collecting.lock().await;
    let now = ctx.clock.now();
    let mut done = Collected::default();
    for kind in Kind::ALL {
        let Some(cutoff) = ctx.config.gc.cutoff(kind, now) else { continue };
        let due = garbage::due(&mut *ctx.db.read().await?, kind, cutoff, i64::from(BATCH)).await?;
        if due.is_empty() {
            continue;
        }
        done.more |= due.len() == usize::from(BATCH);
        let settled = settle(ctx, &due, cutoff, now, by).await?;
        failpoint::hit(match kind {
            Kind::Manifest => "gc-expired",
            Kind::Link => "gc-unlinked",
            Kind::Blob => "gc-condemned",
        });
        note(ctx, &mut done, kind, &settled);
    }
    let (files, bytes, more) = files::remove(ctx, i64::from(BATCH)).await?;
    done.files = files;
    done.bytes = bytes;
    done.more |= more;
    count(ctx, &done);
    Ok(done)
}

type Settled = Vec<(Candidate, Verdict)>;

/// Judges each candidate again and does as judged, all in one transaction.
async fn settle(
    ctx: &Context,
    due: &[Candidate],
    cutoff: Timestamp,
    now: Timestamp,
    by: Option<&Caller>,
) -> Result<Settled, RegistryError> {
    let (due, since, by) = (due.to_vec(), ctx.config.gc.since(now), by.cloned());
    ctx.db
        .write(move |tx| {
            let (due, by) = (due.clone(), by.clone());
            Box::pin(async move {
                let mut settled = Settled::with_capacity(due.len());
                for candidate in due {
                    let facts = garbage::facts(tx, &candidate).await?;
                    let verdict = judge(facts.as_ref(), cutoff);
                    act(tx, &candidate, &verdict, since, now).await?;
                    settled.push((candidate, verdict));
                }
                collected::forget(tx, now.minus(COLLECTED_KEPT)).await?;
                announce(tx, &settled, now, by.as_ref()).await?;
                Ok::<_, RegistryError>(settled)
            })
        })
        .await
}

async fn act(tx: &mut Tx, candidate: &Candidate, verdict: &Verdict, since: Since, now: Timestamp) -> Result<(), DbError> {
    match verdict {
        Verdict::Leave => Ok(()),
        Verdict::Keep(_) => garbage::set_since(tx, candidate, None).await,
        Verdict::Pinned(_) => garbage::set_since(tx, candidate, Some(now)).await,
        Verdict::Remove => match (candidate.kind, &candidate.place) {
            (Kind::Manifest, Some(place)) => {
                manifests::delete(tx, since, place.id, &candidate.digest).await?;
                collected::insert(tx, now, place.id, &candidate.digest).await
            }
            (Kind::Link, Some(place)) => {
                blobs::unlink(tx, candidate.since, place.id, &candidate.digest).await?;
                collected::insert(tx, now, place.id, &candidate.digest).await
            }
            _ => match blobs::delete(tx, &candidate.digest).await? {
                Some(removal) => removals::insert(tx, now, &removal.key, removal.size).await,
                None => Ok(()),
            },
        },
    }
}

/// One event for each repository that lost manifests, and one for all blobs that went.
async fn announce(tx: &mut Tx, settled: &Settled, now: Timestamp, by: Option<&Caller>) -> Result<(), DbError> {
    let principal = || by.map(|by| by.principal.to_string());
    let detail = || by.map_or_else(|| json!({}), Caller::detail);
    let removed = || settled.iter().filter(|(_, verdict)| *verdict == Verdict::Remove).map(|(candidate, _)| candidate);
    let mut repositories: Vec<&str> = removed().filter(|gone| gone.kind == Kind::Manifest).filter_map(repository).collect();
    repositories.sort_unstable();
    repositories.dedup();
    for name in repositories {
        let digests: Vec<&str> = removed().filter(|gone| repository(gone) == Some(name)).map(|gone| gone.digest.as_str()).collect();
        let mut detail = detail();
        detail["digests"] = json!(digests);
        let event = NewEvent {
            kind: "manifest.expired",
            principal: principal(),
            subject: Resource::repository(name).to_string(),
            message: format!("{} of {name} expired: no tag and no index names them", counted(digests.len(), "untagged manifest")),
            detail,
        };
        events::append(tx, now, event).await?;
    }
    let blobs: Vec<&Candidate> = removed().filter(|gone| gone.kind == Kind::Blob).collect();
    if !blobs.is_empty() {
        let bytes: u64 = blobs.iter().map(|gone| gone.bytes).sum();
        let digests: Vec<&str> = blobs.iter().map(|gone| gone.digest.as_str()).collect();
        let mut detail = detail();
        (detail["digests"], detail["bytes"]) = (json!(digests), bytes.into());
        let event = NewEvent {
            kind: "registry.collected",
            principal: principal(),
            subject: Resource::server().to_string(),
            message: format!("{} of {bytes} bytes collected: nothing refers to them", counted(blobs.len(), "blob")),
            detail,
        };
        events::append(tx, now, event).await?;
    }
    Ok(())
}

fn repository(candidate: &Candidate) -> Option<&str> {
    candidate.place.as_ref().map(|place| place.repository.as_str())
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// After the commit: memory forgets what went, and it is counted.
fn note(ctx: &Context, done: &mut Collected, kind: Kind, settled: &Settled) {
    done.candidates += settled.len() as u64;
    for (candidate, verdict) in settled {
        match (verdict, &candidate.place) {
            (Verdict::Pinned(_), _) => done.pinned += 1,
            (Verdict::Remove, Some(place)) if kind == Kind::Manifest => {
                manifest::forget(ctx, &place.repository, &candidate.digest);
                done.manifests += 1;
            }
            (Verdict::Remove, Some(place)) => {
                blob::forget(ctx, &place.repository, &candidate.digest);
                done.links += 1;
            }
            (Verdict::Remove, None) => done.blobs += 1,
            _ => {}
        }
    }
}

fn count(ctx: &Context, done: &Collected) {
    let metrics = &ctx.metrics;
    metrics.gc_passes.inc();
    metrics.gc_candidates.inc_by(done.candidates);
    metrics.manifests_expired.inc_by(done.manifests);
    metrics.links_collected.inc_by(done.links);
    metrics.blobs_collected.inc_by(done.blobs);
    metrics.files_removed.inc_by(done.files);
    metrics.file_bytes_removed.inc_by(done.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_time() {
        let now = Timestamp::from_secs(10_000_000);
        let config = GcConfig { grace: Duration::from_mins(1), untagged: Some(Duration::from_mins(10)), ..GcConfig::default() };
        let ago = |secs| Some(now.minus(Duration::from_secs(secs)));
        assert_eq!(config.cutoff(Kind::Manifest, now), ago(600));
        assert_eq!((config.cutoff(Kind::Link, now), config.cutoff(Kind::Blob, now)), (ago(60), ago(60)));
        assert_eq!(config.since(now), Since { blobs: now, manifests: now.minus(Duration::from_mins(9)) });
        let never = GcConfig { untagged: None, ..config };
        assert_eq!((never.cutoff(Kind::Manifest, now), never.since(now).manifests), (None, now));
        let short = GcConfig { untagged: Some(Duration::from_secs(1)), ..config };
        assert_eq!(short.since(now).manifests, now, "never in the future");
    }

    #[test]
    fn it_looks_often_enough_and_not_all_the_time() {
        let period = |grace, untagged: Option<u64>| {
            let times = GcConfig { grace: Duration::from_secs(grace), untagged: untagged.map(Duration::from_secs), ..GcConfig::default() };
            times.period().as_secs()
        };
        assert_eq!((period(43_200, Some(1_209_600)), period(40, None), period(1, None), period(400, Some(8))), (600, 10, 1, 2));
        let uploads = |secs| GcConfig { uploads: Duration::from_secs(secs), ..GcConfig::default() }.uploads_period().as_secs();
        assert_eq!((uploads(86_400), uploads(1), uploads(40)), (600, 1, 10));
    }
}
