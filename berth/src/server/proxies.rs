//! Whose request it is when a proxy passes it on: the address that a trusted proxy names, in the place of the proxy's own.
//!
//! Only proxies that were named are believed, and of `X-Forwarded-For` only what they added themselves: it is read from its end, up to
//! the first address that is no trusted proxy. Whatever a client wrote in front of that counts for nothing.

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::HeaderMap;
use platform::http::client_address;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Believes `trusted`; without any the routes stay as they are.
pub fn wrap(router: Router, trusted: &[IpAddr]) -> Router {
    if trusted.is_empty() {
        return router;
    }
    let trusted: Arc<[IpAddr]> = trusted.iter().map(IpAddr::to_canonical).collect();
    router.layer(middleware::from_fn_with_state(trusted, name_client))
}

async fn name_client(State(trusted): State<Arc<[IpAddr]>>, mut request: Request, next: Next) -> Response {
    if let Some(peer) = client_address(request.extensions()) {
        let client = client(peer, request.headers(), &trusted);
        if client != peer {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, 0)));
        }
    }
    next.run(request).await
}

/// The nearest address that is no trusted proxy. Pure.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let named = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let named: Vec<&str> = named.map(str::trim).collect();
    let mut nearest = peer;
    for name in named.iter().rev() {
        if !trusted.contains(&nearest) {
            break;
        }
        // What is no address was not written by a proxy that can be trusted.
        let Ok(address) = name.parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_added_is_believed() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let trusted = [address("10.0.0.1"), address("10.0.0.2")];
        for (peer, forwarded, expected) in [
            ("10.0.0.1", &["192.0.2.7"][..], "192.0.2.7"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["6.6.6.6", "192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["6.6.6.6, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7"),
            ("192.0.2.9", &["6.6.6.6"], "192.0.2.9"),
        ] {
            let headers = forwarded.iter().map(|value| (FORWARDED_FOR.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(client(address(peer), &headers, &trusted), address(expected), "{peer} {forwarded:?}");
        }
    }
}
