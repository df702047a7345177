//! The command line: every command, its flags and its examples. What the commands do is in `commands/`.

use crate::commands;
use crate::session::Global;
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Start here:
  berth up                                     a server and an agent on this host
  docker login 127.0.0.1:5000                  as admin, with the password that `berth up` printed
  docker push 127.0.0.1:5000/acme/web:v1
  berth service create web --image acme/web:v1 --count 3 --port 8080 --wait
  berth ps                                     its tasks, with their URLs

Exit codes: 0 done; 1 error; 2 usage; 3 not found; 4 not logged in or not allowed; 5 conflict; 6 deployment failed, rolled back;
7 deployment failed; 8 still running when the time was up; 9 waiting for approval; 130 stopped watching.
`berth run --wait` exits with the task's own code.";

/// A container registry and a deployer in one binary: push an image, run it as a service on your own machines.
#[derive(Debug, Parser)]
#[command(name = "berth", version, after_help = EXAMPLES, disable_help_subcommand = true, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a server and an agent on this host, and keep them running
    Up(crate::up::UpArgs),
    /// Run the server only
    Server(commands::server::ServerCommand),
    /// Run an agent: the part that runs containers on a Docker host
    Agent(commands::agent::AgentArgs),

    /// Log in to a server and keep a token for it
    Login(commands::login::LoginArgs),
    /// Revoke this context's token and forget it
    #[command(after_help = "Examples:\n  berth logout\n  berth logout --context prod")]
    Logout,
    /// Who the server thinks you are, and what you may do
    #[command(after_help = "Examples:\n  berth whoami\n  berth whoami --json")]
    Whoami,
    /// Servers you are logged in to
    #[command(subcommand)]
    Context(commands::context::ContextCommand),

    /// People
    #[command(subcommand)]
    User(commands::user::UserCommand),
    /// Machines that need tokens or access keys, such as CI
    #[command(subcommand)]
    Robot(commands::robot::RobotCommand),
    /// People and machines that share what the team is granted
    #[command(subcommand)]
    Team(commands::team::TeamCommand),
    /// Who may do what on which names
    #[command(subcommand)]
    Access(commands::access::AccessCommand),
    /// Who pulled, pushed, deleted, granted; from where, with which credential
    #[command(subcommand)]
    Audit(commands::audit::AuditCommand),
    /// Tokens: for `docker login`, `BERTH_TOKEN` and scripts
    #[command(subcommand)]
    Token(commands::token::TokenCommand),
    /// AWS access keys: for the aws command line and SDKs
    #[command(subcommand)]
    AccessKey(commands::access_key::AccessKeyCommand),

    /// List services
    Services(commands::service::ListArgs),
    /// Create, change, show and remove services
    #[command(subcommand)]
    Service(commands::service::ServiceCommand),
    /// Deploy an image to a service; approve or reject pushes that wait
    Deploy(Box<commands::deploy::DeployArgs>),
    /// Take a service back to what it ran before
    Rollback(commands::rollback::RollbackArgs),
    /// Wait until a pushed image is deployed: for CI
    Wait(commands::wait::WaitArgs),
    /// Let pushes deploy services
    #[command(subcommand)]
    Trigger(commands::trigger::TriggerCommand),
    /// List running tasks with the URLs of their ports
    Ps(commands::tasks::PsArgs),
    /// List tasks with their states and reasons
    Tasks(commands::tasks::TasksArgs),
    /// Run a task to its end
    Run(commands::run::RunArgs),
    /// Stop a task (a service replaces it)
    Stop(commands::tasks::StopArgs),
    /// Show what containers print
    Logs(commands::logs::LogsArgs),
    /// Show what happened
    Events(commands::events::EventsArgs),

    /// List, create and remove clusters
    Clusters(commands::clusters::ClustersArgs),
    /// List container instances: the Docker hosts
    Instances(commands::instances::InstancesArgs),
    /// Empty a Docker host, fill it again, take it out
    #[command(subcommand)]
    Instance(commands::instance::InstanceCommand),
    /// Tokens with which agents join
    #[command(subcommand)]
    JoinToken(commands::join_token::JoinTokenCommand),
    /// Task definitions: what a task consists of
    #[command(subcommand)]
    TaskDefinition(commands::task_definition::TaskDefinitionCommand),
    /// Look after what the registry stores
    #[command(subcommand)]
    Registry(commands::registry::RegistryCommand),
    /// Make a repository, show it, change its settings
    #[command(subcommand)]
    Repository(commands::repository::RepositoryCommand),
    /// List repositories
    Repos(commands::repos::ReposArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command that does something shows examples.
    #[test]
    fn every_command_has_help_with_examples() {
        fn check(command: &clap::Command, path: &str) {
            if command.has_subcommands() {
                for sub in command.get_subcommands() {
                    check(sub, &format!("{path} {}", sub.get_name()));
                }
                return;
            }
            assert!(command.get_about().is_some(), "{path} says nothing about itself");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("berth "), "{path} has no examples");
        }
        for command in Cli::command().get_subcommands() {
            check(command, command.get_name());
        }
    }

    #[test]
    fn bad_arguments_are_refused() {
        for bad in [
            &["berth"][..],
            &["berth", "nonsense"],
            &["berth", "service", "create", "web"],
            &["berth", "service", "create", "web", "--image", "a", "--task-definition", "b:1"],
            &["berth", "service", "scale", "web"],
            &["berth", "service", "scale", "web", "--", "-1"],
            &["berth", "access", "grant", "alice", "pull", "repository:acme/**"],
            &["berth", "access", "grant", "user:alice", "fly", "repository:acme/**"],
            &["berth", "team", "add", "backend"],
            &["berth", "team", "add", "backend", "alice"],
            &["berth", "token", "create", "--expires", "soon"],
            &["berth", "audit", "ls", "--people", "--robots"],
            &["berth", "audit", "ls", "--outcome", "good"],
            &["berth", "audit", "last-pulls"],
            &["berth", "run"],
            &["berth", "deploy", "web"],
            &["berth", "deploy", "approve"],
            &["berth", "trigger", "create", "--service", "web", "--tag", "v*"],
            &["berth", "trigger", "create", "--service", "web", "--repository", "a", "--tag", "v*", "--kind", "fuzzy"],
            &["berth", "wait"],
            &["berth", "repository", "set", "UPPER", "--public"],
            &["berth", "repository", "set", "acme/web", "--public", "--private"],
            &["berth", "repository", "set", "acme/web", "--quota", "lots"],
            &["berth", "repository", "set", "acme/web", "--tag-overwrite", "admins"],
        ] {
            let refused = Cli::try_parse_from(bad.iter().copied());
            assert!(refused.is_err_and(|error| error.exit_code() == 2), "{bad:?}");
        }
    }

    #[test]
    fn deploying_and_approving_are_told_apart() {
        let deploy = |words: &[&str]| match Cli::try_parse_from(["berth", "deploy"].iter().chain(words).copied()).unwrap().command {
            Command::Deploy(args) => args,
            _ => unreachable!(),
        };
        let image = deploy(&["web", "--image", "acme/web:v2", "--no-wait"]);
        assert!(image.command.is_none() && image.image.service.as_deref() == Some("web") && image.image.wait.no_wait);
        assert!(deploy(&["approve", "web"]).command.is_some());
    }

    #[test]
    fn flags_may_stand_after_the_command() {
        let cli = Cli::try_parse_from(["berth", "services", "--json", "--server", "http://x"]).unwrap();
        assert!(cli.global.json && cli.global.server.as_deref() == Some("http://x"));
    }
}
