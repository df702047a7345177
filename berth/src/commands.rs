//! From the parsed command line to the command: one file per group below.

pub mod access;
pub mod access_key;
pub mod agent;
pub mod audit;
pub mod clusters;
pub mod context;
pub mod deploy;
mod describe;
pub mod events;
mod follow;
pub mod instance;
pub mod instances;
pub mod join_token;
pub mod login;
pub mod logs;
pub mod registry;
pub mod repos;
pub mod repository;
pub mod robot;
pub mod rollback;
pub mod run;
pub mod server;
pub mod service;
pub mod task_definition;
pub mod tasks;
pub mod team;
pub mod token;
pub mod trigger;
pub mod user;
pub mod wait;
mod watch;

use crate::cli::{Cli, Command};
use crate::failure::{Failure, Result};
use crate::session::Global;
use std::future::Future;

/// Runs the command; the value is the exit code.
pub fn run(cli: Cli) -> Result<u8> {
    match cli.command {
        Command::Up(args) => block_on(crate::up::run(args, cli.global.output())),
        Command::Server(command) => server::run(&command).map(|()| 0),
        Command::Agent(args) => agent::run(&args).map(|()| 0),
        command => block_on(client(cli.global, command)),
    }
}

/// One thread is enough for a client, and for the supervisor: its children are tied to the thread that started them.
fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::error("cannot start").why(error))?.block_on(command)
}

async fn client(global: Global, command: Command) -> Result<u8> {
    match command {
        Command::Up(_) | Command::Server(_) | Command::Agent(_) => unreachable!("long-running commands are started by `run`"),
        Command::Login(args) => login::login(&global, args).await?,
        Command::Context(command) => context::run(&global, command)?,
        Command::Logout => login::logout(&global).await?,
        Command::Whoami => login::whoami(&global.session()?).await?,
        Command::User(command) => user::run(&global.session()?, command).await?,
        Command::Robot(command) => robot::run(&global.session()?, command).await?,
        Command::Team(command) => team::run(&global.session()?, command).await?,
        Command::Audit(command) => audit::run(&global.session()?, command).await?,
        Command::Access(command) => return access::run(&global.session()?, command).await,
        Command::Token(command) => token::run(&global.session()?, command).await?,
        Command::AccessKey(command) => access_key::run(&global.session()?, command).await?,
        Command::Services(args) => service::list(&global.session()?, &args).await?,
        Command::Service(command) => Box::pin(service::run(&global.session()?, command)).await?,
        Command::Deploy(args) => deploy::run(&global.session()?, *args).await?,
        Command::Rollback(args) => rollback::run(&global.session()?, args).await?,
        Command::Wait(args) => wait::run(&global.session()?, &args).await?,
        Command::Trigger(command) => trigger::run(&global.session()?, command).await?,
        Command::Ps(args) => tasks::ps(&global.session()?, &args).await?,
        Command::Tasks(args) => tasks::list(&global.session()?, &args).await?,
        Command::Run(args) => return run::run(&global.session()?, args).await,
        Command::Stop(args) => tasks::stop(&global.session()?, &args).await?,
        Command::Logs(args) => logs::run(&global.session()?, &args).await?,
        Command::Events(args) => events::run(&global.session()?, &args).await?,
        Command::Clusters(args) => clusters::run(&global.session()?, args).await?,
        Command::Instance(command) => instance::run(&global.session()?, command).await?,
        Command::Instances(args) => instances::list(&global.session()?, &args).await?,
        Command::JoinToken(command) => join_token::run(&global.session()?, command).await?,
        Command::TaskDefinition(command) => task_definition::run(&global.session()?, command).await?,
        Command::Registry(command) => registry::run(&global.session()?, command).await?,
        Command::Repository(command) => repository::run(&global.session()?, command).await?,
        Command::Repos(args) => repos::list(&global.session()?, &args).await?,
    }
    Ok(0)
}
