//! The audit: who pulled, pushed, deleted, granted, from where, with which credential.
//!
//! Changes are events, written in the transaction that makes them (`platform::events`, `platform::exchange`). What changes nothing in
//! the database (pulls, refusals, wrong passwords) goes through here: a request hands its record to a bounded channel and goes on; one
//! task (`writer`) appends what came to segments on disk (`segments`) and syncs them every second. `operations::audit` reads both.
//!
//! A record is lost only when the process or the machine dies within a second of it, or when the disk takes no more for so long that
//! memory would not hold what waits: then what is lost is counted, and the count is a record itself. A request waits for the
//! writer only when the channel is full.

mod last_pulls;
mod line;
pub(crate) mod query;
pub(crate) mod segments;
mod writer;

pub use line::Line;

use crate::registry_token::RegistryCaller;
use model::{Clock, Timestamp};
use platform::db::Db;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};

/// Records that wait for the writer at most; it looks ten times a second, and at once when half of them are taken.
const WAITING_MAX: usize = 65_536;
/// Questions to the writer that wait at most.
const COMMANDS_MAX: usize = 64;

/// Where and for how long segments are kept.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Folder of the segments.
    pub folder: PathBuf,
    /// Segments whose records are older go; for ever when absent.
    pub keep: Option<Duration>,
    /// Bytes of all segments together; above that the oldest go.
    pub bytes_max: u64,
}

/// The handle. Before [`Audit::start`] records go nowhere.
#[derive(Debug, Default)]
pub struct Audit(OnceLock<Running>);

#[derive(Debug)]
struct Running {
    folder: PathBuf,
    records: mpsc::Sender<Record>,
    commands: mpsc::Sender<Command>,
    /// Rung when half of the room for records is taken.
    filling: Arc<Notify>,
}

/// What somebody asked of the server. As cheap as can be: the texts are shared with what served the request.
#[derive(Debug, Clone)]
pub struct Record {
    pub at: Timestamp,
    pub action: Action,
    pub outcome: Outcome,
    pub who: Who,
    pub address: Option<IpAddr>,
    pub content: Arc<Content>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A manifest was sent.
    Pull,
    /// A blob, or part of one, was sent.
    PullBlob,
    /// Content by digest, no tag: those that move tags are push events.
    Push,
    PushBlob,
    Delete,
    LogIn,
    /// Records before this one were lost.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done,
    /// Not granted.
    Denied,
    /// Granted, and a setting of the repository forbids it.
    Refused(Rule),
    /// The credentials were not right.
    Failed,
}

/// What a setting of a repository forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// To move or delete a tag that stays, or what it needs.
    TagImmutable,
    /// To hold more bytes than that.
    QuotaExceeded,
    /// To push a manifest before what it names.
    ContentMissing,
}

/// Who asked.
#[derive(Debug, Clone)]
pub enum Who {
    Caller(Arc<RegistryCaller>),
    /// The agent of a container instance, by its certificate.
    Instance(Arc<str>),
    /// Nobody that is known.
    Nobody {
        credential: &'static str,
    },
}

/// What was acted on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Content {
    /// `repository:acme/web`
    pub target: String,
    /// Tag or digest, as it was asked for.
    pub reference: Option<String>,
    pub digest: Option<String>,
}

/// What the writer is asked to do besides writing.
#[derive(Debug)]
enum Command {
    /// Write what came before, the last pulls too.
    Flush(oneshot::Sender<()>),
    /// The same, and end.
    Close(oneshot::Sender<()>),
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::PullBlob => "pull.blob",
            Self::Push => "push.manifest",
            Self::PushBlob => "push.blob",
            Self::Delete => "delete",
            Self::LogIn => "login",
            Self::Lost => "audit.lost",
        }
    }
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Refused(_) => "refused",
            Self::Failed => "failed",
        }
    }

    /// Which rule it was, of what was refused by one.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Refused(Rule::TagImmutable) => Some("tag_immutable"),
            Self::Refused(Rule::QuotaExceeded) => Some("quota_exceeded"),
            Self::Refused(Rule::ContentMissing) => Some("content_missing"),
            Self::Done | Self::Denied | Self::Failed => None,
        }
    }
}

impl Content {
    pub fn of_repository(repository: &str, reference: Option<String>, digest: Option<String>) -> Self {
        Self { target: format!("repository:{repository}"), reference, digest }
    }
}

impl Audit {
    /// Starts the writer. Once; it runs until [`Audit::close`].
    pub fn start(&self, config: AuditConfig, db: Db, clock: Arc<dyn Clock>) -> std::io::Result<()> {
        let (records, inbox) = mpsc::channel(WAITING_MAX);
        let (commands, questions) = mpsc::channel(COMMANDS_MAX);
        let filling = Arc::new(Notify::new());
        let folder = config.folder.clone();
        let writer = writer::Writer::open(config, db, clock)?;
        if self.0.set(Running { folder, records, commands, filling: filling.clone() }).is_ok() {
            tokio::spawn(writer.run(writer::Inbox { records: inbox, commands: questions, filling }));
        }
        Ok(())
    }

    /// Hands `record` to the writer. Takes no lock and waits only when the writer is far behind.
    pub async fn record(&self, record: Record) {
        let Some(running) = self.0.get() else { return };
        match running.records.try_send(record) {
            Ok(()) => {
                if running.records.capacity() < WAITING_MAX / 2 {
                    running.filling.notify_one();
                }
            }
            Err(TrySendError::Full(record)) => {
                running.filling.notify_one();
                // Closed meanwhile: the process ends.
                let _ = running.records.send(record).await;
            }
            Err(TrySendError::Closed(_)) => {}
        }
    }

    /// Returns when every record handed over before is on disk and the last pulls are in the database.
    pub async fn flush(&self) {
        self.ask(Command::Flush).await;
    }

    /// As [`Audit::flush`], and ends the writer. Called when nobody is served any more.
    pub async fn close(&self) {
        self.ask(Command::Close).await;
    }

    /// Folder of the segments, once started.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.0.get().map(|running| running.folder.clone())
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let Some(running) = self.0.get() else { return };
        let (done, answer) = oneshot::channel();
        if running.commands.send(command(done)).await.is_ok() {
            // An error means that the writer ended, with everything written.
            let _ = answer.await;
        }
    }
}

#[cfg(test)]
mod tests;
