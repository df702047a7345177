//! A command's connection: the context chosen, the typed clients of both APIs, and where output goes.

use crate::context::{self, Context, ContextFile, Overrides};
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, Output};
use api::aws;
use api::v1::client::{self as v1, Credentials};
use clap::Args;
use model::{Clock, Timestamp};
use std::time::Duration;

/// Longest time to reach the server, in seconds.
const CONNECT_SECS_MAX: u64 = 10;
/// A connection that is silent for this long is asked whether it still stands, in seconds.
const KEEPALIVE_SECS: u64 = 15;

/// Flags of every client command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Context to use instead of the current one (`berth context ls`)
    #[arg(long, global = true, env = "BERTH_CONTEXT", value_name = "NAME", help_heading = "Connection")]
    pub context: Option<String>,
    /// Server to talk to, for example `http://127.0.0.1:5000`
    #[arg(long, global = true, env = "BERTH_SERVER", value_name = "URL", help_heading = "Connection")]
    pub server: Option<String>,
    /// Token to show instead of the context's one; better set as `BERTH_TOKEN`
    #[arg(long, global = true, env = "BERTH_TOKEN", value_name = "TOKEN", hide_env_values = true, help_heading = "Connection")]
    pub token: Option<String>,
    /// JSON on stdout; one object per line where output has no end
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Ids only
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
}

impl Global {
    pub fn output(&self) -> Output {
        Output::new(self.json, self.quiet)
    }

    fn overrides(&self) -> Overrides {
        let said = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        Overrides { context: said(&self.context), server: said(&self.server), token: said(&self.token) }
    }

    /// Opens the chosen context. Needs a token.
    pub fn session(&self) -> Result<Session> {
        let (name, context) = ContextFile::load(&context::path()?)?.select(&self.overrides())?;
        let Some(token) = context.token.clone() else {
            return Err(Failure::new(Exit::Denied, format!("there is no token for {}", context.server))
                .next(format!("run `berth login {}`, or set BERTH_TOKEN", context.server)));
        };
        let http = http_client(&context)?;
        Ok(Session {
            aws: aws::Client::new(http.clone(), &context.server, token.clone()),
            v1: v1::Client::new(http, &context.server, Some(Credentials::Token(token))),
            out: self.output(),
            name,
            context,
        })
    }
}

/// An open connection.
pub struct Session {
    pub name: String,
    pub context: Context,
    pub aws: aws::Client,
    pub v1: v1::Client,
    pub out: Output,
}

impl Session {
    pub async fn call<R: aws::Request>(&self, request: &R) -> Result<R::Response> {
        Ok(self.aws.call(request).await?)
    }

    /// Tells people which server a change goes to, when they watch.
    pub fn announce(&self) {
        if output::progress_is_live() && !self.out.is_json() && !self.out.is_quiet() {
            output::remark(&format!("context {} ({})", self.name, self.context.server));
        }
    }

    #[expect(clippy::unused_self, reason = "commands take the time from their session, as they take everything")]
    pub fn now(&self) -> Timestamp {
        model::clock::SystemClock.now()
    }
}

/// The HTTP client for a context: certificates of the system, or of the context's authority only.
pub fn http_client(context: &Context) -> Result<reqwest::Client> {
    let failed = |error: reqwest::Error| Failure::error("cannot set up TLS").why(error);
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(CONNECT_SECS_MAX))
        .tcp_keepalive(Duration::from_secs(KEEPALIVE_SECS))
        .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")));
    if let Some(authority) = &context.authority {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(authority.as_bytes()).map_err(failed)?);
    } else if !context.server.starts_with("https://") {
        // Without TLS there is nothing to check; a host without any certificates installed has to work.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(failed)
}

impl From<aws::ClientError> for Failure {
    fn from(error: aws::ClientError) -> Self {
        match error {
            aws::ClientError::Refused { code, message, .. } => refused(&code, message),
            aws::ClientError::Unreachable { url, message } => unreachable(&url, &message),
            aws::ClientError::NotAnAnswer { url, message } => not_an_answer(&url, &message),
        }
    }
}

impl From<v1::ClientError> for Failure {
    fn from(error: v1::ClientError) -> Self {
        match error {
            v1::ClientError::Refused(problem) => {
                let exit = exit_of_status(problem.status);
                let mut failure = Failure::new(exit, problem.detail.clone());
                if let Some(missing) = &problem.missing {
                    failure = failure.next(grant_hint(&missing.principal, &missing.role, &missing.resource));
                } else if let Some(hint) = &problem.hint {
                    failure = failure.next(hint.clone());
                } else if problem.status == 401 {
                    failure = failure.next("run `berth login`");
                }
                failure
            }
            v1::ClientError::Unreachable { url, message } => unreachable(&url, &message),
            v1::ClientError::NotAnAnswer { url, message } => not_an_answer(&url, &message),
        }
    }
}

fn grant_hint(principal: &str, role: &str, resource: &str) -> String {
    format!("somebody with admin on it can run `berth access grant {principal} {role} {resource}`")
}

fn exit_of_status(status: u16) -> Exit {
    match status {
        400 | 422 => Exit::Usage,
        401 | 403 => Exit::Denied,
        404 => Exit::NotFound,
        409 | 412 => Exit::Conflict,
        _ => Exit::Error,
    }
}

fn exit_of_code(code: &str) -> Exit {
    match code {
        "AccessDeniedException"
        | "MissingAuthenticationTokenException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException" => Exit::Denied,
        "ServiceNotActiveException" => Exit::Conflict,
        _ if code.ends_with("NotFoundException") => Exit::NotFound,
        _ if code.ends_with("AlreadyExistsException") || code.starts_with("ClusterContains") => Exit::Conflict,
        _ => Exit::Error,
    }
}

fn refused(code: &str, message: String) -> Failure {
    let failure = Failure::new(exit_of_code(code), message).why(code);
    match code {
        "MissingAuthenticationTokenException" | "UnrecognizedClientException" | "ExpiredTokenException" => {
            failure.next("run `berth login`")
        }
        "AccessDeniedException" => {
            failure.next("ask somebody with admin on it for the grant: `berth access who-can admin RESOURCE` says who")
        }
        "ClusterNotFoundException" => failure.next("`berth clusters` lists the clusters"),
        "ServiceNotFoundException" | "ServiceNotActiveException" => failure.next("`berth services` lists the services"),
        _ => failure,
    }
}

fn unreachable(url: &str, message: &str) -> Failure {
    let failure = Failure::error(format!("cannot reach {url}")).why(message);
    if message.contains("certificate") {
        return failure.next(
            "a server with --tls-internal is trusted after `berth login URL --ca-file authority.pem`, with that file of its data folder",
        );
    }
    failure.next("is the server running there? `berth up` starts one on this host; `berth context use` or --server chooses another")
}

fn not_an_answer(url: &str, message: &str) -> Failure {
    Failure::error(format!("{url} does not answer like a Berth server")).why(message).next("check the address: `berth context ls`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_become_exit_codes() {
        for (code, exit) in [
            ("AccessDeniedException", Exit::Denied),
            ("ClusterNotFoundException", Exit::NotFound),
            ("RepositoryAlreadyExistsException", Exit::Conflict),
            ("ClusterContainsServicesException", Exit::Conflict),
            ("InvalidParameterException", Exit::Error),
        ] {
            assert_eq!(refused(code, "no".into()).exit(), exit, "{code}");
        }
        for (status, exit) in [(401, Exit::Denied), (403, Exit::Denied), (404, Exit::NotFound), (409, Exit::Conflict), (500, Exit::Error)] {
            assert_eq!(exit_of_status(status), exit);
        }
    }

    #[test]
    fn a_missing_grant_is_named_with_the_command_that_gives_it() {
        let mut problem = api::v1::Problem::new(403, "forbidden", "Forbidden", "not allowed");
        problem.missing =
            Some(api::v1::MissingGrant { principal: "user:bob".into(), role: "pull".into(), resource: "repository:acme/web".into() });
        let failure = Failure::from(v1::ClientError::Refused(Box::new(problem)));
        assert!(failure.to_string().contains("berth access grant user:bob pull repository:acme/web"), "{failure}");
    }
}
