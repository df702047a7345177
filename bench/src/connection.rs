//! One blocking HTTP/1.1 connection: just enough of the protocol for registries, with bodies streamed or discarded.

use crate::blob::Blob;
use crate::options::{Drain, LaneOptions, MIB, Side, Upload};
use crate::stream::Stream;
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

/// Blobs up to here go out with their head in one segment, in bytes.
const ONE_SEGMENT_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Stream>,
    host: String,
    repository: String,
    authorization: String,
    upload: Upload,
    chunk: usize,
    drain: Drain,
    scratch: Vec<u8>,
}

/// What came back. `body` is empty when it was discarded; `length` counts either way.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub location: String,
    pub body: Vec<u8>,
    pub length: usize,
}

/// What the client does with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Keep,
    Discard,
    /// The answer to HEAD.
    Absent,
}

#[derive(Debug, Default)]
struct Head {
    status: u16,
    location: String,
    length: Option<usize>,
    chunked: bool,
}

impl Connection {
    pub fn open(side: &Side, options: &LaneOptions) -> Result<Self> {
        Ok(Self {
            stream: BufReader::with_capacity(64 * 1024, Stream::open(side)?),
            host: side.url.clone(),
            repository: side.repository.clone(),
            authorization: side.authorization(),
            upload: options.upload,
            chunk: options.chunk,
            drain: options.drain,
            scratch: Vec::new(),
        })
    }

    /// A request with a small body or none.
    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8], what: Body) -> Result<Response> {
        let length = if body.is_empty() && method == "GET" { None } else { Some(body.len()) };
        let mut bytes = self.head(method, path, headers, length);
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes)?;
        self.response(what)
    }

    /// Pushes a blob in the manner of the options.
    pub fn push(&mut self, blob: &Blob) -> Result<()> {
        let uploads = format!("/v2/{}/blobs/uploads/", self.repository);
        let started = self.request("POST", &uploads, "", b"", Body::Keep)?.expect(202)?;
        let ended = match self.upload {
            Upload::Whole => self.put_whole(&started.location, blob)?,
            Upload::Chunks => self.put_chunks(started.location, blob)?,
        };
        ended.expect(201)?;
        Ok(())
    }

    /// Pushes a blob in one PUT whose pieces go out `pace` apart, as over a slow line. When the body began and when it ended.
    pub fn push_slowly(&mut self, blob: &Blob, piece: usize, pace: Duration) -> Result<(Instant, Instant)> {
        let uploads = format!("/v2/{}/blobs/uploads/", self.repository);
        let started = self.request("POST", &uploads, "", b"", Body::Keep)?.expect(202)?;
        let head = self.head("PUT", &with_digest(&started.location, &blob.digest), OCTETS, Some(blob.size));
        self.stream.get_mut().write_all(&head)?;
        let began = Instant::now();
        let mut due = began;
        for start in (0..blob.size).step_by(piece) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            blob.write_range(self.stream.get_mut(), start, (start + piece).min(blob.size))?;
            due += pace;
        }
        let ended = Instant::now();
        self.response(Body::Keep)?.expect(201)?;
        Ok((began, ended))
    }

    fn put_whole(&mut self, location: &str, blob: &Blob) -> Result<Response> {
        let mut head = self.head("PUT", &with_digest(location, &blob.digest), OCTETS, Some(blob.size));
        if blob.size <= ONE_SEGMENT_BYTES_MAX {
            blob.write_range(&mut head, 0, blob.size)?;
            self.stream.get_mut().write_all(&head)?;
        } else {
            self.stream.get_mut().write_all(&head)?;
            blob.write_range(self.stream.get_mut(), 0, blob.size)?;
        }
        self.response(Body::Keep)
    }

    fn put_chunks(&mut self, mut location: String, blob: &Blob) -> Result<Response> {
        for start in (0..blob.size).step_by(self.chunk) {
            let end = (start + self.chunk).min(blob.size);
            let headers = format!("{OCTETS}Content-Range: {start}-{}\r\n", end - 1);
            let head = self.head("PATCH", path_of(&location), &headers, Some(end - start));
            self.stream.get_mut().write_all(&head)?;
            blob.write_range(self.stream.get_mut(), start, end)?;
            location = self.response(Body::Keep)?.expect(202)?.location;
        }
        self.request("PUT", &with_digest(&location, &blob.digest), "", b"", Body::Keep)
    }

    fn head(&self, method: &str, path: &str, headers: &str, length: Option<usize>) -> Vec<u8> {
        let length = length.map(|length| format!("Content-Length: {length}\r\n")).unwrap_or_default();
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{}{headers}{length}\r\n", self.host, self.authorization).into_bytes()
    }

    fn response(&mut self, what: Body) -> Result<Response> {
        let head = loop {
            let head = self.read_head()?;
            // 100 Continue is no answer yet.
            if head.status >= 200 {
                break head;
            }
        };
        let mut response = Response { status: head.status, location: head.location, ..Response::default() };
        if what == Body::Absent || matches!(head.status, 204 | 304) {
            return Ok(response);
        }
        if head.chunked {
            self.read_chunks(&mut response, what)?;
        } else {
            self.read_body(head.length.unwrap_or(0), &mut response, what)?;
        }
        Ok(response)
    }

    fn read_head(&mut self) -> Result<Head> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(|| format!("no status in {status:?}"))?;
        let mut head = Head { status, ..Head::default() };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok(head) };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "location" => value.clone_into(&mut head.location),
                "content-length" => head.length = Some(value.parse()?),
                "transfer-encoding" => head.chunked = value.contains("chunked"),
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn read_chunks(&mut self, response: &mut Response, what: Body) -> Result<()> {
        loop {
            let length = usize::from_str_radix(&self.line()?, 16)?;
            self.read_body(length, response, what)?;
            self.line()?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn read_body(&mut self, length: usize, response: &mut Response, what: Body) -> Result<()> {
        response.length += length;
        if what == Body::Keep {
            let have = response.body.len();
            response.body.resize(have + length, 0);
            self.stream.read_exact(&mut response.body[have..])?;
            return Ok(());
        }
        let buffered = self.stream.buffer().len().min(length);
        self.stream.consume(buffered);
        self.discard(length - buffered)
    }

    fn discard(&mut self, mut left: usize) -> Result<()> {
        let piece = match self.drain {
            Drain::Copy => MIB,
            Drain::Discard => 4 * MIB,
        };
        // Once per connection: memory that is dropped into is never touched.
        if self.scratch.is_empty() {
            self.scratch = vec![0; piece];
        }
        while left > 0 {
            let wanted = left.min(piece);
            let read = self.stream.get_mut().take(&mut self.scratch[..wanted], self.drain)?;
            ensure!(read > 0, "the server closed the connection with {left} bytes left");
            left -= read;
        }
        Ok(())
    }
}

const OCTETS: &str = "Content-Type: application/octet-stream\r\n";

impl Response {
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "expected {status}, got {}: {}", self.status, String::from_utf8_lossy(&self.body));
        Ok(self)
    }
}

/// The path of an upload's location, which may be a whole URL, with the digest that ends it.
fn with_digest(location: &str, digest: &str) -> String {
    let path = path_of(location);
    format!("{path}{}digest={digest}", if path.contains('?') { '&' } else { '?' })
}

fn path_of(location: &str) -> &str {
    match location.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => location,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_whole_or_relative() {
        assert_eq!(with_digest("/v2/a/blobs/uploads/1", "sha256:00"), "/v2/a/blobs/uploads/1?digest=sha256:00");
        assert_eq!(with_digest("http://127.0.0.1:5000/v2/a?state=x", "sha256:00"), "/v2/a?state=x&digest=sha256:00");
    }
}
