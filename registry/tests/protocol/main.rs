//! The registry's protocol, clause by clause, over the router itself: real identity, real files, SQLite and (where one is given)
//! PostgreSQL. Test names are sentences; the clause they hold to is in a comment where it is not plain.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod blobs;
mod deployer;
mod garbage;
mod lists;
mod manifests;
mod settings;
mod uploads;
mod world;
