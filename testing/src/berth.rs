//! The binary under test.

use anyhow::{Context, Result, bail};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Path of the binary under test; without it, the one in the target folder beside the test's own program.
pub const BINARY_VARIABLE: &str = "BERTH_BIN";

/// Where the binary is.
pub fn binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(BINARY_VARIABLE) {
        return Ok(given.into());
    }
    let test = std::env::current_exe()?;
    // target/PROFILE/deps/TEST
    let Some(found) = test.ancestors().skip(1).take(3).map(|folder| folder.join("berth")).find(|path| path.is_file()) else {
        bail!("no berth beside {}: build it (cargo build --package berth), or name one in {BINARY_VARIABLE}", test.display());
    };
    Ok(found)
}

/// `berth` with nothing of this user's own: an empty home, and no `BERTH_…` variable of the surroundings.
pub fn command(home: &Path) -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BERTH_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", home).env("XDG_CONFIG_HOME", home.join(".config")).env("NO_COLOR", "1");
    Ok(command)
}

/// The command line as a person uses it, with its context kept in `home`.
#[derive(Debug, Clone)]
pub struct Cli {
    home: PathBuf,
}

impl Cli {
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into() }
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Runs `berth ARGUMENTS` to its end, whatever it ends with.
    pub fn run<I, A>(&self, arguments: I) -> Result<CliOutput>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<std::ffi::OsStr>,
    {
        let output = command(&self.home)?.args(arguments).output()?;
        Ok(CliOutput::from(output))
    }

    /// Logs in to the server at `url` by password, as a person on another machine does.
    pub fn login(&self, url: &str, user: &str, password: &str) -> Result<()> {
        let mut command = command(&self.home)?;
        command.args(["login", url, "--user", user, "--password-stdin"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("its input")?.write_all(password.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("login as {user}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Runs `berth ARGUMENTS`, which has to succeed, and gives its standard output.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        if output.code != Some(0) {
            bail!("berth {} ended with {:?}\n{}{}", arguments.join(" "), output.code, output.stdout, output.stderr);
        }
        Ok(output.stdout)
    }
}

/// What a command said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliOutput {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for CliOutput {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
