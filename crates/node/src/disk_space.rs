//! How much room the disk has left.

use std::io;
use std::path::Path;

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

/// Bytes as people say them, in MiB.
pub fn in_mib(bytes: u64) -> String {
    format!("{} MiB", bytes / (1024 * 1024))
}
