//! `berth`: server, agent and command line in one binary.
//!
//! `server` is the composition root of the control plane and registry, `up` supervises a server and an agent as child processes,
//! everything else is a client of the public APIs and uses nothing of the server crates.

mod cli;
mod commands;
mod context;
mod duration;
mod failure;
mod output;
mod process;
mod server;
mod session;
mod up;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    server::tls::install_provider();
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if json {
                output::print(&format!("{}\n", failure.to_json()));
            }
            output::error(&failure.to_string());
            ExitCode::from(failure.exit() as u8)
        }
    }
}
