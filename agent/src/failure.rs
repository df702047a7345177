//! Why a task failed, in ECS's words: Docker's texts classified once. The engine answers a refused pull as status 500, as 404, or
//! inside a stream that began with 200, so that only the text tells.

use crate::runtime::RuntimeError;
use std::fmt;

/// Prefix of a container's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    CannotPull,
    CannotCreate,
    CannotStart,
    HostConfig,
    Timeout,
}

impl FailureKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CannotPull => "CannotPullContainerError",
            Self::CannotCreate => "CannotCreateContainerError",
            Self::CannotStart => "CannotStartContainerError",
            Self::HostConfig => "HostConfigError",
            Self::Timeout => "DockerTimeoutError",
        }
    }
}

pub const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";
pub const VANISHED: &str = "ContainerVanishedError: Container that should exist was removed by somebody else";
pub const ESSENTIAL_EXITED: &str = "Essential container in task exited";

/// Longest text of Docker's that is passed on, in characters: ECS cuts reasons at 1024.
const TEXT_CHARS_MAX: usize = 800;

/// A container that could not be brought up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchFailure {
    pub container: String,
    pub kind: FailureKind,
    pub text: String,
}

impl fmt::Display for LaunchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.text)
    }
}

/// What kind of no a failed pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullProblem {
    /// The registry does not have it (or does not say that it has).
    NotFound,
    /// The registry says no to this caller.
    Denied,
    /// The registry could not be reached or broke: worth another try.
    Unreachable,
    /// The host has no room.
    NoSpace,
    /// Made for another kind of machine.
    Platform,
    Other,
}

impl PullProblem {
    pub fn is_transient(self) -> bool {
        self == Self::Unreachable
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NotFound => "the image does not exist or was deleted",
            Self::Denied => "pulling the image is not allowed",
            Self::Unreachable => "the registry could not be reached",
            Self::NoSpace => "the host has no disk space left",
            Self::Platform => "the image has no variant for this host",
            Self::Other => "the image could not be pulled",
        }
    }
}

/// Classifies a failed pull by its text.
pub fn pull_problem(error: &RuntimeError) -> PullProblem {
    let RuntimeError::Refused { message, .. } = error else { return PullProblem::Unreachable };
    let text = message.to_ascii_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    // Docker Hub says "pull access denied for X, repository does not exist or may require 'docker login'" for both.
    if has(&["no space left on device", "not enough space"]) {
        PullProblem::NoSpace
    } else if has(&["no matching manifest for", "does not match the specified platform", "cannot be used on this platform"]) {
        PullProblem::Platform
    } else if has(&["manifest unknown", "not found", "does not exist", "name unknown", "no such image", "repository name not known"]) {
        PullProblem::NotFound
    } else if has(&["denied", "unauthorized", "forbidden", "authentication required", "no basic auth credentials"]) {
        PullProblem::Denied
    } else if has(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "deadline exceeded",
        "tls handshake",
        "timeout",
        "eof",
        "connection reset",
        "network is unreachable",
        "temporary failure",
        "server misbehaving",
        "service unavailable",
        "bad gateway",
        "gateway timeout",
        "toomanyrequests",
        "too many requests",
        "received unexpected http status: 5",
        "no route to host",
        "request canceled",
    ]) {
        PullProblem::Unreachable
    } else {
        PullProblem::Other
    }
}

/// The text of a failed pull. `image` is as the task definition has it; `asked` is the relay's name for it, which tells nobody anything.
pub fn pull_text(error: &RuntimeError, image: &str, asked: &str) -> String {
    let repository = asked.split_once('@').map_or(asked, |(repository, _)| repository);
    let docker = error.to_string().replace(asked, image).replace(repository, image);
    shorten(&format!("{} ({image}): {docker}", pull_problem(error).words()))
}

/// Docker's own text, cut to a sensible length, without line breaks.
pub fn docker_text(error: &RuntimeError) -> String {
    match error {
        RuntimeError::Refused { message, .. } => shorten(&format!("Error response from daemon: {message}")),
        other => shorten(&other.to_string()),
    }
}

/// Whether a start failed because a host port is (perhaps only for a moment still) taken.
pub fn is_port_taken(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::Refused { message, .. }
        if message.contains("port is already allocated") || message.contains("address already in use"))
}

fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_pull_is_classified_by_its_text_whatever_the_status() {
        for (status, message, expected) in [
            (404, "manifest for 127.0.0.1:4/a@sha256:0 not found: manifest unknown: manifest unknown", PullProblem::NotFound),
            (500, "manifest unknown", PullProblem::NotFound),
            (404, "pull access denied for acme/web, repository does not exist or may require 'docker login'", PullProblem::NotFound),
            (500, "denied: user:bob may not pull", PullProblem::Denied),
            (500, "Head \"https://r.io/v2/x/manifests/y\": unauthorized: authentication required", PullProblem::Denied),
            (
                500,
                "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                PullProblem::Unreachable,
            ),
            (500, "Get \"http://127.0.0.1:9/v2/\": dial tcp 127.0.0.1:9: connect: connection refused", PullProblem::Unreachable),
            (200, "unexpected EOF", PullProblem::Unreachable),
            (200, "failed to register layer: write /x: no space left on device", PullProblem::NoSpace),
            (404, "no matching manifest for linux/amd64 in the manifest list entries", PullProblem::Platform),
            (200, "filesystem layer verification failed for digest sha256:0", PullProblem::Other),
        ] {
            assert_eq!(pull_problem(&RuntimeError::Refused { status, message: message.into() }), expected, "{message}");
        }
        assert!(pull_problem(&RuntimeError::Timeout(std::time::Duration::from_secs(1))).is_transient());
    }

    #[test]
    fn the_name_of_the_relay_never_reaches_people() {
        let error = RuntimeError::Refused { status: 404, message: "manifest for 127.0.0.1:4/a/b@sha256:00 not found".into() };
        let text = pull_text(&error, "acme/web:v1", "127.0.0.1:4/a/b@sha256:00");
        assert_eq!(text, "the image does not exist or was deleted (acme/web:v1): manifest for acme/web:v1 not found");
    }
}
