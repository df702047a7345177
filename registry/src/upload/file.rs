//! The file of one upload, open for one request: bytes are hashed as they are written. Everything here blocks.
//!
//! Writes go through the page cache on purpose: what was just pushed is what agents pull next.

use super::sessions::Held;
use crate::hash::Running;
use crate::storage::require_room_for;
use bytes::{Buf as _, Bytes};
use model::{Digest, name::Algorithm};
use std::fs::File;
use std::io::{self, IoSlice, Read as _, Seek as _, Write as _};
use std::sync::Arc;

/// Bytes read at a time when a file is hashed again.
const READ_BYTES: usize = 256 * 1024;
/// Slices given to the kernel in one write.
const SLICES_MAX: usize = 64;

pub struct UploadFile {
    sink: Sink,
    held: Held,
}

/// Where the bytes of an upload go; a second handle can be synced behind the writes.
#[derive(Clone)]
pub struct Sink(Arc<File>);

impl UploadFile {
    /// The file of an upload, opened to be appended to. When `held` is not known, or not what the file has, the file is hashed again.
    pub fn open(file: File, held: Option<Held>, algorithm: Algorithm) -> io::Result<Self> {
        let file = Arc::new(file);
        let length = file.metadata()?.len();
        let held = match held {
            Some(held) if held.length == length => held,
            _ => Held { length, hash: hash_of(&file, algorithm)? },
        };
        Ok(Self { sink: Sink(file), held })
    }

    /// The same file, after somebody else hashed and wrote more of it.
    pub fn with_held(self, held: Held) -> Self {
        Self { held, ..self }
    }

    pub fn length(&self) -> u64 {
        self.held.length
    }

    pub fn sink(&self) -> Sink {
        self.sink.clone()
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
        self.sink.0.set_len(to.length)?;
        self.held = to;
        Ok(())
    }

    /// The digest of all bytes. Under another algorithm than they came with, the file is read again.
    pub fn digest(&self, algorithm: Algorithm) -> io::Result<Digest> {
        if self.held.hash.algorithm() == algorithm {
            return Ok(self.held.hash.clone().finish());
        }
        Ok(hash_of(&self.sink.0, algorithm)?.finish())
    }

    /// Syncs the bytes to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.sink.sync()
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
    /// Writes `chunks` at the end of the file, which is `offset`. When that fails nothing of them is left.
    pub fn write(&self, mut chunks: Vec<Bytes>, offset: u64) -> io::Result<()> {
        require_room_for(&self.0, chunks.iter().map(|chunk| chunk.len() as u64).sum())?;
        write_all(&self.0, &mut chunks).or_else(|error| self.0.set_len(offset).and(Err(error)))
    }

    /// Syncs what is written to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
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

/// The hash of all that `file` has.
pub fn hash_of(mut file: &File, algorithm: Algorithm) -> io::Result<Running> {
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
    use crate::storage::{Storage, StorageKey};

    #[test]
    fn bytes_are_hashed_as_they_are_written_and_again_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let key = StorageKey::of_upload(&UploadId::from_random(1));
        let mut file = UploadFile::open(storage.append(&key).unwrap(), None, Algorithm::Sha256).unwrap();
        let chunks: Vec<Bytes> = (0..200u8).map(|n| Bytes::from(vec![n; usize::from(n)])).collect();
        let all: Vec<u8> = chunks.concat();
        file.append(chunks).unwrap();
        let point = file.held();
        file.append(vec![Bytes::from_static(b"more")]).unwrap();
        file.rewind(point).unwrap();
        assert_eq!(file.digest(Algorithm::Sha256).unwrap(), hash::digest(Algorithm::Sha256, &all));
        assert_eq!(file.digest(Algorithm::Sha512).unwrap(), hash::digest(Algorithm::Sha512, &all));
        let held = file.into_held();
        let again = UploadFile::open(storage.append(&key).unwrap(), None, Algorithm::Sha256).unwrap();
        assert_eq!(again.length(), held.length);
        assert_eq!(again.digest(Algorithm::Sha256).unwrap(), held.hash.finish());
    }

    #[test]
    fn what_is_held_is_not_believed_when_the_file_has_another_length() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let key = StorageKey::of_upload(&UploadId::from_random(2));
        let mut file = UploadFile::open(storage.append(&key).unwrap(), None, Algorithm::Sha256).unwrap();
        let stale = file.held();
        file.append(vec![Bytes::from_static(b"abc"), Bytes::new()]).unwrap();
        let file = UploadFile::open(storage.append(&key).unwrap(), Some(stale), Algorithm::Sha256).unwrap();
        assert_eq!(file.length(), 3);
        assert_eq!(file.digest(Algorithm::Sha256).unwrap(), hash::digest(Algorithm::Sha256, b"abc"));
    }
}
