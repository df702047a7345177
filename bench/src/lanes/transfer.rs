//! Blobs: pushed, pulled, deleted; few large ones or many small ones.

use super::{or_default, pool};
use crate::blob::Blob;
use crate::connection::Body;
use crate::options::{LaneOptions, MIB, Side, Upload};
use crate::report::Measured;
use anyhow::{Result, ensure};

const LARGE_BYTES: usize = 1024 * MIB;
const SMALL_BYTES: usize = 4096;
const SMALL_COUNT: usize = 2000;

/// Pushes; digests are computed before the clock starts.
pub fn push(side: &Side, options: &LaneOptions) -> Result<Measured> {
    let blobs = large(options);
    let how = match options.upload {
        Upload::Whole => "push",
        Upload::Chunks => "push in chunks",
    };
    let total = blobs.iter().map(|blob| blob.size).sum();
    let done = pool(side, options, how.to_owned(), blobs.len(), |connection, item| connection.push(&blobs[item]))?;
    Ok(Measured { bytes: Some(total), ..done })
}

pub fn pull(side: &Side, options: &LaneOptions) -> Result<Measured> {
    let blobs = large(options);
    let total = blobs.iter().map(|blob| blob.size).sum();
    let done = pool(side, options, "pull".to_owned(), blobs.len(), |connection, item| {
        let path = path_of(side, &blobs[item]);
        let pulled = connection.request("GET", &path, "", b"", Body::Discard)?.expect(200)?;
        ensure!(pulled.length == blobs[item].size, "{path}: {} bytes", pulled.length);
        Ok(())
    })?;
    Ok(Measured { bytes: Some(total), ..done })
}

pub fn small(side: &Side, options: &LaneOptions) -> Result<Measured> {
    let count = or_default(options.count, SMALL_COUNT);
    let seed = options.seed.wrapping_mul(1_000_003);
    let blobs = Blob::series(seed, count, options.size.unwrap_or(SMALL_BYTES));
    pool(side, options, "push of small blobs".to_owned(), count, |connection, item| connection.push(&blobs[item]))
}

/// Deletes what [`push`] with the same options pushed, so that a lane does not grow the disk under the next.
pub fn delete(side: &Side, options: &LaneOptions) -> Result<Measured> {
    let blobs = large(options);
    pool(side, options, "delete".to_owned(), blobs.len(), |connection, item| {
        connection.request("DELETE", &path_of(side, &blobs[item]), "", b"", Body::Keep)?.expect(202)?;
        Ok(())
    })
}

/// The blobs that [`push`] pushes.
pub fn large(options: &LaneOptions) -> Vec<Blob> {
    let count = options.count.max(options.parallel).max(1);
    Blob::series(options.seed, count, options.size.unwrap_or(LARGE_BYTES))
}

pub fn path_of(side: &Side, blob: &Blob) -> String {
    format!("/v2/{}/blobs/{}", side.repository, blob.digest)
}
