//! Keeps services at what they should be: observe, plan purely, apply.

pub mod run;

use crate::context::Context;
use platform::lifecycle::Lifecycle;
use std::sync::Arc;

pub fn start(_context: &Arc<Context>, _lifecycle: &Lifecycle) {}
