//! `berth agent`.

use crate::failure::{Failure, Result};
use crate::process;
use agent::AgentConfig;
use clap::Args;
use platform::lifecycle::Lifecycle;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Longest join token file, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;
/// Threads for blocking work at most, and how long an idle one stays, in seconds.
const BLOCKING_THREADS_MAX: usize = 16;
const BLOCKING_IDLE_SECS: u64 = 2;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  berth agent --server https://berth.example.com:5001 --join-token-file /root/token
  berth agent --server https://10.0.0.5:5001 --join-token TOKEN --name node-a --zone rack-1 --attribute disk=ssd

The token is needed for the first start only: `berth join-token create` makes one. The agent's key never leaves this host.
Stopping the agent stops no container.")]
pub struct AgentArgs {
    /// The server's listener for agents, https://HOST:PORT
    #[arg(long, env = "BERTH_AGENT_SERVER", value_name = "URL")]
    pub server: String,
    /// Folder of the agent's key and of what it was told to run
    #[arg(long, env = "BERTH_AGENT_DATA_DIR", value_name = "DIR", default_value = "/var/lib/berth/agent")]
    pub data_dir: PathBuf,
    /// Single-use token to join with; better in a file
    #[arg(long, env = "BERTH_JOIN_TOKEN", value_name = "TOKEN", hide_env_values = true, conflicts_with = "join_token_file")]
    pub join_token: Option<String>,
    /// File with the token; not read once the agent has joined, and need not exist then
    #[arg(long, env = "BERTH_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,
    /// Name of this host as people see it [default: its host name]
    #[arg(long, env = "BERTH_AGENT_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Zone, over which services are spread first
    #[arg(long, env = "BERTH_AGENT_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,
    /// NAME=VALUE; may be given several times
    #[arg(long = "attribute", env = "BERTH_AGENT_ATTRIBUTES", value_name = "NAME=VALUE", value_delimiter = ',', value_parser = super::service::parse_env)]
    pub attributes: Vec<(String, String)>,
    /// Address at which ports of this host are reached [default: found out]
    #[arg(long, env = "BERTH_AGENT_ADDRESS", value_name = "IP")]
    pub address: Option<String>,
    /// Docker Engine [default: the socket `/var/run/docker.sock`]
    #[arg(long, alias = "docker", env = "BERTH_DOCKER_HOST", value_name = "URL")]
    pub docker_host: Option<String>,
    /// Stop when the process that started this one ends
    #[arg(long, hide = true)]
    pub end_with_parent: Option<i32>,
}

pub fn run(args: &AgentArgs) -> Result<()> {
    process::start(args.end_with_parent)?;
    let config = config(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(Duration::from_secs(BLOCKING_IDLE_SECS))
        .enable_all()
        .build()
        .map_err(|error| Failure::error("cannot start").why(error))?;
    runtime.block_on(serve(config))
}

/// Runs the agent until SIGTERM, or until it gives up by itself.
async fn serve(config: AgentConfig) -> Result<()> {
    let lifecycle = Lifecycle::new();
    let stopping = lifecycle.stopping.clone();
    let running = agent::run(config, stopping.clone());
    tokio::pin!(running);
    let result = tokio::select! {
        // Cancel-safe: pinned, and awaited again below.
        result = &mut running => result,
        () = lifecycle.run_until_signal() => running.await,
    };
    result.map_err(|error| Failure::error("the agent ended").why(error))
}

fn config(args: &AgentArgs) -> Result<AgentConfig> {
    let server = args.server.trim_end_matches('/').to_owned();
    if !server.starts_with("https://") {
        return Err(Failure::usage(format!("--server `{server}` is not https://HOST:PORT")).why("agents speak mutual TLS only"));
    }
    let join_token = match (&args.join_token, &args.join_token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) => read_token(file)?,
        (None, None) => None,
    };
    Ok(AgentConfig {
        server,
        data_dir: args.data_dir.clone(),
        docker: args.docker_host.clone(),
        join_token,
        name: args.name.clone(),
        zone: args.zone.clone(),
        attributes: args.attributes.iter().cloned().collect::<BTreeMap<_, _>>(),
        address: args.address.clone(),
        failpoint: std::env::var("BERTH_FAILPOINT").ok().filter(|point| !point.is_empty()),
        ..AgentConfig::default()
    })
}

/// The token in `file`; none when the file is gone, which is what it should be after joining.
fn read_token(file: &std::path::Path) -> Result<Option<String>> {
    use std::io::Read;
    let failed = |error: std::io::Error| Failure::error(format!("cannot read {}", file.display())).why(error);
    let opened = match std::fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut token = String::new();
    opened.take(TOKEN_BYTES_MAX).read_to_string(&mut token).map_err(failed)?;
    Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
}
