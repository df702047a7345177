//! A child process whose output goes to a file, ended by its id, with its own children, when dropped.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Lines of the log that a failure shows.
const LOG_LINES_SHOWN: usize = 40;

#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log).with_context(|| format!("opening {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `Some` once the process has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Everything that it and its predecessors on the same log have written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of the log, for a failure's message.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(pid(self.child.id())?, signal)?)
    }

    /// SIGINT: what Ctrl-C does.
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::SIGINT)
    }

    /// SIGQUIT: what ends a PostgreSQL server at once, as a crash would.
    pub fn quit(&self) -> Result<()> {
        self.signal(Signal::SIGQUIT)
    }

    /// `kill -9`, and waits until it is gone. Its children are left alone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the status it ends with within `limit`.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit).await
    }

    /// The status it ends with of itself within `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if started.elapsed() > limit {
                bail!("process {} still runs after {limit:?}; its log ends:\n{}", self.child.id(), self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its living children.
    pub fn children(&self) -> Vec<u32> {
        children_of(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The parent first: it would start its children again.
        let children = self.children();
        // Both fail when it has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
        for child in children {
            kill_by_id(child);
        }
    }
}

/// `kill -9` of a process that is not a child of ours.
pub fn kill_by_id(id: u32) {
    if let Ok(id) = pid(id) {
        // It may have ended already, which is what is wanted.
        kill(id, Signal::SIGKILL).ok();
    }
}

fn pid(id: u32) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(id).context("a process id fits an i32")?))
}

fn children_of(parent: u32) -> Vec<u32> {
    let tasks = format!("/proc/{parent}/task");
    let threads = std::fs::read_dir(tasks).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| children.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_with_its_children_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo started; wait"]);
        let process = Process::start(command, &folder.path().join("log")).unwrap();
        let children = crate::wait_until("a child", || async { Some(process.children()).filter(|c| !c.is_empty()) }).await;
        drop(process);
        crate::wait_until("the child's end", || async {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", children[0])).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn keeps_the_log_and_the_status() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo said; exit 7"]);
        let mut process = Process::start(command, &folder.path().join("log")).unwrap();
        assert_eq!(process.wait(Duration::from_secs(10)).await.unwrap().code(), Some(7));
        assert_eq!(process.log(), "said\n");
    }
}
