//! Blobs: every way to push one, under either algorithm, and what is read, cut out and deleted afterwards.

use super::Suite;
use super::content::{Piece, random};
use anyhow::Result;
use conformance::registry::OCTETS;
use reqwest::Method;
use testing::Answer;
use testing::push::with_digest;

/// A blob that goes in one piece, one of three chunks, and one to cut ranges out of, in bytes.
const SMALL: usize = 512;
const CHUNK: usize = 1024;
const THREE_CHUNKS: usize = 3 * CHUNK - 5;
const RANGED: usize = 2 * CHUNK;

/// How the last bytes of chunks arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    ByPatch,
    ByPut,
}

/// Whether a chunk is tried before its turn, each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Kept,
    Tried,
}

impl Suite {
    pub async fn blobs(&mut self, algorithm: &str) -> Result<()> {
        let (small, large) = (|| Piece::random(algorithm, SMALL), || Piece::random(algorithm, THREE_CHUNKS));
        let answer = self.caller.get(&self.path(&format!("blobs/{}", small().digest))).await?;
        self.check(answer.status == 404, || format!("a blob that nobody pushed: {}", answer.status));
        let blob = small();
        self.push_by_post(&blob, true).await?;
        self.read_and_delete(&blob).await?;
        let blob = small();
        self.push(&blob, true).await?;
        self.read_and_delete(&blob).await?;
        let blob = small();
        self.push_chunks(&blob, Last::ByPatch, Order::Kept, true).await?;
        self.read_and_delete(&blob).await?;
        let blob = small();
        self.push_stream(&blob, true).await?;
        self.read_and_delete(&blob).await?;
        self.mounts(algorithm).await?;
        self.cancel().await?;
        for (last, order) in
            [(Last::ByPatch, Order::Kept), (Last::ByPut, Order::Kept), (Last::ByPatch, Order::Tried), (Last::ByPut, Order::Tried)]
        {
            let blob = large();
            self.push_chunks(&blob, last, order, true).await?;
            self.read_and_delete(&blob).await?;
        }
        self.ranges(algorithm).await?;
        for content in ["", "{}"] {
            let blob = Piece::new(algorithm, content);
            self.push(&blob, true).await?;
            self.read_and_delete(&blob).await?;
        }
        self.not_what_the_digest_says(algorithm).await
    }

    async fn not_what_the_digest_says(&mut self, algorithm: &str) -> Result<()> {
        let bad = || {
            let good = Piece::random(algorithm, THREE_CHUNKS);
            Piece { bytes: [good.bytes.as_ref(), b"oh no"].concat().into(), ..good }
        };
        self.push_by_post(&bad(), false).await?;
        self.push(&bad(), false).await?;
        self.push_chunks(&bad(), Last::ByPatch, Order::Kept, false).await?;
        self.push_chunks(&bad(), Last::ByPut, Order::Kept, false).await?;
        self.push_stream(&bad(), false).await
    }

    pub async fn begin(&mut self) -> Result<String> {
        let answer = self.caller.send(Method::POST, &self.path("blobs/uploads/"), &[], None).await?;
        self.check(answer.status == 202 && !answer.header("location").is_empty(), || format!("a session: {}", answer.status));
        Ok(answer.header("location").to_owned())
    }

    /// The end of a push: 201 with digest and a location that has the content, or 400.
    async fn ended(&mut self, answer: &Answer, blob: &Piece, good: bool, how: &str) -> Result<()> {
        let (status, expected) = (answer.status.as_u16(), if good { 201 } else { 400 });
        if !self.check(status == expected, || format!("{how} of {}: {status}, not {expected}", blob.digest)) || !good {
            return Ok(());
        }
        let digest = answer.header("docker-content-digest").to_owned();
        self.check(digest == blob.digest, || format!("{how} of {} says `{digest}`", blob.digest));
        let found = self.caller.get(answer.header("location")).await?;
        self.check(found.status == 200 && found.body == blob.bytes, || format!("the location of {}: {}", blob.digest, found.status));
        Ok(())
    }

    pub async fn push_by_post(&mut self, blob: &Piece, good: bool) -> Result<()> {
        let path = with_digest(&self.path("blobs/uploads/"), &blob.digest);
        let answer = self.caller.send(Method::POST, &path, &[OCTETS], Some(&blob.bytes)).await?;
        self.ended(&answer, blob, good, "one POST").await
    }

    pub async fn push(&mut self, blob: &Piece, good: bool) -> Result<()> {
        let location = with_digest(&self.begin().await?, &blob.digest);
        // The suite says no length for a body of none.
        let answer = if blob.bytes.is_empty() {
            self.caller.stream(Method::PUT, &location, OCTETS.1, &[]).await?
        } else {
            self.caller.send(Method::PUT, &location, &[OCTETS], Some(&blob.bytes)).await?
        };
        self.ended(&answer, blob, good, "POST and PUT").await
    }

    pub async fn push_stream(&mut self, blob: &Piece, good: bool) -> Result<()> {
        let location = self.begin().await?;
        let answer = self.caller.stream(Method::PATCH, &location, OCTETS.1, &blob.bytes).await?;
        self.check(answer.status == 202, || format!("a stream: {}", answer.status));
        let location = with_digest(answer.header("location"), &blob.digest);
        let answer = self.caller.send(Method::PUT, &location, &[OCTETS], None).await?;
        self.ended(&answer, blob, good, "a stream").await
    }

    async fn push_chunks(&mut self, blob: &Piece, last: Last, order: Order, good: bool) -> Result<()> {
        let mut location = self.begin().await?;
        let starts: Vec<usize> = (0..blob.bytes.len()).step_by(CHUNK).collect();
        for start in &starts {
            if order == Order::Tried {
                location = self.out_of_turn(&location, blob, *start, last).await?;
            }
            let is_last = start + CHUNK >= blob.bytes.len();
            if is_last && last == Last::ByPut {
                let answer = self.chunk(Method::PUT, &with_digest(&location, &blob.digest), blob, *start).await?;
                return self.ended(&answer, blob, good, "chunks").await;
            }
            let answer = self.chunk(Method::PATCH, &location, blob, *start).await?;
            self.check(answer.status == 202, || format!("a chunk from {start}: {}", answer.status));
            answer.header("location").clone_into(&mut location);
        }
        let answer = self.caller.send(Method::PUT, &with_digest(&location, &blob.digest), &[OCTETS], None).await?;
        self.ended(&answer, blob, good, "chunks").await
    }

    async fn chunk(&mut self, method: Method, location: &str, blob: &Piece, start: usize) -> Result<Answer> {
        let end = (start + CHUNK).min(blob.bytes.len());
        let range = format!("{start}-{}", end - 1);
        self.caller.send(method, location, &[OCTETS, ("content-range", &range)], Some(&blob.bytes[start..end])).await
    }

    /// The chunk after the next one, or the first when there is none: 416. The session then says how far it is, and where to go on.
    async fn out_of_turn(&mut self, location: &str, blob: &Piece, next: usize, last: Last) -> Result<String> {
        let wrong = if next + CHUNK < blob.bytes.len() { next + CHUNK } else { 0 };
        let closes = last == Last::ByPut && wrong + CHUNK >= blob.bytes.len();
        let (method, path) = if closes { (Method::PUT, with_digest(location, &blob.digest)) } else { (Method::PATCH, location.to_owned()) };
        let answer = self.chunk(method, &path, blob, wrong).await?;
        self.check(answer.status == 416, || format!("a chunk from {wrong} in place of {next}: {}", answer.status));
        let answer = self.caller.get(&path).await?;
        let held: Option<usize> = answer.header("range").strip_prefix("0-").and_then(|end| end.parse().ok());
        let holds = answer.status == 204 && held.is_some_and(|end| next == 0 || end + 1 == next);
        self.check(holds, || format!("a session of {next} bytes: {} {held:?}", answer.status));
        Ok(if answer.header("location").is_empty() { location } else { answer.header("location") }.to_owned())
    }

    /// With a source, without one, and of what is not there. A fallback to an upload where there is something to mount counts as
    /// skipped.
    async fn mounts(&mut self, algorithm: &str) -> Result<()> {
        for with_source in [true, false] {
            let blob = Piece::random(algorithm, SMALL);
            self.elsewhere();
            self.push(&blob, true).await?;
            self.elsewhere();
            let answer = self.mount(&blob, with_source).await?;
            self.ended(&answer, &blob, true, if with_source { "a mount" } else { "a mount without a source" }).await?;
            self.read_and_delete(&blob).await?;
            self.elsewhere();
            self.read_and_delete(&blob).await?;
            self.elsewhere();
        }
        let blob = Piece::random(algorithm, SMALL);
        let answer = self.mount(&blob, true).await?;
        self.check(answer.status == 202, || format!("a mount of what is not there: {}", answer.status));
        let location = with_digest(answer.header("location"), &blob.digest);
        let answer = self.caller.send(Method::PUT, &location, &[OCTETS], Some(&blob.bytes)).await?;
        self.ended(&answer, &blob, true, "what could not be mounted").await?;
        self.read_and_delete(&blob).await
    }

    /// The other repository takes the place of the first.
    fn elsewhere(&mut self) {
        std::mem::swap(&mut self.repository, &mut self.other);
    }

    async fn mount(&mut self, blob: &Piece, with_source: bool) -> Result<Answer> {
        let from = if with_source { format!("&from={}", self.other) } else { String::new() };
        let path = self.path(&format!("blobs/uploads/?mount={}{from}", blob.digest));
        self.caller.send(Method::POST, &path, &[], None).await
    }

    async fn cancel(&mut self) -> Result<()> {
        let location = self.begin().await?;
        let answer = self.caller.delete(&location).await?;
        self.check(answer.status == 204, || format!("a cancelled session: {}", answer.status));
        Ok(())
    }

    async fn ranges(&mut self, algorithm: &str) -> Result<()> {
        let blob = Piece::new(algorithm, random(RANGED));
        self.push(&blob, true).await?;
        let path = self.path(&format!("blobs/{}", blob.digest));
        for (range, part) in [
            ("500-1499", Some(500..1500)),
            ("500-", Some(500..RANGED)),
            ("-500", Some(RANGED - 500..RANGED)),
            ("2000-5000", Some(2000..RANGED)),
            ("500-0", None),
            ("5000-10000", None),
        ] {
            let answer = self.caller.send(Method::GET, &path, &[("range", &format!("bytes={range}"))], None).await?;
            let holds = part.as_ref().map_or(answer.status == 416, |part| {
                let place = format!("bytes {}-{}/{RANGED}", part.start, part.end - 1);
                let length = answer.header("content-length") == part.len().to_string();
                answer.status == 206 && answer.body == blob.bytes[part.clone()] && length && answer.header("content-range") == place
            });
            self.check(holds, || format!("range {range}: {} {}", answer.status, answer.header("content-range")));
        }
        self.delete_blob(&blob.digest).await
    }

    pub async fn read_blob(&mut self, blob: &Piece) -> Result<()> {
        let path = self.path(&format!("blobs/{}", blob.digest));
        for (method, body) in [(Method::HEAD, &[][..]), (Method::GET, &blob.bytes[..])] {
            let answer = self.caller.send(method.clone(), &path, &[], None).await?;
            let length = answer.header("content-length") == blob.bytes.len().to_string();
            let holds = answer.status == 200 && answer.body == body && length && answer.header("docker-content-digest") == blob.digest;
            self.check(holds, || format!("{method} {path}: {} {:?}", answer.status, answer.headers));
        }
        Ok(())
    }

    pub async fn delete_blob(&mut self, digest: &str) -> Result<()> {
        let path = self.path(&format!("blobs/{digest}"));
        let answer = self.caller.delete(&path).await?;
        self.check(matches!(answer.status.as_u16(), 202 | 404), || format!("DELETE {path}: {}", answer.status));
        let answer = self.caller.head(&path).await?;
        self.check(answer.status == 404, || format!("HEAD of the deleted {path}: {}", answer.status));
        Ok(())
    }

    async fn read_and_delete(&mut self, blob: &Piece) -> Result<()> {
        self.read_blob(blob).await?;
        self.delete_blob(&blob.digest).await
    }
}
