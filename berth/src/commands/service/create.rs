//! `berth service create`: registers a task definition from flags and makes a service of it, or uses one that stands.

use super::definition::{self, ContainerArgs};
use super::{ServiceTarget, WaitArgs, finish};
use crate::commands::describe;
use crate::failure::{Exit, Failure, Result};
use crate::session::Session;
use api::aws;
use clap::Args;

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true),
    after_help = "\
Examples:
  berth service create web --image acme/web:v1 --count 3 --port 8080 --wait
  berth service create web --image acme/web:v1 --port 80:8080 --env LOG=info --health-cmd 'curl -fs localhost:8080'
  berth service create worker --image acme/worker:v1 --memory 512 --cpu 256 -- work --queue mail
  berth service create web --task-definition web:7 --count 2
  berth service create db --image acme/db:v1 --port 5432:5432 --min-healthy-percent 0 --max-percent 100

When new tasks keep failing, the service goes back to the revision that last ran whole; --no-circuit-breaker keeps trying instead.

An image without a host that names a repository of this registry is pulled from here; `acme/web:v1` and
`127.0.0.1:5000/acme/web:v1` are then the same."
)]
pub struct CreateArgs {
    /// NAME, or CLUSTER/NAME
    pub service: String,
    /// Registers a task definition NAME with one container of this image
    #[arg(long, group = "what")]
    pub image: Option<String>,
    /// Uses a task definition that stands: FAMILY or FAMILY:REVISION
    #[arg(long, group = "what", conflicts_with_all = ["ports", "memory", "cpu", "env", "health_cmd", "command"])]
    pub task_definition: Option<String>,
    /// How many tasks
    #[arg(long, short = 'n', default_value_t = 1, value_parser = clap::value_parser!(i64).range(0..=5000))]
    pub count: i64,
    #[command(flatten)]
    pub container: ContainerArgs,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
    /// Never two tasks on one instance
    #[arg(long)]
    pub distinct_instances: bool,
    #[command(flatten)]
    pub rolling: RollingArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// How deployments of the service go.
#[derive(Debug, Args)]
pub struct RollingArgs {
    /// Healthy tasks that a deployment leaves, in percent of the count [default: 100]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(i64).range(0..=100))]
    pub min_healthy_percent: Option<i64>,
    /// Tasks, old and new, that a deployment may have at once, in percent of the count [default: 200]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(i64).range(100..=1000))]
    pub max_percent: Option<i64>,
    /// Keep trying when new tasks fail, instead of going back to what ran before
    #[arg(long)]
    pub no_circuit_breaker: bool,
}

impl RollingArgs {
    fn configuration(&self) -> aws::DeploymentConfiguration {
        let on = !self.no_circuit_breaker;
        aws::DeploymentConfiguration {
            minimum_healthy_percent: self.min_healthy_percent,
            maximum_percent: self.max_percent,
            strategy: None,
            deployment_circuit_breaker: Some(aws::DeploymentCircuitBreaker { enable: on, rollback: on, ..Default::default() }),
        }
    }
}

pub async fn run(session: &Session, args: CreateArgs) -> Result<()> {
    session.announce();
    let target = ServiceTarget::parse(&args.service, args.cluster.as_deref())?;
    is_free(session, &target).await?;
    let task_definition = match (args.image, args.task_definition) {
        (Some(image), _) => {
            let document = definition::document(&target.name, &image, &args.container)?;
            definition::register(session, document).await?
        }
        (None, given) => given.unwrap_or_default(),
    };
    let constraint = aws::PlacementConstraint { kind: "distinctInstance".into(), expression: None };
    let request = aws::CreateServiceRequest {
        cluster: target.cluster.clone(),
        service_name: target.name.clone(),
        task_definition: Some(task_definition),
        desired_count: Some(args.count),
        deployment_configuration: Some(args.rolling.configuration()),
        placement_constraints: args.distinct_instances.then(|| vec![constraint]),
        ..Default::default()
    };
    let service = session.call(&request).await?.service;
    let running = super::short(&service.task_definition).to_owned();
    let sentence = format!("created {} ({running}, {} tasks)", target.full_name(), args.count);
    finish(session, &target, service, &args.wait, &sentence).await
}

/// Looks before a task definition is registered that nobody would use.
async fn is_free(session: &Session, target: &ServiceTarget) -> Result<()> {
    target.name.parse::<model::ids::ServiceName>().map_err(|error| Failure::usage(error.to_string()))?;
    match describe::service(session, target).await {
        Ok(_) => {
            let name = target.full_name();
            Err(Failure::new(Exit::Conflict, format!("service {name} exists already"))
                .next(format!("`berth service update {name}` changes it, `berth service rm {name}` removes it")))
        }
        Err(failure) if failure.exit() == Exit::NotFound => Ok(()),
        Err(failure) => Err(failure),
    }
}
