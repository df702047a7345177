//! The task definitions of the simulated world: what their containers do, and what they need.

use agent::runtime::fake::Conduct;
use serde_json::{Value, json};
use std::time::Duration;

/// Repository of all images.
pub const REPOSITORY: &str = "acme/app";
/// Family of all task definitions; the revision of the n-th kind is n + 1.
pub const FAMILY: &str = "app";
/// The port that the fake's relay would listen on.
pub const RELAY_PORT: u16 = 4000;

/// One task definition.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub struct Kind {
    pub name: &'static str,
    pub conduct: Conduct,
    /// Whether containers of it come up and stay.
    pub good: bool,
    pub checked: bool,
    /// Nobody has the image.
    pub gone: bool,
    pub port: Option<u16>,
    pub cpu: i64,
    pub memory: i64,
    /// A second container beside the first, not essential.
    pub pair: bool,
    /// Ends by itself with success: for RunTask.
    pub batch: bool,
}

const fn conduct(ends: Option<(u64, i64)>, check: i64, stop_millis: u64) -> Conduct {
    let ends = match ends {
        Some((millis, code)) => Some((Duration::from_millis(millis), code)),
        None => None,
    };
    Conduct { ends, check, stops_after: Duration::from_millis(stop_millis) }
}

const GOOD: Kind = Kind {
    name: "good",
    conduct: conduct(None, 0, 0),
    good: true,
    checked: false,
    gone: false,
    port: None,
    cpu: 128,
    memory: 64,
    pair: false,
    batch: false,
};
const BAD: Kind = Kind { good: false, ..GOOD };

pub const KINDS: &[Kind] = &[
    GOOD,
    Kind { name: "good-again", ..GOOD },
    Kind { name: "checked", checked: true, conduct: conduct(None, 0, 300), ..GOOD },
    Kind { name: "checked-again", checked: true, cpu: 100, ..GOOD },
    Kind { name: "slow-to-stop", conduct: conduct(None, 0, 4000), memory: 70, ..GOOD },
    Kind { name: "port", port: Some(8080), ..GOOD },
    Kind { name: "port-again", port: Some(8080), checked: true, conduct: conduct(None, 0, 700), ..GOOD },
    Kind { name: "pair", pair: true, ..GOOD },
    Kind { name: "large", cpu: 384, ..GOOD },
    Kind { name: "exits-at-once", conduct: conduct(Some((40, 1)), 0, 0), ..BAD },
    Kind { name: "exits-after-running", conduct: conduct(Some((14_000, 2)), 0, 0), ..BAD },
    Kind { name: "unhealthy", checked: true, conduct: conduct(None, 1, 0), ..BAD },
    Kind { name: "image-gone", gone: true, ..BAD },
    Kind { name: "batch", conduct: conduct(Some((6000, 0)), 0, 0), batch: true, ..BAD },
    Kind { name: "batch-fails", conduct: conduct(Some((900, 3)), 0, 0), batch: true, ..BAD },
];

impl Kind {
    /// Digest of the image of the `at`-th kind.
    pub fn digest(at: usize) -> String {
        format!("sha256:{:064x}", at + 1)
    }

    /// The image as Docker pulls it through the relay.
    pub fn pulled_name(at: usize) -> String {
        format!("127.0.0.1:{RELAY_PORT}/{REPOSITORY}@{}", Self::digest(at))
    }

    /// `app:REVISION` of the `at`-th kind.
    pub fn definition_of(at: usize) -> String {
        format!("{FAMILY}:{}", at + 1)
    }

    /// The kind that a revision is of.
    pub fn of_revision(revision: i64) -> &'static Self {
        let at = usize::try_from(revision - 1).unwrap_or(0);
        KINDS.get(at).unwrap_or(&GOOD)
    }

    pub fn document(&self, at: usize) -> Value {
        let image = format!("127.0.0.1:5000/{REPOSITORY}:k{at}");
        let mut main = json!({"name": "main", "image": image, "cpu": self.cpu, "memory": self.memory, "stopTimeout": 10});
        if self.checked {
            main["healthCheck"] = json!({"command": ["CMD", "check"], "interval": 5, "timeout": 3, "retries": 2});
        }
        if let Some(port) = self.port {
            main["portMappings"] = json!([{"containerPort": 80, "hostPort": port}]);
        }
        let mut containers = vec![main];
        if self.pair {
            containers.push(json!({"name": "side", "image": image, "cpu": 0, "memory": 8, "essential": false, "stopTimeout": 10}));
        }
        json!({"family": FAMILY, "containerDefinitions": containers})
    }
}
