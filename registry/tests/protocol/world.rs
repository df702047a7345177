//! One registry with its people, and a small client for it.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use identity::operations::{grants, principals, tokens};
use identity::{BootstrapAdmin, Caller, Credential, Identity, IdentityConfig, ScopeRule, bootstrap};
use model::access::{Principal, ResourceKind, Role};
use model::clock::ManualClock;
use model::{Clock, Timestamp};
use platform::db::testing::on_each_url;
use platform::db::{DatabaseUrl, Db};
use platform::wake::Wake;
use registry::{Registry, RegistryConfig, SettingsChange};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub struct World {
    pub registry: Registry,
    pub db: Db,
    pub identity: Identity,
    pub clock: Arc<ManualClock>,
    /// Woken by pushes that move a tag.
    pub pushed: Wake,
    /// `Authorization` of the first admin.
    pub admin: String,
    admin_caller: Caller,
    folder: Arc<tempfile::TempDir>,
    url: DatabaseUrl,
}

/// Runs `test` in a fresh world per kind of database.
pub async fn on_each<F, T>(test: F)
where
    F: Fn(World) -> T,
    T: Future<Output = ()>,
{
    on_each_url(|url| {
        let test = &test;
        async move { test(World::new(url).await).await }
    })
    .await;
}

impl World {
    async fn new(url: DatabaseUrl) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
        let pushed = Wake::default();
        let (db, identity, registry) = open(&url, folder.path(), clock.clone(), &pushed).await;
        let made = bootstrap(&identity, BootstrapAdmin { user: Some("root".into()), ..BootstrapAdmin::default() }).await.unwrap().unwrap();
        let principal: Principal = "user:root".parse().unwrap();
        let admin_caller = Caller::new(principal, Credential::Password);
        Self { registry, db, identity, clock, pushed, admin: format!("Bearer {}", made.token), admin_caller, folder, url }
    }

    /// Stops and starts again on the same data.
    pub async fn restart(self) -> Self {
        let Self { registry, db, identity, clock, pushed, admin, admin_caller, folder, url } = self;
        db.close().await;
        drop((registry, db, identity));
        for _ in 0..200 {
            // The lock goes with the last task that holds the old database.
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Ok(db) = Db::open(&url).await {
                drop(db);
                break;
            }
        }
        let (db, identity, registry) = open(&url, folder.path(), clock.clone(), &pushed).await;
        Self { registry, db, identity, clock, pushed, admin, admin_caller, folder, url }
    }

    /// A new user with one grant on repositories; returns its `Authorization`.
    pub async fn user(&self, name: &str, role: Role, pattern: &str) -> String {
        let principal: Principal = format!("user:{name}").parse().unwrap();
        principals::create(&self.identity, &self.admin_caller, &principal, Some("long enough password")).await.unwrap();
        self.grant(&principal, role, pattern).await;
        self.token(principal, None).await
    }

    /// `Authorization` by a new token of `owner`, which is narrowed to `scope`.
    pub async fn token(&self, owner: Principal, scope: Option<Vec<ScopeRule>>) -> String {
        let wish = tokens::Wish { owner, label: "test".into(), scope, life: None };
        let (_, secret) = tokens::create(&self.identity, &self.admin_caller, wish).await.unwrap();
        format!("Bearer {secret}")
    }

    pub async fn grant(&self, principal: &Principal, role: Role, pattern: &str) -> String {
        let wish = grants::Wish { principal: principal.clone(), role, kind: ResourceKind::Repository, pattern: pattern.parse().unwrap() };
        match grants::create(&self.identity, &self.admin_caller, wish).await.unwrap() {
            grants::Made::New(grant) | grants::Made::Stood(grant) => grant.id,
        }
    }

    pub async fn revoke(&self, grant: &str) {
        grants::revoke(&self.identity, &self.admin_caller, grant).await.unwrap();
    }

    /// Changes the settings of a repository, which has to be there.
    pub async fn change(&self, repository: &str, change: SettingsChange) {
        let name = repository.parse().unwrap();
        registry::change_settings(&self.registry, &name, &self.admin_caller, change).await.unwrap().unwrap();
    }

    pub fn ask(&self, method: Method, path: impl Into<String>) -> Ask<'_> {
        let headers = vec![("authorization".to_owned(), self.admin.clone()), ("host".to_owned(), "registry.test:5000".to_owned())];
        Ask { world: self, method, path: path.into(), headers, body: Body::empty() }
    }

    pub fn get(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::GET, path)
    }

    pub fn head(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::HEAD, path)
    }

    pub fn post(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::POST, path)
    }

    pub fn put(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::PUT, path)
    }

    pub fn patch(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::PATCH, path)
    }

    pub fn delete(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::DELETE, path)
    }

    /// Opens a session; returns its `Location`.
    pub async fn session(&self, repository: &str) -> String {
        let answer = self.post(format!("/v2/{repository}/blobs/uploads/")).send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert!(answer.header("range").starts_with("0-"));
        answer.header("location").to_owned()
    }

    /// Pushes a blob; returns its digest.
    pub async fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let location = self.session(repository).await;
        let answer = self.put(format!("{location}?digest={digest}")).bytes(bytes).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        digest
    }

    /// Pushes an image of one layer; returns its digest.
    pub async fn image(&self, repository: &str, reference: &str, layer: &[u8]) -> String {
        let config = self.blob(repository, b"{}").await;
        let digest = self.blob(repository, layer).await;
        let body = image_of(&(config, 2), &[(digest, layer.len())]).to_string();
        let answer = self.manifest(repository, reference, IMAGE, &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        sha256(body.as_bytes())
    }

    pub async fn manifest(&self, repository: &str, reference: &str, media_type: &str, body: &str) -> Answer {
        self.put(format!("/v2/{repository}/manifests/{reference}")).with("content-type", media_type).bytes(body.as_bytes()).send().await
    }

    /// Files that lie in the blob folder.
    pub fn files(&self) -> usize {
        let folders = std::fs::read_dir(self.blobs()).unwrap().map(|folder| folder.unwrap());
        // A mark goes soon after its upload was acknowledged.
        folders.filter(|folder| folder.file_name() != "new").map(|folder| std::fs::read_dir(folder.path()).unwrap().count()).sum()
    }

    /// The folder of blob files.
    pub fn blobs(&self) -> PathBuf {
        self.folder.path().join("blobs")
    }
}

async fn open(url: &DatabaseUrl, folder: &Path, clock: Arc<ManualClock>, pushed: &Wake) -> (Db, Identity, Registry) {
    let db = Db::open(url).await.unwrap();
    let clock: Arc<dyn Clock> = clock;
    let config = IdentityConfig { master_key_file: folder.join("master.key") };
    let identity = Identity::open(config, db.clone(), clock.clone()).await.unwrap();
    let mut config = RegistryConfig::new(folder);
    config.blob_bytes_max = 8 * 1024 * 1024;
    config.pushed = pushed.clone();
    let registry = Registry::open(config, db.clone(), clock, identity.clone()).await.unwrap();
    (db, identity, registry)
}

/// A request being put together.
pub struct Ask<'w> {
    world: &'w World,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Ask<'_> {
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub fn by(self, authorization: &str) -> Self {
        self.with("authorization", authorization)
    }

    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut ask = self.with("content-length", bytes.len().to_string());
        ask.body = Body::from(Bytes::copy_from_slice(bytes));
        ask
    }

    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub async fn send(self) -> Answer {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = self.world.registry.router().oneshot(request.body(self.body).unwrap()).await.unwrap();
        Answer::of(response).await
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts an error of the protocol.
    #[track_caller]
    pub fn is(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code().as_str()), (status, code), "{self:?}");
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

pub fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex::encode(sha2::Sha512::digest(bytes)))
}

pub fn descriptor(media_type: &str, digest: &str, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

pub fn image_of(config: &(String, usize), layers: &[(String, usize)]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config.0, config.1),
        "layers": layers.iter().map(|(digest, size)| descriptor("application/vnd.oci.image.layer.v1.tar", digest, *size)).collect::<Vec<_>>(),
    })
}

/// A body that sends `chunks` and then breaks.
pub fn broken(chunks: Vec<Bytes>) -> Body {
    let chunks = chunks.into_iter().map(Ok).chain([Err(std::io::Error::other("connection reset"))]);
    Body::from_stream(futures_util::stream::iter(chunks))
}
