//! What every server process needs and no domain: database, lifecycle, background tasks, HTTP listener, telemetry, randomness,
//! and `exchange`, the only tables that registry and deployer both touch.

#[cfg(any(test, feature = "testing"))]
pub mod corpus;
pub mod db;
pub mod events;
pub mod exchange;
pub mod failpoint;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod random;
pub mod rate;
pub mod settings;
pub mod telemetry;
pub mod wake;
