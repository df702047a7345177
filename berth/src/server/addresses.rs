//! Under which names and addresses agents reach this server: what goes into its certificate, and what people are told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Host names and addresses, without ports, of the agents' listener: those given, the public one, and every address that it is really
/// reached at. `local` are the addresses of this machine. Pure.
pub fn agent_hosts(given: &[String], public_url: &str, listen: SocketAddr, local: &[Ipv4Addr]) -> Vec<String> {
    let mut hosts = given.to_vec();
    let own = if listen.ip().is_unspecified() { local.iter().map(ToString::to_string).collect() } else { vec![listen.ip().to_string()] };
    for host in [host_only(public_url)].into_iter().chain(own).chain(["127.0.0.1".into(), "localhost".into()]) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// The URL that people give to `berth agent join`: by the name that was given for it, else by the most public address. Pure.
pub fn agent_url(given: &[String], public_url: &str, listen: SocketAddr, local: &[Ipv4Addr]) -> String {
    let public = host_only(public_url);
    let host = match given.first() {
        Some(host) => host.clone(),
        None if !listen.ip().is_unspecified() => listen.ip().to_string(),
        None if !is_loopback(&public) => public,
        None => local.iter().find(|address| !address.is_loopback()).map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("https://{host}:{}", listen.port())
}

/// The IPv4 addresses of this machine, as the kernel's routing table has them; none where it cannot be read.
pub fn local() -> Vec<Ipv4Addr> {
    in_table(&std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default())
}

/// Addresses that the table calls local, each once.
fn in_table(table: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in table.lines() {
        match line.trim().strip_prefix("|-- ") {
            Some(address) => last = address.parse::<Ipv4Addr>().ok(),
            None if line.contains("/32 host LOCAL") => found.extend(last.take().filter(|address| !found.contains(address))),
            None => {}
        }
    }
    found
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of `scheme://host[:port]`, without brackets.
fn host_only(url: &str) -> String {
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    let host = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(host, _)| host);
    host.trim_matches(['[', ']']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 5)];

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_listener_on_all_addresses_is_certified_for_all_of_them() {
        let hosts = agent_hosts(&["berth.lan".into()], "http://127.0.0.1:5000", address("0.0.0.0:5001"), &LOCAL);
        assert_eq!(hosts, ["berth.lan", "127.0.0.1", "10.0.0.5", "localhost"]);
        let hosts = agent_hosts(&[], "https://reg.example.com", address("10.0.0.9:5001"), &LOCAL);
        assert_eq!(hosts, ["reg.example.com", "10.0.0.9", "127.0.0.1", "localhost"]);
    }

    #[test]
    fn agents_are_sent_where_the_listener_is() {
        for (given, public, listen, expected) in [
            (&["berth.lan".to_owned()][..], "http://127.0.0.1:5000", "0.0.0.0:5001", "https://berth.lan:5001"),
            (&[], "http://127.0.0.1:5000", "127.0.0.1:5001", "https://127.0.0.1:5001"),
            (&[], "https://reg.example.com", "10.0.0.9:5001", "https://10.0.0.9:5001"),
            (&[], "https://reg.example.com:8443", "0.0.0.0:5001", "https://reg.example.com:5001"),
            (&[], "http://127.0.0.1:5000", "0.0.0.0:5001", "https://10.0.0.5:5001"),
            (&[], "http://[::1]:5000", "[fd00::1]:7", "https://[fd00::1]:7"),
        ] {
            assert_eq!(agent_url(given, public, address(listen), &LOCAL), expected);
        }
    }

    #[test]
    fn the_kernels_table_tells_the_local_addresses() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.0.0.0\n        /24 link UNICAST\n     \
                     |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\nLocal:\n     |-- 10.0.0.5\n        \
                     /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(in_table(table), [Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::LOCALHOST]);
        assert!(local().contains(&Ipv4Addr::LOCALHOST));
    }
}
