//! The OCI distribution specification, clause by clause, against the running registry with authentication on.
//!
//! Each test is named by its clause. Where the specification is silent, what Berth chose is tested here as well, and said so.
//! `BERTH_TEST_REGISTRY=URL,USER,PASSWORD` points the suite at another registry.

mod authentication;
mod content_management;
mod discovery;
mod errors;
mod general;
mod manifests;
mod names;
mod pull;
mod uploads;
