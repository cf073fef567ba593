//! Proof of work: one compression an attempt.
//!
//! The prefix and all of the header but its last 40 bytes fill three 64-byte inputs, compressed once; the nonce falls
//! into the fourth and last.

use sha2::block_api::compress256;

use crate::codec::encode;
use crate::crypto::{Tag, prefix};
use crate::header::{BlockHeader, HEADER_BYTES, NONCE_OFFSET};
use crate::ids::{BlockHash, FederationId};

/// SHA-256's initial state (FIPS 180-4, section 5.3.3).
const INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Bytes hashed: the tag's prefix, then the header.
const MESSAGE_BYTES: usize = 64 + HEADER_BYTES;

/// Bytes before the last input of the compression.
const WHOLE_BYTES: usize = MESSAGE_BYTES / 64 * 64;

/// A search for a header's nonce.
#[derive(Clone)]
pub struct NonceSearch {
    header: BlockHeader,
    midstate: [u32; 8],
    last: [u8; 64],
}

impl NonceSearch {
    /// Prepares the search for `header` in `federation` (zeros for genesis), from the header's nonce on.
    pub fn new(federation: &FederationId, header: BlockHeader) -> Self {
        let message = [&prefix(Tag::Block, federation, &[])[..], &encode(&header)].concat();
        debug_assert_eq!(message.len(), MESSAGE_BYTES);
        let mut midstate = INITIAL_STATE;
        for block in message[..WHOLE_BYTES].chunks_exact(64) {
            compress256(&mut midstate, &[block.try_into().expect("chunks of exactly 64")]);
        }
        // The padding of FIPS 180-4: a one bit, zeros, the length in bits.
        let mut last = [0; 64];
        let rest = MESSAGE_BYTES - WHOLE_BYTES;
        last[..rest].copy_from_slice(&message[WHOLE_BYTES..]);
        last[rest] = 0x80;
        last[56..].copy_from_slice(&(8 * MESSAGE_BYTES as u64).to_be_bytes());
        Self { header, midstate, last }
    }

    /// Tries up to `attempts` nonces in order; the header with the first that meets its difficulty, or `None`, after
    /// which the next call goes on.
    pub fn run(&mut self, attempts: u32) -> Option<(BlockHeader, BlockHash)> {
        const AT: usize = NONCE_OFFSET + 64 - WHOLE_BYTES;
        for _ in 0..attempts {
            self.last[AT..AT + 8].copy_from_slice(&self.header.nonce.to_le_bytes());
            let mut state = self.midstate;
            compress256(&mut state, &[self.last]);
            // The first word alone decides for up to eight digits.
            if state[0] >> (32 - 4 * self.header.difficulty.digits()) == 0 {
                return Some((self.header.clone(), hash_of(&state)));
            }
            self.header.nonce = self.header.nonce.wrapping_add(1);
        }
        None
    }
}

fn hash_of(state: &[u32; 8]) -> BlockHash {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    BlockHash::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::TaggedHash;
    use crate::header::{BLOCK_VERSION, Difficulty};
    use crate::ids::{Height, StationId};
    use crate::time::Timestamp;

    #[test]
    fn the_nonce_found_gives_the_tagged_hash_and_meets_the_difficulty() {
        let federation = FederationId::from_bytes([5; 32]);
        for digits in 1..=4 {
            let header = BlockHeader {
                version: BLOCK_VERSION,
                difficulty: Difficulty::new(digits).expect("in range"),
                index: Height::new(7),
                previous: BlockHash::from_bytes([1; 32]),
                merkle_root: [2; 32],
                batch_count: 3,
                body_bytes: 4,
                timestamp: Timestamp::EPOCH,
                producer: StationId::from_bytes([6; 32]),
                reveal: [7; 32],
                nonce: u64::MAX - 10,
            };
            let mut search = NonceSearch::new(&federation, header);
            let (found, hash) = std::iter::repeat_with(|| search.run(1_000)).find_map(|found| found).expect("endless");
            let expected = TaggedHash::new(Tag::Block, &federation, &[]).hash(&[&encode(&found)]);
            assert_eq!(hash.as_bytes(), &expected);
            assert!(found.difficulty.is_met_by(&hash), "{hash}");
        }
    }
}
