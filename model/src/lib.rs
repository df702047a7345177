//! The vocabulary of Berth: what every other crate talks about.
//!
//! No IO, no async, no SQL, no HTTP. Parsing and ordering rules live here once, so that a value of one of these types is known
//! to be well formed wherever it turns up. Wire shapes are in `api`, rows are private to each `store/`.

pub mod access;
pub mod clock;
pub mod cluster;
pub mod ids;
pub mod image;
pub mod instance;
pub mod name;
pub mod repository;
pub mod service;
pub mod task;
pub mod task_definition;
pub mod trigger;

pub use clock::{Clock, Timestamp};
pub use image::ImageReference;
pub use name::{Digest, Reference, RepositoryName, Tag};
