//! Blob files in a local folder: `blobs/<two hex digits>/<upload id>`. A file is written under this key from its first byte, so that
//! a commit moves nothing; which digest it has is in the database. Until a row names it, it has a mark, `blobs/new/<upload id>`.
//!
//! All functions here block: call them from a blocking thread.

use crate::route::UploadId;
use model::Timestamp;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The folder of marks.
const NEW: &str = "new";
/// Space that uploads leave free on the disk, where the database is too, so that a disk full of layers still takes what is decided:
/// one part in so many of the disk, and no more than so many bytes.
const RESERVE_PARTS: u64 = 20;
const RESERVE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Where blob files are.
#[derive(Debug, Clone)]
pub struct Storage {
    root: PathBuf,
}

/// Where one blob is inside [`Storage`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StorageKey(String);

/// A file that no row may know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    pub upload: UploadId,
    /// When the file was last written to.
    pub written_at: Timestamp,
}

impl StorageKey {
    pub fn of_upload(id: &UploadId) -> Self {
        Self(format!("{}/{id}", &id.as_str()[..2]))
    }

    /// A key as it stands in the database. Only what [`Self::of_upload`] makes is accepted, so that no row leads out of the folder.
    pub fn parse(text: &str) -> Option<Self> {
        let (folder, id) = text.split_once('/')?;
        let id: UploadId = id.parse().ok()?;
        (id.as_str()[..2] == *folder).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl Storage {
    /// Makes the folders once; on later starts this costs one look.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let root = data_dir.join("blobs");
        if !root.join("ff").is_dir() {
            std::fs::create_dir_all(&root)?;
            for folder in 0..=255u8 {
                match std::fs::create_dir(root.join(format!("{folder:02x}"))) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            sync_folder(&root)?;
            sync_folder(data_dir)?;
        }
        std::fs::create_dir_all(root.join(NEW))?;
        Ok(Self { root })
    }

    pub fn path(&self, key: &StorageKey) -> PathBuf {
        self.root.join(&key.0)
    }

    /// Opens a finished blob for reading.
    pub fn read(&self, key: &StorageKey) -> io::Result<File> {
        File::open(self.path(key))
    }

    /// Opens the file of an upload that no row may know of, as [`Self::append`] does. One that is made gets a mark, before it: a second
    /// name of it, or a file of its own where files have one name only.
    pub fn begin(&self, key: &StorageKey) -> io::Result<File> {
        let (path, mark) = (self.path(key), self.mark(key));
        match OpenOptions::new().append(true).read(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => return file,
        }
        let file = OpenOptions::new().create(true).append(true).read(true).open(&mark)?;
        match std::fs::hard_link(&mark, &path) {
            Ok(()) => Ok(file),
            Err(_) => self.append(key),
        }
    }

    /// Takes the mark of a file away, once a row knows it; that there is none is fine.
    pub fn unmark(&self, key: &StorageKey) -> io::Result<()> {
        remove_if_there(&self.mark(key))
    }

    /// All that is marked. Foreign names are passed over.
    pub fn marked(&self) -> io::Result<Vec<Marked>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.root.join(NEW))? {
            let entry = entry?;
            let Some(upload) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            match written_at(&entry.path()) {
                Ok(written_at) => found.push(Marked { upload, written_at }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn mark(&self, key: &StorageKey) -> PathBuf {
        self.root.join(NEW).join(key.name())
    }

    /// Opens the file of an upload to go on at its end, making it if need be.
    pub fn append(&self, key: &StorageKey) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).read(true).open(self.path(key))
    }

    /// Refuses `more` bytes that do not fit on the disk beside its reserve.
    pub fn require_room(&self, more: u64) -> io::Result<()> {
        require_room_of(&rustix::fs::statvfs(&self.root)?, more)
    }

    /// Syncs the folder a new file stands in, so that its name survives a power loss.
    pub fn sync_folder_of(&self, key: &StorageKey) -> io::Result<()> {
        sync_folder(self.path(key).parent().unwrap_or(&self.root))
    }

    /// Bytes held by an upload's file; zero when there is none yet.
    pub fn len(&self, key: &StorageKey) -> io::Result<u64> {
        match std::fs::metadata(self.path(key)) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Removes a file and says how many bytes it had; that it is gone already is fine.
    pub fn remove_known(&self, key: &StorageKey) -> io::Result<u64> {
        let length = self.len(key)?;
        self.remove(key).map(|()| length)
    }

    /// Syncs the folders of files that were removed, each once.
    pub fn sync_folders_of<'k>(&self, keys: impl Iterator<Item = &'k StorageKey>) -> io::Result<()> {
        let folders: BTreeSet<PathBuf> = keys.filter_map(|key| self.path(key).parent().map(Path::to_owned)).collect();
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    /// Removes a file; that it is gone already is fine.
    pub fn remove(&self, key: &StorageKey) -> io::Result<()> {
        remove_if_there(&self.path(key))
    }
}

/// When a file was last written to.
pub fn written_at(path: &Path) -> io::Result<Timestamp> {
    let since_epoch = std::fs::metadata(path)?.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Refuses `more` bytes of `file` that do not fit on its disk beside the reserve.
pub fn require_room_for(file: &File, more: u64) -> io::Result<()> {
    require_room_of(&rustix::fs::fstatvfs(file)?, more)
}

fn require_room_of(disk: &rustix::fs::StatVfs, more: u64) -> io::Result<()> {
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    if has_room(bytes(disk.f_blocks), bytes(disk.f_bavail), more) { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

/// Whether `more` bytes fit on a disk of `size` bytes with `free` ones, beside its reserve. Not every file system says its size.
fn has_room(size: u64, free: u64, more: u64) -> bool {
    let reserve = (size / RESERVE_PARTS).min(RESERVE_BYTES_MAX);
    size == 0 || more == 0 || free.saturating_sub(reserve) >= more
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_lead_out_of_the_folder() {
        let key = StorageKey::of_upload(&UploadId::from_random(7));
        assert_eq!(StorageKey::parse(key.as_str()), Some(key));
        for bad in ["../etc/passwd", "00/../../x", "00", "01/00000000000000000000000000000007", "/00000000000000000000000000000007"] {
            assert_eq!(StorageKey::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_that_no_row_knows_is_marked_until_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (key, other) = (StorageKey::of_upload(&UploadId::from_random(7)), StorageKey::of_upload(&UploadId::from_random(8)));
        io::Write::write_all(&mut storage.begin(&key).unwrap(), b"abc").unwrap();
        io::Write::write_all(&mut storage.begin(&key).unwrap(), b"de").unwrap();
        io::Write::write_all(&mut storage.append(&other).unwrap(), b"known").unwrap();
        std::fs::write(folder.path().join("blobs/new/foreign"), "").unwrap();
        assert_eq!(io::read_to_string(storage.read(&key).unwrap()).unwrap(), "abcde");
        let marked: Vec<UploadId> = storage.marked().unwrap().into_iter().map(|marked| marked.upload).collect();
        assert_eq!(marked, [UploadId::from_random(7)]);
        storage.unmark(&key).unwrap();
        storage.unmark(&key).unwrap();
        assert!(storage.marked().unwrap().is_empty());
        // A known file is not marked again.
        assert_eq!(storage.begin(&key).unwrap().metadata().unwrap().len(), 5);
        assert!(storage.marked().unwrap().is_empty());
    }

    #[test]
    fn a_reserve_stays_free_on_every_disk() {
        const MIB: u64 = 1024 * 1024;
        for (size, free, more, fits) in [
            (100 * MIB, 100 * MIB, 95 * MIB, true),
            (100 * MIB, 100 * MIB, 95 * MIB + 1, false),
            (100 * MIB, 5 * MIB, 1, false),
            (100 * MIB, 0, 0, true),
            (1 << 50, 256 * MIB, 1, false),
            (1 << 50, 257 * MIB, MIB, true),
            (0, 0, MIB, true),
        ] {
            assert_eq!(has_room(size, free, more), fits, "{more} bytes on {free} of {size}");
        }
    }

    #[test]
    fn a_file_stands_under_its_key_from_the_first_byte() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let key = StorageKey::of_upload(&UploadId::from_random(u128::MAX));
        assert_eq!(storage.len(&key).unwrap(), 0);
        io::Write::write_all(&mut storage.append(&key).unwrap(), b"abc").unwrap();
        io::Write::write_all(&mut storage.append(&key).unwrap(), b"de").unwrap();
        storage.sync_folder_of(&key).unwrap();
        assert_eq!(storage.len(&key).unwrap(), 5);
        assert_eq!(io::read_to_string(storage.read(&key).unwrap()).unwrap(), "abcde");
        storage.remove(&key).unwrap();
        storage.remove(&key).unwrap();
        assert!(Storage::open(folder.path()).is_ok());
    }
}
