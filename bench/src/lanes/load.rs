//! A closed loop of small requests over keep-alive connections, in one thread on epoll: above some 100 000 requests per second the client
//! itself is the limit.

use super::manifests::MEDIA_TYPE;
use super::measured;
use crate::accounting;
use crate::options::{LaneOptions, Method, Side};
use crate::report::Measured;
use anyhow::{Context, Result, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Events taken at once.
const EVENTS_MAX: usize = 128;
/// Longest wait for an event, in milliseconds.
const WAIT_MILLIS: u16 = 200;
/// Most bytes read at once.
const READ_BYTES_MAX: usize = 256 * 1024;

struct Loop {
    stream: TcpStream,
    buffer: Vec<u8>,
    sent: Instant,
    request: usize,
}

pub fn run(side: &Side, options: &LaneOptions) -> Result<Measured> {
    let requests = requests(side, options);
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let mut loops: Vec<Loop> = (0..options.connections).map(|index| open(side, &epoll, index)).collect::<Result<_>>()?;
    let lane = format!("load {}", options.method.word());
    let cpu_before = accounting::cpu_secs(&side.pids);
    let started = Instant::now();
    for each in &mut loops {
        each.send(&requests)?;
    }
    let (mut latencies_ms, mut errors) = (Vec::with_capacity(1 << 20), 0);
    let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
    let mut piece = vec![0; READ_BYTES_MAX];
    while started.elapsed() < Duration::from_secs_f64(options.secs) {
        let ready = epoll.wait(&mut events, EpollTimeout::from(WAIT_MILLIS))?;
        for event in &events[..ready] {
            let each = &mut loops[usize::try_from(event.data())?];
            let Some(ok) = each.receive(&mut piece, options.method)? else { continue };
            errors += usize::from(!ok);
            latencies_ms.push(each.sent.elapsed().as_secs_f64() * 1e3);
            each.request += options.connections;
            each.send(&requests)?;
        }
    }
    Ok(Measured { errors, ..measured(side, lane, started, latencies_ms, cpu_before) })
}

fn requests(side: &Side, options: &LaneOptions) -> Vec<Vec<u8>> {
    let paths: Vec<String> = if options.path.is_empty() {
        (0..options.count.max(1)).map(|item| format!("/v2/{}/manifests/t{item}", side.repository)).collect()
    } else {
        vec![options.path.clone()]
    };
    let (method, host, authorization) = (options.method.word(), &side.url, side.authorization());
    let request =
        |path: String| format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}Accept: {MEDIA_TYPE}\r\n\r\n").into_bytes();
    paths.into_iter().map(request).collect()
}

fn open(side: &Side, epoll: &Epoll, index: usize) -> Result<Loop> {
    let stream = TcpStream::connect(&side.url).with_context(|| format!("connecting to {}", side.url))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, u64::try_from(index)?))?;
    Ok(Loop { stream, buffer: Vec::with_capacity(64 * 1024), sent: Instant::now(), request: index })
}

impl Loop {
    fn send(&mut self, requests: &[Vec<u8>]) -> Result<()> {
        self.buffer.clear();
        self.sent = Instant::now();
        // Requests are far smaller than a socket's buffer, which is empty here: this never blocks.
        Ok(self.stream.write_all(&requests[self.request % requests.len()])?)
    }

    /// Reads what came; `Some(whether it is a 200)` once the response is whole.
    fn receive(&mut self, piece: &mut [u8], method: Method) -> Result<Option<bool>> {
        match self.stream.read(piece) {
            Ok(0) => bail!("the server closed a keep-alive connection"),
            Ok(length) => self.buffer.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        Ok(whole(&self.buffer, method))
    }
}

/// `Some(whether the status is 200)` when the buffer holds a whole response.
fn whole(buffer: &[u8], method: Method) -> Option<bool> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let ok = head.starts_with("http/1.1 200");
    let is_whole = match (method, head.split_once("content-length:")) {
        (Method::Head, _) => true,
        (Method::Get, Some((_, rest))) => {
            let length: usize = rest.lines().next()?.trim().parse().ok()?;
            buffer.len() >= end + 4 + length
        }
        (Method::Get, None) => buffer.ends_with(b"0\r\n\r\n"),
    };
    is_whole.then_some(ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_whole_with_its_last_byte() {
        let get = |text: &str| whole(text.as_bytes(), Method::Get);
        assert_eq!(get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"), None);
        assert_eq!(get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"), Some(true));
        assert_eq!(get("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), Some(false));
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Method::Head), Some(true));
    }
}
