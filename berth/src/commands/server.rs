//! `berth server`.

use crate::failure::Result;
use crate::process;
use crate::server::{self, ServerArgs};
use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  berth server --data-dir /srv/berth
  berth server --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem --external-url https://berth.example.com
  berth server --listen 10.0.0.5:5000 --tls-internal --agent-listen 10.0.0.5:5001
  berth server --database postgres://berth@db/berth

First start makes the administrator: BERTH_ADMIN_USER and BERTH_ADMIN_PASSWORD, or `admin` and a random password; access key
BERTH_ADMIN_ACCESS_KEY_ID and BERTH_ADMIN_SECRET_ACCESS_KEY, or a random one. All of it is saved in DIR/admin.json (0600).
BERTH_LOG filters the log (`info`), BERTH_LOG_FORMAT=json makes it JSON. SIGTERM stops it; containers run on.")]
pub struct ServerCommand {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Stop when the process that started this one (its id) ends
    #[arg(long, hide = true)]
    pub end_with_parent: Option<i32>,
}

pub fn run(command: &ServerCommand) -> Result<()> {
    process::start(command.end_with_parent)?;
    server::run(&command.server)
}
