//! How much room the data takes, and how much is left for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Free bytes below which a station takes nothing more, so that what it has taken still finds room.
///
/// Above what can be on its way to the disk at once: a commit of 4 MiB, as much that waits for it, and twice that in
/// the view.
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Free bytes above the reserve from which a station that had run out takes things again, so that it doesn't flutter.
pub const AGAIN_BYTES: u64 = 8 * 1024 * 1024;

/// Directories below the data directory that are entered, at most: the store's parts are one or two deep.
const MAX_DEPTH: u32 = 4;

/// Bytes of all files in `dir` and below. Files that vanish meanwhile count for nothing.
///
/// # Errors
/// The system's if `dir` itself cannot be read.
pub fn used(dir: &Path) -> io::Result<u64> {
    fn below(dir: &Path, depth: u32) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(dir)?.flatten() {
            bytes += match entry.metadata() {
                Ok(metadata) if metadata.is_dir() && depth < MAX_DEPTH => below(&entry.path(), depth + 1).unwrap_or(0),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            };
        }
        Ok(bytes)
    }
    below(dir, 0)
}

/// Bytes that this user may still write to the file system of `dir`.
///
/// # Errors
/// The system's.
pub fn free(dir: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(dir)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// How much room a directory takes, counted now and then: there may be thousands of files, and anybody may ask.
#[derive(Debug, Default)]
pub struct Meter {
    counted: Mutex<Option<(Instant, u64)>>,
}

/// Between two counts, at least.
const COUNT_EVERY: Duration = Duration::from_secs(5);

impl Meter {
    /// As [`used`], up to 5 s ago.
    ///
    /// # Errors
    /// As [`used`].
    pub fn used(&self, dir: &Path) -> io::Result<u64> {
        // Whoever comes while somebody counts waits for that count instead of making another one.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match *counted {
            Some((at, bytes)) if at.elapsed() < COUNT_EVERY => Ok(bytes),
            _ => {
                let bytes = used(dir)?;
                *counted = Some((Instant::now(), bytes));
                Ok(bytes)
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_however_deep_they_lie() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(used(dir.path()).expect("readable"), 0);
        fs::write(dir.path().join("one"), [0; 100]).expect("written");
        fs::create_dir_all(dir.path().join("a/b")).expect("created");
        fs::write(dir.path().join("a/b/two"), [0; 23]).expect("written");
        assert_eq!(used(dir.path()).expect("readable"), 123);
        let meter = Meter::default();
        assert_eq!(meter.used(dir.path()).expect("readable"), 123);
        fs::write(dir.path().join("three"), [0; 7]).expect("written");
        assert_eq!(meter.used(dir.path()).expect("just counted"), 123);
        assert_eq!(Meter::default().used(dir.path()).expect("readable"), 130);
        assert!(free(dir.path()).expect("a file system") > 0);
        assert!(used(&dir.path().join("none")).is_err() && free(&dir.path().join("none")).is_err());
    }
}
