//! A server of the protocol for one agent: TLS with a private authority, one task of an image that only the relay can fetch.

use crate::host::{self, Host, SOCKET};
use agent::AgentConfig;
use api::agent::{
    JoinRequest, JoinResponse, LogRequest, PollRequest, PollResponse, RegisterRequest, RegisterResponse, ReportRequest, ReportResponse,
    TaskOrder, TaskReport,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, response::IntoResponse};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use model::ids::{InstanceId, TaskId};
use model::task::{DesiredStatus, TaskStatus};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const REPOSITORY: &str = "acme/web";

struct Server {
    authority: CertifiedIssuer<'static, KeyPair>,
    plane: String,
    content: HashMap<String, (&'static str, Vec<u8>)>,
    orders: Mutex<Vec<TaskOrder>>,
    log_request: Mutex<Option<LogRequest>>,
    reports: Mutex<BTreeMap<TaskId, TaskReport>>,
    logs: Mutex<Vec<u8>>,
    fetched: Mutex<Vec<String>>,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Manifest digest and everything by digest.
fn image(plane: &str) -> (String, HashMap<String, (&'static str, Vec<u8>)>) {
    let layer = host::busybox_tar();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"], "Labels": {"io.berth.agent-test": plane}},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}});
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(&layer), "size": layer.len()}]});
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let name = digest(&manifest);
    let content = [
        ("application/vnd.oci.image.manifest.v1+json", manifest),
        ("application/octet-stream", config),
        ("application/octet-stream", layer),
    ];
    (name, content.into_iter().map(|(kind, bytes)| (digest(&bytes), (kind, bytes))).collect())
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of a test");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Serves over TLS on a free port of loopback; a client certificate is asked for and, if shown, has to be the authority's.
async fn listen(server: Arc<Server>) -> u16 {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &server.authority).unwrap();
    let chain = vec![certificate.der().clone(), server.authority.der().clone()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
        .with_single_cert(chain, rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new()
        .route("/agent/v1/join", post(join))
        .route("/agent/v1/register", post(register))
        .route("/agent/v1/poll", post(poll))
        .route("/agent/v1/report", post(report))
        .route("/agent/v1/logs/{id}", post(logs))
        .route("/agent/v1/images/{*path}", get(content))
        .with_state(server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper_util::service::TowerToHyperService::new(app);
                let io = hyper_util::rt::TokioIo::new(stream);
                let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = builder.serve_connection(io, service).await;
            });
        }
    });
    port
}

async fn join(State(server): State<Arc<Server>>, Json(request): Json<JoinRequest>) -> Json<JoinResponse> {
    assert_eq!(request.token, "secret", "the fingerprint stays with the agent");
    let csr = CertificateSigningRequestParams::from_pem(&request.certificate_request).unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&csr.public_key, &server.authority).unwrap().pem();
    Json(JoinResponse {
        instance_id: InstanceId::from_random(1),
        cluster: "default".into(),
        certificate,
        authority: server.authority.pem(),
        control_plane_id: server.plane.clone(),
    })
}

async fn register(State(server): State<Arc<Server>>, Json(request): Json<RegisterRequest>) -> Json<RegisterResponse> {
    assert!(request.cpu >= 1024 && request.memory > 0 && !request.docker_version.is_empty());
    Json(RegisterResponse {
        epoch: 5,
        control_plane_id: server.plane.clone(),
        instance_arn: "arn".into(),
        cluster: "default".into(),
        image_host: "r.example.com".into(),
    })
}

async fn poll(State(server): State<Arc<Server>>, Json(request): Json<PollRequest>) -> Json<PollResponse> {
    if request.epoch != 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let orders = server.orders.lock().unwrap().clone();
    let news = |order: &TaskOrder| request.known.get(&order.task_id).is_none_or(|version| *version < order.version);
    let log_requests = server.log_request.lock().unwrap().take().into_iter().collect();
    Json(PollResponse { epoch: 5, log_requests, ..host::answer(orders.into_iter().filter(news).collect()) })
}

async fn report(State(server): State<Arc<Server>>, Json(request): Json<ReportRequest>) -> Json<ReportResponse> {
    let mut reports = server.reports.lock().unwrap();
    for report in request.tasks {
        let newer = reports.get(&report.task_id).is_none_or(|known| known.sequence < report.sequence);
        if newer {
            reports.insert(report.task_id.clone(), report);
        }
    }
    Json(ReportResponse { epoch: 5 })
}

async fn logs(State(server): State<Arc<Server>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    assert_eq!(id, "log-1");
    server.logs.lock().unwrap().extend_from_slice(&body);
    StatusCode::NO_CONTENT
}

async fn content(State(server): State<Arc<Server>>, Path(path): Path<String>, headers: HeaderMap) -> axum::response::Response {
    server.fetched.lock().unwrap().push(path.clone());
    let known = path.rsplit_once('/').and_then(|(_, digest)| server.content.get(digest));
    match known {
        Some((kind, bytes)) if path.starts_with(REPOSITORY) => {
            assert!(!headers.contains_key("authorization"), "the relay's login stays on the host");
            ([(CONTENT_TYPE, *kind)], bytes.clone()).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not come about that {what}");
}

fn order(host: &Host, command: &[&str], digest: &str) -> TaskOrder {
    let mut order =
        host.order(json!({"containerDefinitions": [{"name": "app", "image": "acme/web:v1", "command": command, "stopTimeout": 0}]}));
    let image = order.images.get_mut("app").unwrap();
    (image.repository, image.digest) = (Some(REPOSITORY.to_owned()), Some(digest.parse().unwrap()));
    order
}

/// The whole life of an agent with one task.
pub async fn play() {
    let host = Host::new();
    let (name, content) = image(&host.plane);
    let good = order(&host, &["sh", "-c", "echo one; echo two; exec sleep 600"], &name);
    let bad = order(&host, &["true"], &digest(b"nothing of this content"));
    let server = Arc::new(Server {
        authority: authority(),
        plane: host.plane.clone(),
        content,
        orders: Mutex::new(vec![good.clone(), bad.clone()]),
        log_request: Mutex::default(),
        reports: Mutex::default(),
        logs: Mutex::default(),
        fetched: Mutex::default(),
    });
    let port = listen(Arc::clone(&server)).await;
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = hex::encode(Sha256::digest(server.authority.der()));
    let config = AgentConfig {
        server: format!("https://127.0.0.1:{port}"),
        data_dir: dir.path().join("agent"),
        docker: Some(SOCKET.into()),
        join_token: Some(format!("secret.{}", "0".repeat(64))),
        name: Some("host".into()),
        ..AgentConfig::default()
    };
    let refused = tokio::time::timeout(Duration::from_secs(1), agent::run(config.clone(), CancellationToken::new())).await;
    assert!(!matches!(refused, Ok(Ok(()))), "a server with another authority is not talked to");
    assert!(!config.data_dir.join("identity.json").exists());

    let config = AgentConfig { join_token: Some(format!("secret.{fingerprint}")), ..config };
    let stop = CancellationToken::new();
    let agent = tokio::spawn(agent::run(config.clone(), stop.clone()));
    let status = |order: &TaskOrder| server.reports.lock().unwrap().get(&order.task_id).map(|report| report.last_status);
    until("the task is reported RUNNING", || status(&good) == Some(TaskStatus::Running)).await;
    until("the other is reported STOPPED", || status(&bad) == Some(TaskStatus::Stopped)).await;
    let reason = server.reports.lock().unwrap()[&bad.task_id].stopped_reason.clone().unwrap();
    assert!(reason.starts_with("CannotPullContainerError: the image does not exist or was deleted (acme/web:v1)"), "{reason}");
    assert!(server.fetched.lock().unwrap().iter().any(|path| *path == format!("{REPOSITORY}/manifests/{name}")));
    host::docker(&["rmi", "r.example.com/acme/web:v1"]);

    let request = LogRequest {
        id: "log-1".into(),
        task_id: good.task_id.clone(),
        container: None,
        follow: false,
        tail: None,
        timestamps: false,
        since: None,
    };
    *server.log_request.lock().unwrap() = Some(request);
    until("the logs arrive", || !server.logs.lock().unwrap().is_empty()).await;
    assert_eq!(String::from_utf8_lossy(&server.logs.lock().unwrap()), "one\ntwo\n");

    // A second life, without a token: the same membership, the same containers.
    let before = host.containers();
    stop.cancel();
    agent.await.unwrap().unwrap();
    let stop = CancellationToken::new();
    let agent = tokio::spawn(agent::run(AgentConfig { join_token: None, ..config }, stop.clone()));
    let stopped = TaskOrder { version: 2, desired_status: DesiredStatus::Stopped, ..good.clone() };
    *server.orders.lock().unwrap() = vec![stopped];
    until("the task is reported STOPPED", || status(&good) == Some(TaskStatus::Stopped)).await;
    assert_eq!(host.containers(), before);
    stop.cancel();
    agent.await.unwrap().unwrap();

    let label = format!("label=io.berth.agent-test={}", host.plane);
    drop(host);
    let images = host::docker(&["images", "--quiet", "--no-trunc", "--filter", &label]);
    host::docker(&["rmi", "--force", images.lines().next().unwrap()]);
}
