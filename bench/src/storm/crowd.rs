//! The clients of a storm, all of them in one thread on epoll: a hundred threads that want to run would take the processors from the server,
//! and what would be measured is the machine's scheduler.
//!
//! Each logs in where that is asked, gets the manifest, then what it names, one after the other on one connection.

use super::{Part, parts, path_of_manifest, path_of_token};
use crate::lanes::manifests::MEDIA_TYPE;
use crate::options::{Drain, MIB, Side};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, recv};
use serde_json::Value;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Events taken at once.
const EVENTS_MAX: usize = 128;
/// Longest silence of the server towards all, in milliseconds.
const WAIT_MILLIS_MAX: u16 = 60_000;
/// Bytes taken at once: copied, or dropped in the kernel.
const COPIED_MAX: usize = MIB;
const DROPPED_MAX: usize = 4 * MIB;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Lets `count` clients pull the image; returns when the last has everything.
pub fn pull(side: &Side, count: usize, drain: Drain) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let mut clients: Vec<Client> = (0..count).map(|index| Client::open(side, &epoll, index)).collect::<Result<_>>()?;
    for client in &mut clients {
        client.begin(side)?;
    }
    let mut scratch = vec![0; if drain == Drain::Copy { COPIED_MAX } else { DROPPED_MAX }];
    let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
    let mut busy = count;
    while busy > 0 {
        let ready = epoll.wait(&mut events, EpollTimeout::from(WAIT_MILLIS_MAX))?;
        ensure!(ready > 0, "{} says nothing to {busy} clients", side.label);
        for event in &events[..ready] {
            let client = &mut clients[usize::try_from(event.data())?];
            if client.take(&mut scratch, drain)? && client.go_on(side)? {
                epoll.delete(&client.stream)?;
                busy -= 1;
            }
        }
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    authorization: String,
    asked: Asked,
    /// What is still to be asked for, the next one last.
    parts: Vec<Part>,
    /// The head so far; then the body, where it is kept.
    held: Vec<u8>,
    /// Bytes of the body that have not come; none before the head is whole.
    left: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Token,
    Manifest,
    /// So many bytes.
    Blob(usize),
}

impl Client {
    fn open(side: &Side, epoll: &Epoll, index: usize) -> Result<Self> {
        let stream = TcpStream::connect(&side.url).with_context(|| format!("connecting to {}", side.url))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, u64::try_from(index)?))?;
        let authorization = side.authorization();
        Ok(Self { stream, authorization, asked: Asked::Manifest, parts: Vec::new(), held: Vec::new(), left: None })
    }

    fn begin(&mut self, side: &Side) -> Result<()> {
        if side.auth.is_some() {
            self.ask(side, Asked::Token, &path_of_token())
        } else {
            self.ask(side, Asked::Manifest, &path_of_manifest())
        }
    }

    fn ask(&mut self, side: &Side, what: Asked, path: &str) -> Result<()> {
        self.asked = what;
        self.held.clear();
        self.left = None;
        let (host, authorization) = (&side.url, &self.authorization);
        // Far smaller than the socket's buffer, which is empty here: this never blocks.
        write!(self.stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}Accept: {MEDIA_TYPE}, */*\r\n\r\n")?;
        Ok(())
    }

    /// Takes what came; whether the answer is whole with that.
    fn take(&mut self, scratch: &mut [u8], drain: Drain) -> Result<bool> {
        let is_dropped = drain == Drain::Discard && self.left.is_some() && matches!(self.asked, Asked::Blob(_));
        let flags = if is_dropped { MsgFlags::MSG_TRUNC } else { MsgFlags::empty() };
        let wanted = self.left.unwrap_or(HEAD_BYTES_MAX).min(scratch.len());
        let came = match recv(self.stream.as_raw_fd(), &mut scratch[..wanted], flags) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(came) => came,
            Err(Errno::EAGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if let Some(left) = self.left {
            self.left = Some(left - came);
            if !matches!(self.asked, Asked::Blob(_)) {
                self.held.extend_from_slice(&scratch[..came]);
            }
        } else {
            self.held.extend_from_slice(&scratch[..came]);
            self.read_head()?;
        }
        Ok(self.left == Some(0))
    }

    /// Once the head is whole: how long the body is, and what has come of it.
    fn read_head(&mut self) -> Result<()> {
        let Some((head, length)) = head_of(&self.held)? else {
            ensure!(self.held.len() < HEAD_BYTES_MAX, "a head without end");
            return Ok(());
        };
        self.held.drain(..head);
        if let Asked::Blob(size) = self.asked {
            ensure!(length == size, "a blob of {length} bytes where {size} were promised");
        }
        self.left = Some(length.checked_sub(self.held.len()).context("more than was asked for")?);
        Ok(())
    }

    /// After a whole answer: asks for what comes next. True when there is nothing left.
    fn go_on(&mut self, side: &Side) -> Result<bool> {
        match self.asked {
            Asked::Token => {
                let answer: Value = serde_json::from_slice(&self.held)?;
                self.authorization = format!("Authorization: Bearer {}\r\n", answer["token"].as_str().context("a token")?);
                self.ask(side, Asked::Manifest, &path_of_manifest())?;
                return Ok(false);
            }
            Asked::Manifest => {
                self.parts = parts(&self.held)?;
                self.parts.reverse();
            }
            Asked::Blob(_) => {}
        }
        let Some(part) = self.parts.pop() else { return Ok(true) };
        self.ask(side, Asked::Blob(part.size), &format!("/v2/{}/blobs/{}", side.repository, part.digest))?;
        Ok(false)
    }
}

/// Bytes of the head at the beginning of `held`, and of the body that it announces; none while it is not whole.
fn head_of(held: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
    ensure!(text.starts_with("http/1.1 200"), "{}", text.lines().next().unwrap_or_default());
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).context("an answer without a length")?;
    Ok(Some((end + 4, length.trim().parse()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_how_long_the_body_is() {
        assert_eq!(head_of(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n").unwrap(), None);
        assert_eq!(head_of(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nab").unwrap(), Some((39, 12)));
        assert!(head_of(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(head_of(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
