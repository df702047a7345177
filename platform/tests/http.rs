//! The promises of `platform::http`: requests in flight are finished when the process stops, nothing new is taken, and a
//! client that says nothing costs nobody else anything.

#![expect(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use platform::lifecycle::Lifecycle;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

const REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

struct Running {
    lifecycle: Lifecycle,
    address: SocketAddr,
    entered: Arc<Notify>,
    release: Arc<Semaphore>,
}

async fn start() -> Running {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (inside, gate) = (entered.clone(), release.clone());
    let slow = move || async move {
        inside.notify_one();
        gate.acquire().await.unwrap().forget();
        "done"
    };
    let who = |peer: axum::Extension<ConnectInfo<SocketAddr>>| async move { peer.0.0.ip().to_string() };
    let router = Router::new().route("/slow", get(slow)).route("/who", get(who));
    let lifecycle = Lifecycle::new();
    let listener = platform::http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    platform::http::serve(&lifecycle, listener, None, router);
    Running { lifecycle, address, entered, release }
}

async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn refuses_connections(address: SocketAddr) {
    let started = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(started.elapsed() < Duration::from_secs(10), "the listener never closed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn each_request_knows_its_peer() {
    let server = start().await;
    let answer = ask(server.address, b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let server = start().await;
    assert_eq!(platform::http::bind(server.address).await.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_soft_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let server = start().await;
    let in_flight = tokio::spawn(ask(server.address, REQUEST));
    server.entered.notified().await;
    let stopped = tokio::spawn(server.lifecycle.clone().stop());
    refuses_connections(server.address).await;
    assert!(!stopped.is_finished(), "it must wait for the request in flight");
    server.release.add_permits(1);
    assert!(in_flight.await.unwrap().ends_with("done"));
    stopped.await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_soft_stop() {
    let server = start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    let silent = TcpStream::connect(server.address).await.unwrap();
    let started = Instant::now();
    server.lifecycle.clone().stop().await;
    assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
    drop(silent);
}

#[tokio::test]
async fn a_client_that_sends_nothing_does_not_keep_others_waiting() {
    let server = start().await;
    let silent: Vec<TcpStream> =
        futures_util::future::join_all((0..50).map(|_| TcpStream::connect(server.address))).await.into_iter().map(Result::unwrap).collect();
    let answer = ask(server.address, b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(silent);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = start().await;
    let long = format!("GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: {}\r\n\r\n", "a".repeat(600 * 1024));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may close before it has read all of it.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}
