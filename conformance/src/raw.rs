//! HTTP/1.1 by hand, for what no proper client sends: bodies cut short, chunked bodies, paths with `..` and odd escapes.

use anyhow::{Context, Result};
use base64::Engine as _;
use std::time::Duration;
use testing::{Client, Credentials};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for an answer, in seconds.
const ANSWER_SECS_MAX: u64 = 30;
/// After which a server has certainly begun with a request whose body is not whole yet.
const BEGUN_AFTER: Duration = Duration::from_secs(1);

/// The value of an `Authorization` header.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// A request head of this caller, without the empty line that ends it.
pub fn head(client: &Client, method: &str, path: &str) -> String {
    let path = path.strip_prefix(client.base()).unwrap_or(path);
    let authorization = match client.credentials() {
        Credentials::Basic { user, password } => format!("Authorization: {}\r\n", basic(user, password)),
        Credentials::Bearer(token) => format!("Authorization: Bearer {token}\r\n"),
        Credentials::Anonymous | Credentials::AccessKey { .. } => String::new(),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Connection: close\r\n", client.host())
}

/// Status and whole answer to bytes sent as they are.
pub async fn exchange(client: &Client, request: &[u8]) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(client.host()).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(ANSWER_SECS_MAX), stream.read_to_end(&mut answer)).await.context("no answer")??;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| format!("no status: {answer}"))?;
    Ok((status, answer))
}

/// Sends bytes and goes away without reading.
pub async fn send_and_leave(client: &Client, request: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(client.host()).await?;
    stream.write_all(request).await?;
    stream.flush().await?;
    Ok(())
}

/// Sends all but the last byte, and that one when the server has begun with the request; then goes away without reading. What is there
/// at once together with the end of the connection need not be looked at by a server at all.
pub async fn begin_and_leave(client: &Client, request: &[u8]) -> Result<()> {
    let (first, last) = request.split_at(request.len().saturating_sub(1));
    let mut stream = TcpStream::connect(client.host()).await?;
    stream.write_all(first).await?;
    stream.flush().await?;
    tokio::time::sleep(BEGUN_AFTER).await;
    stream.write_all(last).await?;
    stream.flush().await?;
    Ok(())
}

/// `body` in the form of `Transfer-Encoding: chunked`.
pub fn chunked(body: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for part in body.chunks(piece) {
        out.extend(format!("{:x}\r\n", part.len()).into_bytes());
        out.extend(part);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}
