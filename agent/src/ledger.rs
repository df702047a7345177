//! The ledger: every order taken and what came of it, one file per task, on disk before anything is done about it.
//!
//! A file is written beside, synced and renamed, so that `kill -9` at any point leaves the old or the new content. A file that cannot
//! be read is put aside: the containers of its task are then re-adopted by label when the server orders it again.

use crate::files::{self, PART_SUFFIX};
use crate::record::TaskRecord;
use model::ids::TaskId;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

const SERVER: &str = "server.json";

/// What is remembered of the server: an order with a lower epoch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServerState {
    pub epoch: i64,
}

/// Where files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// On a thread for what blocks: a disk may take its time.
    Beside,
    /// On the spot: for the simulation, where nothing may depend on how fast a thread is.
    InPlace,
}

/// What is written in one go.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub server: Option<ServerState>,
    pub records: Vec<TaskRecord>,
    pub forgotten: Vec<TaskId>,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Ledger {
    dir: PathBuf,
    writes: Writes,
}

/// Everything that was in it at the start.
#[derive(Debug, Default)]
pub struct Loaded {
    pub server: ServerState,
    pub records: Vec<TaskRecord>,
}

impl Ledger {
    /// The ledger for one control plane: another one's orders are not ours.
    pub fn open(data_dir: &Path, control_plane: &str, writes: Writes) -> io::Result<(Self, Loaded)> {
        let dir = data_dir.join("ledger").join(folder_name(control_plane));
        files::make_private_dir(&dir)?;
        let ledger = Self { dir, writes };
        let loaded = ledger.load()?;
        Ok((ledger, loaded))
    }

    /// Writes changes; returns when all are on disk.
    pub async fn write(&self, changes: Changes) -> io::Result<()> {
        match self.writes {
            Writes::InPlace => self.write_now(&changes),
            Writes::Beside => {
                let ledger = self.clone();
                let written = tokio::task::spawn_blocking(move || ledger.write_now(&changes));
                written.await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        }
    }

    fn write_now(&self, changes: &Changes) -> io::Result<()> {
        if let Some(server) = changes.server {
            self.save_server(server)?;
        }
        if !changes.records.is_empty() {
            self.save(&changes.records)?;
        }
        if changes.forgotten.is_empty() { Ok(()) } else { self.remove(&changes.forgotten) }
    }

    /// Writes records; returns when all are on disk.
    pub fn save(&self, records: &[TaskRecord]) -> io::Result<()> {
        for record in records {
            files::replace(&self.path(&record.order.task_id), &serde_json::to_vec(record)?)?;
        }
        files::sync_dir(&self.dir)
    }

    pub fn save_server(&self, server: ServerState) -> io::Result<()> {
        files::write_private(&self.dir.join(SERVER), &serde_json::to_vec(&server)?)
    }

    /// Forgets tasks.
    pub fn remove(&self, tasks: &[TaskId]) -> io::Result<()> {
        for task in tasks {
            match std::fs::remove_file(self.path(task)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        files::sync_dir(&self.dir)
    }

    fn path(&self, task: &TaskId) -> PathBuf {
        self.dir.join(format!("task-{task}.json"))
    }

    fn load(&self) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(PART_SUFFIX) {
                std::fs::remove_file(&path)?;
            } else if name == SERVER {
                loaded.server = read(&path)?.unwrap_or_default();
            } else if name.starts_with("task-") && path.extension().is_some_and(|kind| kind == "json") {
                loaded.records.extend(read::<TaskRecord>(&path)?);
            }
        }
        Ok(loaded)
    }
}

/// The content of one file; one that makes no sense is put aside and counts as absent.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match serde_json::from_slice(&std::fs::read(path)?) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            tracing::error!(file = %path.display(), "ledger file {} is damaged and put aside: {error}", path.display());
            std::fs::rename(path, path.with_extension("damaged"))?;
            Ok(None)
        }
    }
}

/// An id as a folder name, whatever characters it has.
fn folder_name(control_plane: &str) -> String {
    control_plane.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::order_of_two;

    #[test]
    fn what_was_saved_is_there_after_any_crash() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, loaded) = Ledger::open(dir.path(), "plane", Writes::Beside).unwrap();
        assert!(loaded.records.is_empty());
        let records: Vec<TaskRecord> = (1..4).map(|id| TaskRecord::new(order_of_two(id))).collect();
        ledger.save(&records).unwrap();
        ledger.save_server(ServerState { epoch: 7 }).unwrap();
        ledger.remove(&[records[0].order.task_id.clone()]).unwrap();
        // A crash in the middle of a write, and a damaged disk.
        std::fs::write(ledger.dir.join("task-x.json.part"), b"{").unwrap();
        std::fs::write(ledger.path(&TaskId::from_random(2)), b"{half").unwrap();

        let (again, loaded) = Ledger::open(dir.path(), "plane", Writes::Beside).unwrap();
        assert_eq!(loaded.server, ServerState { epoch: 7 });
        assert_eq!(loaded.records, [records[2].clone()]);
        assert!(!again.dir.join("task-x.json.part").exists());
        let (_, other) = Ledger::open(dir.path(), "other plane", Writes::Beside).unwrap();
        assert!(other.records.is_empty(), "another control plane has its own ledger");
    }
}
