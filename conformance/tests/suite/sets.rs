//! One set of content from push to delete: pushed by digest and by tag, listed, looked at, read, found by its subject, deleted.

use super::Suite;
use super::content::{INDEX, Piece, Set, manifest_types};
use anyhow::Result;
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;

impl Suite {
    pub async fn set(&mut self, set: &Set) -> Result<()> {
        self.push_blobs(set).await?;
        let mut pushed: Vec<String> = Vec::new();
        for manifest in &set.manifests {
            let named = set.tags.iter().filter(|(_, digest)| set.tags_by_digest && **digest == manifest.digest);
            let tags: Vec<String> = named.map(|(tag, _)| tag.clone()).collect();
            self.put(set, &manifest.digest, manifest, &tags).await?;
            pushed.extend(tags);
        }
        for (tag, digest) in set.tags.iter().filter(|_| !set.tags_by_digest) {
            for manifest in set.manifests.iter().filter(|manifest| manifest.digest == *digest) {
                self.put(set, tag, manifest, &[]).await?;
            }
            pushed.push(tag.clone());
        }
        self.list(set).await?;
        if !set.corrupt {
            self.read_manifests(set).await?;
        }
        for blob in &set.blobs {
            self.read_blob(blob).await?;
        }
        for (subject, entries) in &set.referrers {
            self.referrers(set.name, subject, entries).await?;
        }
        self.delete_all(set, &pushed).await
    }

    pub async fn push_blobs(&mut self, set: &Set) -> Result<()> {
        for blob in &set.blobs {
            self.push(blob, true).await?;
        }
        Ok(())
    }

    async fn put(&mut self, set: &Set, reference: &str, manifest: &Piece, tags: &[String]) -> Result<()> {
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let query = if tags.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let path = self.path(&format!("manifests/{reference}{query}"));
        let document: Value = serde_json::from_slice(&manifest.bytes)?;
        let media_type = document["mediaType"].as_str().unwrap_or_default();
        let answer = self.caller.stream(Method::PUT, &path, media_type, &manifest.bytes).await?;
        let (status, expected) = (answer.status.as_u16(), if set.corrupt { 400 } else { 201 });
        if !self.check(status == expected, || format!("{}: PUT {path}: {status} {}", set.name, answer.text())) || set.corrupt {
            return Ok(());
        }
        let digest = answer.header("docker-content-digest");
        self.check(digest == manifest.digest, || format!("{}: PUT {path} says `{digest}`", set.name));
        if let Some(subject) = document["subject"]["digest"].as_str() {
            self.check(answer.header("oci-subject") == subject, || format!("{}: {path} names no subject", set.name));
        }
        let set_tags: BTreeSet<&str> = answer.headers.get_all("oci-tag").iter().filter_map(|value| value.to_str().ok()).collect();
        self.check(tags.iter().all(|tag| set_tags.contains(tag.as_str())), || format!("{}: {path} set {set_tags:?}", set.name));
        let location = answer.header("location").to_owned();
        self.read_manifest(&location, manifest, media_type, Method::GET).await
    }

    async fn read_manifest(&mut self, path: &str, manifest: &Piece, media_type: &str, method: Method) -> Result<()> {
        let answer = self.caller.send(method.clone(), path, &manifest_types(), None).await?;
        let body = if method == Method::HEAD { &[][..] } else { &manifest.bytes[..] };
        let length = answer.header("content-length") == manifest.bytes.len().to_string();
        let kind = answer.header("content-type") == media_type && answer.header("docker-content-digest") == manifest.digest;
        let holds = answer.status == 200 && answer.body == body && length && kind;
        self.check(holds, || format!("{method} {path}: {} {:?}", answer.status, answer.headers));
        Ok(())
    }

    async fn read_manifests(&mut self, set: &Set) -> Result<()> {
        for method in [Method::HEAD, Method::GET] {
            for manifest in &set.manifests {
                let document: Value = serde_json::from_slice(&manifest.bytes)?;
                let media_type = document["mediaType"].as_str().unwrap_or_default();
                let tags = set.tags.iter().filter(|(_, digest)| **digest == manifest.digest).map(|(tag, _)| tag);
                for reference in tags.chain([&manifest.digest]) {
                    let path = self.path(&format!("manifests/{reference}"));
                    self.read_manifest(&path, manifest, media_type, method.clone()).await?;
                }
            }
        }
        Ok(())
    }

    /// All tags are there, and `last` begins after its tag.
    async fn list(&mut self, set: &Set) -> Result<()> {
        let tags = self.tags("").await?;
        self.check(set.tags.keys().all(|tag| tags.contains(tag)), || format!("{}: its tags are not in {tags:?}", set.name));
        let half = tags.len() / 2;
        if half > 0 {
            let rest = self.tags(&format!("?last={}", tags[half - 1])).await?;
            self.check(rest == tags[half..], || format!("{}: of {tags:?} after {half} there are {rest:?}", set.name));
        }
        Ok(())
    }

    async fn tags(&mut self, query: &str) -> Result<Vec<String>> {
        let answer = self.caller.get(&self.path(&format!("tags/list{query}"))).await?;
        self.check(answer.status == 200, || format!("tags/list{query}: {}", answer.status));
        conformance::registry::strings(&answer.json()["tags"])
    }

    async fn referrers(&mut self, name: &str, subject: &str, entries: &[Value]) -> Result<()> {
        let types: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["artifactType"].as_str()).collect();
        for wanted in [None].into_iter().chain(types.into_iter().map(Some)) {
            // As a form is written: `/` and `+` escaped.
            let escaped = |text: &str| text.replace('/', "%2F").replace('+', "%2B");
            let query = wanted.map(|wanted| format!("?artifactType={}", escaped(wanted))).unwrap_or_default();
            let answer = self.caller.get(&self.path(&format!("referrers/{subject}{query}"))).await?;
            let (kind, list) = (answer.header("content-type"), answer.json());
            let holds = answer.status == 200 && kind == INDEX && list["mediaType"] == INDEX && list["schemaVersion"] == 2;
            self.check(holds, || format!("{name}: referrers{query}: {} {kind}", answer.status));
            let listed = list["manifests"].as_array().cloned().unwrap_or_default();
            for entry in entries.iter().filter(|entry| wanted.is_none_or(|wanted| entry["artifactType"] == wanted)) {
                self.check(listed.iter().any(|found| agrees(found, entry)), || format!("{name}: {entry} is not in {list}"));
            }
            if let Some(wanted) = wanted {
                self.check(answer.header("oci-filters-applied") == "artifactType", || format!("{name}: the filter is not applied"));
                self.check(listed.iter().all(|found| found["artifactType"] == wanted), || format!("{name}: others than {wanted}"));
            }
        }
        Ok(())
    }

    /// Tags, then manifests from the last to the first, then blobs; each is gone at once.
    pub async fn delete_all(&mut self, set: &Set, tags: &[String]) -> Result<()> {
        for reference in tags.iter().chain(set.manifests.iter().rev().map(|manifest| &manifest.digest)) {
            let path = self.path(&format!("manifests/{reference}"));
            let answer = self.caller.delete(&path).await?;
            self.check(matches!(answer.status.as_u16(), 202 | 404), || format!("{}: DELETE {path}: {}", set.name, answer.status));
            let answer = self.caller.send(Method::HEAD, &path, &manifest_types(), None).await?;
            self.check(answer.status == 404, || format!("{}: HEAD of the deleted {path}: {}", set.name, answer.status));
        }
        for blob in &set.blobs {
            self.delete_blob(&blob.digest).await?;
        }
        Ok(())
    }
}

/// Whether an entry of a list is the one that has to be there, with all of its annotations.
fn agrees(found: &Value, entry: &Value) -> bool {
    let same = ["digest", "mediaType", "size", "artifactType"].iter().all(|field| found[field] == entry[field]);
    let annotations = entry["annotations"].as_object();
    same && annotations.is_none_or(|all| all.iter().all(|(key, value)| found["annotations"][key] == *value))
}
