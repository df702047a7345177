//! The loopback relay: Docker on this host pulls images of the registry through it, so that neither certificates nor stored passwords
//! are needed in Docker. It wants the login of a pull under way, for the one repository of that pull, and forwards over mTLS to the
//! server, which serves only what is assigned to this instance. Nothing is kept in memory but what is in flight.

use crate::client::HttpServer;
use crate::engine::RelayAccess;
use crate::files;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, IF_NONE_MATCH, RANGE, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use model::name::{Digest, RepositoryName};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

const PORT_FILE: &str = "relay-port";
/// What of Docker's request goes on to the server, and of the answer back to Docker.
const REQUEST_HEADERS: [HeaderName; 3] = [ACCEPT, RANGE, IF_NONE_MATCH];
const RESPONSE_HEADERS: [&str; 7] =
    ["content-type", "content-length", "content-range", "accept-ranges", "docker-content-digest", "etag", "location"];

/// The port of the last run if it is free, so that image names on this host stay; else any.
pub(crate) async fn listen(data_dir: &Path) -> io::Result<TcpListener> {
    let file = data_dir.join(PORT_FILE);
    let last: u16 = files::read_if_there(&file)?.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok()).unwrap_or(0);
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, last)).await {
        Err(error) if last != 0 => {
            tracing::warn!("port {last} of the relay is taken, using another: {error}");
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?
        }
        bound => bound?,
    };
    files::write_private(&file, listener.local_addr()?.port().to_string().as_bytes())?;
    Ok(listener)
}

/// Serves until aborted.
pub(crate) async fn serve(listener: TcpListener, access: Arc<RelayAccess>, server: HttpServer) -> io::Result<()> {
    let app = Router::new().fallback(answer).with_state(Relay { access, server });
    axum::serve(listener, app).await
}

#[derive(Clone)]
struct Relay {
    access: Arc<RelayAccess>,
    server: HttpServer,
}

/// `…/{repository}/manifests/{digest}` or `…/blobs/{digest}`.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    repository: RepositoryName,
    kind: &'static str,
    digest: Digest,
}

fn parse(path: &str) -> Option<Content> {
    let (rest, digest) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
    let (repository, kind) = rest.rsplit_once('/')?;
    let kind = ["manifests", "blobs"].into_iter().find(|known| *known == kind)?;
    Some(Content { repository: repository.parse().ok()?, kind, digest: digest.parse().ok()? })
}

async fn answer(State(relay): State<Relay>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let Some(repository) = login(&request.headers).and_then(|(user, password)| relay.access.repository_of(&user, &password)) else {
        let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"berth-agent\"")];
        return (challenge, refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "only this host's agent pulls here")).into_response();
    };
    if request.uri.path() == "/v2/" {
        return StatusCode::OK.into_response();
    }
    if request.method != Method::GET && request.method != Method::HEAD {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the relay only pulls");
    }
    match parse(request.uri.path()) {
        Some(content) if content.repository.as_str() == repository => {
            forward(&relay.server, &content, request.method, &request.headers).await
        }
        Some(_) => refusal(StatusCode::FORBIDDEN, "DENIED", "this login is for another repository"),
        None => refusal(StatusCode::NOT_FOUND, "NAME_INVALID", "the relay serves manifests and blobs by digest"),
    }
}

/// User and password of a Basic header.
fn login(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

async fn forward(server: &HttpServer, content: &Content, method: Method, headers: &HeaderMap) -> Response {
    let path = format!("{}/{}/{}", content.repository, content.kind, content.digest);
    let mut upstream = server.image(method, &path);
    for name in &REQUEST_HEADERS {
        for value in headers.get_all(name) {
            upstream = upstream.header(name, value);
        }
    }
    match upstream.send().await {
        Ok(response) if response.status() == StatusCode::FORBIDDEN || response.status() == StatusCode::NOT_FOUND => {
            refused(content, response.status())
        }
        Ok(response) => stream(response),
        Err(error) => {
            tracing::warn!(repository.name = %content.repository, "cannot fetch {path} from the server: {error}");
            refusal(StatusCode::BAD_GATEWAY, "UNKNOWN", "service unavailable: the server of the registry cannot be reached")
        }
    }
}

/// A refusal in the registry's words, whatever protocol the server spoke: Docker passes its text on.
fn refused(content: &Content, status: StatusCode) -> Response {
    let (code, text) = match (status, content.kind) {
        (StatusCode::FORBIDDEN, _) => ("DENIED", "this image is not assigned to this instance"),
        (_, "manifests") => ("MANIFEST_UNKNOWN", "manifest unknown"),
        _ => ("BLOB_UNKNOWN", "blob unknown to registry"),
    };
    refusal(status, code, text)
}

fn stream(response: reqwest::Response) -> Response {
    let mut builder = Response::builder().status(response.status());
    for name in RESPONSE_HEADERS {
        if let Some(value) = response.headers().get(name) {
            builder = builder.header(name, value);
        }
    }
    let body = Body::from_stream(response.bytes_stream());
    builder.body(body).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_LENGTH, body.len().to_string())];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_and_blobs_by_digest_are_relayed() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let content = parse(&format!("/v2/acme/team/web/manifests/{digest}")).unwrap();
        assert_eq!((content.repository.as_str(), content.kind), ("acme/team/web", "manifests"));
        assert_eq!(parse(&format!("/v2/web/blobs/{digest}")).unwrap().kind, "blobs");
        for bad in
            ["/v2/", "/v2/web/manifests/latest", "/v2/web/tags/list", &format!("/v2/../x/blobs/{digest}"), &format!("/web/blobs/{digest}")]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn the_port_stays_the_same_across_restarts_when_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let first = listen(dir.path()).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let other = listen(dir.path()).await.unwrap();
        assert_ne!(other.local_addr().unwrap().port(), port, "taken: another");
        let port = other.local_addr().unwrap().port();
        drop((first, other));
        assert_eq!(listen(dir.path()).await.unwrap().local_addr().unwrap().port(), port);
    }
}
