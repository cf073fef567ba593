//! The SHA-256 of a file's content, read piece by piece: a file of any length takes the same little memory.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Bytes read at once.
pub(crate) const PIECE: usize = 1024 * 1024;

/// The SHA-256 of what `file` still holds, and how many bytes that are. `go_on` hears after each piece how many were
/// read so far; where it says no, this ends with `None`.
///
/// # Errors
/// The system's.
pub(crate) fn sha256_of(
    file: &mut impl Read,
    mut go_on: impl FnMut(u64) -> bool,
) -> io::Result<Option<([u8; 32], u64)>> {
    let (mut hasher, mut piece, mut bytes) = (Sha256::new(), vec![0; PIECE], 0_u64);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(Some((hasher.finalize().into(), bytes)));
        }
        hasher.update(&piece[..read]);
        bytes += read as u64;
        if !go_on(bytes) {
            return Ok(None);
        }
    }
}
