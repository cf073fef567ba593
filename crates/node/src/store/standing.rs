//! What the view says about itself: how far it is, and a sum over all that it holds.

use sha2::{Digest, Sha256};

use super::journal::Position;

/// What the entries mean. A view of another version's is set aside and built anew from the journal.
const LAYOUT: u8 = 3;

/// Bytes of an encoded [`Standing`].
pub(super) const STANDING_BYTES: usize = 33;

/// What the view says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The journal's position that it stands for.
    pub(super) position: Position,
    /// Entries that it has.
    pub(super) entries: u64,
    /// Sum modulo 2^128 of a hash of each entry.
    pub(super) sum: u128,
}

impl Standing {
    pub(super) const EMPTY: Self = Self { position: Position::START, entries: 0, sum: 0 };

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(STANDING_BYTES);
        bytes.extend_from_slice(&self.position.file.to_le_bytes());
        bytes.extend_from_slice(&self.position.offset.to_le_bytes());
        bytes.extend_from_slice(&self.entries.to_le_bytes());
        bytes.extend_from_slice(&self.sum.to_le_bytes());
        bytes.push(LAYOUT);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (file, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (entries, rest) = rest.split_first_chunk()?;
        let rest = rest.strip_suffix(&[LAYOUT])?;
        let position = Position { file: u32::from_le_bytes(*file), offset: u32::from_le_bytes(*offset) };
        let sum = u128::from_le_bytes(rest.try_into().ok()?);
        Some(Self { position, entries: u64::from_le_bytes(*entries), sum })
    }

    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.add_hash(entry_hash(key, value));
    }

    /// Adds an entry by its hash.
    pub(super) fn add_hash(&mut self, hash: u128) {
        self.entries = self.entries.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash);
    }

    pub(super) fn subtract(&mut self, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(entry_hash(key, value));
    }
}

/// The hash of an entry, as it is summed up.
pub(super) fn entry_hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update((key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    u128::from_le_bytes(half)
}
