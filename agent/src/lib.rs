//! The agent: what runs on every Docker host.
//!
//! It joins a cluster once (`membership`, `join`), registers its instance and holds the long poll (`sync`), keeps every order it
//! took in a [`ledger`], and brings the labelled containers of this host in line with it ([`engine`]). What it sees goes back through
//! the [`reporter`]. Docker pulls images of the registry through the loopback `relay`, so that no host stores a password.
//!
//! It deliberately knows no SQL and none of the server crates, and it stops a container only on an explicit order for that task:
//! stopping the agent, losing the server or losing the ledger stops nothing.

pub mod client;
pub mod config;
pub mod diff;
pub mod engine;
mod facts;
mod failpoint;
pub mod failure;
mod files;
pub mod health;
mod join;
pub mod ledger;
mod logs;
pub mod mapping;
mod membership;
mod random;
pub mod record;
mod relay;
mod renew;
pub mod reporter;
mod run;
pub mod runtime;
mod sync;
pub mod tls;

pub use config::AgentConfig;
pub use run::{AgentError, run};
