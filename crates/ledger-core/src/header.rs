//! A block's header: 168 bytes that name everything in the block (protocol, section 4).

use crate::codec::{Decode, Encode, decode_through};
use crate::ids::{BlockHash, Height, StationId};
use crate::time::Timestamp;

/// The version of blocks that this program makes and understands.
pub const BLOCK_VERSION: u32 = 1;

/// Bytes of an encoded header.
pub const HEADER_BYTES: usize = 168;

/// Where the nonce starts in an encoded header: it ends it, so it falls into the last 64 bytes that are hashed.
pub const NONCE_OFFSET: usize = HEADER_BYTES - 8;

/// How many zero hex digits a block's hash starts with: 1..=8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct Difficulty(u32);

impl Difficulty {
    /// The guide's default: two zero digits.
    pub const DEFAULT: Self = Self(2);

    /// Takes a number of zero hex digits; `None` outside 1..=8.
    pub const fn new(digits: u32) -> Option<Self> {
        if digits >= 1 && digits <= 8 { Some(Self(digits)) } else { None }
    }

    /// The number of zero hex digits.
    pub const fn digits(self) -> u32 {
        self.0
    }

    /// The expected number of attempts for one block: 16^difficulty.
    pub const fn work(self) -> Work {
        Work(1 << (4 * self.0))
    }

    /// Whether `hash` has enough leading zero digits.
    pub fn is_met_by(self, hash: &BlockHash) -> bool {
        let digits = self.0 as usize;
        let (whole, half) = (digits / 2, digits % 2);
        let bytes = hash.as_bytes();
        bytes[..whole].iter().all(|byte| *byte == 0) && (half == 0 || bytes[whole] < 0x10)
    }
}

decode_through!(Difficulty, u32, Difficulty::new, "difficulty out of range");

/// Accumulated work: the sum of 16^difficulty over a chain's blocks, genesis included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Work(u128);

impl Work {
    /// None.
    pub const ZERO: Self = Self(0);

    /// This and `other` together. 2^96 blocks of the highest difficulty would fit.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The expected number of hash attempts.
    pub const fn attempts(self) -> u128 {
        self.0
    }
}

/// A block's header, in the order of its encoding.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockHeader {
    /// The version of the block's rules: [`BLOCK_VERSION`].
    pub version: u32,
    /// The federation's difficulty.
    pub difficulty: Difficulty,
    /// The block's height; genesis has 0.
    pub index: Height,
    /// The parent's hash; zeros for genesis.
    pub previous: BlockHash,
    /// The Merkle root of the batches' ids; for genesis the hash of the federation's parameters.
    pub merkle_root: [u8; 32],
    /// The number of batches.
    pub batch_count: u32,
    /// The sum of the encoded lengths of the signed batches, in bytes.
    pub body_bytes: u32,
    /// When the producer made it.
    pub timestamp: Timestamp,
    /// Who made it; zeros for genesis.
    pub producer: StationId,
    /// The next preimage of the producer's reveal chain; zeros for genesis.
    pub reveal: [u8; 32],
    /// What proof of work varies.
    pub nonce: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difficulty_counts_leading_zero_hex_digits() {
        let hash = |first: [u8; 3]| {
            let mut bytes = [0xff; 32];
            bytes[..3].copy_from_slice(&first);
            BlockHash::from_bytes(bytes)
        };
        let met = |digits, first| Difficulty::new(digits).expect("in range").is_met_by(&hash(first));
        assert!(met(1, [0x0f, 0xff, 0xff]) && !met(1, [0x10, 0, 0]));
        assert!(met(2, [0, 0xff, 0xff]) && !met(2, [1, 0, 0]));
        assert!(met(3, [0, 0x0f, 0xff]) && !met(3, [0, 0x10, 0]));
        assert_eq!((Difficulty::new(0), Difficulty::new(9)), (None, None));
        assert_eq!(Difficulty::new(8).map(|d| d.work().attempts()), Some(1 << 32));
    }
}
