//! A disk so small that a test can fill it: a tmpfs. Needs root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;

use super::wait_for;

/// How long it may take to fill a disk on which others write.
const PATIENCE: Duration = Duration::from_secs(5);

/// A mounted tmpfs.
pub struct SmallDisk {
    point: TempDir,
}

impl SmallDisk {
    /// One of `bytes`.
    ///
    /// # Panics
    /// If it cannot be mounted here.
    pub fn of(bytes: u64) -> Self {
        let point = TempDir::new().expect("a temporary directory can be made");
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "qfzz-test", text(point.path())]);
        Self { point }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.point.path()
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let found = statvfs(self.path()).expect("it is mounted");
        found.f_bavail * found.f_frsize
    }

    /// Takes all but `bytes`; what others write meanwhile comes off that.
    ///
    /// # Panics
    /// If that much is not free any more.
    pub fn leave(&self, bytes: u64) {
        let file = File::options().create(true).append(true).open(self.filler()).expect("an empty file finds room");
        wait_for("the disk is filled", PATIENCE, || {
            let Some(taken) = self.free().checked_sub(bytes).filter(|taken| *taken > 0) else { return Ok(()) };
            let length = file.metadata().expect("an own file").len();
            match fallocate(&file, FallocateFlags::empty(), length, taken) {
                Ok(()) => Ok(()),
                // Somebody else was quicker.
                Err(error) => Err(error.to_string()),
            }
        });
    }

    /// Gives back what [`leave`](Self::leave) took.
    pub fn clear(&self) {
        if self.filler().exists() {
            fs::remove_file(self.filler()).expect("an own file");
        }
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as a process may still have files open.
        if let Err(reason) = try_run("umount", &["--lazy", text(self.path())]) {
            eprintln!("{reason}");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn run(program: &str, arguments: &[&str]) {
    try_run(program, arguments).unwrap_or_else(|reason| panic!("{reason} (mounting needs Linux and root)"));
}

fn try_run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let reason = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {arguments:?}: {}", reason.trim())) }
}
