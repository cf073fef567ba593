//! SHA-256 after a prefix of one or more whole blocks, from its midstate.
//!
//! Padding and blocks are made here instead of in a hasher that may be fed anything: a record's hash is two
//! compressions, and the bookkeeping around them would cost as much again.

use sha2::block_api::compress256;

/// Bytes of a block: what one compression takes in.
pub(crate) const BLOCK_BYTES: usize = 64;

/// SHA-256's initial state (FIPS 180-4, section 5.3.3).
const INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The state after a prefix, and the prefix's length.
#[derive(Clone, Copy)]
pub(crate) struct Midstate {
    state: [u32; 8],
    bytes: u64,
}

impl Midstate {
    /// After `prefix`.
    pub(crate) fn after(prefix: &[[u8; BLOCK_BYTES]]) -> Self {
        let mut state = INITIAL_STATE;
        compress256(&mut state, prefix);
        Self { state, bytes: (BLOCK_BYTES * prefix.len()) as u64 }
    }

    /// The hash of the prefix and the concatenation of `parts`.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let (mut state, mut block, mut filled) = (self.state, [0; BLOCK_BYTES], 0);
        let mut length = self.bytes;
        for part in parts {
            length += part.len() as u64;
            let mut part = *part;
            while filled + part.len() >= BLOCK_BYTES {
                let (head, rest) = part.split_at(BLOCK_BYTES - filled);
                block[filled..].copy_from_slice(head);
                compress256(&mut state, std::array::from_ref(&block));
                (part, filled) = (rest, 0);
            }
            block[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
        }
        let mut last = [[0; BLOCK_BYTES]; 2];
        last[0][..filled].copy_from_slice(&block[..filled]);
        last[0][filled] = 0x80;
        let count = if filled + 9 > BLOCK_BYTES { 2 } else { 1 };
        last[count - 1][BLOCK_BYTES - 8..].copy_from_slice(&(8 * length).to_be_bytes());
        compress256(&mut state, &last[..count]);
        bytes_of(&state)
    }

    /// The hash of the prefix and the two halves of a block.
    pub(crate) fn hash_pair(&self, left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
        let (mut state, mut blocks) = (self.state, [[0; BLOCK_BYTES]; 2]);
        blocks[0][..32].copy_from_slice(left);
        blocks[0][32..].copy_from_slice(right);
        blocks[1][0] = 0x80;
        blocks[1][BLOCK_BYTES - 8..].copy_from_slice(&(8 * (self.bytes + BLOCK_BYTES as u64)).to_be_bytes());
        compress256(&mut state, &blocks);
        bytes_of(&state)
    }

    /// The hash of the prefix and what is left of a message, padded already: [`pad`] does it.
    pub(crate) fn hash_padded(&self, blocks: &[[u8; BLOCK_BYTES]]) -> [u8; 32] {
        bytes_of(&self.state_after(blocks))
    }

    /// The state after further blocks.
    pub(crate) fn state_after(&self, blocks: &[[u8; BLOCK_BYTES]]) -> [u32; 8] {
        let mut state = self.state;
        compress256(&mut state, blocks);
        state
    }

    /// Pads the message in `buffer[from..]`, which follows this prefix: a one bit, zeros, the length in bits.
    pub(crate) fn pad(&self, buffer: &mut Vec<u8>, from: usize) {
        let bits = 8 * (self.bytes + (buffer.len() - from) as u64);
        buffer.push(0x80);
        let end = from + (buffer.len() - from + 8).next_multiple_of(BLOCK_BYTES);
        buffer.resize(end - 8, 0);
        buffer.extend_from_slice(&bits.to_be_bytes());
    }
}

/// A state as the hash that it is after the last block.
pub(crate) fn bytes_of(state: &[u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn every_way_of_hashing_gives_sha_256_for_messages_of_every_length() {
        let prefix = [[7; BLOCK_BYTES]; 2];
        let midstate = Midstate::after(&prefix);
        let message: Vec<u8> = (0..=255).cycle().take(300).collect();
        for length in 0..message.len() {
            let message = &message[..length];
            let expected: [u8; 32] = Sha256::digest([prefix.as_flattened(), message].concat()).into();
            let (left, right) = message.split_at(length / 3);
            assert_eq!(midstate.hash(&[left, &[], right]), expected, "{length}");
            let mut buffer = b"before".to_vec();
            buffer.extend_from_slice(message);
            midstate.pad(&mut buffer, 6);
            let (blocks, rest) = buffer[6..].as_chunks();
            assert!(rest.is_empty());
            assert_eq!(midstate.hash_padded(blocks), expected, "{length}");
        }
        let expected: [u8; 32] = Sha256::digest([prefix.as_flattened(), &[1; 32], &[2; 32]].concat()).into();
        assert_eq!(midstate.hash_pair(&[1; 32], &[2; 32]), expected);
    }
}
