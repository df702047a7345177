//! The whole agent: joined once, then the engine beside the conversation with the server, until it is told to stop.

use crate::client::{ClientError, HttpServer};
use crate::config::AgentConfig;
use crate::diff::Planes;
use crate::engine::{Engine, Parts, RelayAccess};
use crate::join::{self, JoinError};
use crate::logs::Logs;
use crate::membership::{self, Membership};
use crate::runtime::docker::DockerRuntime;
use crate::sync::{Ended, Sync};
use crate::{files, progress, random, relay, renew, reporter, tls};
use model::clock::SystemClock;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const JOIN_RETRY_MIN: Duration = Duration::from_millis(200);
const JOIN_RETRY_MAX: Duration = Duration::from_secs(5);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("this agent has not joined yet: give it a join token (`berth agent join URL --token TOKEN`)")]
    NotJoined,
    #[error("cannot join: {0}")]
    Join(#[from] JoinError),
    #[error("cannot use {path}: {source}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error("cannot open the relay on loopback: {0}")]
    Relay(io::Error),
    #[error("cannot talk to the server: {0}")]
    Client(#[from] ClientError),
}

/// Runs the agent until `stopping`. No container is stopped by its end.
pub async fn run(config: AgentConfig, stopping: CancellationToken) -> Result<(), AgentError> {
    let in_data_dir = |source| AgentError::DataDir { path: config.data_dir.clone(), source };
    files::make_private_dir(&config.data_dir).map_err(in_data_dir)?;
    let mut membership = membership::load(&config.data_dir).map_err(in_data_dir)?;
    let mut can_rejoin = config.join().is_some();
    let mut wanted = membership.as_ref().is_none_or(|known| wants_another(&config, known));
    loop {
        if std::mem::take(&mut wanted) {
            can_rejoin = false;
            match join_until(&config, &stopping).await {
                Ok(None) => return Ok(()),
                Ok(Some(joined)) => membership = Some(membership::store(&config.data_dir, joined).map_err(in_data_dir)?),
                Err(error) if membership.is_none() => return Err(error),
                // A token that was used before, or is for nobody: what this agent has is better than nothing.
                Err(error) => tracing::error!("cannot join anew, going on as before: {error}"),
            }
        }
        let current = membership.clone().ok_or(AgentError::NotJoined)?;
        match serve(&config, &current, can_rejoin, &stopping).await? {
            None => return Ok(()),
            Some(Ended::Renewed) => membership = membership::load(&config.data_dir).map_err(in_data_dir)?,
            Some(Ended::Rejoin) => {
                tracing::warn!("the server does not know this agent: joining anew; containers are kept");
                wanted = true;
            }
            Some(Ended::OtherControlPlane(id)) => {
                tracing::warn!(control_plane = id, "the server is another control plane now ({id}); containers of the old one are kept");
                let moved = Membership { control_plane_id: id, ..current };
                membership = Some(membership::store(&config.data_dir, moved).map_err(in_data_dir)?);
            }
        }
    }
}

/// A join token for another authority than the one joined: the host is to change sides.
fn wants_another(config: &AgentConfig, known: &Membership) -> bool {
    config.join().is_some_and(|token| token.fingerprint != known.fingerprint)
}

/// Joins, waiting for a server that is not there yet; nothing when the agent is to stop meanwhile.
async fn join_until(config: &AgentConfig, stopping: &CancellationToken) -> Result<Option<Membership>, AgentError> {
    let token = config.join().ok_or(AgentError::NotJoined)?;
    let mut retry = JOIN_RETRY_MIN;
    loop {
        let attempt = tokio::select! {
            () = stopping.cancelled() => return Ok(None),
            attempt = join::join(config, &token) => attempt,
        };
        match attempt {
            Ok(membership) => {
                tracing::info!(instance.id = %membership.instance_id, "joined cluster {} as {}", membership.cluster, membership.instance_id);
                return Ok(Some(membership));
            }
            Err(error) if error.is_transient() => {
                tracing::warn!("cannot join yet: {error}");
                tokio::select! {
                    () = stopping.cancelled() => return Ok(None),
                    () = tokio::time::sleep(random::jitter(retry)) => {}
                }
                retry = (retry * 2).min(JOIN_RETRY_MAX);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs as a member of one control plane; nothing when told to stop, else why another membership is needed.
async fn serve(
    config: &AgentConfig,
    membership: &Membership,
    can_rejoin: bool,
    stopping: &CancellationToken,
) -> Result<Option<Ended>, AgentError> {
    let in_data_dir = |source| AgentError::DataDir { path: config.data_dir.clone(), source };
    let tls = tls::mutual(&membership.authority, &membership.certificate, &membership.key).map_err(ClientError::from)?;
    let server = HttpServer::new(&config.server, tls)?;
    let listener = relay::listen(&config.data_dir).await.map_err(AgentError::Relay)?;
    let access = RelayAccess::new(listener.local_addr().map_err(AgentError::Relay)?.port());
    let session = stopping.child_token();
    let parts = Parts {
        runtime: DockerRuntime::new(config.docker_address()),
        clock: Arc::new(SystemClock),
        data_dir: config.data_dir.clone(),
        planes: Planes { current: membership.control_plane_id.clone(), former: membership.former_control_planes.clone() },
        relay: Arc::clone(&access),
        failpoint: config.failpoint.clone(),
    };
    let engine = Engine::open(parts, session.clone()).map_err(in_data_dir)?;
    let relay = tokio::spawn(relay::serve(listener, access, server.clone()));
    let epoch = {
        let engine = Arc::clone(&engine);
        move || engine.epoch()
    };
    let reporter = tokio::spawn(reporter::run(server.clone(), engine.outbox(), epoch));
    let progress = tokio::spawn(progress::run(server.clone(), Arc::clone(&engine)));
    let work = tokio::spawn(Arc::clone(&engine).run());

    let ended = converse(config, membership, can_rejoin, &engine, server, stopping).await;
    session.cancel();
    reporter.abort();
    progress.abort();
    relay.abort();
    // The engine ends by itself, so that nothing of it is left when another membership begins.
    if let Err(error) = work.await {
        tracing::error!("the engine ended badly: {error}");
    }
    Ok(ended)
}

async fn converse(
    config: &AgentConfig,
    membership: &Membership,
    can_rejoin: bool,
    engine: &Arc<Engine<DockerRuntime>>,
    server: HttpServer,
    stopping: &CancellationToken,
) -> Option<Ended> {
    let logs = Logs::default();
    let sync = Sync {
        config: config.clone(),
        control_plane: membership.control_plane_id.clone(),
        engine: Arc::clone(engine),
        server: server.clone(),
        can_rejoin,
    };
    tokio::select! {
        () = stopping.cancelled() => None,
        () = renew::keep_fresh(config, membership, &server) => Some(Ended::Renewed),
        ended = sync.run(|request| logs.answer(engine, &server, request)) => Some(ended),
    }
}
