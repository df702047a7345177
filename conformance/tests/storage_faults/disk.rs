//! A disk of a test's own: an ext4 in a file, mounted through a loop device. It loses its power by being copied as it is: what was not
//! synced is in the page cache of the mounted file system and not in the file behind it. It is unmounted when it is dropped.

use anyhow::{Context, Result, ensure};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Its size, in MiB.
pub const SIZE_MIB: u64 = 256;
/// Nothing is written back by itself while a test runs: the journal is committed by who syncs, not every five seconds.
const OPTIONS: &str = "loop,commit=600,noauto_da_alloc";
/// What is left unsynced when the power goes, to see that it is lost.
const UNSYNCED_NAME: &str = "unsynced";
const UNSYNCED_BYTES: usize = 100_000;
/// Bytes written at a time to a disk that is used up.
const FILL_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub struct Disk {
    /// Where the file behind the disk is.
    folder: TempDir,
    /// Where the disk is mounted.
    at: PathBuf,
    mounted: bool,
}

impl Disk {
    /// A new, empty disk, mounted at `at`.
    pub fn mount(at: &Path) -> Result<Self> {
        let mut disk = Self { folder: tempfile::tempdir()?, at: at.to_owned(), mounted: false };
        std::fs::File::create(disk.image())?.set_len(SIZE_MIB * 1024 * 1024)?;
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-b", "4096", "-E", now]).arg(disk.image()))?;
        disk.attach()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn attach(&mut self) -> Result<()> {
        run(Command::new("mount").args(["-t", "ext4", "-o", OPTIONS]).arg(self.image()).arg(&self.at))
            .context("this test mounts a disk of its own, which takes root, CAP_SYS_ADMIN and loop devices; without them it cannot run")?;
        self.mounted = true;
        Ok(())
    }

    /// Syncs everything and unmounts it. Nobody may use it.
    fn detach(&mut self) -> Result<()> {
        run(Command::new("umount").arg(&self.at))?;
        self.mounted = false;
        Ok(())
    }

    /// Syncs everything that is on it.
    pub fn sync(&self) -> Result<()> {
        run(Command::new("sync").arg("--file-system").arg(&self.at))
    }

    /// What was not synced is lost; then it is mounted again. Nobody may use it.
    pub fn lose_power(&mut self) -> Result<()> {
        let (unsynced, left) = (self.at.join(UNSYNCED_NAME), self.folder.path().join("left"));
        std::fs::write(&unsynced, vec![1; UNSYNCED_BYTES])?;
        run(Command::new("cp").arg("--sparse=always").arg(self.image()).arg(&left))?;
        self.detach()?;
        std::fs::rename(&left, self.image())?;
        self.attach()?;
        match std::fs::read(&unsynced) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            read => {
                ensure!(read?.iter().all(|byte| *byte == 0), "the disk kept what was not synced: this was no power loss");
                Ok(std::fs::remove_file(unsynced)?)
            }
        }
    }

    /// As after an error of the hardware: the kernel gives the journal up and lets nobody write any more.
    pub fn turn_read_only(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.at))?;
        let tried = std::fs::write(self.at.join("tried"), "");
        ensure!(tried.is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem), "the disk still takes writes");
        Ok(())
    }

    /// Checked, and mounted again to be written to. Nobody may use it.
    pub fn mend(&mut self) -> Result<()> {
        self.detach()?;
        // One is the status of errors that were corrected.
        let checked = Command::new("e2fsck").args(["-p", "-f"]).arg(self.image()).output()?;
        ensure!(matches!(checked.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&checked.stdout));
        self.attach()
    }

    /// Gives all space but `free` bytes to a foreign file.
    pub fn fill(&self, name: &str, free: u64) -> Result<()> {
        let bytes = self.free()?.checked_sub(free).context("the disk has more than that in use")?;
        run(Command::new("fallocate").arg("--length").arg(bytes.to_string()).arg(self.at.join(name)))
    }

    /// Gives what is left to another foreign file, to the last byte.
    pub fn exhaust(&self, name: &str) -> Result<()> {
        let mut file = std::fs::File::create(self.at.join(name))?;
        let block = vec![1; FILL_BYTES];
        loop {
            match file.write_all(&block).and_then(|()| file.sync_all()) {
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                written => written?,
            }
        }
    }

    /// Bytes that are free.
    pub fn free(&self) -> Result<u64> {
        let output = Command::new("stat").args(["--file-system", "--format=%a %S"]).arg(&self.at).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (blocks, size) = said.trim().split_once(' ').with_context(|| format!("stat said {said}"))?;
        Ok(blocks.parse::<u64>()? * size.parse::<u64>()?)
    }

    /// Takes a foreign file away.
    pub fn free_up(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.at.join(name))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted && self.detach().is_err() {
            // Somebody still has a file open: it goes with them.
            run(Command::new("umount").arg("--lazy").arg(&self.at)).ok();
        }
    }
}

/// Runs it to its end; what it complains of is the error.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{:?}: {}", command, String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
