//! The Docker command line against one engine, as one user: each with an own folder for its logins, so that two users of one machine
//! do not share them.

use crate::berth::CliOutput;
use anyhow::{Result, bail};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The socket that an engine of the machine listens on.
pub const SOCKET: &str = "/var/run/docker.sock";
/// Label of every container that an agent starts; its value is the id of the control plane.
pub const CONTROL_PLANE_LABEL: &str = "io.berth.control-plane";

#[derive(Debug)]
pub struct Docker {
    config: TempDir,
    socket: String,
}

impl Docker {
    /// A user of the machine's engine who is logged in nowhere.
    pub fn new() -> Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    /// A user of the engine behind this socket who is logged in nowhere.
    pub fn at(socket: &Path) -> Result<Self> {
        Ok(Self { config: tempfile::tempdir()?, socket: format!("unix://{}", socket.display()) })
    }

    /// Runs `docker ARGUMENTS` to its end, whatever it ends with.
    pub fn run(&self, arguments: &[&str]) -> Result<CliOutput> {
        Ok(self.command(arguments).output()?.into())
    }

    /// Runs `docker ARGUMENTS`, which has to succeed, and gives its trimmed standard output.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        if output.code != Some(0) {
            bail!("docker {} ended with {:?}\n{}{}", arguments.join(" "), output.code, output.stdout, output.stderr);
        }
        Ok(output.stdout.trim().to_owned())
    }

    /// `docker login`, the password on standard input as people are told to.
    pub fn login(&self, host: &str, user: &str, password: &str) -> Result<CliOutput> {
        self.with_input(&["login", "--username", user, "--password-stdin", host], password.as_bytes())
    }

    /// Loads an archive made by [`crate::Image::docker_archive`].
    pub fn load(&self, archive: &[u8]) -> Result<()> {
        let output = self.with_input(&["load", "--quiet"], archive)?;
        if output.code != Some(0) {
            bail!("docker load: {}", output.stderr);
        }
        Ok(())
    }

    /// Ids of all containers, also ended ones, that an agent of this control plane started.
    pub fn containers_of(&self, control_plane: &str) -> Result<Vec<String>> {
        let filter = format!("label={CONTROL_PLANE_LABEL}={control_plane}");
        let ids = self.ok(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter])?;
        Ok(ids.lines().map(str::to_owned).collect())
    }

    /// Removes them.
    pub fn remove_containers_of(&self, control_plane: &str) -> Result<()> {
        for id in self.containers_of(control_plane)? {
            // One that goes at the same moment is gone as well.
            self.run(&["rm", "--force", "--volumes", &id])?;
        }
        Ok(())
    }

    /// Removes the images whose names begin with `HOST:PORT/`.
    pub fn remove_images_of(&self, host: &str) -> Result<()> {
        let format = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}";
        let names = self.ok(&["images", "--digests", "--format", format])?;
        let is_of_host = |name: &&str| name.starts_with(&format!("{host}/")) && !name.contains("<none>");
        for name in names.split_whitespace().filter(is_of_host) {
            // The last name of an image that another container runs cannot go, and need not.
            self.run(&["rmi", name])?;
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(arguments).env("DOCKER_CONFIG", self.config.path()).env("DOCKER_HOST", &self.socket);
        command
    }

    fn with_input(&self, arguments: &[&str], input: &[u8]) -> Result<CliOutput> {
        let mut child = self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        Ok(child.wait_with_output()?.into())
    }
}
