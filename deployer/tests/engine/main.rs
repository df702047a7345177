//! The planner and the agent protocol together: real database, real routers, fake agents, a clock moved by hand.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as the tests do")]

mod access;
mod agent;
mod joining;
mod lost;
mod output;
mod restarts;
mod rollback;
mod running;
mod seen;
mod starting;
mod world;
