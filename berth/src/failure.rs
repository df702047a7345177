//! Why a command failed: what happened, why, what to do next, and the exit code that says it to a script.

use std::fmt;

/// Exit codes of every command. `run --wait` passes on the exit code of the task instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Anything without a code of its own.
    Error = 1,
    /// Arguments that make no sense.
    Usage = 2,
    NotFound = 3,
    /// Not authenticated, or authenticated and not allowed.
    Denied = 4,
    /// It exists already, or something else stands in the way.
    Conflict = 5,
    /// A deployment failed, and the service runs again what it ran before.
    RolledBack = 6,
    /// A deployment failed and the service is left as it is.
    DeploymentFailed = 7,
    /// Still running when the time was up.
    Timeout = 8,
    /// The person stopped watching; nothing was cancelled.
    Detached = 130,
}

/// What every command returns when it does not succeed. Boxed, so that the good path stays small.
#[derive(Debug)]
pub struct Failure(Box<Parts>);

#[derive(Debug)]
struct Parts {
    exit: Exit,
    what: String,
    why: Option<String>,
    next: Option<String>,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self(Box::new(Parts { exit, what: what.into(), why: None, next: None }))
    }

    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    pub fn error(what: impl Into<String>) -> Self {
        Self::new(Exit::Error, what)
    }

    #[must_use]
    pub fn why(mut self, why: impl fmt::Display) -> Self {
        self.0.why = Some(why.to_string());
        self
    }

    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.0.next = Some(next.into());
        self
    }

    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The failure as one JSON object, for `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        let parts = &self.0;
        serde_json::json!({ "error": parts.what, "why": parts.why, "next": parts.next, "exit_code": parts.exit as u8 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        if let Some(why) = &self.0.why {
            write!(f, "\n  why:  {why}")?;
        }
        if let Some(next) = &self.0.next {
            write!(f, "\n  next: {next}")?;
        }
        Ok(())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::error(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        let failure = Failure::new(Exit::NotFound, "there is no service `web`").why("cluster `default` has none").next("berth services");
        assert_eq!(failure.to_string(), "there is no service `web`\n  why:  cluster `default` has none\n  next: berth services");
        assert_eq!(failure.to_json()["exit_code"], 3);
    }
}
