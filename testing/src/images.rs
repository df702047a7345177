//! Builds small OCI images without Docker: from a root folder of busybox, or from nothing. Always the same bytes for the same
//! description. They can be pushed ([`crate::push`]), written as an OCI layout (skopeo) or as an archive (`docker load`).

pub mod tar;

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use tar::Archive;

/// Debian's static busybox (package busybox-static, which `scripts/docker-engine` installs).
pub const BUSYBOX: &str = "/bin/busybox";
/// Its commands that images of the tests use.
const APPLETS: &[&str] = &[
    "cat", "date", "dd", "echo", "env", "false", "head", "hostname", "httpd", "id", "kill", "ls", "mkdir", "nc", "ps", "pwd", "rm", "seq",
    "sh", "sleep", "tail", "test", "touch", "trap", "true", "wget", "whoami",
];

pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Bytes and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub bytes: Bytes,
    /// `sha256:…`
    pub digest: String,
}

impl Blob {
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: format!("sha256:{}", hex::encode(Sha256::digest(&bytes))), bytes }
    }

    /// `size` bytes that differ for every `seed`.
    pub fn made_up(seed: u64, size: usize) -> Self {
        let block = Sha256::digest(seed.to_le_bytes());
        Self::new(block.iter().copied().cycle().take(size).collect::<Vec<u8>>())
    }

    pub fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }

    /// The digest without its algorithm.
    pub fn hex(&self) -> &str {
        self.digest.split_once(':').map_or(&self.digest, |(_, hex)| hex)
    }
}

/// An image: a config, layers and the manifest that names them.
#[derive(Debug, Clone)]
pub struct Image {
    pub config: Blob,
    pub layers: Vec<Blob>,
    pub manifest: Blob,
}

impl Image {
    /// From nothing.
    pub fn scratch() -> ImageBuilder {
        ImageBuilder::default()
    }

    /// With busybox's commands in /bin, /tmp, and users root and nobody.
    pub fn busybox() -> Result<ImageBuilder> {
        let busybox = std::fs::read(BUSYBOX).with_context(|| format!("{BUSYBOX} is missing: install busybox-static"))?;
        let mut builder = Self::scratch().folder("bin").file("bin/busybox", 0o755, &busybox);
        for applet in APPLETS {
            builder.root.symlink(&format!("bin/{applet}"), "busybox");
        }
        builder.root.folder("tmp", 0o1777);
        let passwd = b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
        Ok(builder.folder("etc").file("etc/passwd", 0o644, passwd).environment("PATH", "/bin"))
    }

    /// A web server on port 8080 that answers `version` to `GET /`. Ends at once on SIGTERM.
    pub fn web(version: &str) -> Result<Self> {
        let page = format!("{version}\n");
        Ok(Self::busybox()?
            .folder("www")
            .file("www/index.html", 0o644, page.as_bytes())
            .command(&["sh", "-c", "trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait"])
            .port("8080/tcp")
            .build())
    }

    /// Runs a line of shell.
    pub fn shell(line: &str) -> Result<Self> {
        Ok(Self::busybox()?.command(&["sh", "-c", line]).build())
    }

    /// Ends at once with this code.
    pub fn exits(code: u8) -> Result<Self> {
        Self::shell(&format!("exit {code}"))
    }

    /// Runs until it is told to stop, and then ends at once.
    pub fn sleeps() -> Result<Self> {
        Self::shell("trap 'exit 0' TERM; sleep 1000000 & wait")
    }

    /// `sha256:…` of the manifest.
    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }

    /// Everything but the manifest.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// An OCI layout in `folder`, as skopeo's `oci:FOLDER:TAG` reads it.
    pub fn write_layout(&self, folder: &Path, tag: &str) -> Result<()> {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        for blob in self.blobs().chain([&self.manifest]) {
            std::fs::write(blobs.join(blob.hex()), &blob.bytes)?;
        }
        let mut entry = self.manifest.descriptor(MANIFEST_TYPE);
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]});
        std::fs::write(folder.join("index.json"), index.to_string())?;
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(())
    }

    /// An archive as `docker load` reads it, naming the image `name` (`acme/web:v1`).
    pub fn docker_archive(&self, name: &str) -> Vec<u8> {
        let config = format!("{}.json", self.config.hex());
        let layers: Vec<String> = self.layers.iter().map(|layer| format!("{}.tar", layer.hex())).collect();
        let mut archive = Archive::default();
        archive.file(&config, 0o644, &self.config.bytes);
        for (path, layer) in layers.iter().zip(&self.layers) {
            archive.file(path, 0o644, &layer.bytes);
        }
        let manifest = json!([{"Config": config, "RepoTags": [name], "Layers": layers}]);
        archive.file("manifest.json", 0o644, manifest.to_string().as_bytes());
        archive.finish()
    }
}

/// An index over images of several platforms, by architecture.
pub fn index(images: &[(&Image, &str)]) -> Blob {
    let manifests: Vec<Value> = images
        .iter()
        .map(|(image, architecture)| {
            let mut entry = image.manifest.descriptor(MANIFEST_TYPE);
            entry["platform"] = json!({"architecture": architecture, "os": "linux"});
            entry
        })
        .collect();
    Blob::new(json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}).to_string())
}

/// Describes an image, part by part.
#[derive(Debug, Clone, Default)]
pub struct ImageBuilder {
    root: Archive,
    more_layers: Vec<Blob>,
    environment: Vec<String>,
    entry_point: Vec<String>,
    command: Vec<String>,
    ports: Vec<String>,
    user: Option<String>,
    folder: Option<String>,
}

impl ImageBuilder {
    #[must_use]
    pub fn folder(mut self, path: &str) -> Self {
        self.root.folder(path, 0o755);
        self
    }

    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.root.file(path, mode, content);
        self
    }

    /// A further layer with one file.
    #[must_use]
    pub fn layer(mut self, path: &str, content: &[u8]) -> Self {
        let mut layer = Archive::default();
        layer.file(path, 0o644, content);
        self.more_layers.push(Blob::new(layer.finish()));
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    #[must_use]
    pub fn entry_point(mut self, words: &[&str]) -> Self {
        self.entry_point = words.iter().map(ToString::to_string).collect();
        self
    }

    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(ToString::to_string).collect();
        self
    }

    /// `8080/tcp`
    #[must_use]
    pub fn port(mut self, port: &str) -> Self {
        self.ports.push(port.to_owned());
        self
    }

    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    #[must_use]
    pub fn working_folder(mut self, path: &str) -> Self {
        self.folder = Some(path.to_owned());
        self
    }

    pub fn build(self) -> Image {
        let mut layers = vec![Blob::new(self.root.finish())];
        layers.extend(self.more_layers);
        let ports: serde_json::Map<String, Value> = self.ports.into_iter().map(|port| (port, json!({}))).collect();
        let config = Blob::new(
            json!({
                "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
                "os": "linux",
                "config": {
                    "Env": self.environment, "Entrypoint": self.entry_point, "Cmd": self.command, "ExposedPorts": ports,
                    "User": self.user.unwrap_or_default(), "WorkingDir": self.folder.unwrap_or_else(|| "/".into()),
                },
                "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest.as_str()).collect::<Vec<_>>()},
            })
            .to_string(),
        );
        let manifest = Blob::new(
            json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": config.descriptor(CONFIG_TYPE),
                "layers": layers.iter().map(|layer| layer.descriptor(LAYER_TYPE)).collect::<Vec<_>>(),
            })
            .to_string(),
        );
        Image { config, layers, manifest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_description_same_digest() {
        let image = || Image::scratch().file("a", 0o644, b"1").command(&["a"]).build();
        assert_eq!(image().digest(), image().digest());
        assert_ne!(image().digest(), Image::scratch().file("a", 0o644, b"2").command(&["a"]).build().digest());
    }

    #[test]
    fn blobs_have_their_digests() {
        assert_eq!(Blob::new("").digest, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Blob::made_up(1, 5000).bytes.len(), 5000);
        assert_ne!(Blob::made_up(1, 100).digest, Blob::made_up(2, 100).digest);
    }
}
