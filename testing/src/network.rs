//! A private network on this machine: a bridge to which Docker hosts in network namespaces are linked. Needs root.
//!
//! Names carry the id of this process (`berth-PID-…`), so that what a test that was killed left behind is found and removed by the
//! next one.

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// First and last third byte of the networks' addresses, `10.213.N.0/24`.
const SUBNETS: std::ops::RangeInclusive<u8> = 1..=254;

#[derive(Debug)]
pub struct Network {
    subnet: u8,
    hosts: AtomicU8,
}

/// One place in a network: a namespace with a link to the bridge.
#[derive(Debug)]
pub struct Link {
    /// Of the namespace.
    pub namespace: String,
    /// This machine's end.
    pub outer: String,
    /// The namespace's end.
    pub inner: String,
    /// Of the namespace, on the bridge's network.
    pub address: String,
}

impl Network {
    /// Makes a bridge on a free network, after removing what dead tests left.
    pub fn new() -> Result<Self> {
        remove_leftovers();
        let first = rand::random_range(SUBNETS);
        for step in 0..*SUBNETS.end() {
            let subnet = 1 + (first - 1 + step) % SUBNETS.end();
            // The name is the lock: only one process can make it.
            if run("ip", &["link", "add", &bridge_name(subnet), "type", "bridge"]).is_ok() {
                let network = Self { subnet, hosts: AtomicU8::new(0) };
                run("ip", &["link", "set", &network.bridge(), "alias", &format!("berth-{}", std::process::id())])?;
                run("ip", &["address", "add", &format!("{}/24", network.address()), "dev", &network.bridge()])?;
                run("ip", &["link", "set", &network.bridge(), "up"])?;
                return Ok(network);
            }
        }
        bail!("no free network: are you root, and is iproute2 installed? (scripts/docker-engine)")
    }

    /// This machine's address in the network: where a server for its hosts has to listen.
    pub fn address(&self) -> String {
        format!("10.213.{}.1", self.subnet)
    }

    fn bridge(&self) -> String {
        bridge_name(self.subnet)
    }

    /// A new namespace, linked to the bridge.
    pub fn link(&self) -> Result<Link> {
        let number = 2 + self.hosts.fetch_add(1, Ordering::Relaxed);
        let link = Link {
            namespace: format!("berth-{}-{}-{number}", std::process::id(), self.subnet),
            outer: format!("bh{}o{number}", self.subnet),
            inner: format!("bh{}i{number}", self.subnet),
            address: format!("10.213.{}.{number}", self.subnet),
        };
        let name = link.namespace.as_str();
        run("ip", &["netns", "add", name])?;
        run("ip", &["link", "add", &link.outer, "type", "veth", "peer", "name", &link.inner, "netns", name])?;
        run("ip", &["link", "set", &link.outer, "master", &self.bridge(), "up"])?;
        for arguments in [
            ["address", "add", &format!("{}/24", link.address), "dev", &link.inner].as_slice(),
            &["link", "set", &link.inner, "up"],
            &["link", "set", "lo", "up"],
        ] {
            run("ip", &[&["-n", name], arguments].concat())?;
        }
        Ok(link)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Links that are left go with their namespaces.
        run("ip", &["link", "delete", &self.bridge()]).ok();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        run("ip", &["netns", "delete", &self.namespace]).ok();
        // Where something still runs in the namespace it lives on without a name: the link must not stay.
        run("ip", &["link", "delete", &self.outer]).ok();
    }
}

fn bridge_name(subnet: u8) -> String {
    format!("berth{subnet}")
}

/// Namespaces with everything that runs in them, and bridges, of test processes that have ended.
fn remove_leftovers() {
    for namespace in listed("/run/netns").filter(|name| is_left(name)) {
        for process in output("ip", &["netns", "pids", &namespace]).split_whitespace().filter_map(|id| id.parse().ok()) {
            kill_tree(process);
        }
        run("ip", &["netns", "delete", &namespace]).ok();
    }
    for interface in listed("/sys/class/net").filter(|name| name.starts_with("berth")) {
        let alias = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifalias")).unwrap_or_default();
        if is_left(alias.trim()) {
            run("ip", &["link", "delete", &interface]).ok();
        }
    }
}

/// Whether `berth-PID…` names a process that is gone.
fn is_left(name: &str) -> bool {
    let id = name.strip_prefix("berth-").and_then(|rest| rest.split('-').next());
    id.is_some_and(|id| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists())
}

/// Ends a process and what it started: a container lives below the shim that is in the namespace, in a namespace of its own.
fn kill_tree(process: i32) {
    for child in output("pgrep", &["--parent", &process.to_string()]).split_whitespace().filter_map(|id| id.parse().ok()) {
        kill_tree(child);
    }
    // It may have ended already, which is what is wanted.
    kill(Pid::from_raw(process), Signal::SIGKILL).ok();
}

fn listed(folder: &str) -> impl Iterator<Item = String> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Runs a command that has to succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dead_processes_made_is_left_over() {
        assert!(is_left("berth-4194999-1-2"));
        for kept in [format!("berth-{}-1-2", std::process::id()), "berth-x".into(), "berth-".into(), "other-4194999".into(), String::new()]
        {
            assert!(!is_left(&kept), "{kept}");
        }
    }
}
