//! What the official conformance suite asks of a registry, in its order, with its shapes of content and its way of logging in, in our
//! words: the suite itself runs elsewhere, unseen. Everything that it can ask for is asked for, its strictest settings, and what it
//! would count as skipped fails here.
//!
//! `tests/oci` takes the specification clause by clause; this is one long session of one client. What the suite expects beyond the
//! specification: ranges that end before they begin are 416, a session without a byte says `0-` and a number, mounts with and without a
//! source do mount, incomplete manifests are taken, `Docker-Content-Digest` is on every answer about content.
//!
//! Runs against any registry, as `tests/oci` does (`BERTH_TEST_REGISTRY`).

mod blobs;
mod caller;
mod content;
mod earlier;
mod sets;

use anyhow::{Result, ensure};
use caller::{Caller, Tokens};
use conformance::registry::Registry;
use content::{INDEX, manifest_types, random_digest};
use reqwest::Method;
use testing::images::MANIFEST_TYPE;

/// The two repositories of the suite, and what did not go as it wants.
struct Suite {
    caller: Caller,
    repository: String,
    other: String,
    checks: usize,
    failed: Vec<String>,
}

impl Suite {
    /// In two repositories that nobody has pushed to.
    fn new(caller: Caller) -> Self {
        let name = |part: &str| format!("conformance/{part}-{:08x}", rand::random::<u32>());
        Self { caller, repository: name("repo1"), other: name("repo2"), checks: 0, failed: Vec::new() }
    }

    async fn play(tokens: Tokens) -> Result<()> {
        let registry = Registry::start_as_it_comes().await?;
        let mut suite = Self::new(Caller::new(registry.client.clone(), tokens));
        suite.nothing_yet().await?;
        for algorithm in ["sha256", "sha512"] {
            suite.blobs(algorithm).await?;
        }
        for set in &content::sets() {
            suite.set(set).await?;
        }
        suite.missing_and_malformed().await?;
        ensure!(suite.failed.is_empty(), "{} of {} checks: {:#?}", suite.failed.len(), suite.checks, suite.failed);
        ensure!(suite.checks > 1500, "only {} checks were made", suite.checks);
        Ok(())
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) -> bool {
        self.checks += 1;
        if !holds {
            self.failed.push(what());
        }
        holds
    }

    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository)
    }

    /// The ping, and lists of a repository that nobody has pushed to.
    async fn nothing_yet(&mut self) -> Result<()> {
        let answer = self.caller.get("/v2/").await?;
        self.check(answer.status == 200, || format!("the ping: {}", answer.status));
        let answer = self.caller.get(&self.path("tags/list")).await?;
        self.check(matches!(answer.status.as_u16(), 200 | 404), || format!("tags of nothing: {}", answer.status));
        let answer = self.caller.get(&self.path(&format!("referrers/{}", random_digest()))).await?;
        let (kind, list) = (answer.header("content-type").to_owned(), answer.json());
        let is_index = kind == INDEX && list["mediaType"] == INDEX && list["schemaVersion"] == 2;
        self.check(answer.status == 200 && is_index, || format!("referrers of nothing: {} {list}", answer.status));
        Ok(())
    }

    async fn missing_and_malformed(&mut self) -> Result<()> {
        for reference in [random_digest(), "missing-abcdefghijklmnopqrst".to_owned()] {
            let path = self.path(&format!("manifests/{reference}"));
            let answer = self.caller.send(Method::GET, &path, &manifest_types(), None).await?;
            self.check(answer.status == 404, || format!("{path}: {}", answer.status));
        }
        let set = content::small();
        self.push_blobs(&set).await?;
        let path = self.path("manifests/sha256:baddigeststring");
        let answer = self.caller.stream(Method::PUT, &path, MANIFEST_TYPE, &set.manifests[0].bytes).await?;
        self.check(answer.status == 400, || format!("PUT {path}: {}", answer.status));
        let answer = self.caller.send(Method::GET, &path, &manifest_types(), None).await?;
        self.check(matches!(answer.status.as_u16(), 400 | 404), || format!("GET {path}: {}", answer.status));
        self.delete_all(&set, &[]).await
    }
}

#[tokio::test]
async fn the_requests_of_the_official_suite_with_tokens_that_are_kept() -> Result<()> {
    Suite::play(Tokens::Kept).await
}

#[tokio::test]
async fn the_requests_of_the_official_suite_with_a_token_for_each() -> Result<()> {
    Suite::play(Tokens::Each).await
}
