//! Logs to stderr. `BERTH_LOG` filters (default `info`), `BERTH_LOG_FORMAT=json` makes one JSON object per line.

use tracing_subscriber::EnvFilter;

/// Libraries whose own debug output holds secrets, capped whatever the filter says: bollard prints each request to Docker whole,
/// with the environment of the container.
const CAPS: [&str; 1] = ["bollard=info"];

/// Sets up logging for the process. Called once, first thing, by each long-running command.
pub fn start(filter: &str, json: bool) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = CAPS.iter().filter_map(|cap| cap.parse().ok()).fold(filter, EnvFilter::add_directive);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
    if started.is_err() {
        tracing::debug!("logging was already set up");
    }
}
