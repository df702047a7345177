//! What `berth up` does as a client of its own server: the local context for the command line, a join token for the agent.

use crate::context::{self, Context, ContextFile, LOCAL, write_private};
use crate::failure::{Failure, Result};
use crate::output;
use crate::server::{AdminFile, Config, PublicTls};
use crate::session::http_client;
use api::v1::access::{CreatedJoinToken, CreatedToken, NewJoinToken, NewToken, WhoAmI};
use api::v1::client::{Client, Credentials};
use std::path::{Path, PathBuf};

/// Where the agent's join token is handed over.
pub fn token_file(folder: &Path) -> PathBuf {
    folder.join("join-token")
}

/// An HTTP client for this host's own server.
pub fn http(config: &Config) -> Result<reqwest::Client> {
    http_client(&bare(config))
}

/// The context of this server, without credentials.
fn bare(config: &Config) -> Context {
    let authority = (config.tls == PublicTls::Internal).then(|| std::fs::read_to_string(config.authority_file()).ok()).flatten();
    // A certificate from files names the external host, not loopback.
    let server = if matches!(config.tls, PublicTls::Files { .. }) { config.public_url.clone() } else { config.local_url() };
    Context { server, authority, ..Context::default() }
}

/// Makes sure that the context `local` is this server with a token that works, and chooses it unless another one is chosen.
/// `None` when nobody's credentials are at hand (the first start was another server's).
pub async fn context(config: &Config, admin: Option<&AdminFile>) -> Result<Option<Context>> {
    let path = context::path()?;
    let mut file = ContextFile::load(&path)?;
    let bare = bare(config);
    let kept = file.contexts.get(LOCAL).filter(|kept| kept.server == bare.server && kept.authority == bare.authority).cloned();
    let context = match kept {
        Some(kept) if works(&kept).await.is_some() => Some(kept),
        _ => fresh(&bare, admin).await?,
    };
    let Some(context) = context else { return Ok(None) };
    let other = file.current.clone().filter(|current| current != LOCAL && file.contexts.contains_key(current));
    match other {
        Some(other) => output::remark(&format!("the context {other} stays current; `berth context use {LOCAL}` chooses this server")),
        None => file.current = Some(LOCAL.into()),
    }
    file.contexts.insert(LOCAL.into(), context.clone());
    file.save(&path)?;
    Ok(Some(context))
}

/// Who the context's token is, when the server takes it.
async fn works(context: &Context) -> Option<WhoAmI> {
    client(context).ok()?.get("/api/v1/whoami", &()).await.ok()
}

/// A context with the first administrator's token, or with one made by its password.
async fn fresh(bare: &Context, admin: Option<&AdminFile>) -> Result<Option<Context>> {
    let Some(admin) = admin else { return Ok(None) };
    let mut context = Context { token: admin.token.clone(), ..bare.clone() };
    if works(&context).await.is_none() {
        let credentials = Credentials::Password { user: admin.user.clone(), password: admin.password.clone() };
        let by_password = Client::new(http_client(bare)?, &bare.server, Some(credentials));
        let new = NewToken { label: "local command line".into(), never_expires: true, ..NewToken::default() };
        let created: CreatedToken = by_password.post("/api/v1/tokens", &new).await.map_err(|error| {
            Failure::from(error)
                .next(format!("the credentials in admin.json do not work any more; log in with `berth login {}`", bare.server))
        })?;
        context.token = Some(created.secret);
        context.token_id = Some(created.token.id);
    }
    context.principal = works(&context).await.map(|me| me.principal.to_string());
    Ok(Some(context))
}

/// Leaves a fresh single-use token where the agent looks for it. An agent that belongs to this server already does not use it.
pub async fn join_token(context: &Context, folder: &Path) -> Result<()> {
    let created: CreatedJoinToken = client(context)?.post("/api/v1/join-tokens", &NewJoinToken::default()).await?;
    let path = token_file(folder);
    write_private(&path, created.secret.as_bytes()).map_err(|error| Failure::error(format!("cannot write {}", path.display())).why(error))
}

fn client(context: &Context) -> Result<Client> {
    Ok(Client::new(http_client(context)?, &context.server, context.token.clone().map(Credentials::Token)))
}
