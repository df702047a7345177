//! GEN: the ping, unknown repositories, the catalog.

use anyhow::{Result, ensure};
use conformance::registry::{Registry, refused, strings};
use testing::Credentials;

#[tokio::test]
async fn gen_4_6_ping_is_200() -> Result<()> {
    let registry = Registry::start().await?;
    let answer = registry.client.get("/v2/").await?.expect(200)?;
    // Optional, but old clients look for it.
    ensure!(answer.header("docker-distribution-api-version") == "registry/2.0", "{:?}", answer.headers);
    Ok(())
}

#[tokio::test]
async fn gen_4_ping_without_credentials_is_401_with_a_challenge() -> Result<()> {
    let registry = Registry::start().await?;
    let answer = registry.client.with(Credentials::Anonymous).get("/v2/").await?;
    refused(&answer, 401, "UNAUTHORIZED")?;
    let challenge = answer.header("www-authenticate");
    ensure!(challenge.starts_with("Bearer realm=\"http"), "{challenge}");
    ensure!(challenge.contains("service=\""), "{challenge}");
    Ok(())
}

#[tokio::test]
async fn gen_5_everything_in_an_unknown_repository_is_404() -> Result<()> {
    let registry = Registry::start().await?;
    let nowhere = registry.repository();
    let digest = conformance::registry::absent_digest();
    for path in ["manifests/latest".to_owned(), format!("manifests/{digest}"), format!("blobs/{digest}"), "tags/list".to_owned()] {
        ensure!(nowhere.get(&path).await?.status == 404, "GET {path}");
    }
    for path in ["manifests/latest".to_owned(), format!("manifests/{digest}"), format!("blobs/{digest}")] {
        ensure!(nowhere.head(&path).await?.status == 404, "HEAD {path}");
        ensure!(nowhere.delete(&path).await?.status == 404, "DELETE {path}");
    }
    Ok(())
}

#[tokio::test]
async fn gen_7_the_catalog_lists_repositories_in_pages() -> Result<()> {
    let registry = Registry::start().await?;
    let repositories = [registry.repository(), registry.repository(), registry.repository()];
    for repository in &repositories {
        repository.push_new("latest").await?;
    }
    let mut expected: Vec<String> = repositories.iter().map(|repository| repository.name.clone()).collect();
    expected.sort();
    let mut found = Vec::new();
    let mut next = "/v2/_catalog?n=2".to_owned();
    while !next.is_empty() {
        let answer = registry.client.get(&next).await?.expect(200)?;
        let page = strings(&answer.json()["repositories"])?;
        ensure!(page.len() <= 2, "a page of {}", page.len());
        found.extend(page);
        next = next_link(answer.header("link"));
    }
    ensure!(found.is_sorted(), "{found:?}");
    ensure!(expected.iter().all(|name| found.contains(name)), "{expected:?} in {found:?}");
    Ok(())
}

#[tokio::test]
async fn gen_7_a_huge_or_bad_page_size_of_the_catalog_is_bounded_or_refused() -> Result<()> {
    let registry = Registry::start().await?;
    for huge in ["9223372036854775807", "99999999999999999999999999"] {
        registry.client.get(&format!("/v2/_catalog?n={huge}")).await?.expect(200)?;
    }
    for bad in ["-1", "x", "1e3"] {
        refused(&registry.client.get(&format!("/v2/_catalog?n={bad}")).await?, 400, "PAGINATION_NUMBER_INVALID")?;
    }
    Ok(())
}

#[tokio::test]
async fn gen_methods_that_a_path_does_not_have_are_405() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    repository.push_new("latest").await?;
    let answer = repository.send(reqwest::Method::POST, "manifests/latest", &[], "").await?;
    refused(&answer, 405, "UNSUPPORTED")?;
    refused(&repository.send(reqwest::Method::PUT, "tags/list", &[], "").await?, 405, "UNSUPPORTED")
}

#[tokio::test]
async fn gen_paths_that_are_none_are_404_in_the_form_of_the_specification() -> Result<()> {
    let registry = Registry::start().await?;
    for path in ["/v2/x/nothing/here", "/v2/a/manifests", "/v2/a/tags", "/v2/a/blobs"] {
        let answer = registry.client.get(path).await?;
        ensure!(answer.status == 404, "{path}: {}", answer.status);
        conformance::registry::error_code(&answer)?;
    }
    Ok(())
}

/// The address in `Link: <…>; rel="next"`, or nothing.
pub fn next_link(header: &str) -> String {
    let Some((address, rest)) = header.trim().strip_prefix('<').and_then(|rest| rest.split_once('>')) else { return String::new() };
    if rest.contains("rel=\"next\"") { address.to_owned() } else { String::new() }
}
