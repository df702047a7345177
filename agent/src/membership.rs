//! Which control plane this agent belongs to: key, certificate, authority and instance, in one 0600 file, so that joining and renewing
//! are one rename that happens or does not.
//!
//! Control planes this agent belonged to before are remembered: their containers on this host are reported as unknown, never touched.

use crate::config::HostSettings;
use crate::files;
use model::ids::InstanceId;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

const FILE: &str = "identity.json";

/// Who this agent is, as the server made it at join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub instance_id: InstanceId,
    pub cluster: String,
    pub control_plane_id: String,
    /// SHA-256 of the authority's certificate, hex.
    pub fingerprint: String,
    /// PEM, as are the next two. The key was made here and is nowhere else.
    pub key: String,
    pub certificate: String,
    pub authority: String,
    #[serde(default)]
    pub former_control_planes: Vec<String>,
    /// What the host was told when it joined.
    #[serde(default)]
    pub host: HostSettings,
}

/// What is on disk, if this agent has joined.
pub fn load(dir: &Path) -> io::Result<Option<Membership>> {
    let Some(bytes) = files::read_if_there(&dir.join(FILE))? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other)
}

/// Replaces what is on disk. The control plane it names so far, if another, becomes a former one.
pub fn store(dir: &Path, next: Membership) -> io::Result<Membership> {
    let mut former = next.former_control_planes.clone();
    if let Ok(Some(current)) = load(dir) {
        former.extend(current.former_control_planes);
        former.push(current.control_plane_id);
    }
    former.sort();
    former.dedup();
    former.retain(|id| *id != next.control_plane_id);
    let next = Membership { former_control_planes: former, ..next };
    files::write_private(&dir.join(FILE), &serde_json::to_vec_pretty(&next)?)?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn membership(control_plane: &str) -> Membership {
        Membership {
            instance_id: InstanceId::from_random(1),
            cluster: "default".into(),
            control_plane_id: control_plane.into(),
            fingerprint: "f".into(),
            key: "k".into(),
            certificate: "c".into(),
            authority: "a".into(),
            former_control_planes: Vec::new(),
            host: HostSettings::default(),
        }
    }

    #[test]
    fn a_second_join_remembers_the_control_plane_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_none());
        for plane in ["one", "two", "two"] {
            store(dir.path(), membership(plane)).unwrap();
        }
        let loaded = load(dir.path()).unwrap().unwrap();
        assert_eq!((loaded.control_plane_id.as_str(), loaded.former_control_planes.as_slice()), ("two", ["one".to_owned()].as_slice()));
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
