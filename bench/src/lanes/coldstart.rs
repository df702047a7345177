//! From the start of a server's process to its first answer, and its memory a second later.

use crate::accounting;
use crate::options::{LaneOptions, Side};
use crate::report::Measured;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const START_SECS_MAX: u64 = 30;

/// `--path` is the server's command line, its words apart by spaces.
pub fn run(side: &Side, options: &LaneOptions) -> Result<Measured> {
    let mut words = options.path.split_whitespace();
    let program = words.next().context("--path is the server's command line")?;
    let started = Instant::now();
    let mut child = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let millis = wait_for_answer(side, started);
    if millis.is_ok() {
        std::thread::sleep(Duration::from_secs(1));
    }
    let resident_mb = accounting::resident_mb(&[child.id()]);
    child.kill()?;
    child.wait()?;
    let millis = millis?;
    Ok(Measured { lane: "start".to_owned(), wall_secs: millis / 1e3, latencies_ms: vec![millis], resident_mb, ..Measured::default() })
}

fn wait_for_answer(side: &Side, started: Instant) -> Result<f64> {
    while started.elapsed() < Duration::from_secs(START_SECS_MAX) {
        if answers(side).unwrap_or(false) {
            return Ok(started.elapsed().as_secs_f64() * 1e3);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    bail!("no answer after {START_SECS_MAX} s")
}

fn answers(side: &Side) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(&side.url)?;
    write!(stream, "GET /v2/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", side.url)?;
    Ok(stream.read(&mut [0; 64])? > 0)
}
