//! A server of ours on a folder of its own, started and stopped again and again.

use crate::options::Side;
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testing::{Process, free_port};

const USER: &str = "admin";
const PASSWORD: &str = "bench-password";
const START_SECS_MAX: u64 = 60;
const STOP_SECS_MAX: u64 = 60;
const LOOK_PERIOD: Duration = Duration::from_micros(500);

pub struct Server {
    folder: PathBuf,
    running: Option<(Process, u16)>,
}

impl Server {
    pub fn on(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, running: None })
    }

    pub fn database(&self) -> PathBuf {
        self.folder.join("data/berth.db")
    }

    /// Starts it; milliseconds until it says that it is ready.
    pub fn start(&mut self) -> Result<f64> {
        let (port, agent_port) = (free_port()?, free_port()?);
        let mut command = testing::berth::command(&self.folder)?;
        command.arg("server").arg("--data-dir").arg(self.folder.join("data"));
        command.args(["--listen", &address(port), "--agent-listen", &address(agent_port)]);
        command.env("BERTH_ADMIN_USER", USER).env("BERTH_ADMIN_PASSWORD", PASSWORD);
        let began = Instant::now();
        let process = Process::start(command, &self.folder.join("log"))?;
        let (process, _) = self.running.insert((process, port));
        while !is_ready(port) {
            if process.ended()?.is_some() || began.elapsed() > Duration::from_secs(START_SECS_MAX) {
                bail!("the server does not get ready; its log ends:\n{}", process.log_tail());
            }
            std::thread::sleep(LOOK_PERIOD);
        }
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    pub fn stop(&mut self) -> Result<()> {
        let Some((mut process, _)) = self.running.take() else { return Ok(()) };
        process.signal(Signal::SIGTERM)?;
        let began = Instant::now();
        while process.ended()?.is_none() {
            if began.elapsed() > Duration::from_secs(STOP_SECS_MAX) {
                bail!("the server does not stop; its log ends:\n{}", process.log_tail());
            }
            std::thread::sleep(LOOK_PERIOD);
        }
        Ok(())
    }

    /// How clients see it.
    pub fn side(&self, repository: &str) -> Result<Side> {
        let (process, port) = self.running.as_ref().context("the server runs")?;
        let side = Side::of(&address(*port), vec![process.id()], repository, &self.label());
        Ok(Side { auth: Some(format!("{USER}:{PASSWORD}")), ..side })
    }

    fn label(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn is_ready(port: u16) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address(port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        std::io::Result::Ok(status == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// Bytes of the files of a database, in MB (10^6 bytes).
pub fn megabytes(database: &Path) -> Result<f64> {
    let bytes = std::fs::metadata(database)?.len();
    Ok(crate::report::count(usize::try_from(bytes)?) / 1e6)
}
