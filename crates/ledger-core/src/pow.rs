//! Proof of work: one compression an attempt.
//!
//! The prefix and all of the header but its last 40 bytes fill three 64-byte inputs, compressed once; the nonce falls
//! into the fourth and last.

use crate::codec::encode;
use crate::crypto::{Tag, prefix};
use crate::header::{BlockHeader, HEADER_BYTES, NONCE_OFFSET};
use crate::ids::{BlockHash, FederationId};
use crate::sha::{BLOCK_BYTES, Midstate, bytes_of};

/// Bytes hashed: the tag's prefix, then the header.
const MESSAGE_BYTES: usize = BLOCK_BYTES + HEADER_BYTES;

/// Bytes before the last input of the compression.
const WHOLE_BYTES: usize = MESSAGE_BYTES / BLOCK_BYTES * BLOCK_BYTES;

/// Where the nonce stands in the last input.
const NONCE_AT: usize = NONCE_OFFSET + BLOCK_BYTES - WHOLE_BYTES;

/// Inputs that are made at once. A nonce that is read right after it was written would be waited for.
const INPUTS: usize = 16;

/// A search for a header's nonce.
#[derive(Clone)]
pub struct NonceSearch {
    header: BlockHeader,
    midstate: Midstate,
    last: [u8; BLOCK_BYTES],
}

impl NonceSearch {
    /// Prepares the search for `header` in `federation` (zeros for genesis), from the header's nonce on.
    pub fn new(federation: &FederationId, header: BlockHeader) -> Self {
        let mut message = [&prefix(Tag::Block, federation, &[])[..], &encode(&header)].concat();
        debug_assert_eq!(message.len(), MESSAGE_BYTES);
        Midstate::after(&[]).pad(&mut message, 0);
        let (blocks, _) = message.as_chunks();
        let (before, last) = blocks.split_at(WHOLE_BYTES / BLOCK_BYTES);
        Self { header, midstate: Midstate::after(before), last: last[0] }
    }

    /// Tries up to `attempts` nonces in order; the header with the first that meets its difficulty, or `None`, after
    /// which the next call goes on.
    pub fn run(&mut self, attempts: u32) -> Option<(BlockHeader, BlockHash)> {
        let unmet = 32 - 4 * self.header.difficulty.digits();
        let mut inputs = [self.last; INPUTS];
        let mut left = attempts as usize;
        while left > 0 {
            let count = left.min(INPUTS);
            for (nonce, input) in (0..).zip(&mut inputs[..count]) {
                let nonce = self.header.nonce.wrapping_add(nonce);
                input[NONCE_AT..NONCE_AT + 8].copy_from_slice(&nonce.to_le_bytes());
            }
            for input in &inputs[..count] {
                let state = self.midstate.state_after(std::array::from_ref(input));
                // The first word alone decides for up to eight digits.
                if state[0] >> unmet == 0 {
                    return Some((self.header.clone(), BlockHash::from_bytes(bytes_of(&state))));
                }
                self.header.nonce = self.header.nonce.wrapping_add(1);
            }
            left -= count;
        }
        None
    }
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
