//! A file on its way in: written to the station's disk as it comes, and gone when it is closed.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::api::port::{PortError, Upload};
use crate::disk_space;
use crate::node::CheckProgress;

/// Bytes between two looks at how much room the disk has.
const LOOK_EVERY: u64 = 4 * 1024 * 1024;

/// Bytes that are read from it at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that has arrived whole. It has no name: nothing of it is left once it is dropped, nor after a crash.
pub(crate) struct Spooled {
    file: File,
    bytes: u64,
    sha256: [u8; 32],
}

/// Takes in a file, as long as there is room for it on the disk of `dir`.
///
/// # Errors
/// [`PortError`] where it breaks off, or the disk is full.
pub(crate) async fn spool(dir: &Path, mut upload: Upload) -> Result<Spooled, PortError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PortError::DiskFull,
        _ => PortError::Failed { reason: format!("the file cannot be kept: {error}") },
    };
    let file = tempfile::tempfile_in(dir).map_err(failed)?;
    let mut writer = tokio::fs::File::from_std(file);
    let (mut bytes, mut look_at, mut hash) = (0, 0, Sha256::new());
    while let Some(chunk) = upload.next().await {
        let chunk = chunk.map_err(|error| PortError::BrokeOff { reason: error.to_string() })?;
        if bytes >= look_at {
            if disk_space::free(dir).map_err(failed)? < disk_space::RESERVE_BYTES + LOOK_EVERY {
                return Err(PortError::DiskFull);
            }
            look_at = bytes + LOOK_EVERY;
        }
        hash.update(&chunk);
        bytes += chunk.len() as u64;
        writer.write_all(&chunk).await.map_err(failed)?;
    }
    writer.flush().await.map_err(failed)?;
    Ok(Spooled { file: writer.into_std().await, bytes, sha256: hash.finalize().into() })
}

impl Spooled {
    /// The SHA-256 of its bytes.
    pub(crate) const fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Reads it from its beginning; `progress` learns how far, in bytes. One reader at a time.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn reader(&self, progress: &Arc<CheckProgress>) -> io::Result<BufReader<Counted>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let counted = Counted { file, done: 0, of: self.bytes, progress: Arc::clone(progress) };
        Ok(BufReader::with_capacity(BUFFER_BYTES, counted))
    }
}

/// A file that tells how far it is read, until it is dropped.
pub(crate) struct Counted {
    file: File,
    done: u64,
    of: u64,
    progress: Arc<CheckProgress>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done += read as u64;
        self.progress.set(self.done, self.of);
        Ok(read)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.progress.set(0, 0);
    }
}
