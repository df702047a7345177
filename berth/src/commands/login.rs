//! `berth login`, `logout`, `whoami`.

use crate::context::{self, Context, ContextFile};
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, Rows};
use crate::session::{Global, Session, http_client};
use api::v1::access::{CreatedToken, NewToken, WhoAmI};
use api::v1::client::{Client, Credentials};
use clap::Args;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

/// Longest password or token read from stdin, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  berth login http://127.0.0.1:5000 --user admin
  echo $PASSWORD | berth login https://berth.example.com --user alice --password-stdin
  berth login https://berth.example.com --token-stdin --name prod < token
  berth login https://10.0.0.5:5000 --user admin --ca-file authority.pem     (a server started with --tls-internal)")]
pub struct LoginArgs {
    /// Server [default: the current context's]
    #[arg(value_name = "SERVER")]
    pub address: Option<String>,
    /// User name; asked for when left out
    #[arg(long, short)]
    pub user: Option<String>,
    /// Read the password from stdin
    #[arg(long, conflicts_with = "token_stdin")]
    pub password_stdin: bool,
    /// Read a token from stdin instead of making one with a password
    #[arg(long)]
    pub token_stdin: bool,
    /// Name of the context [default: the server's host]
    #[arg(long)]
    pub name: Option<String>,
    /// Certificate of the server's private authority, PEM
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// How long the token is good for
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub expires: Option<std::time::Duration>,
}

/// Makes a token with the password, keeps it in the context file, and chooses that context.
pub async fn login(global: &Global, args: LoginArgs) -> Result<()> {
    let path = context::path()?;
    let mut file = ContextFile::load(&path)?;
    let mut context = start(global, &args, &file)?;
    let token = if args.token_stdin { existing_token(&args)? } else { new_token(&args, &mut context).await? };
    context.token = Some(token);
    let client = Client::new(http_client(&context)?, &context.server, context.token.clone().map(Credentials::Token));
    let me: WhoAmI = client.get("/api/v1/whoami", &()).await?;
    context.principal = Some(me.principal.to_string());
    let name = args.name.unwrap_or_else(|| default_name(&context.server));
    let server = context.server.clone();
    file.contexts.insert(name.clone(), context);
    file.current = Some(name.clone());
    file.save(&path)?;
    let value = serde_json::json!({ "context": name, "server": server, "principal": me.principal });
    global.output().done(&name, &format!("logged in to {server} as {} (context {name})", me.principal), &value);
    Ok(())
}

/// The context to fill: the named server, else the chosen context's.
fn start(global: &Global, args: &LoginArgs, file: &ContextFile) -> Result<Context> {
    let server = match args.address.clone().or_else(|| global.server.clone()) {
        Some(server) => normalise(&server)?,
        None => match file.current.as_deref().map(|name| file.named(name)).transpose()? {
            Some(context) => context.server.clone(),
            None => return Err(Failure::usage("which server?").next("berth login http://127.0.0.1:5000")),
        },
    };
    let known = file.contexts.values().find(|context| context.server == server);
    let authority = match &args.ca_file {
        Some(path) => {
            Some(std::fs::read_to_string(path).map_err(|error| Failure::error(format!("cannot read {}", path.display())).why(error))?)
        }
        None => known.and_then(|context| context.authority.clone()),
    };
    Ok(Context { server, authority, ..Context::default() })
}

async fn new_token(args: &LoginArgs, context: &mut Context) -> Result<String> {
    let user = match &args.user {
        Some(user) => user.clone(),
        None => ask("User name: ", false)?,
    };
    let password = if args.password_stdin { from_stdin()? } else { ask("Password: ", true)? };
    let client = Client::new(http_client(context)?, &context.server, Some(Credentials::Password { user, password }));
    let body = NewToken { label: label(), expires_in_secs: args.expires.map(|d| d.as_secs()), ..NewToken::default() };
    let created: CreatedToken = client.post("/api/v1/tokens", &body).await.map_err(|error| match Failure::from(error) {
        failure if failure.exit() == Exit::Denied => {
            failure.next("check user name and password; `berth user password NAME` by an admin sets a new one")
        }
        failure => failure,
    })?;
    context.token_id = Some(created.token.id);
    Ok(created.secret)
}

fn existing_token(args: &LoginArgs) -> Result<String> {
    if args.user.is_some() || args.expires.is_some() {
        return Err(Failure::usage("--user and --expires do not go with --token-stdin").why("the token says who you are and until when"));
    }
    from_stdin()
}

/// Revokes the token and forgets the context.
pub async fn logout(global: &Global) -> Result<()> {
    let path = context::path()?;
    let mut file = ContextFile::load(&path)?;
    let Some(name) = global.context.clone().or_else(|| file.current.clone()) else {
        return Err(Failure::new(Exit::NotFound, "not logged in anywhere"));
    };
    let context = file.named(&name)?.clone();
    if let (Some(id), Some(token)) = (&context.token_id, &context.token) {
        let client = Client::new(http_client(&context)?, &context.server, Some(Credentials::Token(token.clone())));
        if let Err(error) = client.delete(&format!("/api/v1/tokens/{id}")).await {
            output::remark(&format!("warning: the token could not be revoked: {error}"));
        }
    }
    file.contexts.remove(&name);
    if file.current.as_deref() == Some(name.as_str()) {
        file.current = None;
    }
    file.save(&path)?;
    global.output().done(&name, &format!("logged out of {} (context {name})", context.server), &serde_json::json!({ "context": name }));
    Ok(())
}

pub async fn whoami(session: &Session) -> Result<()> {
    let me: WhoAmI = session.v1.get("/api/v1/whoami", &()).await?;
    if session.out.is_json() || session.out.is_quiet() {
        session.out.done(&me.principal.to_string(), "", &me);
        return Ok(());
    }
    let mut pairs =
        vec![("principal", me.principal.to_string()), ("server", session.context.server.clone()), ("credential", me.credential.clone())];
    if me.server_admin {
        pairs.push(("server admin", "yes".into()));
    }
    for rule in me.scope.iter().flatten() {
        pairs.push(("narrowed to", format!("{} on {}:{}", rule.role, rule.kind, rule.pattern)));
    }
    session.out.details("", &pairs, &me);
    let mut rows = Rows::new(&["GRANT", "ROLE", "ON"], "no grants");
    for grant in &me.grants {
        rows.push(&grant.id, vec![grant.id.clone(), grant.role.to_string(), format!("{}:{}", grant.kind, grant.pattern)]);
    }
    session.out.list(&rows, &me);
    Ok(())
}

/// `127.0.0.1:5000` becomes `http://127.0.0.1:5000`; other hosts without a scheme get https.
fn normalise(server: &str) -> Result<String> {
    let server = server.trim_end_matches('/');
    if server.starts_with("http://") || server.starts_with("https://") {
        return Ok(server.to_owned());
    }
    if server.is_empty() || server.contains("://") {
        return Err(Failure::usage(format!("`{server}` is not a server")).next("write http://HOST:PORT or https://HOST[:PORT]"));
    }
    let local = ["127.", "localhost", "[::1]"].iter().any(|prefix| server.starts_with(prefix));
    Ok(format!("{}://{server}", if local { "http" } else { "https" }))
}

fn default_name(server: &str) -> String {
    server.split_once("://").map_or(server, |(_, host)| host).to_owned()
}

fn label() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "unknown host".into());
    format!("berth login on {host}").chars().take(api::v1::access::LABEL_BYTES_MAX / 4).collect()
}

/// A secret from stdin: one line, without its end.
pub fn from_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().take(SECRET_BYTES_MAX).read_to_string(&mut text)?;
    let text = text.trim_end_matches(['\n', '\r']).to_owned();
    if text.is_empty() { Err(Failure::usage("stdin is empty").why("a password or token was expected there")) } else { Ok(text) }
}

/// Asks on the terminal; what is typed is not shown when `hidden`.
pub fn ask(question: &str, hidden: bool) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody to ask: stdin is not a terminal").next("use --user, and --password-stdin or --token-stdin"));
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let mut line = String::new();
    if hidden {
        let _echo = EchoOff::new()?;
        std::io::stdin().lock().read_line(&mut line)?;
        writeln!(stderr)?;
    } else {
        std::io::stdin().lock().read_line(&mut line)?;
    }
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Turns the terminal's echo off until dropped.
struct EchoOff(nix::sys::termios::Termios);

impl EchoOff {
    fn new() -> Result<Self> {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).map_err(std::io::Error::from)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &silent).map_err(std::io::Error::from)?;
        Ok(Self(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        use nix::sys::termios::{SetArg, tcsetattr};
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_get_a_scheme() {
        for (typed, server) in [
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("localhost:5000/", "http://localhost:5000"),
            ("berth.example.com", "https://berth.example.com"),
            ("http://10.0.0.1:5000/", "http://10.0.0.1:5000"),
        ] {
            assert_eq!(normalise(typed).unwrap(), server);
        }
        assert!(normalise("").is_err() && normalise("ftp://x").is_err());
        assert_eq!(default_name("https://berth.example.com:8443"), "berth.example.com:8443");
    }
}
