//! `berth instance`: a Docker host emptied, filled again, taken out; and what to do when many were lost at once.

use super::describe::{self, short};
use crate::duration;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::session::Session;
use api::aws;
use api::v1::deployer::BrakeReleased;
use clap::{Args, Subcommand};
use std::time::Duration;

/// Time between two looks at an instance that drains.
const LOOK_MILLIS: u64 = 500;
/// Longest drain that is watched unless told otherwise.
const DRAIN_MINUTES: u64 = 30;

#[derive(Debug, Subcommand)]
pub enum InstanceCommand {
    /// Move the tasks of services to other hosts, and place nothing new there
    #[command(
        after_help = "Examples:\n  berth instance drain node-a\n  berth instance drain node-a --no-wait\n\nTasks without a service are left alone. The host stays DRAINING until `berth instance activate` or `rm`."
    )]
    Drain(DrainArgs),
    /// Place tasks there again
    #[command(after_help = "Examples:\n  berth instance activate node-a")]
    Activate(TargetArgs),
    /// Take a host out of its cluster and revoke its certificate; its containers run on
    #[command(
        after_help = "Examples:\n  berth instance drain node-a && berth instance rm node-a\n  berth instance rm node-b --force      (it died: its tasks are made up for elsewhere)"
    )]
    Rm(RmArgs),
    /// Replace the tasks of lost hosts now, although many were lost at once
    #[command(after_help = "Examples:\n  berth instance replace-lost\n  berth instance replace-lost --cluster prod")]
    ReplaceLost {
        #[arg(long, env = "BERTH_CLUSTER", default_value = "default")]
        cluster: String,
    },
}

#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Name or id, as `berth instances` shows them
    pub instance: String,
    /// Its cluster [default: wherever it is found]
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
}

#[derive(Debug, Args)]
pub struct DrainArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Return at once
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait until the tasks of services are gone [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct RmArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Also while tasks are there
    #[arg(long)]
    pub force: bool,
}

/// An instance and where it was found.
struct Found {
    cluster: String,
    instance: aws::ContainerInstance,
}

impl Found {
    fn id(&self) -> &str {
        short(&self.instance.container_instance_arn)
    }

    fn name(&self) -> &str {
        &self.instance.ec2_instance_id
    }
}

pub async fn run(session: &Session, command: InstanceCommand) -> Result<()> {
    match command {
        InstanceCommand::Drain(args) => drain(session, args).await,
        InstanceCommand::Activate(args) => {
            session.announce();
            let found = find(session, &args).await?;
            let changed = set_status(session, &found, "ACTIVE").await?;
            session.out.done(found.id(), &format!("{} is ACTIVE", found.name()), &serde_json::json!({ "container_instance": changed }));
            Ok(())
        }
        InstanceCommand::Rm(args) => remove(session, &args).await,
        InstanceCommand::ReplaceLost { cluster } => replace_lost(session, &cluster).await,
    }
}

async fn drain(session: &Session, args: DrainArgs) -> Result<()> {
    session.announce();
    let found = find(session, &args.target).await?;
    let mut instance = set_status(session, &found, "DRAINING").await?;
    let words = if args.no_wait {
        format!("{} is DRAINING", found.name())
    } else {
        let timeout = args.timeout.unwrap_or(Duration::from_mins(DRAIN_MINUTES));
        let alone = limited(&found, timeout, until_drained(session, &found)).await?;
        instance = find(session, &TargetArgs { instance: found.id().to_owned(), cluster: Some(found.cluster.clone()) }).await?.instance;
        match alone {
            0 => format!("{} is empty", found.name()),
            tasks => format!("{} is drained; {tasks} tasks without a service run on", found.name()),
        }
    };
    session.out.done(found.id(), &words, &serde_json::json!({ "container_instance": instance }));
    Ok(())
}

/// Looks until no task of a service is left there; says how many others are.
async fn until_drained(session: &Session, found: &Found) -> Result<usize> {
    let mut said = usize::MAX;
    loop {
        let tasks = tasks_there(session, found).await?;
        let (of_services, alone): (Vec<_>, Vec<_>) = tasks.iter().partition(|task| task.group.starts_with("service:"));
        if of_services.is_empty() {
            return Ok(alone.len());
        }
        if of_services.len() != said {
            said = of_services.len();
            let mut services: Vec<&str> = of_services.iter().filter_map(|task| task.group.strip_prefix("service:")).collect();
            services.sort_unstable();
            services.dedup();
            output::remark(&format!("{} drains: {said} tasks of {} left", found.name(), services.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MILLIS)).await;
    }
}

/// Tasks on the instance that have not stopped.
async fn tasks_there(session: &Session, found: &Found) -> Result<Vec<aws::Task>> {
    let mut tasks = Vec::new();
    for desired in ["RUNNING", "STOPPED"] {
        let request = aws::ListTasksRequest {
            cluster: Some(found.cluster.clone()),
            container_instance: Some(found.id().to_owned()),
            desired_status: Some(desired.to_owned()),
            ..Default::default()
        };
        let arns = describe::task_arns(session, request).await?;
        tasks.extend(describe::describe_tasks(session, &found.cluster, &arns).await?);
    }
    tasks.retain(|task| task.last_status != "STOPPED");
    Ok(tasks)
}

/// Ends at `timeout` with exit code 8, at Ctrl-C with 130.
async fn limited<T>(found: &Found, timeout: Duration, watching: impl Future<Output = Result<T>>) -> Result<T> {
    let name = found.name();
    tokio::select! {
        // Cancel-safe: looking has no effects.
        done = watching => done,
        () = tokio::time::sleep(timeout) => Err(Failure::new(Exit::Timeout, format!("{name} is not empty after {}", duration::format(timeout)))
            .why("its services may have no room elsewhere, or may not stop a task at their minimumHealthyPercent")
            .next("`berth events` says what they wait for")),
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Detached, format!("stopped watching; {name} goes on draining"))
            .next(format!("`berth instance activate {name}` ends that"))),
    }
}

async fn set_status(session: &Session, found: &Found, status: &str) -> Result<aws::ContainerInstance> {
    let request = aws::UpdateContainerInstancesStateRequest {
        cluster: Some(found.cluster.clone()),
        container_instances: vec![found.id().to_owned()],
        status: status.to_owned(),
    };
    let answer = session.call(&request).await?;
    answer.container_instances.into_iter().next().ok_or_else(|| {
        let why = answer.failures.into_iter().next().and_then(|failure| failure.reason).unwrap_or_default();
        Failure::new(Exit::Conflict, format!("{} cannot be {status}", found.name())).why(format!("it is {why}"))
    })
}

async fn remove(session: &Session, args: &RmArgs) -> Result<()> {
    session.announce();
    let found = find(session, &args.target).await?;
    let tasks = tasks_there(session, &found).await?.len();
    if tasks > 0 && !args.force {
        let name = found.name();
        return Err(Failure::new(Exit::Conflict, format!("{tasks} tasks are on {name}")).next(format!(
            "`berth instance drain {name}` moves those of services; --force gives them up and leaves their containers behind"
        )));
    }
    let request = aws::DeregisterContainerInstanceRequest {
        cluster: Some(found.cluster.clone()),
        container_instance: found.id().to_owned(),
        force: Some(args.force),
    };
    let gone = session.call(&request).await?.container_instance;
    session.out.done(found.id(), &format!("removed {}", found.name()), &serde_json::json!({ "container_instance": gone }));
    if tasks > 0 && !session.out.is_json() && !session.out.is_quiet() {
        output::remark(&format!("{tasks} tasks there count as stopped; their containers run on until you stop them with Docker"));
    }
    Ok(())
}

async fn replace_lost(session: &Session, cluster: &str) -> Result<()> {
    session.announce();
    let path = format!("/api/v1/clusters/{}/replace-lost", super::user::segment(cluster)?);
    let answer: BrakeReleased = session.v1.post(&path, &serde_json::json!({})).await?;
    let words = if answer.released {
        format!("tasks of lost hosts of {cluster} are replaced now")
    } else {
        format!("nothing is waited for in {cluster}; tasks of lost hosts are replaced anyway")
    };
    session.out.done(cluster, &words, &serde_json::json!({ "cluster": cluster, "released": answer.released }));
    Ok(())
}

/// By id, by the beginning of the id, or by name.
async fn find(session: &Session, target: &TargetArgs) -> Result<Found> {
    let mut matching = Vec::new();
    for cluster in describe::clusters(session, target.cluster.as_ref()).await? {
        for instance in describe::instances(session, &cluster).await? {
            let found = Found { cluster: cluster.clone(), instance };
            if found.name() == target.instance
                || is_id(&target.instance, found.id())
                || found.instance.container_instance_arn == target.instance
            {
                matching.push(found);
            }
        }
    }
    if matching.len() > 1 {
        let ids: Vec<&str> = matching.iter().map(Found::id).collect();
        return Err(Failure::new(Exit::Conflict, format!("{} instances are called {}", matching.len(), target.instance))
            .why(ids.join(", "))
            .next("name one of them by its id"));
    }
    matching.pop().ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("there is no instance {} that you may see", target.instance))
            .next("`berth instances` lists the instances")
    })
}

/// The id, or at least eight digits of its beginning.
fn is_id(text: &str, id: &str) -> bool {
    text.len() >= 8 && id.starts_with(text)
}
