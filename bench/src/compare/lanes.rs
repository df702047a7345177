//! Which lanes are run, on which sides, and what is wanted of each. Pure.

use super::Seat;
use crate::lanes::{self, load, manifests, transfer};
use crate::options::{LaneOptions, MIB, Method};
use crate::score::Bound;

/// Tags that `load` asks for.
pub const TAGS: usize = 200;
/// Most time that one in a hundred manifests may take, in milliseconds.
const MANIFEST_P99_MS_MAX: f64 = 10.0;
/// Most processor time of the server for a GiB, beside docker-registry.
const PULL_COST_MAX: f64 = 0.7;
const PUSH_COST_MAX: f64 = 0.4;

/// One comparison: what is run, by whom, and the numbers to keep.
pub struct Lane {
    pub name: &'static str,
    pub run: lanes::Run,
    pub options: LaneOptions,
    pub does: Does,
    pub ours: Seat,
    pub peers: Vec<Peer>,
    pub p99_ms_max: Option<f64>,
}

/// What a lane does to a registry, so far as others have to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Each round with blobs of its own.
    Push,
    /// What was pushed before the first round.
    Pull,
    /// Asks for the tags that were put before the first round.
    Ask,
}

/// Who stands beside ours, and what ratio of rates is promised and wanted, and of processor times.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub seat: Seat,
    pub promised: Option<Bound>,
    pub target: Option<Bound>,
    pub cost: Option<Bound>,
}

impl Peer {
    fn of(seat: Seat) -> Self {
        Self { seat, promised: None, target: None, cost: None }
    }

    fn promised(self, times: f64) -> Self {
        Self { promised: Some(Bound::TimesAtLeast(times)), ..self }
    }

    fn target(self, times: f64) -> Self {
        Self { target: Some(Bound::TimesAtLeast(times)), ..self }
    }

    fn cost(self, times: f64) -> Self {
        Self { cost: Some(Bound::TimesAtMost(times)), ..self }
    }
}

impl Lane {
    fn new(name: &'static str, run: lanes::Run, options: LaneOptions, does: Does, peers: Vec<Peer>) -> Self {
        Self { name, run, options, does, ours: Seat::Ours, peers, p99_ms_max: None }
    }

    /// Everybody who takes part.
    pub fn seats(&self) -> impl Iterator<Item = Seat> {
        std::iter::once(self.ours).chain(self.peers.iter().map(|peer| peer.seat))
    }

    /// The same lane with those who are here; none when nobody is left to compare.
    pub fn with(mut self, is_here: impl Fn(Seat) -> bool) -> Option<Self> {
        self.peers.retain(|peer| is_here(peer.seat));
        (is_here(self.ours) && !self.peers.is_empty()).then_some(self)
    }
}

/// All of them, with blobs smaller by `divide`.
pub fn all(divide: usize) -> Vec<Lane> {
    let mut lanes = transfers(divide);
    lanes.extend(requests());
    lanes
}

fn transfers(divide: usize) -> Vec<Lane> {
    let blobs = |mib: usize, parallel: usize| LaneOptions {
        size: Some((mib * MIB / divide).max(MIB)),
        parallel,
        count: parallel,
        ..LaneOptions::default()
    };
    let registry = Peer::of(Seat::Registry);
    let push = |name, options, peer: Peer| Lane::new(name, transfer::push, options, Does::Push, vec![peer.cost(PUSH_COST_MAX)]);
    let pull = |name, options, peer: Peer| {
        let peers = vec![peer.cost(PULL_COST_MAX), Peer::of(Seat::Nginx).target(1.0)];
        Lane::new(name, transfer::pull, options, Does::Pull, peers)
    };
    let tls = |name, options| {
        let peers = vec![Peer::of(Seat::NginxTls).target(1.0)];
        Lane { ours: Seat::OursTls, ..Lane::new(name, transfer::pull, options, Does::Pull, peers) }
    };
    vec![
        push("durable push, 256 MiB", blobs(256, 1), registry.promised(2.5).target(2.7)),
        push("durable push, 8 x 64 MiB at once", blobs(64, 8), registry.promised(1.8).target(1.8)),
        pull("blob pull, 1 GiB", blobs(1024, 1), registry.promised(1.0).target(1.2)),
        pull("blob pull, 8 x 128 MiB at once", blobs(128, 8), registry.promised(1.3).target(1.5)),
        tls("blob pull over TLS, 1 GiB", blobs(1024, 1)),
        tls("blob pull over TLS, 8 x 128 MiB at once", blobs(128, 8)),
    ]
}

fn requests() -> Vec<Lane> {
    let registry = Peer::of(Seat::Registry);
    let tags = |method| LaneOptions { count: TAGS, secs: 3.0, method, ..LaneOptions::default() };
    let ask = |name, method, peer| Lane {
        p99_ms_max: Some(MANIFEST_P99_MS_MAX),
        ..Lane::new(name, load::run, tags(method), Does::Ask, vec![peer])
    };
    let many = |count| LaneOptions { count, parallel: 8, ..LaneOptions::default() };
    vec![
        ask("manifest GET by tag, 64 connections", Method::Get, registry.promised(30.0).target(50.0)),
        ask("manifest HEAD by tag, 64 connections", Method::Head, registry.target(50.0)),
        Lane::new("push of 4 KiB, durable, 8 at once", transfer::small, many(300), Does::Push, vec![registry.target(10.0)]),
        Lane::new("manifest PUT, durable, 8 at once", manifests::put, many(200), Does::Push, vec![registry.target(8.0)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_has_a_name_of_its_own_and_a_target() {
        let lanes = all(1);
        let names: std::collections::BTreeSet<&str> = lanes.iter().map(|lane| lane.name).collect();
        assert_eq!(names.len(), lanes.len());
        assert!(lanes.iter().all(|lane| lane.peers.iter().all(|peer| peer.target.is_some())));
    }

    #[test]
    fn who_is_not_here_is_left_out() {
        let here = |seat| matches!(seat, Seat::Ours | Seat::Registry);
        let lanes: Vec<Lane> = all(1).into_iter().filter_map(|lane| lane.with(here)).collect();
        assert!(lanes.iter().flat_map(Lane::seats).all(here));
        assert!(!lanes.iter().any(|lane| lane.name.contains("TLS")));
        assert_eq!(lanes.iter().filter(|lane| lane.does == Does::Pull).count(), 2);
    }

    #[test]
    fn a_quick_look_moves_less() {
        let bytes = |divide| all(divide).iter().filter_map(|lane| lane.options.size).sum::<usize>();
        assert_eq!(bytes(1), 16 * bytes(16));
        assert!(all(usize::MAX).iter().all(|lane| lane.options.size.is_none_or(|size| size == MIB)));
    }
}
