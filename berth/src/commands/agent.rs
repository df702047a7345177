//! `berth agent` and `berth agent join`.

use crate::failure::{Failure, Result};
use crate::process;
use agent::AgentConfig;
use clap::{Args, Subcommand};
use futures_util::FutureExt as _;
use platform::lifecycle::Lifecycle;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest join token file, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;
/// Threads for blocking work at most, and how long an idle one stays, in seconds.
const BLOCKING_THREADS_MAX: usize = 16;
const BLOCKING_IDLE_SECS: u64 = 2;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  berth agent join https://10.0.0.5:5001 --token TOKEN --zone rack-1
  berth agent                                              (again, after it has joined: as it was told then)
  berth agent --server https://berth.example.com:5001 --join-token-file /root/token

The token is needed for the first start only: `berth join-token create` makes one. The agent's key never leaves this host.
Stopping the agent stops no container."
)]
pub struct AgentArgs {
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
    /// The server's listener for agents, https://HOST:PORT [default: the one joined]
    #[arg(long, env = "BERTH_AGENT_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// Single-use token to join with; better in a file
    #[arg(long, env = "BERTH_JOIN_TOKEN", value_name = "TOKEN", hide_env_values = true, conflicts_with = "join_token_file")]
    pub join_token: Option<String>,
    /// File with the token; not read once the agent has joined, and need not exist then
    #[arg(long, env = "BERTH_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub host: HostArgs,
    /// Stop when the process that started this one ends
    #[arg(long, hide = true)]
    pub end_with_parent: Option<i32>,
}

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Join a cluster with a single-use token, and run
    #[command(after_help = "\
Examples:
  berth agent join https://10.0.0.5:5001 --token TOKEN
  berth agent join https://10.0.0.5:5001 --token TOKEN --name node-a --zone rack-1 --cluster prod --attribute disk=ssd
  berth agent join https://10.0.0.5:5001 --token TOKEN --join-only && systemctl start berth-agent

`berth join-token create` on the server's side makes the token and shows this line. Afterwards `berth agent` alone starts it again.")]
    Join(JoinArgs),
}

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The server's listener for agents, https://HOST:PORT
    #[arg(value_name = "URL")]
    pub server: String,
    /// The token
    #[arg(
        long,
        env = "BERTH_JOIN_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        required_unless_present = "token_file",
        conflicts_with = "token_file"
    )]
    pub token: Option<String>,
    /// File with the token
    #[arg(long, env = "BERTH_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Join only when the token is for this cluster [default: whichever it is for]
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// Do not run; `berth agent` does
    #[arg(long)]
    pub join_only: bool,
    #[command(flatten)]
    pub host: HostArgs,
}

/// What an agent is told of its host.
#[derive(Debug, Clone, Args)]
pub struct HostArgs {
    /// Folder of the agent's key and of what it was told to run
    #[arg(long, env = "BERTH_AGENT_DATA_DIR", value_name = "DIR", default_value = "/var/lib/berth/agent")]
    pub data_dir: PathBuf,
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
}

pub fn run(args: &AgentArgs) -> Result<()> {
    process::start(args.end_with_parent)?;
    let (config, join_only) = match &args.command {
        None => (config(args)?, false),
        Some(AgentCommand::Join(join)) => (config_of_join(join)?, join.join_only),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(Duration::from_secs(BLOCKING_IDLE_SECS))
        .enable_all()
        .build()
        .map_err(|error| Failure::error("cannot start").why(error))?;
    runtime.block_on(if join_only { serve(config, agent::join).boxed_local() } else { serve(config, agent::run).boxed_local() })
}

/// Does `work` until SIGTERM, or until it ends by itself.
async fn serve<F>(config: AgentConfig, work: impl FnOnce(AgentConfig, CancellationToken) -> F) -> Result<()>
where
    F: Future<Output = std::result::Result<(), agent::AgentError>>,
{
    let lifecycle = Lifecycle::new();
    let stopping = lifecycle.stopping.clone();
    let running = work(config, stopping.clone());
    tokio::pin!(running);
    let result = tokio::select! {
        // Cancel-safe: pinned, and awaited again below.
        result = &mut running => result,
        () = lifecycle.run_until_signal() => running.await,
    };
    result.map_err(|error| Failure::error("the agent ended").why(error))
}

fn config(args: &AgentArgs) -> Result<AgentConfig> {
    let token = token(args.join_token.as_ref(), args.join_token_file.as_deref())?;
    let config = AgentConfig { server: args.server.clone().unwrap_or_default(), join_token: token, ..config_of_host(&args.host) };
    let kept = agent::kept_settings(&args.host.data_dir)
        .map_err(|error| Failure::error(format!("cannot read {}", args.host.data_dir.display())).why(error))?;
    let config = config.or(kept.unwrap_or_default());
    if config.server.is_empty() {
        return Err(Failure::usage("this host has not joined a server").next("berth agent join https://HOST:PORT --token TOKEN"));
    }
    checked(config)
}

fn config_of_join(args: &JoinArgs) -> Result<AgentConfig> {
    let token = token(args.token.as_ref(), args.token_file.as_deref())?;
    checked(AgentConfig { server: args.server.clone(), join_token: token, cluster: args.cluster.clone(), ..config_of_host(&args.host) })
}

fn config_of_host(host: &HostArgs) -> AgentConfig {
    AgentConfig {
        data_dir: host.data_dir.clone(),
        docker: host.docker_host.clone(),
        name: host.name.clone(),
        zone: host.zone.clone(),
        attributes: host.attributes.iter().cloned().collect::<BTreeMap<_, _>>(),
        address: host.address.clone(),
        failpoint: std::env::var("BERTH_FAILPOINT").ok().filter(|point| !point.is_empty()),
        ..AgentConfig::default()
    }
}

fn checked(config: AgentConfig) -> Result<AgentConfig> {
    let server = config.server.trim_end_matches('/').to_owned();
    if !server.starts_with("https://") {
        return Err(Failure::usage(format!("`{server}` is not https://HOST:PORT"))
            .why("agents speak mutual TLS only, with a listener of their own")
            .next("`berth join-token create` shows the address"));
    }
    Ok(AgentConfig { server, ..config })
}

fn token(given: Option<&String>, file: Option<&std::path::Path>) -> Result<Option<String>> {
    match (given, file) {
        (Some(token), _) => Ok(Some(token.clone())),
        (None, Some(file)) => read_token(file),
        (None, None) => Ok(None),
    }
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
