//! What every long-running command does first: how memory is kept, logging, the tie to its supervisor.

use crate::failure::{Failure, Result};
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// How the C library keeps memory, read by it at the start of a process, and only then. One arena for all threads: with one for each,
/// pages freed by one are kept where others do not find them (after a burst of pushes and pulls one arena saves 4 MB of 43, and costs
/// no speed; allocators made for speed need twice as much and more). Fixed thresholds: else the first large block that is freed, that
/// of a password's hash, makes the C library keep what is freed later up to twice its size.
const ALLOCATION: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "4194304"), ("MALLOC_TRIM_THRESHOLD_", "2097152")];

/// What is logged unless `BERTH_LOG` says otherwise: sqlx tells of every migration that stands already.
const LOG_DEFAULT: &str = "info,sqlx=warn";

/// `parent` is the id of the process that supervises this one, if any.
pub fn start(parent: Option<i32>) -> Result<()> {
    keep_little_memory();
    log();
    let Some(parent) = parent else { return Ok(()) };
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from)?;
    // It may have ended before that call.
    if nix::unistd::getppid().as_raw() == parent { Ok(()) } else { Err(Failure::error("the process that started this one is gone")) }
}

/// Logs to stderr: `BERTH_LOG` filters, `BERTH_LOG_FORMAT=json` makes it JSON.
pub fn log() {
    let filter = std::env::var("BERTH_LOG").unwrap_or_else(|_| LOG_DEFAULT.into());
    let json = std::env::var("BERTH_LOG_FORMAT").is_ok_and(|format| format == "json");
    platform::telemetry::start(&filter, json);
}

/// Starts this program again in its place (same process id) with what `ALLOCATION` says, unless the environment says something of it.
fn keep_little_memory() {
    if ALLOCATION.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(executable) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(executable);
    again.arg0(arguments.next().unwrap_or_else(|| "berth".into())).args(arguments).envs(ALLOCATION);
    // Returns only when it could not be started; the C library's own choice does no harm then.
    let _ = again.exec();
}
