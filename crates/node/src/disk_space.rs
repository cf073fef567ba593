//! How much room the disk has left.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Free bytes below which a station takes nothing more, so that what it has taken still finds room.
///
/// Above what can be on its way to the disk at once: a commit of 4 MiB, as much that waits for it, and twice that in
/// the view.
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Free bytes above the reserve from which a station that had run out takes things again, so that it doesn't flutter.
pub const AGAIN_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes that this process may still write where `path` lies.
///
/// # Errors
/// What the system said.
pub fn free(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Tells when a disk is full, and when it has room again.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    looked: Option<Instant>,
    is_full: bool,
}

/// Between two looks at the disk, at least: what is decided meanwhile is far less than the reserve.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Watch {
    /// Watches the disk on which `path` lies, and which has room as far as is known.
    pub const fn new(path: PathBuf) -> Self {
        Self { path, looked: None, is_full: false }
    }

    /// Looks at the disk, if it was not just looked at; whether it is full, where that has changed.
    pub fn change(&mut self) -> Option<bool> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        // A disk that gives no answer shows what it can when it is written to.
        let free = free(&self.path).ok()?;
        let is_full = free < if self.is_full { RESERVE_BYTES + AGAIN_BYTES } else { RESERVE_BYTES };
        let has_changed = is_full != self.is_full;
        self.is_full = is_full;
        has_changed.then_some(is_full)
    }
}

/// Bytes as people say them, in MiB.
pub fn in_mib(bytes: u64) -> String {
    format!("{} MiB", bytes / (1024 * 1024))
}
