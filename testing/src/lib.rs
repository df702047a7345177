//! Dev only: what the tests share. Starts the real binary, databases and Docker Engines, builds images, speaks HTTP, waits.
//!
//! Depends on no crate of the product: it knows the public faces and nothing else. What a test starts is ended when its value is
//! dropped, by process id or label, also when the test panics.

pub mod agent;
pub mod berth;
pub mod database;
pub mod docker;
pub mod engine;
pub mod http;
pub mod images;
pub mod network;
mod ports;
mod process;
pub mod push;
pub mod server;
pub mod sigv4;
mod wait;

pub use agent::Agent;
pub use database::Database;
pub use http::{Answer, Client, Credentials};
pub use images::Image;
pub use ports::free_port;
pub use process::Process;
pub use server::{Server, ServerBuilder};
pub use wait::{wait_until, wait_until_for};
