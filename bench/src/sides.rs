//! The two sides of a comparison, as the command line names them.

use crate::options::{Side, loopback};
use clap::Args;

/// Our server and one other registry.
#[derive(Debug, Clone, Args)]
pub struct PairOptions {
    /// `http://127.0.0.1:PORT` of our server
    #[arg(long, value_parser = loopback)]
    ours: String,
    #[arg(long)]
    ours_pid: u32,
    /// `user:password` for our server
    #[arg(long)]
    ours_auth: Option<String>,
    /// `http://127.0.0.1:PORT` of the other
    #[arg(long, value_parser = loopback)]
    theirs: String,
    #[arg(long)]
    theirs_pid: u32,
    /// Name of the other in the table
    #[arg(long, default_value = "theirs")]
    pub theirs_name: String,
}

impl PairOptions {
    pub fn ours(&self, repository: &str) -> Side {
        let side = Side::of(&self.ours, vec![self.ours_pid], repository, "ours");
        Side { auth: self.ours_auth.clone(), ..side }
    }

    pub fn theirs(&self, repository: &str) -> Side {
        Side::of(&self.theirs, vec![self.theirs_pid], repository, &self.theirs_name)
    }

    /// Both, ours first.
    pub fn both(&self, repository: &str) -> [Side; 2] {
        [self.ours(repository), self.theirs(repository)]
    }
}
