//! A child process that is kept running: started, watched, restarted with growing delays, ended with SIGTERM.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Time a child has to end after SIGTERM, before SIGKILL, in seconds: more than its own limit.
const STOP_SECS_MAX: u64 = 15;
/// Delay before the first restart, and the longest one, in milliseconds.
const RESTART_MILLIS_MIN: u64 = 100;
const RESTART_MILLIS_MAX: u64 = 10_000;
/// A child that ran this long counts as sound: its next restart is as quick as the first, in seconds.
const SOUND_SECS: u64 = 30;

/// What to start.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: &'static str,
    pub executable: PathBuf,
    pub line: Vec<OsString>,
    pub environment: Vec<(&'static str, OsString)>,
}

/// A supervised child.
pub struct Child {
    ready: watch::Sender<bool>,
    early: watch::Receiver<Option<u8>>,
    task: JoinHandle<()>,
}

impl Child {
    /// Starts it, and keeps it running until `stopping`.
    pub fn start(spec: Spec, stopping: &CancellationToken) -> Self {
        let (ready, is_ready) = watch::channel(false);
        let (ended, early) = watch::channel(None);
        let task = tokio::spawn(supervise(spec, stopping.clone(), is_ready, ended));
        Self { ready, early, task }
    }

    /// From now on it is restarted when it ends.
    pub fn is_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Returns the exit code of a child that refused to run before it ever was ready.
    pub async fn ended_early(&self) -> u8 {
        let mut early = self.early.clone();
        match early.wait_for(Option::is_some).await {
            Ok(code) => code.unwrap_or(1),
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns once it has ended, after `stopping`.
    pub async fn stopped(self) {
        let _ = self.task.await;
    }
}

async fn supervise(spec: Spec, stopping: CancellationToken, ready: watch::Receiver<bool>, ended: watch::Sender<Option<u8>>) {
    let mut failures = 0;
    while !stopping.is_cancelled() {
        let started = Instant::now();
        let status = run_once(&spec, &stopping).await;
        if stopping.is_cancelled() {
            return;
        }
        failures = if started.elapsed() >= Duration::from_secs(SOUND_SECS) { 0 } else { failures };
        // An exit code before it ever was ready is a refusal (of its arguments, its folder, its port): trying again helps nobody.
        if let Some(code) = refusal(status, spec.name == "server" && !*ready.borrow()) {
            ended.send_replace(Some(code));
            return;
        }
        let delay = restart_delay(failures);
        let how = status.map_or_else(|| "could not be started".to_owned(), |status| status.to_string());
        tracing::warn!(
            child = spec.name,
            delay_ms = delay.as_millis(),
            "{} ended ({how}), starting it again; containers run on",
            spec.name
        );
        failures += 1;
        tokio::select! {
            // Cancel-safe per docs of CancellationToken.
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Runs it to its end; `None` when it could not be started.
async fn run_once(spec: &Spec, stopping: &CancellationToken) -> Option<ExitStatus> {
    let mut command = Command::new(&spec.executable);
    // Its own process group: Ctrl-C reaches this process only, which then ends its children in order.
    command.args(&spec.line).envs(spec.environment.iter().cloned()).process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(%error, child = spec.name, "cannot start {}", spec.executable.display());
            return None;
        }
    };
    let id = child.id();
    tokio::select! {
        // Cancel-safe per docs: Child::wait, CancellationToken::cancelled.
        status = child.wait() => return status.ok(),
        () = stopping.cancelled() => {}
    }
    if let Some(id) = id.and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
    if let Ok(status) = tokio::time::timeout(Duration::from_secs(STOP_SECS_MAX), child.wait()).await {
        return status.ok();
    }
    tracing::warn!(child = spec.name, "{} did not end in {STOP_SECS_MAX} s, killing it", spec.name);
    let _ = child.kill().await;
    child.wait().await.ok()
}

/// The code to pass on when a child that was never ready ended by itself. Pure.
fn refusal(status: Option<ExitStatus>, never_ready: bool) -> Option<u8> {
    match status {
        _ if !never_ready => None,
        None => Some(1),
        // Killed: it may come up the next time.
        Some(status) if status.signal().is_some() => None,
        Some(status) => Some(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
    }
}

/// 0.1 s, doubled at each failure in a row, at most 10 s. Pure.
fn restart_delay(failures: u32) -> Duration {
    Duration::from_millis(RESTART_MILLIS_MIN.saturating_mul(1 << failures.min(16)).min(RESTART_MILLIS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_begin_quickly_and_slow_down() {
        let millis: Vec<u128> = [0, 1, 2, 20].into_iter().map(|failures| restart_delay(failures).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 10_000]);
    }

    #[test]
    fn a_refusal_is_an_exit_code_before_readiness() {
        let (code, signal) = (ExitStatus::from_raw(2 << 8), ExitStatus::from_raw(9));
        assert_eq!(refusal(Some(code), true), Some(2));
        assert_eq!(refusal(Some(code), false), None);
        assert_eq!(refusal(Some(signal), true), None);
        assert_eq!(refusal(None, true), Some(1));
    }

    #[tokio::test]
    async fn a_child_is_restarted_until_told_to_stop() {
        let folder = std::env::temp_dir().join(format!("berth-children-{}", platform::random::bits64()));
        std::fs::create_dir_all(&folder).unwrap();
        let script = format!("echo run >> {}/runs; exit 3", folder.display());
        let spec = Spec { name: "child", executable: "/bin/sh".into(), line: vec!["-c".into(), script.into()], environment: Vec::new() };
        let stopping = CancellationToken::new();
        let child = Child::start(spec, &stopping);
        let runs = || std::fs::read_to_string(folder.join("runs")).unwrap_or_default().lines().count();
        let deadline = Instant::now() + Duration::from_secs(10);
        while runs() < 2 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(runs() >= 2);
        stopping.cancel();
        child.stopped().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
