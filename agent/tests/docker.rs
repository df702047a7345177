//! The agent on a real Docker Engine. Nothing here is skipped: without an engine (or Debian's busybox-static) each test fails and says
//! what is missing. Every test has its own control plane, and removes what carries its label.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "docker/host.rs"]
mod host;
#[path = "docker/server.rs"]
mod server;

use host::Host;
use model::task::{HealthStatus, StopCode, TaskStatus};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_with_its_ports_environment_and_volume_and_is_stopped() {
    let host = Host::new();
    let script = "echo \"$GREETING\" >/data/index.html; exec httpd -f -p 8080 -h /data";
    let order = host.order(json!({
        "containerDefinitions": [{
            "name": "web", "command": ["sh", "-c", script], "environment": [{"name": "GREETING", "value": "hello from a task"}],
            "portMappings": [{"containerPort": 8080}], "memory": 64, "stopTimeout": 2,
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
            "healthCheck": {"command": ["CMD-SHELL", "wget -q -O /dev/null http://127.0.0.1:8080/"], "interval": 30}}],
        "volumes": [{"name": "data"}]}));
    let life = host.live();
    life.order(&order);
    let record = life.reach(&order, TaskStatus::Running).await;
    let binding = record.containers["web"].bindings[0].clone();
    assert_eq!(binding.container_port, 8080);
    life.until("it is healthy", || life.record(&order).health() == HealthStatus::Healthy).await;
    let page = reqwest_get(binding.host_port).await;
    assert_eq!(page.trim(), "hello from a task");

    life.stop(&order);
    let record = life.reach(&order, TaskStatus::Stopped).await;
    assert_eq!(record.report().stop_code, None, "it was ordered");
    assert!(record.containers["web"].exit_code.is_some());

    let again = host.order(json!({
        "containerDefinitions": [{"name": "web", "command": ["cat", "/data/index.html"],
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": true}]}],
        "volumes": [{"name": "data"}]}));
    life.order(&again);
    let record = life.reach(&again, TaskStatus::Stopped).await;
    assert_eq!(record.containers["web"].exit_code, Some(0), "the volume outlives the task");
}

async fn reqwest_get(port: u16) -> String {
    // Plain HTTP by hand: the agent's own client speaks TLS only.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for _ in 0..50 {
        if let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            if stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.") {
                return answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody answers on port {port}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_task_keeps_its_exit_code_and_takes_its_helper_along() {
    let host = Host::new();
    let order = host.order(json!({"containerDefinitions": [
        {"name": "job", "command": ["sh", "-c", "sleep 1; exit 7"]},
        {"name": "side", "command": ["sleep", "600"], "essential": false, "stopTimeout": 1}]}));
    let life = host.live();
    life.order(&order);
    let report = life.reach(&order, TaskStatus::Stopped).await.report();
    assert_eq!(report.stop_code, Some(StopCode::EssentialContainerExited));
    let codes: Vec<Option<i64>> = report.containers.iter().map(|container| container.exit_code).collect();
    assert_eq!(codes, [Some(7), Some(137)], "the helper ignored SIGTERM as PID 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_container_is_noticed_within_milliseconds() {
    let host = Host::new();
    let order = host.order(json!({"containerDefinitions": [{"name": "app", "command": ["sleep", "600"]}]}));
    let life = host.live();
    life.order(&order);
    let record = life.reach(&order, TaskStatus::Running).await;
    host::docker(&["kill", record.containers["app"].runtime_id.as_ref().unwrap()]);
    let killed = Instant::now();
    let record = life.reach(&order, TaskStatus::Stopped).await;
    assert!(killed.elapsed() < Duration::from_millis(1500), "{:?}", killed.elapsed());
    assert_eq!(record.containers["app"].exit_code, Some(137));
    assert_eq!(record.containers["app"].reason, None, "killed, but not for memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_wants_too_much_memory_says_so() {
    let host = Host::new();
    let order = host.order(json!({"containerDefinitions": [{"name": "app", "memory": 8, "command": ["tail", "/dev/zero"]}]}));
    let life = host.live();
    life.order(&order);
    let record = life.reach(&order, TaskStatus::Stopped).await;
    let reason = record.containers["app"].reason.clone().unwrap_or_default();
    assert!(reason.starts_with("OutOfMemoryError"), "{record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why() {
    let host = Host::new();
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let life = host.live();
    for (definition, expected) in [
        (json!({"name": "app", "command": ["/no/such/program"]}), "CannotStartContainerError: Error response from daemon:"),
        (json!({"name": "app", "image": "127.0.0.1:9/none:v1"}), "CannotPullContainerError: the registry could not be reached"),
        (
            json!({"name": "app", "command": ["sleep", "600"], "portMappings": [{"containerPort": 80, "hostPort": port}]}),
            "CannotStartContainerError: Error response from daemon:",
        ),
        (json!({"name": "app", "user": "nobody-of-this-name", "command": ["true"]}), "CannotStartContainerError:"),
    ] {
        let order = host.order(json!({"containerDefinitions": [definition]}));
        life.order(&order);
        let report = life.reach(&order, TaskStatus::Stopped).await.report();
        assert_eq!(report.stop_code, Some(StopCode::TaskFailedToStart), "{report:?}");
        let reason = report.containers[0].reason.clone().unwrap_or_default();
        assert!(reason.starts_with(expected), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unhealthy_container_is_told_and_left_running() {
    let host = Host::new();
    let check = json!({"command": ["CMD", "false"], "interval": 1, "retries": 1, "timeout": 2});
    let order = host.order(json!({"containerDefinitions": [{"name": "app", "command": ["sleep", "600"], "healthCheck": check}]}));
    let life = host.live();
    life.order(&order);
    life.reach(&order, TaskStatus::Running).await;
    life.until("it is unhealthy", || life.record(&order).health() == HealthStatus::Unhealthy).await;
    assert_eq!(life.record(&order).status(), TaskStatus::Running, "what to do about it is the server's decision");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_finds_the_same_containers() {
    let host = Host::new();
    let order = host.order(json!({"containerDefinitions": [{"name": "app", "command": ["sleep", "600"], "stopTimeout": 1}]}));
    let life = host.live();
    life.order(&order);
    life.reach(&order, TaskStatus::Running).await;
    let before = host.containers();
    drop(life);

    let life = host.live();
    life.reach(&order, TaskStatus::Running).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(host.containers(), before);
    // Gone while no agent ran: found out by the first list.
    drop(life);
    host::docker(&["kill", &before[0]]);
    let life = host.live();
    let report = life.reach(&order, TaskStatus::Stopped).await.report();
    assert_eq!(report.containers[0].exit_code, Some(137));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_start_beside_each_other() {
    let host = Host::new();
    let life = host.live();
    let definition =
        json!({"networkMode": "none", "containerDefinitions": [{"name": "app", "command": ["sleep", "600"], "stopTimeout": 0}]});
    let orders: Vec<_> = (0..12).map(|_| host.order(definition.clone())).collect();
    let begun = Instant::now();
    life.order_all(&orders);
    for order in &orders {
        life.reach(order, TaskStatus::Running).await;
    }
    println!("{} tasks RUNNING after {:?}", orders.len(), begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_agent_joins_pulls_through_its_relay_runs_reports_and_sends_logs() {
    server::play().await;
}
