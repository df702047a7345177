//! The server's composition root: opens everything in the order of its dependencies, merges the routers, serves both listeners.
//!
//! Nothing is decided here. What one service needs of the other goes through `functions`. Reading order is dependency order:
//! addresses, folder, database, fixed settings, identity, first admin, registry, deployer, listeners.

mod addresses;
mod admin;
pub mod config;
mod fixed;
mod functions;
mod limits;
mod observe;
mod operations;
mod proxies;
pub mod tls;

pub use admin::AdminFile;
pub use config::{Config, PublicTls, ServerArgs};

use crate::failure::{Failure, Result};
use axum::Router;
use axum::routing::get;
use deployer::{Deployer, DeployerConfig};
use identity::{Authority, Identity, IdentityConfig};
use model::Clock;
use model::clock::SystemClock;
use platform::db::{Db, DbError};
use platform::lifecycle::Lifecycle;
use platform::metrics::Metrics;
use platform::wake::Wake;
use registry::{Registry, RegistryConfig};
use std::fmt::Display;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Threads for blocking file work at most, and how long one that has nothing to do stays, in seconds. Each costs memory.
const BLOCKING_THREADS_MAX: usize = 64;
const BLOCKING_IDLE_SECS: u64 = 2;
/// Times an agent is heard within its lease.
const HEARTBEATS_PER_LEASE: u32 = 3;

/// Runs a server until it is told to stop.
pub fn run(args: &ServerArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(Duration::from_secs(BLOCKING_IDLE_SECS))
        .enable_all()
        .build()
        .map_err(failed("cannot start"))?;
    runtime.block_on(serve(args.clone()))
}

async fn serve(mut args: ServerArgs) -> Result<()> {
    let (public, agents) = bind(&mut args).await?;
    let config = Config::from_args(&args)?;
    private_folder(&config.data_dir)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let db = Db::open(&config.database).await.map_err(|error| cannot_open(&error))?;
    let fixed = fixed::load(&db, config.account_id.as_deref(), config.region.as_deref()).await?;
    let epoch = platform::settings::next_epoch(&db, clock.now()).await.map_err(failed("cannot take an epoch"))?;
    let identity = open_identity(&config, &db, &clock).await?;
    identity.audit().start(config.audit.clone(), db.clone(), clock.clone()).map_err(failed("cannot open the audit's folder"))?;
    admin::ensure(&identity, &config.data_dir).await?;
    let authority = Authority::open(&identity).await.map_err(failed("cannot open the private authority"))?;
    let pushed = Wake::default();
    let registry = open_registry(&config, &args, &db, &clock, &identity, &pushed).await?;
    let config_of_deployer = deployer_config(&config, fixed.control_plane_id.clone(), epoch);
    let functions = functions::of(&registry);
    let context = deployer::Context {
        intake_wake: pushed,
        ..deployer::Context::new(db.clone(), clock.clone(), identity.clone(), fixed.partition.clone(), config_of_deployer, functions)
    };
    let deployer = Deployer::open(context).await.map_err(failed("cannot open the control plane"))?;

    let lifecycle = Lifecycle::new();
    registry.start(&lifecycle);
    deployer.start(&lifecycle);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), db.clone(), |more| {
        registry.register_metrics(more);
        deployer.register_metrics(more);
    });
    let operations = operations::router(db.clone(), lifecycle.clone(), metrics.clone());
    let routes = public_router(&registry, &deployer, identity.clone(), operations);
    let routes = proxies::wrap(limits::wrap(routes, config.address_requests, clock), &config.trusted_proxies);
    let public_tls = public_tls(&config, &authority)?;
    let agents_tls = agents_tls(&config, &authority)?;
    platform::http::serve(&lifecycle, public, public_tls, observe::wrap(routes, metrics.clone()));
    platform::http::serve(&lifecycle, agents, Some(agents_tls), observe::wrap(deployer.agent_router(), metrics));
    tracing::info!(
        url = %config.public_url, agents = %config.agent_listen, account = %fixed.partition.account_id, region = %fixed.partition.region, epoch,
        "serving"
    );
    lifecycle.run_until_signal().await;
    identity.audit().close().await;
    db.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Binds both listeners, before anything else; the ports that were chosen go back into `args`.
async fn bind(args: &mut ServerArgs) -> Result<(TcpListener, TcpListener)> {
    let config = Config::from_args(args)?;
    let public = bind_one(config.listen, "--listen").await?;
    args.listen = public.local_addr()?;
    let agents = bind_one(config.agent_listen, "--agent-listen").await?;
    args.agent_listen = Some(agents.local_addr()?);
    Ok((public, agents))
}

async fn bind_one(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    platform::http::bind(address).await.map_err(|error| cannot_listen(address, flag, &error))
}

/// The address is taken, or not this host's.
pub fn cannot_listen(address: SocketAddr, flag: &str, error: &std::io::Error) -> Failure {
    let next = format!("choose another address with {flag} IP:PORT, or stop what uses it");
    Failure::error(format!("cannot listen on {address}")).why(error).next(next)
}

fn private_folder(folder: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        Failure::error(format!("cannot use the data folder {}", folder.display())).why(error).next("choose another one with --data-dir DIR")
    })
}

async fn open_identity(config: &Config, db: &Db, clock: &Arc<dyn Clock>) -> Result<Identity> {
    let identity = IdentityConfig { master_key_file: config.master_key_file.clone() };
    let identity = Identity::open(identity, db.clone(), clock.clone()).await.map_err(failed("cannot open identity"))?;
    if let Some(per_second) = config.principal_requests {
        identity.limit_requests(per_second.get());
    }
    Ok(identity)
}

async fn open_registry(
    config: &Config,
    args: &ServerArgs,
    db: &Db,
    clock: &Arc<dyn Clock>,
    identity: &Identity,
    pushed: &Wake,
) -> Result<Registry> {
    let mut registry = RegistryConfig::new(&config.data_dir);
    registry.pushed = pushed.clone();
    registry.external_url.clone_from(&args.external_url);
    registry.tls = config.tls != PublicTls::Plain;
    registry.gc = config.gc;
    registry.sparse = config.sparse;
    Registry::open(registry, db.clone(), clock.clone(), identity.clone()).await.map_err(failed("cannot open the registry"))
}

fn deployer_config(config: &Config, control_plane_id: String, epoch: i64) -> DeployerConfig {
    DeployerConfig {
        image_host: config.own_hosts.first().cloned().unwrap_or_default(),
        own_hosts: config.own_hosts.clone(),
        public_url: config.public_url.clone(),
        agent_url: config.agent_url.clone(),
        control_plane_id,
        epoch,
        heartbeat: Duration::from_secs(config.lease_secs) / HEARTBEATS_PER_LEASE,
        lease: Duration::from_secs(config.lease_secs),
        brake: Duration::from_secs(config.brake_secs),
        healthy_after: Duration::from_secs(config.healthy_after_secs),
    }
}

/// All public faces on one router. The OpenAPI document is made from the routes themselves.
fn public_router(registry: &Registry, deployer: &Deployer, identity: Identity, operations: Router) -> Router {
    let (v1, document) = identity::router(identity).merge(registry.v1_router()).merge(deployer.v1_router()).split_for_parts();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let document = get(move || async move { ([(http::header::CONTENT_TYPE, "application/json")], document.to_string()) });
    Router::new()
        .merge(registry.router())
        .merge(deployer.aws_router())
        .merge(v1)
        .merge(operations)
        .route("/api/openapi.json", document)
        .fallback(unknown_path)
}

async fn unknown_path(uri: http::Uri) -> (http::StatusCode, [(http::HeaderName, &'static str); 1], String) {
    let problem = api::v1::Problem::new(404, "not_found", "Not found", format!("there is nothing at {}", uri.path()));
    let body = serde_json::to_string(&problem).unwrap_or_default();
    (http::StatusCode::NOT_FOUND, [(http::header::CONTENT_TYPE, api::v1::PROBLEM_CONTENT_TYPE)], body)
}

fn public_tls(config: &Config, authority: &Authority) -> Result<Option<Arc<rustls::ServerConfig>>> {
    match &config.tls {
        PublicTls::Plain => Ok(None),
        PublicTls::Files { certificate, key } => tls::public_from_files(certificate, key).map(Some),
        PublicTls::Internal => {
            let path = config.authority_file();
            crate::context::write_private(&path, authority.authority_pem().as_bytes())
                .map_err(|error| Failure::error(format!("cannot write {}", path.display())).why(error))?;
            let issued = authority.issue_server(&config.agent_hosts).map_err(failed("cannot issue a certificate"))?;
            tls::public(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).map(Some)
        }
    }
}

fn agents_tls(config: &Config, authority: &Authority) -> Result<Arc<rustls::ServerConfig>> {
    let issued = authority.issue_server(&config.agent_hosts).map_err(failed("cannot issue a certificate"))?;
    tls::agents(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes(), authority.authority_pem().as_bytes())
}

fn cannot_open(error: &DbError) -> Failure {
    let failure = Failure::error("cannot open the database").why(error);
    match error {
        DbError::Locked(_) => failure.next("stop that server, or choose another folder with --data-dir DIR"),
        _ => failure.next("check --database and --data-dir"),
    }
}

/// Names what could not be done, with the reason.
fn failed<E: Display>(what: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::error(what).why(error)
}
