//! Settings of `berth server`: flags, then environment (`BERTH_…`), checked before anything starts.

use super::addresses;
use crate::failure::{Failure, Result};
use clap::Args;
use identity::audit::AuditConfig;
use model::repository::Sparse;
use platform::db::DatabaseUrl;
use registry::GcConfig;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// Default public listener: loopback, so plain HTTP.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:5000";
/// Region in ARNs when none is given at first start.
pub const REGION_DEFAULT: &str = "local-1";

/// Flags shared by `berth server` and `berth up`.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Folder for everything that is kept: database, blobs, keys, the first admin's credentials
    #[arg(long, env = "BERTH_DATA_DIR", value_name = "DIR", default_value_os_t = default_data_dir())]
    pub data_dir: PathBuf,
    /// Public address: registry, ECS and ECR API, Berth API. Plain HTTP on loopback only
    #[arg(long, env = "BERTH_LISTEN", value_name = "IP:PORT", default_value = LISTEN_DEFAULT)]
    pub listen: SocketAddr,
    /// Address for agents, always mutual TLS [default: the public IP, next port]
    #[arg(long, env = "BERTH_AGENT_LISTEN", value_name = "IP:PORT")]
    pub agent_listen: Option<SocketAddr>,
    /// URL under which people and machines reach the public listener, when it is not the listen address
    #[arg(long, env = "BERTH_EXTERNAL_URL", value_name = "URL")]
    pub external_url: Option<String>,
    /// Further host names or addresses that agents reach this server by; they go into its certificate
    #[arg(long, env = "BERTH_AGENT_HOST", value_name = "HOST", value_delimiter = ',')]
    pub agent_host: Vec<String>,
    /// PostgreSQL instead of the embedded SQLite: `postgres://user:password@host/database`
    #[arg(long, env = "BERTH_DATABASE", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,
    /// Key that seals secrets in the database; made when absent. Servers on one database share it [default: DIR/master.key]
    #[arg(long, env = "BERTH_MASTER_KEY_FILE", value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,
    /// Twelve digits that every ARN carries; fixed at first start [default: random]
    #[arg(long, env = "BERTH_ACCOUNT_ID", value_name = "N")]
    pub account_id: Option<String>,
    /// Region that every ARN carries; fixed at first start [default: local-1]
    #[arg(long, env = "BERTH_REGION", value_name = "R")]
    pub region: Option<String>,
    /// Certificate chain of the public listener, PEM
    #[arg(long, env = "BERTH_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the public listener, PEM
    #[arg(long, env = "BERTH_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Certificate of the public listener from the server's private authority (saved as DIR/authority.pem)
    #[arg(long, env = "BERTH_TLS_INTERNAL", conflicts_with = "tls_cert")]
    pub tls_internal: bool,
    /// Seconds a task without health check runs before it counts as healthy
    #[arg(long, env = "BERTH_HEALTHY_AFTER_SECS", value_name = "SECS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub healthy_after_secs: u64,
    /// Seconds without a word after which an agent's host counts as lost
    #[arg(long, env = "BERTH_LEASE_SECS", value_name = "SECS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..=3600))]
    pub lease_secs: u64,
    /// Seconds a blob stays that no manifest names: at least as long as a client takes from its first blob to its manifest
    #[arg(long, env = "BERTH_GC_GRACE_SECS", value_name = "SECS", default_value_t = GcConfig::GRACE_SECS, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub gc_grace_secs: u64,
    /// Seconds a manifest stays that no tag and no index names; 0 keeps it for good
    #[arg(long, env = "BERTH_UNTAGGED_SECS", value_name = "SECS", default_value_t = GcConfig::UNTAGGED_SECS, value_parser = clap::value_parser!(u64).range(..=315_360_000))]
    pub untagged_secs: u64,
    /// What becomes of manifests that name content which is not here, where a repository's settings do not say: accept or refuse
    #[arg(long, env = "BERTH_SPARSE", value_name = "accept|refuse", default_value = "accept")]
    pub sparse: Sparse,
    /// Seconds an upload stays that nobody goes on with
    #[arg(long, env = "BERTH_UPLOAD_SECS", value_name = "SECS", default_value_t = GcConfig::UPLOAD_SECS, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub upload_secs: u64,
    /// Seconds to wait before tasks are replaced when most hosts of a cluster are lost at once; 0 never waits
    #[arg(long, env = "BERTH_BRAKE_SECS", value_name = "SECS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub brake_secs: u64,
    /// Days for which the audit keeps pulls; 0 keeps them for ever. Changes are always kept
    #[arg(long, env = "BERTH_AUDIT_KEEP_DAYS", value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(..=36_500))]
    pub audit_keep_days: u64,
    /// Most room for the pulls in the audit, in MiB; the oldest go first
    #[arg(long, env = "BERTH_AUDIT_MAX_MIB", value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub audit_max_mib: u64,
    /// Requests of one user or robot in a second; 0 is no limit
    #[arg(long, env = "BERTH_PRINCIPAL_REQUESTS", value_name = "N", default_value_t = 0)]
    pub principal_requests: u32,
    /// Requests from one address in a second; 0 is no limit
    #[arg(long, env = "BERTH_ADDRESS_REQUESTS", value_name = "N", default_value_t = 0)]
    pub address_requests: u32,
    /// Addresses of proxies in front of this server: what they say in X-Forwarded-For is where a request comes from
    #[arg(long, env = "BERTH_TRUSTED_PROXY", value_name = "IP", value_delimiter = ',')]
    pub trusted_proxy: Vec<IpAddr>,
}

/// How the public listener is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicTls {
    /// Loopback only.
    Plain,
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
    /// Issued by the private authority.
    Internal,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub agent_listen: SocketAddr,
    /// `http://127.0.0.1:5000`, without a slash at the end.
    pub public_url: String,
    /// Names of this registry in image references, `host[:port]`; the first is the one shown to people.
    pub own_hosts: Vec<String>,
    /// Names in the agents' listener's certificate.
    pub agent_hosts: Vec<String>,
    /// What people give to `berth agent join` on other machines.
    pub agent_url: String,
    pub database: DatabaseUrl,
    pub master_key_file: PathBuf,
    pub account_id: Option<String>,
    pub region: Option<String>,
    pub tls: PublicTls,
    pub healthy_after_secs: u64,
    pub lease_secs: u64,
    pub brake_secs: u64,
    pub audit: AuditConfig,
    /// Requests in a second of one principal, and of one address.
    pub principal_requests: Option<NonZeroU32>,
    pub address_requests: Option<NonZeroU32>,
    pub gc: GcConfig,
    pub sparse: Sparse,
    pub trusted_proxies: Vec<IpAddr>,
}

impl Config {
    /// Checks the flags; looks at nothing but this machine's addresses.
    pub fn from_args(args: &ServerArgs) -> Result<Self> {
        let tls = public_tls(args)?;
        let agent_listen = match args.agent_listen {
            Some(address) => address,
            None => next_port(args.listen)?,
        };
        let scheme = if tls == PublicTls::Plain { "http" } else { "https" };
        let public_url = match &args.external_url {
            Some(url) => external_url(url)?,
            None => format!("{scheme}://{}", reachable(args.listen)),
        };
        let own_hosts = own_hosts(&public_url, args.listen);
        let local = addresses::local();
        let agent_hosts = addresses::agent_hosts(&args.agent_host, &public_url, agent_listen, &local);
        let agent_url = addresses::agent_url(&args.agent_host, &public_url, agent_listen, &local);
        Ok(Self {
            data_dir: args.data_dir.clone(),
            listen: args.listen,
            agent_listen,
            public_url,
            own_hosts,
            agent_hosts,
            agent_url,
            database: database(args)?,
            master_key_file: args.master_key_file.clone().unwrap_or_else(|| args.data_dir.join("master.key")),
            account_id: args.account_id.clone(),
            region: args.region.clone(),
            tls,
            healthy_after_secs: args.healthy_after_secs,
            lease_secs: args.lease_secs,
            brake_secs: args.brake_secs,
            audit: audit(args),
            principal_requests: NonZeroU32::new(args.principal_requests),
            address_requests: NonZeroU32::new(args.address_requests),
            gc: GcConfig {
                grace: Duration::from_secs(args.gc_grace_secs),
                untagged: (args.untagged_secs > 0).then(|| Duration::from_secs(args.untagged_secs)),
                uploads: Duration::from_secs(args.upload_secs),
            },
            sparse: args.sparse,
            trusted_proxies: args.trusted_proxy.clone(),
        })
    }

    /// Where a process on this host reaches the public listener.
    pub fn local_url(&self) -> String {
        let scheme = if self.tls == PublicTls::Plain { "http" } else { "https" };
        format!("{scheme}://{}", reachable(self.listen))
    }

    /// Certificate of the private authority, for clients of a listener with `--tls-internal`.
    pub fn authority_file(&self) -> PathBuf {
        self.data_dir.join("authority.pem")
    }

    /// Where an agent on this host reaches its listener.
    pub fn local_agent_url(&self) -> String {
        format!("https://{}", reachable(self.agent_listen))
    }
}

fn audit(args: &ServerArgs) -> AuditConfig {
    AuditConfig {
        folder: args.data_dir.join("audit"),
        keep: Some(args.audit_keep_days).filter(|days| *days > 0).map(|days| Duration::from_hours(days * 24)),
        bytes_max: args.audit_max_mib * 1024 * 1024,
    }
}

fn database(args: &ServerArgs) -> Result<DatabaseUrl> {
    match &args.database {
        None => Ok(DatabaseUrl::Sqlite(args.data_dir.join("berth.db"))),
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => Ok(DatabaseUrl::Postgres(url.clone())),
        Some(_) => Err(Failure::usage("--database is not a PostgreSQL URL")
            .next("write --database postgres://user:password@host/database, or leave it out for SQLite in the data folder")),
    }
}

fn public_tls(args: &ServerArgs) -> Result<PublicTls> {
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Ok(PublicTls::Files { certificate: certificate.clone(), key: key.clone() }),
        _ if args.tls_internal => Ok(PublicTls::Internal),
        _ if args.listen.ip().is_loopback() => Ok(PublicTls::Plain),
        _ => Err(Failure::usage(format!("--listen {} would send passwords and tokens in clear over the network", args.listen))
            .why("plain HTTP is served on loopback only")
            .next("add --tls-cert FILE --tls-key FILE, or --tls-internal for a certificate from this server's own authority, or listen on 127.0.0.1")),
    }
}

fn next_port(listen: SocketAddr) -> Result<SocketAddr> {
    match listen.port().checked_add(1) {
        // Port 0 asks for any free port; so does the next one then.
        Some(1) => Ok(SocketAddr::new(listen.ip(), 0)),
        Some(port) => Ok(SocketAddr::new(listen.ip(), port)),
        None => Err(Failure::usage(format!("there is no port after {} for agents", listen.port())).next("add --agent-listen IP:PORT")),
    }
}

fn external_url(url: &str) -> Result<String> {
    let refuse = || {
        Failure::usage(format!("--external-url `{url}` is not http://HOST[:PORT] or https://HOST[:PORT]"))
            .next("write it without a path, for example https://registry.example.com")
    };
    let url = url.trim_end_matches('/');
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or_else(refuse)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b);
    if host.is_empty() || !host.bytes().all(allowed) { Err(refuse()) } else { Ok(url.to_owned()) }
}

/// The address with an unspecified IP (`0.0.0.0`) replaced by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        other => other,
    }
}

fn host_of(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, host)| host)
}

fn own_hosts(public_url: &str, listen: SocketAddr) -> Vec<String> {
    let port = listen.port();
    let mut hosts = vec![host_of(public_url).to_owned()];
    for host in [reachable(listen).to_string(), listen.to_string(), format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// `/var/lib/berth` for root; below the user's data folder otherwise.
fn default_data_dir() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/berth");
    }
    let data_home = std::env::var_os("XDG_DATA_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let data_home = data_home.or_else(|| std::env::home_dir().map(|home| home.join(".local/share")));
    data_home.map_or_else(|| PathBuf::from("berth-data"), |base| base.join("berth"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: ServerArgs,
    }

    fn config(arguments: &[&str]) -> Result<Config> {
        let all = ["server", "--data-dir", "/d"].iter().chain(arguments);
        Config::from_args(&Only::try_parse_from(all).unwrap().args)
    }

    #[test]
    fn defaults_are_loopback_and_sqlite() {
        let config = config(&[]).unwrap();
        assert_eq!(config.public_url, "http://127.0.0.1:5000");
        assert_eq!(config.agent_listen.to_string(), "127.0.0.1:5001");
        assert_eq!(config.own_hosts, ["127.0.0.1:5000", "localhost:5000"]);
        assert_eq!(config.agent_hosts, ["127.0.0.1", "localhost"]);
        assert!(matches!(config.database, DatabaseUrl::Sqlite(path) if path == std::path::Path::new("/d/berth.db")));
    }

    #[test]
    fn plain_http_is_refused_off_loopback() {
        assert!(config(&["--listen", "0.0.0.0:5000"]).unwrap_err().to_string().contains("--tls-internal"));
        assert!(config(&["--listen", "[::1]:5000"]).is_ok());
        let tls = config(&["--listen", "0.0.0.0:443", "--tls-internal"]).unwrap();
        assert_eq!((tls.tls.clone(), tls.public_url.as_str()), (PublicTls::Internal, "https://127.0.0.1:443"));
        assert_eq!(tls.local_agent_url(), "https://127.0.0.1:444");
    }

    #[test]
    fn an_external_url_names_the_registry() {
        let config = config(&["--external-url", "https://reg.example.com:8443/"]).unwrap();
        assert_eq!(config.own_hosts, ["reg.example.com:8443", "127.0.0.1:5000", "localhost:5000"]);
        assert_eq!(config.agent_hosts[0], "reg.example.com");
        assert!(config_of_url("ftp://x").is_err() && config_of_url("https://x/y").is_err());
    }

    fn config_of_url(url: &str) -> Result<Config> {
        config(&["--external-url", url])
    }

    #[test]
    fn other_databases_and_ports_without_a_next_are_refused() {
        assert!(config(&["--database", "mysql://x"]).is_err());
        assert!(config(&["--database", "postgres://x/y"]).is_ok());
        assert!(config(&["--listen", "127.0.0.1:65535"]).is_err());
        assert_eq!(config(&["--listen", "127.0.0.1:0"]).unwrap().agent_listen.port(), 0);
    }
}
