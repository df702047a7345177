//! Everything at once: services change while server, agent and containers are killed. What stands in the end is what was asked for last.
//!
//! Seeded: a failure prints its seed, and `BERTH_TEST_SEED` plays it again (as far as real time allows).

use anyhow::{Context, Result, ensure};
use conformance::fleet::Fleet;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use testing::{Agent, Server};

/// Things that happen.
const STEPS: usize = 24;
/// Largest count that is asked for.
const COUNT_MAX: usize = 4;
/// What is played unless `BERTH_TEST_SEED` says otherwise.
const SEED_DEFAULT: u64 = 15_771_217_759_522_196_398;

#[derive(Debug, Clone, Copy)]
enum Step {
    Scale,
    Deploy,
    KillServer,
    KillAgent,
    KillContainer,
    StopTask,
    Wait,
}

const ALL: [Step; 7] = [Step::Scale, Step::Deploy, Step::KillServer, Step::KillAgent, Step::KillContainer, Step::StopTask, Step::Wait];

struct World {
    fleet: Fleet,
    agent: Agent,
    random: StdRng,
    count: usize,
    revision: usize,
    image: String,
}

impl World {
    async fn start(seed: u64) -> Result<Self> {
        let mut fleet = Fleet::around(Server::start().await?)?;
        let mut agent = Agent::of(&fleet.server).await?;
        fleet.agent_dir = agent.data_dir();
        agent.start()?;
        fleet.instance().await?;
        fleet.sleeping_service("web", 2).await?;
        let image = format!("{}/conformance/web:v1", fleet.server.host());
        Ok(Self { fleet, agent, random: StdRng::seed_from_u64(seed), count: 2, revision: 1, image })
    }

    async fn act(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Scale => {
                self.count = self.random.random_range(0..=COUNT_MAX);
                self.fleet.scale("web", self.count).await
            }
            Step::Deploy => {
                self.revision += 1;
                let definition = self.fleet.register("web", &self.image).await?;
                ensure!(definition == format!("web:{}", self.revision), "revision {} is {definition}", self.revision);
                self.fleet.ecs("UpdateService", &json!({"service": "web", "taskDefinition": definition})).await?;
                Ok(())
            }
            Step::KillServer => {
                self.fleet.server.kill();
                self.fleet.server.start_again().await
            }
            Step::KillAgent => {
                self.agent.kill();
                self.agent.start()
            }
            Step::KillContainer => {
                let running: Vec<_> = self.fleet.containers()?.into_iter().filter(|each| each.running).collect();
                if let Some(one) = running.choose(&mut self.random) {
                    // It may end by itself in the same moment.
                    self.fleet.docker.run(&["kill", &one.id])?;
                }
                Ok(())
            }
            Step::StopTask => {
                let tasks = self.fleet.tasks("RUNNING").await?;
                if let Some(task) = tasks.choose(&mut self.random) {
                    self.fleet.ecs("StopTask", &json!({"task": task["taskArn"]})).await?;
                }
                Ok(())
            }
            Step::Wait => {
                let millis = self.random.random_range(50..1500);
                tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
                Ok(())
            }
        }
    }

    /// Waits until the service is as it was last asked to be, and checks that nothing else is left.
    async fn settles(&self) -> Result<()> {
        let expected = format!("task-definition/web:{}", self.revision);
        let of_revision = |task: &Value| task["taskDefinitionArn"].as_str().is_some_and(|arn| arn.ends_with(&expected));
        self.fleet
            .eventually("one deployment, completed", async || {
                let deployments = self.fleet.service("web").await?["deployments"].clone();
                Ok(deployments.as_array().map(Vec::len) == Some(1) && deployments[0]["rolloutState"] == "COMPLETED")
            })
            .await?;
        self.fleet.none_twice_none_lost(self.count).await?;
        ensure!(self.fleet.tasks("RUNNING").await?.iter().all(of_revision), "older tasks are left:\n{}", self.fleet.state().await?);
        let service = self.fleet.service("web").await?;
        ensure!(service["runningCount"] == self.count && service["pendingCount"] == 0, "{service}");
        for task in self.fleet.tasks("STOPPED").await? {
            ensure!(task["stoppedReason"].as_str().is_some_and(|reason| !reason.is_empty()), "a task stopped without a reason: {task}");
        }
        // Tasks hold what they reserve until they have really stopped.
        self.fleet.eventually("what stopped tasks held to be given back", async || Ok(self.resources_are_given_back().await.is_ok())).await
    }

    /// What the instance has left is what it has less what the running tasks reserve.
    async fn resources_are_given_back(&self) -> Result<()> {
        let instance = self.fleet.instance().await?;
        let described = self.fleet.ecs("DescribeContainerInstances", &json!({"containerInstances": [instance]})).await?;
        let amount = |kind: &str, name: &str| -> Option<i64> {
            let resources = described["containerInstances"][0][kind].as_array()?;
            resources.iter().find(|each| each["name"] == name)?["integerValue"].as_i64()
        };
        let reserved = |name: &str| Some(amount("registeredResources", name)? - amount("remainingResources", name)?);
        let count = i64::try_from(self.count)?;
        ensure!(reserved("MEMORY") == Some(32 * count) && reserved("CPU") == Some(10 * count), "{described}");
        Ok(())
    }
}

#[tokio::test]
async fn whatever_is_killed_meanwhile_the_last_word_stands() -> Result<()> {
    let seed = std::env::var("BERTH_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED_DEFAULT);
    println!("BERTH_TEST_SEED={seed}");
    let mut world = World::start(seed).await?;
    let steps: Vec<Step> = (0..STEPS).filter_map(|_| ALL.choose(&mut world.random).copied()).collect();
    for (number, step) in steps.iter().enumerate() {
        println!("{number}: {step:?}, count {}, revision {}", world.count, world.revision);
        world.act(*step).await.with_context(|| format!("step {number}, {step:?}, of seed {seed}"))?;
    }
    let settled = world.settles().await.with_context(|| format!("seed {seed}, {steps:?}"));
    if settled.is_err() {
        println!("{}\n=== server\n{}\n=== agent\n{}", world.fleet.state().await?, world.fleet.server.log(), world.agent.log());
    }
    settled
}
