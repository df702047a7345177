//! ERR: each failure is a status and a code of the specification, in its JSON form, and shows nothing of the inside.

use anyhow::{Result, ensure};
use conformance::registry::{Registry, absent_digest, error_code};
use testing::Answer;

#[tokio::test]
async fn err_1_2_every_refusal_has_the_json_form() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    repository.push_new("v1").await?;
    let bad_name = registry.named("BAD");
    let answers: Vec<Answer> = vec![
        repository.get("manifests/absent").await?,
        repository.get(&format!("blobs/{}", absent_digest())).await?,
        repository.get("blobs/uploads/none").await?,
        repository.get("tags/list?n=x").await?,
        repository.get("referrers/x").await?,
        repository.put_manifest("v2", "text/plain", "x").await?,
        bad_name.get("manifests/v1").await?,
        registry.named("no/such/repository").get("tags/list").await?,
        repository.send(reqwest::Method::PATCH, "manifests/v1", &[], "").await?,
    ];
    for answer in answers {
        error_code(&answer)?;
        ensure!(answer.header("content-type").starts_with("application/json"), "{:?}", answer.headers);
        for word in ["sqlx", "SELECT", "panicked", "/tmp/", ".rs:", "blobs/sha256/"] {
            ensure!(!answer.text().contains(word), "it shows its inside: {}", answer.text());
        }
    }
    Ok(())
}

#[tokio::test]
async fn err_head_carries_no_body() -> Result<()> {
    let registry = Registry::start().await?;
    let answer = registry.repository().head("manifests/absent").await?.expect(404)?;
    ensure!(answer.body.is_empty());
    Ok(())
}
