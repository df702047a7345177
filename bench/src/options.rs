//! What the lanes are given.

use anyhow::{Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

pub const MIB: usize = 1 << 20;

/// One registry, as seen by the client.
#[derive(Debug, Clone, Args)]
pub struct Side {
    /// `http://127.0.0.1:PORT` (`https://` with `--authority`); loopback only
    #[arg(long, default_value = "127.0.0.1:5000", value_parser = loopback)]
    pub url: String,
    /// `user:password`, sent with every request
    #[arg(long, conflicts_with = "token")]
    pub auth: Option<String>,
    /// A bearer token, sent with every request
    #[arg(long)]
    pub token: Option<String>,
    /// Processes of the server, whose processor time and memory are read
    #[arg(long = "pid", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Repository that the lanes push to and pull from
    #[arg(long, default_value = "bench/a")]
    pub repository: String,
    /// Name of this side in the output
    #[arg(long, default_value = "")]
    pub label: String,
    /// Speak TLS, and believe who shows a certificate of this authority (PEM)
    #[arg(long)]
    pub authority: Option<PathBuf>,
}

impl Side {
    /// A side without credentials, by `127.0.0.1:PORT`.
    pub fn of(url: &str, pids: Vec<u32>, repository: &str, label: &str) -> Self {
        let (url, repository, label) = (url.to_owned(), repository.to_owned(), label.to_owned());
        Self { url, auth: None, token: None, pids, repository, label, authority: None }
    }

    /// The same server, another repository.
    pub fn at(&self, repository: impl Into<String>) -> Self {
        Self { repository: repository.into(), ..self.clone() }
    }

    /// The `Authorization` header with its line end; empty without credentials.
    pub fn authorization(&self) -> String {
        match (&self.auth, &self.token) {
            (Some(basic), _) => format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(basic)),
            (None, Some(token)) => format!("Authorization: Bearer {token}\r\n"),
            (None, None) => String::new(),
        }
    }
}

/// What one lane does, and how much of it.
#[derive(Debug, Clone, Args)]
pub struct LaneOptions {
    /// Bytes of a blob: `4096`, `64K`, `256M`, `1G`
    #[arg(long, value_parser = size)]
    pub size: Option<usize>,
    /// Connections that work at the same time
    #[arg(long, default_value_t = 1)]
    pub parallel: usize,
    /// Blobs, tags or requests; 0 means the lane's default
    #[arg(long, default_value_t = 0)]
    pub count: usize,
    /// Length of a closed loop, in seconds
    #[arg(long, default_value_t = 5.0)]
    pub secs: f64,
    /// Keep-alive connections of `load`
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Different seeds, different blobs
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How blobs are pushed
    #[arg(long, value_enum, default_value_t = Upload::Whole)]
    pub upload: Upload,
    /// Bytes of one PATCH
    #[arg(long, value_parser = size, default_value = "16M")]
    pub chunk: usize,
    /// Method of `load`
    #[arg(long, value_enum, default_value_t = Method::Get)]
    pub method: Method,
    /// Path of `get` and `load`; command line of `coldstart`
    #[arg(long, default_value = "")]
    pub path: String,
    /// What happens to a pulled body: `copy` reads it as a client does, `discard` drops it in the kernel, which isolates the server
    #[arg(long, value_enum, default_value_t = Drain::Copy)]
    pub drain: Drain,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            size: None,
            parallel: 1,
            count: 0,
            secs: 5.0,
            connections: 64,
            seed: 1,
            upload: Upload::Whole,
            chunk: 16 * MIB,
            method: Method::Get,
            path: String::new(),
            drain: Drain::Copy,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Upload {
    /// POST, then one PUT
    Whole,
    /// POST, PATCH in chunks, an empty PUT
    Chunks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    Get,
    Head,
}

impl Method {
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Drain {
    Copy,
    Discard,
}

/// `host:port` of a loopback URL: this tool loads only the machine it runs on.
pub fn loopback(url: &str) -> Result<String> {
    let host = url.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
    if host.starts_with("127.0.0.1:") || host.starts_with("localhost:") {
        return Ok(host.to_owned());
    }
    bail!("{url}: only http://127.0.0.1:PORT and http://localhost:PORT are loaded")
}

fn size(text: &str) -> Result<usize> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        Some(b'M') => (&text[..text.len() - 1], MIB),
        Some(b'K') => (&text[..text.len() - 1], 1024),
        _ => (text, 1),
    };
    Ok(digits.parse::<usize>()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let sizes: Vec<usize> = ["4096", "64K", "256M", "1G"].iter().map(|text| size(text).unwrap()).collect();
        assert_eq!(sizes, [4096, 65_536, 256 * MIB, 1024 * MIB]);
        assert!(size("G").is_err() && size("").is_err());
    }

    #[test]
    fn only_loopback_is_loaded() {
        assert_eq!(loopback("http://127.0.0.1:5000/").unwrap(), "127.0.0.1:5000");
        assert!(loopback("http://192.0.2.1:5000").is_err());
        assert!(loopback("http://127.0.0.1.example.org:5000").is_err());
    }
}
