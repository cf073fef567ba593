//! The pool: what was drawn ahead, so that nobody waits for Python.
//!
//! A block is the SHA-256 of 384 raw bits. At the assessed 0.9 bits each (see `health`) they hold 345 bits of entropy, more
//! than the 320 that SP 800-90C asks for 256 bits of output. It is never given out as it is: `qrng` mixes it.

use std::collections::VecDeque;
use std::fmt;

use sha2::{Digest, Sha256};

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 32;

/// Raw bytes that a block is made of.
pub(super) const RAW_BYTES: usize = 48;

/// Blocks that are kept of the simulator, which makes about 20 KiB a second: 15 KiB, of 40 draws.
pub(super) const LOCAL_CAPACITY: usize = 40 * REMOTE_CAPACITY;

/// Blocks that are kept of hardware, where every draw is a job that somebody pays for: what one draw makes.
pub(super) const REMOTE_CAPACITY: usize = super::process::DRAWN_BYTES / RAW_BYTES;

/// The hash that makes a block; the tag stands in front of it as in the ledger's hashes.
///
/// Plain SHA-256 and no `Tag` of the ledger's: no other station ever sees or checks these hashes.
pub(super) fn tagged(tag: &str) -> Sha256 {
    let tag = Sha256::digest(tag);
    Sha256::new_with_prefix(tag).chain_update(tag)
}

/// Blocks, the oldest first. Not shown by `Debug`.
pub(super) struct Pool {
    blocks: VecDeque<[u8; BLOCK_BYTES]>,
    capacity: usize,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} of {} blocks)", self.blocks.len(), self.capacity)
    }
}

impl Pool {
    /// An empty one that keeps `capacity` blocks.
    pub(super) const fn new(capacity: usize) -> Self {
        Self { blocks: VecDeque::new(), capacity }
    }

    /// Makes blocks of tested raw bytes. What does not fill one, or finds no room, is left out.
    pub(super) fn add(&mut self, raw: &[u8]) {
        let (parts, _) = raw.as_chunks::<RAW_BYTES>();
        for part in parts.iter().take(self.room()) {
            self.blocks.push_back(tagged("qfzz/quantum/1").chain_update(part).finalize().into());
        }
    }

    /// The oldest block; it is given once.
    pub(super) fn take(&mut self) -> Option<[u8; BLOCK_BYTES]> {
        self.blocks.pop_front()
    }

    /// Blocks that find room.
    pub(super) fn room(&self) -> usize {
        self.capacity - self.blocks.len()
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// Bytes that it holds when it is full.
    pub(super) const fn capacity_bytes(&self) -> usize {
        self.capacity * BLOCK_BYTES
    }

    /// Throws all away.
    pub(super) fn clear(&mut self) {
        self.blocks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 20;

    #[test]
    fn it_is_bounded_and_gives_each_block_once() {
        let mut pool = Pool::new(CAPACITY);
        pool.add(&[7; RAW_BYTES - 1]);
        assert_eq!(pool.take(), None, "too little for a block");
        let raw: Vec<u8> = (0..2 * CAPACITY * RAW_BYTES).map(|at| (at / RAW_BYTES) as u8 ^ (at >> 12) as u8).collect();
        pool.add(&raw);
        assert_eq!((pool.room(), pool.bytes()), (0, CAPACITY * BLOCK_BYTES));
        let first = pool.take().expect("full");
        assert_eq!(first, <[u8; 32]>::from(tagged("qfzz/quantum/1").chain_update(&raw[..RAW_BYTES]).finalize()));
        assert_ne!(pool.take(), Some(first));
        assert_eq!(format!("{pool:?}"), "Pool(18 of 20 blocks)");
    }
}
