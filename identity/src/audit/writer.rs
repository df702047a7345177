//! The one task that writes segments: takes records off the channel ten times a second, appends and syncs them every second.
//!
//! The same pull of the same caller from the same address within that second is one line with how often it was: a benchmark or a
//! client that reads a blob in a thousand parts leaves a line a second. When the disk takes nothing, lines wait in memory; when that is
//! full they are counted as lost, and pulls go on.

use super::last_pulls::{self, LastPulls, PENDING_MAX};
use super::{Action, AuditConfig, Command, Content, Line, Outcome, Record, Who, segments};
use model::{Clock, Timestamp};
use platform::db::Db;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// How often the channel is emptied, and how often what came is written and synced.
const DRAIN_EVERY: Duration = Duration::from_millis(100);
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Lines gathered at most before they are written without waiting for the second to end.
const LINES_MAX: usize = 16_384;
/// Bytes of lines that wait for a disk that takes nothing.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A segment is followed by another when it is this large, or this old.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
const SEGMENT_AGE_MAX: Duration = Duration::from_hours(24);
/// How often the last pulls go to the database, and how often old segments are looked for.
const LAST_PULLS_EVERY: Duration = Duration::from_secs(10);
const RETAIN_EVERY: Duration = Duration::from_hours(1);

/// Where the writer listens.
pub(super) struct Inbox {
    pub records: mpsc::Receiver<Record>,
    pub commands: mpsc::Receiver<Command>,
    pub filling: Arc<Notify>,
}

pub(super) struct Writer {
    config: AuditConfig,
    db: Db,
    clock: Arc<dyn Clock>,
    batch: Batch,
    /// Lines that are not on disk yet, as text, and how many they are.
    waiting: Vec<u8>,
    waiting_lines: u64,
    /// Records lost since the last line that said so.
    lost: u64,
    segment: Option<Segment>,
    /// Every line has a later time than the one before.
    last_at: Timestamp,
    pulls: LastPulls,
    pulls_written: Instant,
    retained: Option<Instant>,
}

/// The segment that is written to.
struct Segment {
    file: File,
    start: Timestamp,
    bytes: u64,
}

/// What came within a second.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    /// Which entry holds what may come again.
    again: HashMap<Again, usize>,
}

struct Entry {
    record: Record,
    until: Timestamp,
    times: u64,
}

/// Caller by where it is in memory (compared, never followed; the entries keep it there), what was asked for, address and action.
type Again = (usize, Arc<Content>, Option<IpAddr>, Action);

impl Writer {
    /// Makes the folder. Reads nothing but its names.
    pub fn open(config: AuditConfig, db: Db, clock: Arc<dyn Clock>) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.folder)?;
        let newest = segments::list(&config.folder)?.last().map(|segment| segment.start);
        Ok(Self {
            // A clock that was set back must not mix up the order.
            last_at: newest.unwrap_or_default(),
            config,
            db,
            clock,
            batch: Batch::default(),
            waiting: Vec::new(),
            waiting_lines: 0,
            lost: 0,
            segment: None,
            pulls: LastPulls::default(),
            pulls_written: Instant::now(),
            retained: None,
        })
    }
}

impl Writer {
    /// Writes until it is told to end.
    pub async fn run(mut self, mut inbox: Inbox) {
        self.read_again().await;
        loop {
            let command = self.gather(&mut inbox).await;
            self.write().await;
            if command.is_some() || self.pulls.len() >= PENDING_MAX || self.pulls_written.elapsed() >= LAST_PULLS_EVERY {
                self.write_pulls().await;
            }
            self.retain().await;
            if inbox.records.is_closed() && inbox.records.is_empty() && command.is_none() {
                // Nobody holds the handle any more.
                return;
            }
            match command {
                // Whoever asked may have gone away.
                Some(Command::Flush(done)) => {
                    let _ = done.send(());
                }
                Some(Command::Close(done)) => {
                    let _ = done.send(());
                    return;
                }
                None => {}
            }
        }
    }

    /// Takes in what comes: until a second after the first record, until there is a lot of it, or until a command.
    async fn gather(&mut self, inbox: &mut Inbox) -> Option<Command> {
        if self.batch.entries.is_empty() {
            let period = if self.waiting.is_empty() && self.pulls.len() == 0 { RETAIN_EVERY } else { WRITE_EVERY };
            tokio::select! {
                // Cancel-safe per docs: both receivers lose nothing.
                record = inbox.records.recv() => self.batch.add(record?),
                command = inbox.commands.recv() => {
                    self.drain(inbox);
                    return command;
                }
                () = tokio::time::sleep(period) => return None,
            }
        }
        let end = Instant::now() + WRITE_EVERY;
        while Instant::now() < end && self.batch.entries.len() < LINES_MAX {
            tokio::select! {
                // Cancel-safe per docs: a bell that was rung stays rung, the receiver loses nothing.
                () = tokio::time::sleep(DRAIN_EVERY) => {}
                () = inbox.filling.notified() => {}
                command = inbox.commands.recv() => {
                    self.drain(inbox);
                    return command;
                }
            }
            self.drain(inbox);
        }
        None
    }

    /// Empties the channel as far as a batch goes.
    fn drain(&mut self, inbox: &mut Inbox) {
        for _ in 0..super::WAITING_MAX {
            match inbox.records.try_recv() {
                Ok(record) => self.batch.add(record),
                Err(_) => return,
            }
        }
    }

    /// Appends and syncs what was gathered, and what could not be written before.
    async fn write(&mut self) {
        for line in self.lines() {
            if self.waiting.len() >= WAITING_BYTES_MAX {
                self.lost += line.times;
                continue;
            }
            self.pulls.note(&line);
            line.write(&mut self.waiting);
            self.waiting_lines += 1;
        }
        if self.waiting.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.waiting);
        let (segment, folder, at) = (self.segment.take(), self.config.folder.clone(), self.last_at);
        let appended = tokio::task::spawn_blocking(move || {
            let done = append(&folder, segment, at, &text);
            (done, text)
        });
        match appended.await {
            Ok((Ok(segment), _)) => {
                self.segment = Some(segment);
                self.waiting_lines = 0;
            }
            Ok((Err(error), text)) => {
                tracing::error!(%error, lines = self.waiting_lines, "the audit cannot be written");
                self.waiting = text;
                // A disk that is full is not asked again and again.
                tokio::time::sleep(DRAIN_EVERY).await;
            }
            Err(_) => self.lost += std::mem::take(&mut self.waiting_lines),
        }
    }

    /// The batch as lines in the order of time, after a line about what was lost.
    fn lines(&mut self) -> Vec<Line> {
        let mut entries = self.batch.take();
        entries.sort_by_key(|entry| entry.record.at);
        let mut lines = Vec::with_capacity(entries.len() + 1);
        if self.lost > 0 && self.waiting.len() < WAITING_BYTES_MAX {
            lines.push(Line::lost(self.clock.now(), std::mem::take(&mut self.lost)));
        }
        lines.extend(entries.iter().map(|entry| Line {
            until: (entry.times > 1).then_some(entry.until),
            times: entry.times,
            ..Line::of(&entry.record)
        }));
        for line in &mut lines {
            line.at = line.at.max(Timestamp(self.last_at.0 + 1));
            self.last_at = line.at;
        }
        lines
    }

    async fn read_again(&mut self) {
        let folder = self.config.folder.clone();
        match tokio::task::spawn_blocking(move || last_pulls::read_again(&folder)).await {
            Ok(Ok(pulls)) => self.pulls = pulls,
            Ok(Err(error)) => tracing::warn!(%error, "the audit's segments cannot be read again"),
            Err(_) => {}
        }
    }

    /// The last pulls to the database, and how far that is to the folder.
    async fn write_pulls(&mut self) {
        self.pulls_written = Instant::now();
        if self.pulls.len() == 0 {
            return;
        }
        if let Err(error) = self.pulls.write(&self.db).await {
            tracing::warn!(%error, "the last pulls cannot be written");
            return;
        }
        // What still waits for the disk was noted, and will be noted again: harmless.
        let (folder, at) = (self.config.folder.clone(), self.last_at);
        let done = tokio::task::spawn_blocking(move || last_pulls::remember(&folder, at)).await;
        if let Ok(Err(error)) = done {
            tracing::warn!(%error, "the audit's folder cannot be written");
        }
    }

    /// Removes segments that are too old or too much, now and then.
    async fn retain(&mut self) {
        if self.retained.is_some_and(|at| at.elapsed() < RETAIN_EVERY) {
            return;
        }
        self.retained = Some(Instant::now());
        let (config, now) = (self.config.clone(), self.clock.now());
        let removed = tokio::task::spawn_blocking(move || {
            let list = segments::list(&config.folder)?;
            let gone = segments::too_many(&list, now, config.keep, config.bytes_max);
            list[..gone].iter().try_for_each(|segment| std::fs::remove_file(&segment.path)).map(|()| gone)
        });
        match removed.await {
            Ok(Ok(gone)) if gone > 0 => tracing::info!(segments = gone, "old segments of the audit removed"),
            Ok(Err(error)) => tracing::warn!(%error, "old segments of the audit cannot be removed"),
            _ => {}
        }
    }
}

impl Batch {
    fn add(&mut self, record: Record) {
        // Instances have no address in memory that stays; nobody is always the same.
        let who = match &record.who {
            Who::Caller(caller) => Arc::as_ptr(caller).addr(),
            Who::Nobody { .. } => 0,
            Who::Instance(_) => return self.push(record),
        };
        if record.outcome != Outcome::Done || !matches!(record.action, Action::Pull | Action::PullBlob) {
            return self.push(record);
        }
        let key: Again = (who, record.content.clone(), record.address, record.action);
        if let Some(at) = self.again.get(&key) {
            let entry = &mut self.entries[*at];
            entry.times += 1;
            entry.until = entry.until.max(record.at);
            entry.record.at = entry.record.at.min(record.at);
        } else {
            self.again.insert(key, self.entries.len());
            self.push(record);
        }
    }

    fn push(&mut self, record: Record) {
        self.entries.push(Entry { until: record.at, times: 1, record });
    }

    fn take(&mut self) -> Vec<Entry> {
        self.again.clear();
        std::mem::take(&mut self.entries)
    }
}

/// Appends `text` to the segment, or to a new one when there is none or it is full or old, and syncs it. When that fails nothing of
/// the text stays. Blocks.
fn append(folder: &Path, segment: Option<Segment>, at: Timestamp, text: &[u8]) -> io::Result<Segment> {
    let fits = |segment: &Segment| segment.bytes < SEGMENT_BYTES_MAX && at.since(segment.start) < SEGMENT_AGE_MAX;
    let mut segment = match segment.filter(fits) {
        Some(segment) => segment,
        None => begin(folder, text)?,
    };
    let written = segment.file.write_all(text).and_then(|()| segment.file.sync_data());
    if let Err(error) = written {
        // Cutting off takes no room. When even that fails, readers pass over what is left of a line.
        let _ = segment.file.set_len(segment.bytes);
        return Err(error);
    }
    segment.bytes += text.len() as u64;
    Ok(segment)
}

/// A new segment, named by the time of its first line, and known to the folder.
fn begin(folder: &Path, text: &[u8]) -> io::Result<Segment> {
    let start = Line::time_of(text).unwrap_or_default();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(segments::path_of(folder, start))?;
    File::open(folder)?.sync_all()?;
    let bytes = file.metadata()?.len();
    Ok(Segment { file, start, bytes })
}
