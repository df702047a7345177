//! GEN-1..3 and PROXY: what HTTP itself asks of a registry, and what all categories have in common.

use anyhow::{Result, ensure};
use conformance::registry::{OCTETS, Registry, SmallImage, error_code, refused};
use reqwest::Method;
use testing::images::{Blob, MANIFEST_TYPE};

#[tokio::test]
async fn gen_1_every_category_is_served() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    // Push, pull, discovery, management: each once, whole.
    let image = repository.push_new("v1").await?;
    ensure!(repository.get("manifests/v1").await?.expect(200)?.body == image.manifest.bytes);
    ensure!(repository.get(&format!("blobs/{}", image.layer.digest)).await?.expect(200)?.body == image.layer.bytes);
    ensure!(repository.tags().await? == ["v1"]);
    repository.get(&format!("referrers/{}", image.digest())).await?.expect(200)?;
    repository.delete("manifests/v1").await?.expect(202)?;
    repository.delete(&format!("manifests/{}", image.digest())).await?.expect(202)?;
    repository.delete(&format!("blobs/{}", image.layer.digest)).await?.expect(202)?;
    Ok(())
}

#[tokio::test]
async fn gen_2_what_a_client_has_is_not_sent_again() -> Result<()> {
    // RFC 9110, 13.1.2: the weak comparison, lists and `*`.
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for path in ["manifests/v1".to_owned(), format!("manifests/{}", image.digest()), format!("blobs/{}", image.layer.digest)] {
        let etag = repository.head(&path).await?.expect(200)?.header("etag").to_owned();
        ensure!(etag.starts_with('"') && etag.ends_with('"'), "{path}: {etag}");
        for method in [Method::GET, Method::HEAD] {
            for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".into()] {
                let answer = repository.send(method.clone(), &path, &[("if-none-match", &known)], "").await?.expect(304)?;
                ensure!(answer.body.is_empty() && answer.header("etag") == etag, "{path} {known}: {:?}", answer.headers);
            }
            repository.send(method.clone(), &path, &[("if-none-match", "\"other\"")], "").await?.expect(200)?;
        }
    }
    // A tag that has moved is sent.
    let before = repository.head("manifests/v1").await?.header("etag").to_owned();
    let moved = repository.push_new("v1").await?;
    let answer = repository.send(Method::GET, "manifests/v1", &[("if-none-match", &before)], "").await?.expect(200)?;
    ensure!(answer.body == moved.manifest.bytes, "the old manifest");
    Ok(())
}

#[tokio::test]
async fn gen_2_a_range_is_of_the_content_that_the_client_knows() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let path = format!("blobs/{}", image.layer.digest);
    let etag = repository.head(&path).await?.header("etag").to_owned();
    let part = |known: String| {
        let (repository, path) = (&repository, &path);
        async move { repository.send(Method::GET, path, &[("range", "bytes=0-9"), ("if-range", &known)], "").await }
    };
    ensure!(part(etag).await?.expect(206)?.body.len() == 10);
    ensure!(part("\"other\"".into()).await?.expect(200)?.body == image.layer.bytes);
    Ok(())
}

#[tokio::test]
async fn gen_2_a_tag_moves_only_from_where_the_client_thinks_it_is() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let (one, two) = (repository.push_new("v1").await?, SmallImage::new());
    repository.push(two.digest(), &two).await?;
    let put = |tag: &'static str, name: &'static str, value: String| {
        let (repository, body) = (&repository, two.manifest.bytes.clone());
        async move {
            let headers = [("content-type", MANIFEST_TYPE), (name, value.as_str())];
            repository.send(Method::PUT, &format!("manifests/{tag}"), &headers, body).await
        }
    };
    let etag = |digest: &str| format!("\"{digest}\"");
    put("v1", "if-none-match", "*".into()).await?.expect(412)?;
    put("v1", "if-match", etag(two.digest())).await?.expect(412)?;
    put("absent", "if-match", etag(two.digest())).await?.expect(412)?;
    ensure!(repository.get("manifests/v1").await?.body == one.manifest.bytes, "it moved");
    put("v2", "if-none-match", "*".into()).await?.expect(201)?;
    put("v1", "if-match", etag(one.digest())).await?.expect(201)?;
    ensure!(repository.get("manifests/v1").await?.body == two.manifest.bytes, "it did not move");
    Ok(())
}

#[tokio::test]
async fn gen_2_head_says_what_get_says() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for path in ["manifests/v1".to_owned(), format!("blobs/{}", image.layer.digest), format!("referrers/{}", image.digest())] {
        let (get, head) = (repository.get(&path).await?.expect(200)?, repository.head(&path).await?.expect(200)?);
        for name in ["content-type", "content-length", "docker-content-digest", "etag", "accept-ranges"] {
            ensure!(get.header(name) == head.header(name), "{path} {name}: {:?} {:?}", get.headers, head.headers);
        }
        ensure!(head.body.is_empty(), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn gen_2_a_method_that_is_not_there_names_those_that_are() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for (method, path, has) in [
        (Method::POST, "manifests/v1".to_owned(), "PUT"),
        (Method::PUT, format!("blobs/{}", image.layer.digest), "DELETE"),
        (Method::DELETE, "tags/list".into(), "GET"),
        (Method::PUT, "blobs/uploads/".into(), "POST"),
        (Method::POST, format!("referrers/{}", image.digest()), "GET"),
    ] {
        let answer = repository.send(method, &path, &[], "").await?;
        refused(&answer, 405, "UNSUPPORTED")?;
        ensure!(answer.header("allow").contains(has), "{path}: {:?}", answer.headers);
    }
    Ok(())
}

#[tokio::test]
async fn gen_3_content_comes_directly_or_by_a_redirect_that_says_where() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for path in ["manifests/v1".to_owned(), format!("blobs/{}", image.layer.digest), "tags/list".into()] {
        let answer = repository.get(&path).await?;
        let directly = answer.status == 200;
        ensure!(directly || (answer.status.is_redirection() && !answer.header("location").is_empty()), "{path}: {}", answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn proxy_1_the_host_that_a_proxy_would_ask_changes_nothing_here() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    for path in ["manifests/v1".to_owned(), format!("blobs/{}", image.layer.digest)] {
        let plain = repository.get(&path).await?.expect(200)?;
        let scoped = repository.get(&format!("{path}?ns=registry.example.org")).await?.expect(200)?;
        ensure!(plain.body == scoped.body, "{path}");
        // Said only by who goes by it.
        ensure!(scoped.header("oci-namespace").is_empty(), "{:?}", scoped.headers);
    }
    repository.get("manifests/absent?ns=registry.example.org").await?.expect(404)?;
    Ok(())
}

#[tokio::test]
async fn warn_1_2_warnings_have_their_form_and_are_short() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = SmallImage::new();
    let mut answers = vec![repository.push("v1", &image).await?];
    for path in ["manifests/v1", "manifests/absent", "tags/list", &format!("blobs/{}", image.layer.digest)] {
        answers.push(repository.get(path).await?);
    }
    for answer in answers {
        let warnings: Vec<&str> = answer.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect();
        ensure!(warnings.iter().all(|warning| warning.starts_with("299 - \"") && warning.ends_with('"')), "{warnings:?}");
        ensure!(warnings.iter().map(|warning| warning.len()).sum::<usize>() <= 4096, "{warnings:?}");
    }
    Ok(())
}

#[tokio::test]
async fn err_3_each_code_has_its_status() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let image = repository.push_new("v1").await?;
    let absent = conformance::registry::absent_digest();
    let blob = Blob::made_up(rand::random(), 100);
    let location = repository.begin().await?;
    let wrong_length = [OCTETS, ("content-range", "0-9")];
    for (answer, status, code) in [
        (repository.get(&format!("blobs/{absent}")).await?, 404, "BLOB_UNKNOWN"),
        (repository.get("blobs/uploads/00000000000000000000000000000000").await?, 404, "BLOB_UPLOAD_UNKNOWN"),
        (repository.close(&repository.begin().await?, &absent, &blob.bytes).await?, 400, "DIGEST_INVALID"),
        (repository.push_hollow().await?, 400, "MANIFEST_BLOB_UNKNOWN"),
        (repository.put_manifest("bad", MANIFEST_TYPE, "{}").await?, 400, "MANIFEST_INVALID"),
        (repository.get("manifests/absent").await?, 404, "MANIFEST_UNKNOWN"),
        (registry.named("BAD").get("tags/list").await?, 400, "NAME_INVALID"),
        (registry.repository().get("tags/list").await?, 404, "NAME_UNKNOWN"),
        (registry.client.send(Method::PATCH, &location, &wrong_length, blob.bytes.clone()).await?, 400, "SIZE_INVALID"),
        (repository.send(Method::POST, "manifests/v1", &[], "").await?, 405, "UNSUPPORTED"),
    ] {
        refused(&answer, status, code)?;
    }
    ensure!(repository.has_manifest(image.digest()).await?);
    Ok(())
}

/// More uploads than one client may have open.
const UPLOADS: usize = 1100;

#[tokio::test]
async fn err_4_too_many_uploads_are_429_and_say_when_to_try_again() -> Result<()> {
    let registry = Registry::start().await?;
    let repository = registry.repository();
    let mut refusals = 0;
    for _ in 0..UPLOADS {
        let answer = repository.post("blobs/uploads/").await?;
        if answer.status == 202 {
            continue;
        }
        ensure!(answer.status == 429 && error_code(&answer)? == "TOOMANYREQUESTS", "{}: {}", answer.status, answer.text());
        ensure!(answer.header("retry-after").parse::<u64>().is_ok(), "{:?}", answer.headers);
        refusals += 1;
        break;
    }
    // Another registry may have no such limit.
    ensure!(refusals > 0 || registry.server.is_none(), "{UPLOADS} uploads are open");
    Ok(())
}
