//! Ports for servers under test.

use std::net::TcpListener;

/// A TCP port on loopback that is free now. Another process may still take it first; then the server says so and the test fails.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
