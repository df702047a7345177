//! A registry under test and one repository of it that no other test uses.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use testing::images::{Blob, CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE};
use testing::push::with_digest;
use testing::{Answer, Client, Credentials, Server, ServerBuilder};

/// Points the suite at a registry that runs already: its URL, and who asks, where it wants to know.
pub const REGISTRY_VARIABLE: &str = "BERTH_TEST_REGISTRY";
pub const USER_VARIABLE: &str = "BERTH_TEST_REGISTRY_USER";
pub const PASSWORD_VARIABLE: &str = "BERTH_TEST_REGISTRY_PASSWORD";

/// What blobs are sent as.
pub const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
/// What clients say they take, as the specification wants them to (PULL-3): some registries give nothing else otherwise.
const ACCEPT: (&str, &str) = (
    "accept",
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, */*",
);
/// The descriptor of no config at all, and its content.
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub const EMPTY_CONTENT: &str = "{}";

/// Started for one test unless the environment names one.
pub struct Registry {
    /// Keeps the server alive.
    pub server: Option<Server>,
    pub client: Client,
}

impl Registry {
    /// One that refuses incomplete manifests, as the tests of the clauses about them want it.
    pub async fn start() -> Result<Self> {
        Self::of(Server::builder().env("BERTH_SPARSE", "refuse")).await
    }

    /// One that nobody has set up any further.
    pub async fn start_as_it_comes() -> Result<Self> {
        Self::of(Server::builder()).await
    }

    async fn of(server: ServerBuilder) -> Result<Self> {
        if let Ok(url) = std::env::var(REGISTRY_VARIABLE) {
            let credentials = match (std::env::var(USER_VARIABLE), std::env::var(PASSWORD_VARIABLE)) {
                (Ok(user), Ok(password)) => Credentials::Basic { user, password },
                _ => Credentials::Anonymous,
            };
            return Ok(Self { server: None, client: Client::new(&url, credentials)? });
        }
        let server = server.start().await?;
        Ok(Self { client: server.admin()?, server: Some(server) })
    }

    /// A name that no other test uses.
    pub fn repository(&self) -> Repository {
        Repository { client: self.client.clone(), name: format!("conformance/r{:016x}", rand::random::<u64>()) }
    }

    pub fn named(&self, name: &str) -> Repository {
        Repository { client: self.client.clone(), name: name.to_owned() }
    }
}

/// One repository, seen by one caller.
#[derive(Clone)]
pub struct Repository {
    pub client: Client,
    pub name: String,
}

impl Repository {
    /// The same repository, another caller.
    #[must_use]
    pub fn seen_by(&self, client: &Client) -> Self {
        Self { client: client.clone(), name: self.name.clone() }
    }

    /// `/v2/NAME/REST`
    pub fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.name)
    }

    pub async fn get(&self, rest: &str) -> Result<Answer> {
        self.send(Method::GET, rest, &[ACCEPT], Bytes::new()).await
    }

    pub async fn head(&self, rest: &str) -> Result<Answer> {
        self.send(Method::HEAD, rest, &[ACCEPT], Bytes::new()).await
    }

    pub async fn delete(&self, rest: &str) -> Result<Answer> {
        self.client.delete(&self.path(rest)).await
    }

    pub async fn send(&self, method: Method, rest: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Answer> {
        self.client.send(method, &self.path(rest), headers, body.into()).await
    }

    pub async fn post(&self, rest: &str) -> Result<Answer> {
        self.send(Method::POST, rest, &[("content-length", "0")], Bytes::new()).await
    }

    /// Opens an upload and gives its location.
    pub async fn begin(&self) -> Result<String> {
        let answer = self.post("blobs/uploads/").await?.expect(202)?;
        location(&answer)
    }

    /// Sends a chunk by PATCH with `Content-Range: first-last`.
    pub async fn chunk(&self, location: &str, first: usize, bytes: &[u8]) -> Result<Answer> {
        let range = format!("{first}-{}", (first + bytes.len()).saturating_sub(1));
        self.client.send(Method::PATCH, location, &[OCTETS, ("content-range", &range)], Bytes::copy_from_slice(bytes)).await
    }

    /// Closes an upload with `?digest=` and perhaps the last bytes.
    pub async fn close(&self, location: &str, digest: &str, bytes: &[u8]) -> Result<Answer> {
        self.client.send(Method::PUT, &with_digest(location, digest), &[OCTETS], Bytes::copy_from_slice(bytes)).await
    }

    /// State of an upload.
    pub async fn status(&self, location: &str) -> Result<Answer> {
        self.client.get(location).await
    }

    pub async fn push_blob(&self, blob: &Blob) -> Result<()> {
        let location = self.begin().await?;
        self.close(&location, &blob.digest, &blob.bytes).await?.expect(201)?;
        Ok(())
    }

    pub async fn put_manifest(&self, reference: &str, media_type: &str, body: impl Into<Bytes>) -> Result<Answer> {
        self.send(Method::PUT, &format!("manifests/{reference}"), &[("content-type", media_type)], body).await
    }

    /// Pushes the blobs of `image` and its manifest under `reference`.
    pub async fn push(&self, reference: &str, image: &SmallImage) -> Result<Answer> {
        self.push_blob(&image.config).await?;
        self.push_blob(&image.layer).await?;
        self.put_manifest(reference, MANIFEST_TYPE, image.manifest.bytes.clone()).await?.expect(201)
    }

    /// Puts a manifest of which nothing is there.
    pub async fn push_hollow(&self) -> Result<Answer> {
        self.put_manifest("hollow", MANIFEST_TYPE, SmallImage::new().manifest.bytes).await
    }

    /// Pushes an image that no other test has, under `tag`.
    pub async fn push_new(&self, tag: &str) -> Result<SmallImage> {
        let image = SmallImage::new();
        self.push(tag, &image).await?;
        Ok(image)
    }

    pub async fn has_blob(&self, digest: &str) -> Result<bool> {
        found(&self.head(&format!("blobs/{digest}")).await?)
    }

    pub async fn has_manifest(&self, reference: &str) -> Result<bool> {
        found(&self.head(&format!("manifests/{reference}")).await?)
    }

    /// Tags, or none where the repository is unknown.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let answer = self.get("tags/list").await?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        strings(&answer.expect(200)?.json()["tags"])
    }
}

fn found(answer: &Answer) -> Result<bool> {
    ensure!(matches!(answer.status.as_u16(), 200 | 404), "neither there nor absent: {}", answer.status);
    Ok(answer.status == 200)
}

/// A list of strings in JSON.
pub fn strings(value: &Value) -> Result<Vec<String>> {
    let list = value.as_array().with_context(|| format!("not a list: {value}"))?;
    list.iter().map(|each| Ok(each.as_str().context("a string")?.to_owned())).collect()
}

/// The `Location` header, which has to be there.
pub fn location(answer: &Answer) -> Result<String> {
    let location = answer.header("location");
    ensure!(!location.is_empty(), "no Location: {:?}", answer.headers);
    Ok(location.to_owned())
}

/// The code of an error, after checking that the whole answer has the form of the specification (ERR-1, ERR-2).
pub fn error_code(answer: &Answer) -> Result<String> {
    let codes = [
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
        // Optional by GEN-6, and what the reference implementation answers to a bad `n`.
        "TAG_INVALID",
        "MANIFEST_UNVERIFIED",
        "PAGINATION_NUMBER_INVALID",
    ];
    let json = answer.json();
    let errors = json["errors"].as_array().with_context(|| format!("{}: no errors in {}", answer.status, answer.text()))?;
    let code = errors.first().and_then(|error| error["code"].as_str()).with_context(|| format!("no code in {json}"))?;
    ensure!(codes.contains(&code), "{code} is not a code of the specification");
    ensure!(errors.iter().all(|error| error["message"].is_string() || error["message"].is_null()), "a message is no text: {json}");
    Ok(code.to_owned())
}

/// Expects a status and a code.
pub fn refused(answer: &Answer, status: u16, code: &str) -> Result<()> {
    ensure!(answer.status.as_u16() == status, "expected {status} {code}, got {}: {}", answer.status, answer.text());
    let actual = error_code(answer)?;
    ensure!(actual == code, "expected {code}, got {actual}: {}", answer.text());
    Ok(())
}

/// A config, a layer and a manifest: nothing that runs.
#[derive(Debug, Clone)]
pub struct SmallImage {
    pub config: Blob,
    pub layer: Blob,
    pub manifest: Blob,
}

impl Default for SmallImage {
    fn default() -> Self {
        Self::new()
    }
}

impl SmallImage {
    /// Differs from every other.
    pub fn new() -> Self {
        let unique = rand::random::<u64>();
        Self::with(|manifest| manifest["annotations"] = json!({"org.example.unique": format!("{unique:x}")}), unique)
    }

    /// With the manifest changed by `change` before its digest is taken.
    pub fn changed(change: impl FnOnce(&mut Value)) -> Self {
        Self::with(change, rand::random())
    }

    fn with(change: impl FnOnce(&mut Value), unique: u64) -> Self {
        let config = Blob::new(format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"unique\":{unique}}}"));
        let layer = Blob::made_up(unique, 3000);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(CONFIG_TYPE),
            "layers": [layer.descriptor(LAYER_TYPE)],
        });
        change(&mut manifest);
        Self { config, layer, manifest: Blob::new(manifest.to_string()) }
    }

    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }

    /// Its descriptor in an index.
    pub fn descriptor(&self) -> Value {
        self.manifest.descriptor(MANIFEST_TYPE)
    }
}

/// An index over `manifests`.
pub fn index_of(manifests: &[Value]) -> Blob {
    Blob::new(json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}).to_string())
}

/// A digest that nothing has.
pub fn absent_digest() -> String {
    format!("sha256:{:064x}", rand::random::<u128>())
}

/// The folder of marks among those of blob files.
const MARKS: &str = "new";

/// Files in the blob folders of `server`.
pub fn blob_files(server: &Server) -> Result<usize> {
    let mut files = 0;
    for folder in std::fs::read_dir(server.data_dir().join("blobs"))? {
        let folder = folder?;
        if folder.file_name() != MARKS {
            files += std::fs::read_dir(folder.path())?.count();
        }
    }
    Ok(files)
}

/// The marks of files that no row names yet; those of acknowledged uploads go soon.
pub fn marks(server: &Server) -> Result<Vec<PathBuf>> {
    let folder = server.data_dir().join("blobs").join(MARKS);
    Ok(std::fs::read_dir(folder)?.map(|mark| mark.map(|mark| mark.path())).collect::<Result<_, _>>()?)
}
