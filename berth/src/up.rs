//! `berth up`: one server and one agent on this host, as child processes of the same executable, restarted when they end.
//!
//! What parses the internet does not hold the Docker socket, and the death of the one is no event for the other. Containers
//! outlive both, and this supervisor.

mod children;
mod local;

use crate::failure::{Failure, Result};
use crate::output::{self, Output};
use crate::server::{AdminFile, Config, PublicTls, ServerArgs};
use children::{Child, Spec};
use clap::Args;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest time the server takes to its first readiness (PostgreSQL may be far, migrations long), in seconds.
const READY_SECS_MAX: u64 = 120;
/// Time between two questions whether it is ready, in milliseconds.
const READY_MILLIS: u64 = 25;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  berth up
  berth up --data-dir /srv/berth --listen 127.0.0.1:5000
  berth up --no-agent                                     (a server only)
  berth up --database postgres://berth@db/berth
  BERTH_ADMIN_PASSWORD=… berth up

The command line works at once, through the context `local`. Ctrl-C or SIGTERM stops server and agent; containers run on, and
`berth up` on the same folder takes them up again.")]
pub struct UpArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// No agent: containers run on other hosts
    #[arg(long, env = "BERTH_NO_AGENT")]
    pub no_agent: bool,
    /// Name of this host as people see it [default: its host name]
    #[arg(long, env = "BERTH_AGENT_NAME", value_name = "NAME")]
    pub agent_name: Option<String>,
    /// Zone of this host
    #[arg(long, env = "BERTH_AGENT_ZONE", value_name = "ZONE")]
    pub agent_zone: Option<String>,
    /// Docker Engine of the agent [default: the socket `/var/run/docker.sock`]
    #[arg(long, alias = "docker", env = "BERTH_DOCKER_HOST", value_name = "URL")]
    pub docker_host: Option<String>,
}

/// Runs until SIGTERM or Ctrl-C, or until the server does not come up at all.
pub async fn run(args: UpArgs, out: Output) -> Result<u8> {
    let config = Config::from_args(&args.server)?;
    if config.listen.port() == 0 || config.agent_listen.port() == 0 {
        return Err(Failure::usage("`berth up` needs ports of its own choice: a server that is restarted has to come back on the same")
            .next("write --listen 127.0.0.1:5000"));
    }
    ports_are_free(&config)?;
    crate::process::log();
    let executable = std::env::current_exe().map_err(|error| Failure::error("cannot find this program").why(error))?;
    let stopping = CancellationToken::new();
    let server = Child::start(server_spec(&executable, &args.server), &stopping);
    let started = tokio::select! {
        // Cancel-safe: looking has no effects, and a server that ended stays ended.
        ready = wait_until_ready(&config) => ready.map(|()| None),
        code = server.ended_early() => Ok(Some(code)),
        () = signalled() => Ok(Some(0)),
    };
    let failed = match started {
        Ok(None) => None,
        Ok(Some(code)) => Some(Ok(code)),
        Err(failure) => Some(Err(failure)),
    };
    if let Some(result) = failed {
        stopping.cancel();
        server.stopped().await;
        return result;
    }
    server.is_ready();
    let agent = attend(&args, &config, &executable, &stopping, out).await?;
    signalled().await;
    tracing::info!("stopping; containers run on");
    stopping.cancel();
    if let Some(agent) = agent {
        agent.stopped().await;
    }
    server.stopped().await;
    Ok(0)
}

/// What happens once the server is ready: the local context, the agent, the words for people.
async fn attend(args: &UpArgs, config: &Config, executable: &Path, stopping: &CancellationToken, out: Output) -> Result<Option<Child>> {
    let admin = AdminFile::load(&config.data_dir)?;
    let context = match local::context(config, admin.as_ref()).await {
        Ok(context) => context,
        Err(failure) => {
            output::remark(&format!("warning: no local context: {failure}"));
            None
        }
    };
    let mut agent = None;
    if !args.no_agent {
        let folder = config.data_dir.join("agent");
        if let Some(context) = &context {
            if let Err(failure) = local::join_token(context, &folder).await {
                output::remark(&format!("warning: no join token for the agent: {failure}"));
            }
        } else if !folder.join("identity.json").exists() {
            output::remark("warning: the agent cannot join without a token; make one with `berth join-token create` and run `berth agent`");
        }
        agent = Some(Child::start(agent_spec(executable, args, config, &folder), stopping));
    }
    announce(config, context.is_some(), agent.is_some(), out);
    Ok(agent)
}

fn server_spec(executable: &Path, args: &ServerArgs) -> Spec {
    let mut line: Vec<OsString> = vec!["server".into()];
    let mut flag = |name: &str, value: OsString| line.extend([name.into(), value]);
    flag("--end-with-parent", std::process::id().to_string().into());
    flag("--data-dir", args.data_dir.clone().into());
    flag("--listen", args.listen.to_string().into());
    flag("--healthy-after-secs", args.healthy_after_secs.to_string().into());
    flag("--lease-secs", args.lease_secs.to_string().into());
    flag("--brake-secs", args.brake_secs.to_string().into());
    flag("--audit-keep-days", args.audit_keep_days.to_string().into());
    flag("--audit-max-mib", args.audit_max_mib.to_string().into());
    flag("--principal-requests", args.principal_requests.to_string().into());
    flag("--address-requests", args.address_requests.to_string().into());
    let given = [
        ("--agent-listen", args.agent_listen.map(|address| address.to_string().into())),
        ("--external-url", args.external_url.clone().map(Into::into)),
        ("--account-id", args.account_id.clone().map(Into::into)),
        ("--region", args.region.clone().map(Into::into)),
        ("--master-key-file", args.master_key_file.clone().map(Into::into)),
        ("--tls-cert", args.tls_cert.clone().map(Into::into)),
        ("--tls-key", args.tls_key.clone().map(Into::into)),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            flag(name, value);
        }
    }
    for proxy in &args.trusted_proxy {
        flag("--trusted-proxy", proxy.to_string().into());
    }
    for host in &args.agent_host {
        flag("--agent-host", host.into());
    }
    if args.tls_internal {
        line.push("--tls-internal".into());
    }
    // Holds a password, which the command line would show to everybody on this host.
    let environment = args.database.iter().map(|url| ("BERTH_DATABASE", url.clone().into())).collect();
    Spec { name: "server", executable: executable.to_owned(), line, environment }
}

fn agent_spec(executable: &Path, args: &UpArgs, config: &Config, folder: &Path) -> Spec {
    let mut line: Vec<OsString> = vec!["agent".into()];
    let mut flag = |name: &str, value: OsString| line.extend([name.into(), value]);
    flag("--end-with-parent", std::process::id().to_string().into());
    flag("--server", config.local_agent_url().into());
    flag("--data-dir", folder.into());
    flag("--join-token-file", local::token_file(folder).into());
    for (name, value) in [("--name", &args.agent_name), ("--zone", &args.agent_zone), ("--docker-host", &args.docker_host)] {
        if let Some(value) = value {
            flag(name, value.into());
        }
    }
    Spec { name: "agent", executable: executable.to_owned(), line, environment: Vec::new() }
}

async fn wait_until_ready(config: &Config) -> Result<()> {
    let url = format!("{}/readyz", config.local_url());
    let asking = async {
        loop {
            if is_ready(config, &url).await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(READY_MILLIS)).await;
        }
    };
    let late = |_| Failure::error(format!("the server is not ready after {READY_SECS_MAX} s")).why("its log above says what it waits for");
    tokio::time::timeout(Duration::from_secs(READY_SECS_MAX), asking).await.map_err(late)?
}

async fn is_ready(config: &Config, url: &str) -> Result<bool> {
    if config.tls == PublicTls::Internal && !config.authority_file().exists() {
        return Ok(false);
    }
    // Made again each time: the server may just have written the certificate of its authority.
    let asked = local::http(config)?.get(url).timeout(Duration::from_secs(5)).send().await;
    Ok(asked.is_ok_and(|answer| answer.status().is_success()))
}

/// Looks before the server is started: another one on the port would answer for it.
fn ports_are_free(config: &Config) -> Result<()> {
    for (address, flag) in [(config.listen, "--listen"), (config.agent_listen, "--agent-listen")] {
        std::net::TcpListener::bind(address).map_err(|error| crate::server::cannot_listen(address, flag, &error))?;
    }
    Ok(())
}

/// SIGTERM or Ctrl-C.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Where everything is, and the next three commands to type.
fn announce(config: &Config, context: bool, agent: bool, out: Output) {
    let host = config.own_hosts.first().cloned().unwrap_or_default();
    if out.is_json() {
        let value = serde_json::json!({ "url": config.public_url, "agents": config.local_agent_url(), "data_dir": config.data_dir, "agent": agent });
        return out.line("", &value);
    }
    let admin_file: PathBuf = AdminFile::path(&config.data_dir);
    let mut lines = vec![
        String::new(),
        format!("berth is up        {}   (registry, ECS and ECR API, Berth API)", config.public_url),
        format!("data               {}", config.data_dir.display()),
    ];
    if admin_file.exists() {
        lines.push(format!("first admin        {}   (user, password, AWS access key)", admin_file.display()));
    }
    lines.push(if agent {
        "agent              on this host; containers run here".into()
    } else {
        format!("agents             join at {}; `berth join-token create` makes a token", config.local_agent_url())
    });
    if context {
        lines.push(format!("context            {} (`berth context ls`)", crate::context::LOCAL));
    }
    lines.extend([
        String::new(),
        "next:".into(),
        format!("  docker login {host}"),
        format!("  docker push {host}/acme/web:v1"),
        "  berth service create web --image acme/web:v1 --count 3 --port 8080 --wait".into(),
        String::new(),
    ]);
    output::print(&format!("{}\n", lines.join("\n")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn up(arguments: &[&str]) -> UpArgs {
        match Cli::try_parse_from(["berth", "up", "--data-dir", "/d"].iter().chain(arguments)).unwrap().command {
            Command::Up(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_server_is_started_with_what_up_was_told() {
        let told = ["--listen", "127.0.0.1:7000", "--account-id", "123456789012", "--agent-host", "a,b", "--database", "postgres://secret"];
        let args = up(&told);
        let spec = server_spec(Path::new("/berth"), &args.server);
        let line = spec.line.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>();
        let again = Cli::try_parse_from(["berth"].into_iter().chain(line.iter().copied())).unwrap();
        let Command::Server(command) = again.command else { panic!() };
        assert_eq!(command.server.listen, args.server.listen);
        assert_eq!(command.server.account_id, args.server.account_id);
        assert_eq!(command.server.agent_host, ["a", "b"]);
        assert!(!line.iter().any(|part| part.contains("secret")), "{line:?}");
        assert_eq!(spec.environment.len(), 1);
    }

    #[test]
    fn the_agent_is_started_with_the_server_it_belongs_to() {
        let args = up(&["--agent-zone", "rack-1"]);
        let config = Config::from_args(&args.server).unwrap();
        let spec = agent_spec(Path::new("/berth"), &args, &config, Path::new("/d/agent"));
        let line = spec.line.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>();
        let again = Cli::try_parse_from(["berth"].into_iter().chain(line)).unwrap();
        let Command::Agent(agent) = again.command else { panic!() };
        assert_eq!((agent.server.as_deref(), agent.host.zone.as_deref()), (Some("https://127.0.0.1:5001"), Some("rack-1")));
    }
}
