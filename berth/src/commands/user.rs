//! `berth user`: people.

use super::describe::all_pages;
use super::login::{ask, from_stdin};
use crate::failure::{Failure, Result};
use crate::output::{self, Rows};
use crate::session::Session;
use api::v1::access::{NewUser, PasswordChange, PrincipalChange, User};
use clap::{Args, Subcommand};

/// Random bytes of a generated password.
const PASSWORD_BYTES: usize = 15;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user; without --password-stdin or --no-password a password is made and shown once
    #[command(
        after_help = "Examples:\n  berth user create alice\n  echo $PASSWORD | berth user create alice --password-stdin\n  berth user create bob --no-password"
    )]
    Create(CreateArgs),
    /// List users
    #[command(after_help = "Examples:\n  berth user ls\n  berth user ls --json")]
    Ls,
    /// Remove a user with its grants and credentials, from the next request on
    #[command(after_help = "Examples:\n  berth user rm alice")]
    Rm { name: String },
    /// Set a password: one's own, or anybody's for server admins
    #[command(after_help = "Examples:\n  berth user password alice\n  echo $PASSWORD | berth user password alice --password-stdin")]
    Password(PasswordArgs),
    /// Refuse a user everywhere, from the next request on; grants and credentials stay
    #[command(after_help = "Examples:\n  berth user disable alice")]
    Disable { name: String },
    /// Let a disabled user in again
    #[command(after_help = "Examples:\n  berth user enable alice")]
    Enable { name: String },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    pub name: String,
    /// The password; better read from stdin, since other users of this host see command lines
    #[arg(long)]
    pub password: Option<String>,
    /// Read the password from stdin
    #[arg(long, conflicts_with = "password")]
    pub password_stdin: bool,
    /// No password: tokens and access keys only
    #[arg(long, conflicts_with_all = ["password", "password_stdin"])]
    pub no_password: bool,
}

#[derive(Debug, Args)]
pub struct PasswordArgs {
    pub name: String,
    /// Read the new password from stdin
    #[arg(long)]
    pub password_stdin: bool,
}

pub async fn run(session: &Session, command: UserCommand) -> Result<()> {
    match command {
        UserCommand::Create(args) => create(session, args).await,
        UserCommand::Ls => list(session).await,
        UserCommand::Rm { name } => {
            session.announce();
            session.v1.delete(&format!("/api/v1/users/{}", segment(&name)?)).await?;
            session.out.done(&name, &format!("removed user:{name}"), &serde_json::json!({ "removed": format!("user:{name}") }));
            Ok(())
        }
        UserCommand::Password(args) => password(session, args).await,
        UserCommand::Disable { name } => set_disabled(session, &name, true).await,
        UserCommand::Enable { name } => set_disabled(session, &name, false).await,
    }
}

async fn create(session: &Session, args: CreateArgs) -> Result<()> {
    session.announce();
    let given = if args.password_stdin { Some(from_stdin()?) } else { args.password };
    let generated = (given.is_none() && !args.no_password).then(random_password);
    let password = given.or_else(|| generated.clone());
    let user: User = session.v1.post("/api/v1/users", &NewUser { name: args.name, password }).await?;
    let mut value = serde_json::to_value(&user).unwrap_or_default();
    let mut sentence = format!("created user:{}", user.name);
    if let Some(password) = generated {
        value["password"] = password.clone().into();
        sentence = format!("{sentence}\npassword: {password}    (shown this once)");
    }
    session.out.done(&user.name, &sentence, &value);
    if !session.out.is_json() {
        output::remark(&format!("it may do nothing yet; for example: berth access grant user:{} pull 'repository:acme/**'", user.name));
    }
    Ok(())
}

async fn list(session: &Session) -> Result<()> {
    let users: Vec<User> = all_pages(session, "/api/v1/users", &[]).await?;
    let mut rows = Rows::new(&["NAME", "STATUS", "PASSWORD", "CREATED", "BY"], "no users");
    for user in &users {
        let status = if user.disabled { "disabled" } else { "enabled" };
        let password = if user.has_password { "yes" } else { "no" };
        rows.push(&user.name, vec![user.name.clone(), status.into(), password.into(), user.created_at.clone(), user.created_by.clone()]);
    }
    session.out.list(&rows, &serde_json::json!({ "users": users }));
    Ok(())
}

async fn password(session: &Session, args: PasswordArgs) -> Result<()> {
    session.announce();
    let own = session.context.principal.as_deref() == Some(format!("user:{}", args.name).as_str());
    let me: api::v1::access::WhoAmI = session.v1.get("/api/v1/whoami", &()).await?;
    let current_password = if own && !me.server_admin { Some(ask("Current password: ", true)?) } else { None };
    let password = if args.password_stdin { from_stdin()? } else { ask("New password: ", true)? };
    let body = PasswordChange { password, current_password };
    session.v1.put(&format!("/api/v1/users/{}/password", segment(&args.name)?), &body).await?;
    let value = serde_json::json!({ "changed": format!("user:{}", args.name) });
    session.out.done(&args.name, &format!("changed the password of user:{}", args.name), &value);
    Ok(())
}

async fn set_disabled(session: &Session, name: &str, disabled: bool) -> Result<()> {
    session.announce();
    let change = PrincipalChange { disabled: Some(disabled) };
    let user: User = session.v1.patch(&format!("/api/v1/users/{}", segment(name)?), &change).await?;
    let word = if user.disabled { "disabled" } else { "enabled" };
    session.out.done(&user.name, &format!("{word} user:{}", user.name), &user);
    Ok(())
}

/// A name that may stand in a path: the names of principals and ids of credentials have nothing that needs escaping.
pub fn segment(name: &str) -> Result<&str> {
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b)) && name != "." && name != "..";
    if fits { Ok(name) } else { Err(Failure::usage(format!("`{name}` is not a name")).why("letters, digits, `.`, `_`, `+` and `-`")) }
}

fn random_password() -> String {
    hex::encode(platform::random::bytes::<PASSWORD_BYTES>())
}
