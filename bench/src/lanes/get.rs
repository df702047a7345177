//! One path, asked for again and again: lists, and whatever else a registry answers.

use super::{or_default, pool};
use crate::connection::Body;
use crate::options::{LaneOptions, Side};
use crate::report::Measured;
use anyhow::Result;

const COUNT: usize = 20;

pub fn run(side: &Side, options: &LaneOptions) -> Result<Measured> {
    let count = or_default(options.count, COUNT);
    pool(side, options, format!("GET {}", options.path), count, |connection, _| {
        connection.request("GET", &options.path, "", b"", Body::Discard)?.expect(200)?;
        Ok(())
    })
}
