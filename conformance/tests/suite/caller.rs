//! A client that logs in as the suite does: a request without credentials, or with the token that did for one of its kind; on a 401 one
//! token for the scope that the challenge names, and the request once more. What is refused then is refused.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use conformance::raw;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::collections::HashMap;
use testing::{Answer, Client, Credentials};

/// Whether a token is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// For the same repository and the same kind of request.
    Kept,
    Each,
}

pub struct Caller {
    /// With name and password, which only the realm is shown.
    client: Client,
    tokens: Tokens,
    kept: HashMap<(String, &'static str), Credentials>,
}

/// One request, to be made twice.
struct Request<'a> {
    method: Method,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    /// Without a length.
    chunked: bool,
}

impl Caller {
    pub fn new(client: Client, tokens: Tokens) -> Self {
        Self { client, tokens, kept: HashMap::new() }
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn head(&mut self, path: &str) -> Result<Answer> {
        self.send(Method::HEAD, path, &[], None).await
    }

    pub async fn delete(&mut self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, &[], None).await
    }

    pub async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Answer> {
        self.ask(&Request { method, path, headers, body: body.unwrap_or_default(), chunked: false }).await
    }

    /// With a body of a length that is not said.
    pub async fn stream(&mut self, method: Method, path: &str, media_type: &str, body: &[u8]) -> Result<Answer> {
        self.ask(&Request { method, path, headers: &[("content-type", media_type)], body, chunked: true }).await
    }

    async fn ask(&mut self, request: &Request<'_>) -> Result<Answer> {
        let key = (repository_of(request.path).to_owned(), kind_of(&request.method)?);
        let known = self.kept.get(&key).cloned().unwrap_or(Credentials::Anonymous);
        let answer = request.by(&self.client.with(known)).await?;
        if answer.status != 401 || matches!(self.client.credentials(), Credentials::Anonymous) {
            return Ok(answer);
        }
        let token = self.token(&answer).await?;
        if self.tokens == Tokens::Kept {
            self.kept.insert(key, token.clone());
        }
        request.by(&self.client.with(token)).await
    }

    async fn token(&self, refused: &Answer) -> Result<Credentials> {
        let header = refused.header("www-authenticate");
        if header.to_lowercase().starts_with("basic") {
            return Ok(self.client.credentials().clone());
        }
        ensure!(header.to_lowercase().starts_with("bearer "), "no challenge that the suite knows: {header}");
        let part = |name: &str| header.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"')).map(|(value, _)| value);
        let realm = part("realm").context("a realm")?;
        let scope = part("scope").map(|scope| format!("&scope={}", scope.replace(' ', "+"))).unwrap_or_default();
        let answer = self.client.get(&format!("{realm}?service={}{scope}", part("service").unwrap_or_default())).await?.expect(200)?;
        let json = answer.json();
        let token = json["access_token"].as_str().or(json["token"].as_str()).context("a token")?;
        Ok(Credentials::Bearer(token.to_owned()))
    }
}

impl Request<'_> {
    async fn by(&self, client: &Client) -> Result<Answer> {
        if !self.chunked {
            let mut headers = self.headers.to_vec();
            if self.body.is_empty() && !matches!(self.method, Method::GET | Method::HEAD) {
                headers.push(("content-length", "0"));
            }
            return client.send(self.method.clone(), self.path, &headers, Bytes::copy_from_slice(self.body)).await;
        }
        let mut request = raw::head(client, self.method.as_str(), self.path).into_bytes();
        for (name, value) in self.headers {
            request.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        request.extend(raw::chunked(self.body, 32 * 1024));
        let (status, text) = raw::exchange(client, &request).await?;
        answer_of(status, &text)
    }
}

/// Status and headers of an answer that came as text.
fn answer_of(status: u16, text: &str) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("an answer ends its head")?;
    let mut headers = HeaderMap::new();
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").with_context(|| format!("not a header: {line}"))?;
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(Answer { status: status.try_into()?, headers, body: Bytes::from(body.to_owned()) })
}

/// The name in a path below `/v2/`; empty for the ping.
fn repository_of(path: &str) -> &str {
    let rest = path.split_once("/v2/").map_or("", |(_, rest)| rest);
    let ends = ["/blobs/", "/manifests/", "/tags/", "/referrers/"];
    ends.iter().filter_map(|end| rest.find(end)).min().map_or("", |at| &rest[..at])
}

fn kind_of(method: &Method) -> Result<&'static str> {
    Ok(match *method {
        Method::GET | Method::HEAD => "pull",
        Method::POST | Method::PATCH | Method::PUT => "push",
        Method::DELETE => "delete",
        _ => bail!("the suite makes no {method}"),
    })
}
