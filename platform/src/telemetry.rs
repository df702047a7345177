//! Logs to stderr. `BERTH_LOG` filters (default `info`), `BERTH_LOG_FORMAT=json` makes one JSON object per line.

use tracing_subscriber::EnvFilter;

/// Sets up logging for the process. Called once, first thing, by each long-running command.
pub fn start(filter: &str, json: bool) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
    if started.is_err() {
        tracing::debug!("logging was already set up");
    }
}
