//! Values as they lie in sled, and what sled writes whole or not at all.

use super::view::{Damage, ViewError};

/// A value as it lies in sled: its bytes, then a checksum over key and value.
pub(super) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    [value, &checksum(key, value)].concat()
}

/// The value in what [`seal`] gave for the same key.
pub(super) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], ViewError> {
    match sealed.split_last_chunk::<4>() {
        Some((value, found)) if *found == checksum(key, value) => Ok(value),
        _ => Err(ViewError::damaged(Damage::Checksum)),
    }
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

/// What sled writes whole or not at all, and how many bytes of keys and values that is.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) batch: sled::Batch,
    pub(super) bytes: usize,
}

impl Batch {
    /// Writes `value`, sealed.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        let sealed = seal(key, value);
        self.bytes += key.len() + sealed.len();
        self.batch.insert(key, sealed);
    }

    /// Removes a value.
    pub(super) fn remove(&mut self, key: &[u8]) {
        self.bytes += key.len();
        self.batch.remove(key);
    }
}
