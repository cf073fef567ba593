//! The helper process that a daemon starts, and fakes of the Python that it starts for that.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::{Daemon, Recipe, wait_for};

/// A script of this text in `directory`, to be started as a Python.
///
/// # Panics
/// If it cannot be written.
pub fn fake_python(directory: &TempDir, script: &str) -> String {
    let path = directory.path().join("python");
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path.display().to_string()
}

/// A station with a source on the Python at `python`.
///
/// # Panics
/// If it does not start.
pub fn station_with_python(name: &str, python: &str) -> Daemon {
    Recipe::new(name).set("quantum.enabled", "true").set("quantum.python", python).found(name, &[])
}

/// The processes that a daemon has started.
///
/// # Panics
/// If it does not run.
pub fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of_thread = |thread: PathBuf| fs::read_to_string(thread.join("children")).unwrap_or_default();
    let text: String = threads.map(|thread| of_thread(thread.expect("an entry").path())).collect();
    text.split_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
}

/// Waits until a process has ended, reaped or not.
///
/// # Panics
/// If it still runs after 5 s.
pub fn ends(pid: u32) {
    wait_for("the helper ends", Duration::from_secs(5), || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let runs = state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'));
        if runs { Err(format!("{pid} runs")) } else { Ok(()) }
    });
}
