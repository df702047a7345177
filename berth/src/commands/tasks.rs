//! `berth ps`, `tasks` and `stop`.

use super::describe::{self, ServiceTarget, short};
use crate::duration;
use crate::failure::{Exit, Failure, Result};
use crate::output::Rows;
use crate::session::Session;
use api::aws;
use clap::Args;
use std::collections::HashMap;

/// Characters of a task id that are shown to people.
const ID_SHOWN: usize = 12;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  berth ps\n  berth ps web\n  berth ps --cluster prod --json")]
pub struct PsArgs {
    /// Only this service
    pub service: Option<String>,
    /// Only this cluster [default: all]
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  berth tasks\n  berth tasks web --stopped      (with exit codes and reasons; kept for an hour)\n  berth tasks --family report -q"
)]
pub struct TasksArgs {
    /// Only this service
    pub service: Option<String>,
    /// Those that are stopping or stopped
    #[arg(long, short)]
    pub stopped: bool,
    /// Only this family
    #[arg(long, conflicts_with = "service")]
    pub family: Option<String>,
    /// Only this cluster [default: all]
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  berth stop 3f9a0c1d2e4b\n  berth stop 3f9a0c1d2e4b --reason 'stuck'")]
pub struct StopArgs {
    /// Id (or its beginning) or ARN
    pub task: String,
    /// Why, for the record
    #[arg(long)]
    pub reason: Option<String>,
    #[arg(long, env = "BERTH_CLUSTER")]
    pub cluster: Option<String>,
}

/// Which tasks.
#[derive(Debug, Default, Clone)]
struct Wanted<'a> {
    service: Option<&'a str>,
    cluster: Option<&'a String>,
    family: Option<&'a String>,
    stopped: bool,
}

pub async fn ps(session: &Session, args: &PsArgs) -> Result<()> {
    let wanted = Wanted { service: args.service.as_deref(), cluster: args.cluster.as_ref(), ..Wanted::default() };
    let tasks = find(session, &wanted).await?;
    let hosts = hosts(session, &tasks).await;
    let mut rows = Rows::new(&["TASK", "GROUP", "DEFINITION", "STATUS", "HEALTH", "INSTANCE", "UP", "PORTS"], "no running tasks");
    let mut values = Vec::new();
    for task in &tasks {
        let urls = urls(task, &hosts);
        let up = task.started_at.map_or_else(|| "-".into(), |at| duration::format(session.now().since(duration::from_epoch_secs(at))));
        let id = short(&task.task_arn);
        rows.push(
            id,
            vec![
                id.chars().take(ID_SHOWN).collect(),
                task.group.clone(),
                short(&task.task_definition_arn).to_owned(),
                task.last_status.clone(),
                health(task),
                host_of(task, &hosts).map_or_else(|| "-".into(), |host| host.name.clone()),
                up,
                urls.join(" "),
            ],
        );
        values.push(with_urls(task, &urls));
    }
    session.out.list(&rows, &serde_json::json!({ "tasks": values }));
    Ok(())
}

pub async fn list(session: &Session, args: &TasksArgs) -> Result<()> {
    let wanted =
        Wanted { service: args.service.as_deref(), cluster: args.cluster.as_ref(), family: args.family.as_ref(), stopped: args.stopped };
    let tasks = find(session, &wanted).await?;
    let hosts = hosts(session, &tasks).await;
    let mut rows = Rows::new(&["TASK", "GROUP", "DEFINITION", "STATUS", "DESIRED", "INSTANCE", "CREATED", "EXIT", "REASON"], "no tasks");
    for task in &tasks {
        let id = short(&task.task_arn);
        rows.push(
            id,
            vec![
                id.chars().take(ID_SHOWN).collect(),
                task.group.clone(),
                short(&task.task_definition_arn).to_owned(),
                task.last_status.clone(),
                task.desired_status.clone(),
                host_of(task, &hosts).map_or_else(|| "-".into(), |host| host.name.clone()),
                duration::ago(duration::from_epoch_secs(task.created_at), session.now()),
                exit_codes(task),
                reason(task),
            ],
        );
    }
    session.out.list(&rows, &serde_json::json!({ "tasks": tasks }));
    Ok(())
}

pub async fn stop(session: &Session, args: &StopArgs) -> Result<()> {
    session.announce();
    let (cluster, id) = resolve(session, &args.task, args.cluster.as_ref(), false).await?;
    let request = aws::StopTaskRequest { cluster: Some(cluster), task: id.clone(), reason: args.reason.clone() };
    let task = session.call(&request).await?.task;
    session.out.done(&task.task_arn, &format!("stopping task {id}"), &serde_json::json!({ "task": task }));
    Ok(())
}

async fn find(session: &Session, wanted: &Wanted<'_>) -> Result<Vec<aws::Task>> {
    let target = wanted.service.map(|service| ServiceTarget::parse(service, wanted.cluster.map(String::as_str))).transpose()?;
    let clusters = match &target {
        Some(target) => vec![target.cluster.clone().unwrap_or_else(|| "default".into())],
        None => describe::clusters(session, wanted.cluster).await?,
    };
    let mut tasks = Vec::new();
    for cluster in clusters {
        let request = aws::ListTasksRequest {
            cluster: Some(cluster.clone()),
            service_name: target.as_ref().map(|target| target.name.clone()),
            family: wanted.family.cloned(),
            desired_status: Some(if wanted.stopped { "STOPPED" } else { "RUNNING" }.into()),
            ..Default::default()
        };
        let ids = describe::task_arns(session, request).await?;
        tasks.extend(describe::describe_tasks(session, &cluster, &ids).await?);
    }
    if wanted.stopped {
        tasks.sort_by(|a, b| b.created_at.total_cmp(&a.created_at));
    } else {
        tasks.sort_by(|a, b| a.group.cmp(&b.group).then(a.created_at.total_cmp(&b.created_at)));
    }
    Ok(tasks)
}

/// The cluster and full id of a task given by its id, the beginning of it, or its ARN.
pub async fn resolve(session: &Session, task: &str, cluster: Option<&String>, stopped_too: bool) -> Result<(String, String)> {
    if let Ok(rest) = model::ids::arn_resource(task, "task") {
        let (cluster, id) = rest.split_once('/').unwrap_or(("default", rest));
        return Ok((cluster.to_owned(), id.to_owned()));
    }
    let mut found = Vec::new();
    for cluster in describe::clusters(session, cluster).await? {
        let statuses: &[&str] = if stopped_too { &["RUNNING", "STOPPED"] } else { &["RUNNING"] };
        for status in statuses {
            let request =
                aws::ListTasksRequest { cluster: Some(cluster.clone()), desired_status: Some((*status).into()), ..Default::default() };
            let ids = describe::task_arns(session, request).await?;
            found.extend(ids.iter().map(|arn| short(arn)).filter(|id| id.starts_with(task)).map(|id| (cluster.clone(), id.to_owned())));
        }
    }
    match found.len() {
        0 => {
            Err(Failure::new(Exit::NotFound, format!("there is no task `{task}`"))
                .next("`berth ps` and `berth tasks --stopped` list tasks"))
        }
        1 => Ok(found.swap_remove(0)),
        many => Err(Failure::usage(format!("`{task}` is the beginning of {many} task ids")).next("write more of it")),
    }
}

/// Whether `text` could be (the beginning of) a task id.
pub fn looks_like_task(text: &str) -> bool {
    text.starts_with("arn:aws:ecs:") && text.contains(":task/")
        || (6..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A machine that runs tasks.
#[derive(Debug, Clone)]
struct Host {
    name: String,
    address: String,
}

/// The machines of `tasks`, by instance ARN. Those that the caller may not see are left out.
async fn hosts(session: &Session, tasks: &[aws::Task]) -> HashMap<String, Host> {
    let mut clusters: Vec<&str> = tasks.iter().map(|task| short(&task.cluster_arn)).collect();
    clusters.sort_unstable();
    clusters.dedup();
    let mut hosts = HashMap::new();
    for cluster in clusters {
        for instance in describe::instances(session, cluster).await.unwrap_or_default() {
            let host = Host { name: instance.ec2_instance_id.clone(), address: super::instances::address(&instance) };
            hosts.insert(instance.container_instance_arn, host);
        }
    }
    hosts
}

fn host_of<'a>(task: &aws::Task, hosts: &'a HashMap<String, Host>) -> Option<&'a Host> {
    hosts.get(task.container_instance_arn.as_ref()?)
}

/// Where the task's published ports are reached.
fn urls(task: &aws::Task, hosts: &HashMap<String, Host>) -> Vec<String> {
    let Some(host) = host_of(task, hosts) else { return Vec::new() };
    let bindings = task.containers.iter().flat_map(|container| &container.network_bindings);
    let mut urls: Vec<String> = bindings.map(|binding| url(binding, host)).collect();
    urls.sort();
    urls.dedup();
    urls
}

fn url(binding: &aws::NetworkBinding, host: &Host) -> String {
    let address = match binding.bind_ip.as_str() {
        "" | "0.0.0.0" | "::" => host.address.as_str(),
        bound => bound,
    };
    let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    match binding.protocol.as_str() {
        "udp" => format!("{address}:{}/udp", binding.host_port),
        _ => format!("http://{address}:{}", binding.host_port),
    }
}

fn with_urls(task: &aws::Task, urls: &[String]) -> serde_json::Value {
    let mut value = serde_json::to_value(task).unwrap_or_default();
    value["urls"] = urls.into();
    value
}

fn health(task: &aws::Task) -> String {
    if task.health_status == "UNKNOWN" || task.health_status.is_empty() { "-".into() } else { task.health_status.clone() }
}

/// Exit codes of the task's containers, with names when there are several.
pub fn exit_codes(task: &aws::Task) -> String {
    let named = task.containers.len() > 1;
    let codes = task.containers.iter().filter_map(|container| {
        container.exit_code.map(|code| if named { format!("{}={code}", container.name) } else { code.to_string() })
    });
    let codes: Vec<String> = codes.collect();
    if codes.is_empty() { "-".into() } else { codes.join(" ") }
}

/// Why a task stopped: its own reason and those of its containers.
pub fn reason(task: &aws::Task) -> String {
    let own = task.stopped_reason.iter().cloned();
    let containers = task.containers.iter().filter_map(|container| container.reason.clone());
    let mut parts: Vec<String> = Vec::new();
    for part in own.chain(containers) {
        if !part.is_empty() && !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_ports_become_urls() {
        let host = Host { name: "a".into(), address: "192.0.2.7".into() };
        let binding = |ip: &str, protocol: &str| aws::NetworkBinding {
            bind_ip: ip.into(),
            container_port: 80,
            host_port: 32_768,
            protocol: protocol.into(),
        };
        assert_eq!(url(&binding("0.0.0.0", "tcp"), &host), "http://192.0.2.7:32768");
        assert_eq!(url(&binding("127.0.0.1", "tcp"), &host), "http://127.0.0.1:32768");
        assert_eq!(url(&binding("::1", "tcp"), &host), "http://[::1]:32768");
        assert_eq!(url(&binding("", "udp"), &host), "192.0.2.7:32768/udp");
    }

    #[test]
    fn reasons_and_exit_codes_are_gathered_from_containers() {
        let container = |name: &str, code: Option<i64>, reason: Option<&str>| aws::Container {
            name: name.into(),
            exit_code: code,
            reason: reason.map(str::to_owned),
            ..Default::default()
        };
        let mut task = aws::Task { stopped_reason: Some("Essential container in task exited".into()), ..Default::default() };
        task.containers = vec![container("a", Some(7), None)];
        assert_eq!((exit_codes(&task), reason(&task)), ("7".into(), "Essential container in task exited".into()));
        task.containers.push(container("b", Some(0), Some("OutOfMemoryError")));
        assert_eq!(exit_codes(&task), "a=7 b=0");
        assert_eq!(reason(&task), "Essential container in task exited; OutOfMemoryError");
    }

    #[test]
    fn task_ids_are_told_from_service_names() {
        assert!(looks_like_task("3f9a0c1d2e4b"));
        assert!(!looks_like_task("web") && !looks_like_task("prod/web") && !looks_like_task("3F9A0C1D"));
    }
}
