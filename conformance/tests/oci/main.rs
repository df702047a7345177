//! The OCI distribution specification, clause by clause, against the running registry with authentication on.
//!
//! Each test is named by its clause. Where the specification is silent, what Berth chose is tested here as well, and said so.
//! `BERTH_TEST_REGISTRY=URL`, with `BERTH_TEST_REGISTRY_USER` and `BERTH_TEST_REGISTRY_PASSWORD` where it asks for them, points the suite
//! at another registry. `tests/clauses.rs` holds the names against the list of clauses.

mod authentication;
mod content_management;
mod discovery;
mod errors;
mod general;
mod http;
mod manifests;
mod names;
mod pull;
mod uploads;
