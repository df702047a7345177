//! What an agent is told at its start, and every limit it keeps.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Container starts (create, then start) that run at once: the knee of a small host (a start costs Docker about 200 ms).
pub const STARTS_AT_ONCE: usize = 4;
/// Image pulls that run at once; Docker itself fetches three layers of each in parallel.
pub const PULLS_AT_ONCE: usize = 4;
/// How often all labelled containers are listed, to heal missed events.
pub const LIST_PERIOD: Duration = Duration::from_secs(10);
/// How long containers of a settled task are kept for a look at them.
pub const SETTLED_KEEP: Duration = Duration::from_mins(10);
/// Most settled tasks kept on a host, whatever their age.
pub const SETTLED_KEPT_MAX: usize = 50;
/// Pause between attempts with a certificate that the server does not take any more.
pub const REVOKED_RETRY: Duration = Duration::from_mins(1);
/// Longest time a person may follow logs through one request.
pub const LOGS_SECS_MAX: u64 = 24 * 3600;

/// Everything the agent is told. The binary fills it from flags, environment and files.
#[derive(Clone, Default)]
pub struct AgentConfig {
    /// `https://host:port` of the agents' listener.
    pub server: String,
    /// Folder of key, certificate and ledger; made with mode 0700 when absent.
    pub data_dir: PathBuf,
    /// `unix:///var/run/docker.sock` unless given; `tcp://host:port` works as well.
    pub docker: Option<String>,
    /// `<secret>.<sha256 of the authority's certificate, hex>`; needed for the first start, or to join another control plane.
    pub join_token: Option<String>,
    /// The fingerprint, when it is not part of the token.
    pub authority_fingerprint: Option<String>,
    /// Name of the host as people see it; the machine's host name when absent.
    pub name: Option<String>,
    /// Cluster that the token has to be for; any when absent.
    pub cluster: Option<String>,
    /// Zone for placement; `default` when absent.
    pub zone: Option<String>,
    /// Attributes for placement constraints.
    pub attributes: BTreeMap<String, String>,
    /// Address at which published ports of this host are reached; found out when absent.
    pub address: Option<String>,
    /// Test only: abort once at this point (`order-received`, `pulled`, `created`, `started`, `stopped`, `before-report`), or at its
    /// n-th hit (`before-report:2`).
    pub failpoint: Option<String>,
}

/// What a host was told when it joined, kept so that it can be started again without being told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSettings {
    pub server: String,
    pub docker: Option<String>,
    pub name: Option<String>,
    pub zone: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub address: Option<String>,
}

/// A join token taken apart: the secret the server checks, and the fingerprint that pins the server.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub secret: String,
    pub fingerprint: String,
}

impl AgentConfig {
    /// The join token with its fingerprint, if one was given and is complete.
    pub fn join(&self) -> Option<JoinToken> {
        let token = self.join_token.as_deref().map(str::trim).filter(|token| !token.is_empty())?;
        let given = self.authority_fingerprint.as_deref().map(str::to_ascii_lowercase);
        match token.rsplit_once('.') {
            Some((secret, fingerprint)) if is_fingerprint(fingerprint) => {
                Some(JoinToken { secret: secret.to_owned(), fingerprint: given.unwrap_or_else(|| fingerprint.to_ascii_lowercase()) })
            }
            _ => given.filter(|text| is_fingerprint(text)).map(|fingerprint| JoinToken { secret: token.to_owned(), fingerprint }),
        }
    }

    /// What is kept of this when the host joins.
    pub fn host(&self) -> HostSettings {
        HostSettings {
            server: self.server.clone(),
            docker: self.docker.clone(),
            name: self.name.clone(),
            zone: self.zone.clone(),
            attributes: self.attributes.clone(),
            address: self.address.clone(),
        }
    }

    /// With what the host was told when it joined, where nothing else is said now.
    #[must_use]
    pub fn or(self, kept: HostSettings) -> Self {
        Self {
            server: if self.server.is_empty() { kept.server } else { self.server },
            docker: self.docker.or(kept.docker),
            name: self.name.or(kept.name),
            zone: self.zone.or(kept.zone),
            attributes: if self.attributes.is_empty() { kept.attributes } else { self.attributes },
            address: self.address.or(kept.address),
            ..self
        }
    }

    /// The address of the Docker Engine.
    pub fn docker_address(&self) -> &str {
        self.docker.as_deref().filter(|address| !address.is_empty()).unwrap_or("unix:///var/run/docker.sock")
    }
}

fn is_fingerprint(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_now_goes_before_what_was_said_at_the_join() {
        let kept =
            HostSettings { server: "https://a:1".into(), zone: Some("old".into()), name: Some("n".into()), ..HostSettings::default() };
        let config = AgentConfig { zone: Some("new".into()), ..AgentConfig::default() }.or(kept.clone());
        assert_eq!((config.server.as_str(), config.zone.as_deref(), config.name.as_deref()), ("https://a:1", Some("new"), Some("n")));
        assert_eq!(AgentConfig::default().or(kept.clone()).host(), kept);
    }

    #[test]
    fn a_join_token_carries_the_fingerprint_or_it_is_given_beside_it() {
        let fingerprint = "ab".repeat(32);
        let config = AgentConfig { join_token: Some(format!("se.cret.{fingerprint}\n")), ..AgentConfig::default() };
        let token = config.join().unwrap();
        assert_eq!((token.secret.as_str(), token.fingerprint.as_str()), ("se.cret", fingerprint.as_str()));

        let config = AgentConfig { join_token: Some("secret".into()), ..AgentConfig::default() };
        assert!(config.join().is_none(), "without a fingerprint nothing pins the server");
        let config = AgentConfig { authority_fingerprint: Some(fingerprint.to_uppercase()), ..config };
        assert_eq!(config.join().unwrap().fingerprint, fingerprint);
    }
}
