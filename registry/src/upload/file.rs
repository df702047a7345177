//! The file of one upload, open for one request: bytes are hashed as they are written. Everything here blocks.
//!
//! Large writes that begin and end on a block go to the disk directly, past the page cache: no copy into it, nothing to write back
//! later, and an upload does not push out what downloads are served from. Everything else, and file systems that cannot, take the
//! usual way; the kernel keeps the two coherent, and they never share a block that is not yet on disk.

use super::sessions::Held;
use crate::hash::Running;
use crate::storage::{Storage, StorageKey};
use bytes::{Buf as _, Bytes};
use model::{Digest, name::Algorithm};
use std::fs::File;
use std::io::{self, IoSlice, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Bytes read at a time when a file is hashed again.
const READ_BYTES: usize = 256 * 1024;
/// Slices given to the kernel in one write.
const SLICES_MAX: usize = 64;
/// What direct writes are aligned to, in bytes: a page, and the logical block of any disk.
pub const BLOCK_BYTES: u64 = 4096;
/// Smallest direct write, in bytes.
const DIRECT_BYTES_MIN: u64 = 64 * 1024;

pub struct UploadFile {
    sink: Sink,
    held: Held,
}

/// Where the bytes of an upload go.
pub struct Sink {
    file: Arc<File>,
    /// The same file, past the page cache; none where the file system cannot.
    direct: Option<File>,
    /// An aligned copy of what is written directly; empty until the first such write.
    staging: Vec<u8>,
}

impl UploadFile {
    /// Opens or makes the file. When `held` is not known, or not what the file has, the file is hashed again.
    pub fn open(storage: &Storage, key: &StorageKey, held: Option<Held>, algorithm: Algorithm) -> io::Result<Self> {
        let file = Arc::new(storage.append(key)?);
        let length = file.metadata()?.len();
        let held = match held {
            Some(held) if held.length == length => held,
            _ => Held { length, hash: hash_of(&file, algorithm)? },
        };
        Ok(Self { sink: Sink { file, direct: storage.direct(key).ok(), staging: Vec::new() }, held })
    }

    pub fn of_parts(sink: Sink, held: Held) -> Self {
        Self { sink, held }
    }

    /// For who writes and hashes in two threads.
    pub fn into_parts(self) -> (Sink, Held) {
        (self.sink, self.held)
    }

    pub fn length(&self) -> u64 {
        self.held.length
    }

    /// A second handle, when what is written has to be synced behind the writes.
    pub fn needs_write_back(&self) -> Option<Arc<File>> {
        self.sink.direct.is_none().then(|| self.sink.file.clone())
    }

    /// Where the upload stands; the point to go back to.
    pub fn held(&self) -> Held {
        self.held.clone()
    }

    pub fn into_held(self) -> Held {
        self.held
    }

    /// Puts `chunks` at the end. When that fails nothing of them is left.
    pub fn append(&mut self, chunks: Vec<Bytes>) -> io::Result<()> {
        let held = self.held.clone().with(&chunks);
        self.sink.write(chunks, self.held.length)?;
        self.held = held;
        Ok(())
    }

    /// Goes back to an earlier point.
    pub fn rewind(&mut self, to: Held) -> io::Result<()> {
        self.sink.file.set_len(to.length)?;
        self.held = to;
        Ok(())
    }

    /// The digest of all bytes. Under another algorithm than they came with, the file is read again.
    pub fn digest(&self, algorithm: Algorithm) -> io::Result<Digest> {
        if self.held.hash.algorithm() == algorithm {
            return Ok(self.held.hash.clone().finish());
        }
        Ok(hash_of(&self.sink.file, algorithm)?.finish())
    }

    /// Syncs the bytes to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.sink.file.sync_data()
    }
}

impl Held {
    /// As it stands after `chunks`.
    pub fn with(mut self, chunks: &[Bytes]) -> Self {
        for chunk in chunks {
            self.hash.update(chunk);
            self.length += chunk.len() as u64;
        }
        self
    }
}

impl Sink {
    /// Writes `chunks` at `offset`, the end of the file. When that fails nothing of them is left.
    pub fn write(&mut self, mut chunks: Vec<Bytes>, offset: u64) -> io::Result<()> {
        let bytes: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let aligned = offset.is_multiple_of(BLOCK_BYTES) && bytes.is_multiple_of(BLOCK_BYTES) && bytes >= DIRECT_BYTES_MIN;
        let written = match &self.direct {
            Some(direct) if aligned => write_directly(direct, &mut self.staging, &chunks, offset),
            _ => write_all(&self.file, &mut chunks),
        };
        written.or_else(|error| self.file.set_len(offset).and(Err(error)))
    }
}

fn write_all(mut file: &File, chunks: &mut [Bytes]) -> io::Result<()> {
    let mut at = 0;
    while at < chunks.len() {
        let slices: Vec<IoSlice> = chunks[at..].iter().take(SLICES_MAX).map(|chunk| IoSlice::new(chunk)).collect();
        let mut written = match file.write_vectored(&slices) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if written == 0 && chunks[at..].iter().any(|chunk| !chunk.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while at < chunks.len() && written >= chunks[at].len() {
            written -= chunks[at].len();
            at += 1;
        }
        if at < chunks.len() {
            chunks[at].advance(written);
        }
    }
    Ok(())
}

/// Writes `chunks` at `offset` from a buffer whose address is a multiple of the block.
fn write_directly(file: &File, staging: &mut Vec<u8>, chunks: &[Bytes], offset: u64) -> io::Result<()> {
    let bytes: usize = chunks.iter().map(Bytes::len).sum();
    let block = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
    if staging.len() < bytes + block {
        staging.resize(bytes + block, 0);
    }
    let first = staging.as_ptr().align_offset(block);
    let mut at = first;
    for chunk in chunks {
        staging[at..at + chunk.len()].copy_from_slice(chunk);
        at += chunk.len();
    }
    file.write_all_at(&staging[first..at], offset)
}

fn hash_of(mut file: &File, algorithm: Algorithm) -> io::Result<Running> {
    let mut hash = Running::new(algorithm);
    file.rewind()?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash),
            Ok(filled) => hash.update(&buffer[..filled]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;
    use crate::route::UploadId;

    #[test]
    fn bytes_are_hashed_as_they_are_written_and_again_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let key = StorageKey::of_upload(&UploadId::from_random(1));
        let mut file = UploadFile::open(&storage, &key, None, Algorithm::Sha256).unwrap();
        let chunks: Vec<Bytes> = (0..200u8).map(|n| Bytes::from(vec![n; usize::from(n)])).collect();
        let all: Vec<u8> = chunks.concat();
        file.append(chunks).unwrap();
        let point = file.held();
        file.append(vec![Bytes::from_static(b"more")]).unwrap();
        file.rewind(point).unwrap();
        assert_eq!(file.digest(Algorithm::Sha256).unwrap(), hash::digest(Algorithm::Sha256, &all));
        assert_eq!(file.digest(Algorithm::Sha512).unwrap(), hash::digest(Algorithm::Sha512, &all));
        let held = file.into_held();
        let again = UploadFile::open(&storage, &key, None, Algorithm::Sha256).unwrap();
        assert_eq!(again.length(), held.length);
        assert_eq!(again.digest(Algorithm::Sha256).unwrap(), held.hash.finish());
    }

    #[test]
    fn direct_and_usual_writes_make_one_file() {
        // Not in a tmpfs, which has no direct writes.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let key = StorageKey::of_upload(&UploadId::from_random(3));
        let mut file = UploadFile::open(&storage, &key, None, Algorithm::Sha256).unwrap();
        let mut all = Vec::new();
        let block = usize::try_from(BLOCK_BYTES).unwrap();
        for (n, length) in [32 * block, 5, 20 * block, 2 * block - 5, 64 * block, 16 * block, 7].into_iter().enumerate() {
            let bytes = vec![u8::try_from(n).unwrap() + 1; length];
            all.extend_from_slice(&bytes);
            let half = Bytes::copy_from_slice(&bytes[..length / 3]);
            file.append(vec![half, Bytes::copy_from_slice(&bytes[length / 3..])]).unwrap();
        }
        file.sync().unwrap();
        assert_eq!(file.digest(Algorithm::Sha256).unwrap(), hash::digest(Algorithm::Sha256, &all));
        assert!(std::fs::read(storage.path(&key)).unwrap() == all);
    }

    #[test]
    fn what_is_held_is_not_believed_when_the_file_has_another_length() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let key = StorageKey::of_upload(&UploadId::from_random(2));
        let mut file = UploadFile::open(&storage, &key, None, Algorithm::Sha256).unwrap();
        let stale = file.held();
        file.append(vec![Bytes::from_static(b"abc"), Bytes::new()]).unwrap();
        let file = UploadFile::open(&storage, &key, Some(stale), Algorithm::Sha256).unwrap();
        assert_eq!(file.length(), 3);
        assert_eq!(file.digest(Algorithm::Sha256).unwrap(), hash::digest(Algorithm::Sha256, b"abc"));
    }
}
