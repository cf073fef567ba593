//! How much room the data takes, and how much is left for it.

use std::fs;
use std::io;
use std::path::Path;

/// Directories below the data directory that are entered, at most: the store's parts are one or two deep.
const MAX_DEPTH: u32 = 4;

/// Bytes of all files in `dir` and below. Files that vanish meanwhile count for nothing.
///
/// # Errors
/// The system's if `dir` itself cannot be read.
pub(crate) fn used(dir: &Path) -> io::Result<u64> {
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
pub(crate) fn free(dir: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(dir)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
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
        assert!(free(dir.path()).expect("a file system") > 0);
        assert!(used(&dir.path().join("none")).is_err() && free(&dir.path().join("none")).is_err());
    }
}
