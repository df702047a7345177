//! What travels: the shapes on every wire, and small typed clients for them.
//!
//! `aws` is the ECS and ECR API (AWS JSON 1.1), `v1` the Berth API, `agent` the protocol between server and agents.
//! Shapes only: no decisions, no SQL. Servers and clients both depend on this crate, so that they cannot disagree.

pub mod agent;
pub mod aws;
pub mod v1;
