//! The bare Engine API over its socket: what no orchestrator can be faster than.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use testing::docker::SOCKET;

/// Containers made and started at the same time: the knee of a small host, and what the agent does.
const PARALLEL: usize = 4;

/// Seconds to make and start `count` containers of `image`; they are removed after the clock stopped.
pub fn start_many(image: &str, count: usize) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    let ids = std::thread::scope(|scope| {
        let worker = || -> Result<Vec<String>> {
            let mut ids = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let body = json!({"Image": image, "HostConfig": {"Memory": 32 << 20, "CpuShares": 10}, "Labels": {"io.berth.bench": "1"}});
                let made = ask("POST", "/containers/create", Some(&body))?;
                let id = made["Id"].as_str().context("a new container has an id")?.to_owned();
                ask("POST", &format!("/containers/{id}/start"), None)?;
                ids.push(id);
            }
            Ok(ids)
        };
        let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(ids) => all.extend(ids?),
                Err(_) => bail!("a worker panicked"),
            }
        }
        Ok(all)
    })?;
    let secs = began.elapsed().as_secs_f64();
    for id in ids {
        ask("DELETE", &format!("/containers/{id}?force=1&v=1"), None)?;
    }
    Ok(secs)
}

fn ask(method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = UnixStream::connect(SOCKET)?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
    ensure!(head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{method} {path}: {answer}");
    Ok(serde_json::from_str(body).unwrap_or_default())
}
