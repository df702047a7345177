//! The planner and the agent protocol together: real database, real routers, fake agents, a clock moved by hand.

mod access;
mod agent;
mod joining;
mod lost;
mod output;
mod restarts;
mod running;
mod starting;
mod world;
