//! The HTTP listener: binds first, then serves plain or TLS connections until the process stops.
//!
//! Limits: header read time, connections in all. Body limits belong to the routes.

use crate::lifecycle::Lifecycle;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// Connections served at once; further ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 8192;
/// Longest time to read a request's head, and to shake hands for TLS, in seconds.
pub const HEAD_SECS_MAX: u64 = 30;

/// Certificate of the other side of a TLS connection, DER; an extension of each request on a listener with client certificates.
#[derive(Debug, Clone)]
pub struct PeerCertificate(pub rustls_pki_types::CertificateDer<'static>);

/// Where the client of a request is, as far as its connection tells.
pub fn client_address(extensions: &http::Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_canonical())
}

/// Binds `address`. Done before anything else starts, so that a taken port is the first error.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves `router` on `listener` until the process stops; requests in flight are finished.
pub fn serve(lifecycle: &Lifecycle, listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, router: Router) {
    let acceptor = tls.map(TlsAcceptor::from);
    let inner = lifecycle.clone();
    lifecycle.spawn(async move {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                // Cancel-safe per docs: TcpListener::accept, CancellationToken::cancelled.
                () = inner.stopping.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (lifecycle, acceptor, router) = (inner.clone(), acceptor.clone(), router.clone());
            inner.spawn(async move {
                connection(&lifecycle, stream, peer, acceptor, router).await;
                drop(slot);
            });
        }
    });
}

/// Who is at the other end; put into the extensions of each of its requests.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    certificate: Option<PeerCertificate>,
}

async fn connection(lifecycle: &Lifecycle, stream: TcpStream, address: SocketAddr, acceptor: Option<TlsAcceptor>, router: Router) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(acceptor) = acceptor else {
        return exchange(lifecycle, stream, Peer { address, certificate: None }, router).await;
    };
    match tokio::time::timeout(Duration::from_secs(HEAD_SECS_MAX), acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates();
            let certificate = chain.and_then(|chain| chain.first()).map(|c| PeerCertificate(c.clone().into_owned()));
            exchange(lifecycle, stream, Peer { address, certificate }, router).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, peer = %address, "TLS handshake failed"),
        Err(_) => tracing::debug!(peer = %address, "TLS handshake timed out"),
    }
}

async fn exchange(lifecycle: &Lifecycle, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, router: Router) {
    let service = TowerToHyperService::new(router.map_request(move |request: http::Request<hyper::body::Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer.address));
        if let Some(certificate) = &peer.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        request
    }));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(HEAD_SECS_MAX)).max_buf_size(512 * 1024);
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = lifecycle.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}
