//! Docker Swarm on the machine's engine, alone on its node; it is left again when this is dropped.

use super::{HEALTH_COMMAND, LIMIT, LOOK_PERIOD};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::time::Instant;
use testing::Image;
use testing::docker::Docker;

const SERVICE: &str = "berth-bench-web";
const IMAGE: &str = "berth-bench/web";

pub struct Swarm {
    docker: Docker,
    tasks: usize,
}

impl Swarm {
    /// With the service running `image`, updated start-first and all at once.
    pub fn start(image: &Image, tasks: usize) -> Result<Self> {
        let docker = Docker::new()?;
        ensure!(docker.ok(&["info", "--format", "{{.Swarm.LocalNodeState}}"])? == "inactive", "this engine is in a swarm already");
        docker.ok(&["swarm", "init", "--advertise-addr", "127.0.0.1"])?;
        let swarm = Self { docker, tasks };
        let name = swarm.load(image, 0)?;
        let replicas = tasks.to_string();
        swarm.docker.ok(&[
            "service",
            "create",
            "--name",
            SERVICE,
            "--replicas",
            &replicas,
            "--detach",
            "--no-resolve-image",
            "--update-order",
            "start-first",
            "--update-parallelism",
            "3",
            "--health-cmd",
            HEALTH_COMMAND,
            "--health-interval",
            "1s",
            "--limit-memory",
            "32m",
            &name,
        ])?;
        let began = Instant::now();
        while swarm.running(&name)?.len() < tasks {
            pause(began, "the service of the swarm")?;
        }
        Ok(swarm)
    }

    /// From the order to update to the first new task running, and to the update's end.
    pub fn update(&self, image: &Image, round: usize) -> Result<(f64, f64)> {
        let name = self.load(image, round)?;
        let began = Instant::now();
        self.docker.ok(&["service", "update", "--detach", "--no-resolve-image", "--image", &name, SERVICE])?;
        let mut running = None;
        loop {
            if running.is_none() && !self.running(&name)?.is_empty() {
                running = Some(began.elapsed().as_secs_f64());
            }
            let state =
                self.docker.ok(&["service", "inspect", "--format", "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}", SERVICE])?;
            if state == "completed" && self.running(&name)?.len() == self.tasks {
                let completed = began.elapsed().as_secs_f64();
                return Ok((running.unwrap_or(completed), completed));
            }
            pause(began, "the update of the swarm")?;
        }
    }

    /// From the kill of a container to its replacement running.
    pub fn kill_one(&self) -> Result<f64> {
        let filter = format!("label=com.docker.swarm.service.name={SERVICE}");
        let containers = || -> Result<BTreeSet<String>> {
            let ids = self.docker.ok(&["ps", "--quiet", "--no-trunc", "--filter", &filter, "--filter", "status=running"])?;
            Ok(ids.lines().map(str::to_owned).collect())
        };
        let began = Instant::now();
        let mut before = containers()?;
        while before.len() != self.tasks {
            pause(began, "the tasks of the swarm")?;
            before = containers()?;
        }
        let victim = before.first().context("the swarm runs a container")?;
        let began = Instant::now();
        self.docker.ok(&["kill", victim])?;
        while containers()?.difference(&before).next().is_none() {
            pause(began, "a replacement in the swarm")?;
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// Ids of the tasks that run `image`.
    fn running(&self, image: &str) -> Result<Vec<String>> {
        let format = "{{.ID}} {{.Image}} {{.CurrentState}}";
        let lines = self.docker.ok(&["service", "ps", "--filter", "desired-state=running", "--format", format, SERVICE])?;
        let runs = |line: &&str| line.split(' ').nth(1) == Some(image) && line.split(' ').nth(2) == Some("Running");
        Ok(lines.lines().filter(runs).map(str::to_owned).collect())
    }

    fn load(&self, image: &Image, round: usize) -> Result<String> {
        let name = format!("{IMAGE}:v{round}");
        self.docker.load(&image.docker_archive(&name))?;
        Ok(name)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        // What fails here is said by the next start, which finds a swarm.
        self.docker.ok(&["service", "rm", SERVICE]).ok();
        self.docker.ok(&["swarm", "leave", "--force"]).ok();
        let names = self.docker.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}", IMAGE]).unwrap_or_default();
        for name in names.lines() {
            self.docker.run(&["rmi", "--force", name]).ok();
        }
    }
}

fn pause(began: Instant, what: &str) -> Result<()> {
    if began.elapsed() > LIMIT {
        bail!("waited {} s for {what}", LIMIT.as_secs());
    }
    std::thread::sleep(LOOK_PERIOD);
    Ok(())
}
