//! The real Docker Engine, through bollard. Connects when first asked, so that an agent may start before its engine.

mod convert;

use super::{EngineInfo, Event, Found, LogOptions, Meter, PullCredential, Runtime, RuntimeError};
use bollard::auth::DockerCredentials;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, CreateImageInfo};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, EventsOptions, ListContainersOptions, LogsOptions, RemoveContainerOptions,
    StopContainerOptions, TagImageOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt};
use model::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const LIST_TIMEOUT: Duration = Duration::from_mins(1);
const CREATE_TIMEOUT: Duration = Duration::from_mins(1);
/// ECS gives a start three minutes.
const START_TIMEOUT: Duration = Duration::from_mins(3);
/// On top of the container's own grace.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
const REMOVE_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest silence of a pull: Docker reports progress several times a second while anything moves.
const PULL_SILENCE_MAX: Duration = Duration::from_mins(2);
/// bollard's own limit; each call here has a shorter one.
const CLIENT_TIMEOUT_SECS: u64 = 4 * 3600;
/// A command's exit code can lag a moment behind the end of its output.
const EXIT_CODE_ATTEMPTS: u32 = 50;
const EXIT_CODE_PAUSE: Duration = Duration::from_millis(10);

/// A Docker Engine at an address.
#[derive(Clone)]
pub struct DockerRuntime {
    address: String,
    connected: Arc<Mutex<Option<Docker>>>,
}

impl DockerRuntime {
    /// `unix:///path` or `tcp://host:port`; nothing is contacted yet.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), connected: Arc::default() }
    }

    /// The connection, with the API version both sides speak (1.41 for Docker 20.10).
    async fn docker(&self) -> Result<Docker, RuntimeError> {
        let cached = self.connected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = cached {
            return Ok(docker);
        }
        let docker = match self.address.strip_prefix("unix://") {
            Some(path) => Docker::connect_with_unix(path, CLIENT_TIMEOUT_SECS, API_DEFAULT_VERSION),
            None => Docker::connect_with_http(&self.address, CLIENT_TIMEOUT_SECS, API_DEFAULT_VERSION),
        };
        let docker = within(CONNECT_TIMEOUT, docker.map_err(convert::error)?.negotiate_version()).await?;
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    /// A stream that begins with connecting.
    fn stream<T, S>(&self, open: impl FnOnce(Docker) -> S + Send + 'static) -> BoxStream<'static, Result<T, RuntimeError>>
    where
        T: Send + 'static,
        S: Stream<Item = Result<T, RuntimeError>> + Send + 'static,
    {
        let runtime = self.clone();
        futures_util::stream::once(async move { runtime.docker().await.map(open) }).try_flatten().boxed()
    }
}

/// Runs a call with its timeout.
async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, bollard::errors::Error>>) -> Result<T, RuntimeError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(convert::error),
        Err(_) => Err(RuntimeError::Timeout(limit)),
    }
}

/// What Docker says while it pulls: a layer, what it does with it, and how far it is.
fn note(meter: &Meter, news: &CreateImageInfo) {
    let (Some(layer), Some(status)) = (&news.id, &news.status) else { return };
    let detail = news.progress_detail.as_ref();
    let bytes = |value: Option<i64>| value.and_then(|bytes| u64::try_from(bytes).ok());
    meter.note(layer, status, bytes(detail.and_then(|detail| detail.current)), bytes(detail.and_then(|detail| detail.total)));
}

fn label_filter() -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![super::LABEL_CONTROL_PLANE.to_owned()])])
}

impl Runtime for DockerRuntime {
    async fn list(&self) -> Result<Vec<Found>, RuntimeError> {
        let options = ListContainersOptions { all: true, filters: Some(label_filter()), ..ListContainersOptions::default() };
        let list = within(LIST_TIMEOUT, self.docker().await?.list_containers(Some(options))).await?;
        Ok(list.into_iter().filter_map(convert::summary).collect())
    }

    async fn inspect(&self, container: &str) -> Result<Option<Found>, RuntimeError> {
        match within(CALL_TIMEOUT, self.docker().await?.inspect_container(container, None)).await {
            Ok(response) => Ok(convert::inspected(response)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn image_exists(&self, image: &str) -> Result<bool, RuntimeError> {
        match within(CALL_TIMEOUT, self.docker().await?.inspect_image(image)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn pull(&self, image: &str, credential: Option<PullCredential>, meter: &Meter) -> Result<(), RuntimeError> {
        let options = CreateImageOptions { from_image: Some(image.to_owned()), ..CreateImageOptions::default() };
        let login = credential.map(|login| DockerCredentials {
            username: Some(login.username),
            password: Some(login.password),
            serveraddress: Some(login.server),
            ..DockerCredentials::default()
        });
        let docker = self.docker().await?;
        let mut progress = std::pin::pin!(docker.create_image(Some(options), None, login));
        loop {
            match tokio::time::timeout(PULL_SILENCE_MAX, progress.next()).await {
                Ok(Some(Ok(news))) => note(meter, &news),
                Ok(Some(Err(error))) => return Err(convert::error(error)),
                Ok(None) => return Ok(()),
                Err(_) => return Err(RuntimeError::Timeout(PULL_SILENCE_MAX)),
            }
        }
    }

    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), RuntimeError> {
        let options = TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag.to_owned()) };
        within(CALL_TIMEOUT, self.docker().await?.tag_image(image, Some(options))).await
    }

    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, RuntimeError> {
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
        Ok(within(CREATE_TIMEOUT, self.docker().await?.create_container(Some(options), body)).await?.id)
    }

    async fn start(&self, container: &str) -> Result<(), RuntimeError> {
        within(START_TIMEOUT, self.docker().await?.start_container(container, None)).await
    }

    async fn stop(&self, container: &str, grace: Duration) -> Result<(), RuntimeError> {
        let options = StopContainerOptions { t: i32::try_from(grace.as_secs()).ok(), ..StopContainerOptions::default() };
        within(grace + STOP_TIMEOUT, self.docker().await?.stop_container(container, Some(options))).await
    }

    async fn remove(&self, container: &str) -> Result<(), RuntimeError> {
        let options = RemoveContainerOptions { v: true, force: true, ..RemoveContainerOptions::default() };
        match within(REMOVE_TIMEOUT, self.docker().await?.remove_container(container, Some(options))).await {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    async fn exec(&self, container: &str, command: Vec<String>) -> Result<i64, RuntimeError> {
        let docker = self.docker().await?;
        let options =
            CreateExecOptions { attach_stdout: Some(true), attach_stderr: Some(true), cmd: Some(command), ..CreateExecOptions::default() };
        let exec = within(CALL_TIMEOUT, docker.create_exec(container, options)).await?;
        let started = docker.start_exec(&exec.id, None::<StartExecOptions>).await.map_err(convert::error)?;
        if let StartExecResults::Attached { mut output, .. } = started {
            // The end of the output is the end of the command; what it says is nobody's business here.
            while let Some(Ok(_)) = output.next().await {}
        }
        for _ in 0..EXIT_CODE_ATTEMPTS {
            let seen = within(CALL_TIMEOUT, docker.inspect_exec(&exec.id)).await?;
            if let (Some(false), Some(code)) = (seen.running, seen.exit_code) {
                return Ok(code);
            }
            tokio::time::sleep(EXIT_CODE_PAUSE).await;
        }
        Err(RuntimeError::Timeout(EXIT_CODE_PAUSE * EXIT_CODE_ATTEMPTS))
    }

    fn logs(&self, container: &str, options: &LogOptions) -> BoxStream<'static, Result<Bytes, RuntimeError>> {
        let container = container.to_owned();
        let options = LogsOptions {
            follow: options.follow,
            stdout: true,
            stderr: true,
            timestamps: options.timestamps,
            since: options.since.and_then(|since| i32::try_from(since).ok()).unwrap_or_default(),
            tail: options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
            ..LogsOptions::default()
        };
        self.stream(move |docker| {
            docker.logs(&container, Some(options)).map_ok(bollard::container::LogOutput::into_bytes).map_err(convert::error)
        })
    }

    fn events(&self, since: Timestamp) -> BoxStream<'static, Result<Event, RuntimeError>> {
        let mut filters = label_filter();
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        filters.insert("event".to_owned(), ["start", "die", "destroy"].map(str::to_owned).to_vec());
        let options = EventsOptions { since: Some(since.as_secs().to_string()), filters: Some(filters), ..EventsOptions::default() };
        self.stream(move |docker| {
            let events = docker.events(Some(options)).map_err(convert::error);
            events.try_filter_map(|message| std::future::ready(Ok(convert::event(message))))
        })
    }

    async fn info(&self) -> Result<EngineInfo, RuntimeError> {
        let info = within(CALL_TIMEOUT, self.docker().await?.info()).await?;
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            cpus: info.ncpu.unwrap_or(1),
            memory_bytes: info.mem_total.unwrap_or(0),
            architecture: info.architecture.unwrap_or_default(),
        })
    }
}
