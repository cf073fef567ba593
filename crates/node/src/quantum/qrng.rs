//! The generator: what callers take random numbers from.

use std::fmt;

use sha2::Digest;

use super::pool::{BLOCK_BYTES, tagged};
use super::provider::QuantumProvider;

/// Bytes that one call gives, at most.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Bits of a number, at most.
pub const MAX_BITS: u32 = 64;

/// What a generator rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// Q#, mixed with the operating system's generator.
    Qdk,
    /// The operating system's generator alone.
    Classical,
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qdk => "qdk-qrng",
            Self::Classical => "classical-csprng",
        })
    }
}

/// Why there is no random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RandomError {
    /// A number of no bits, or of too many.
    #[error("{given} bits are out of range: give 1 to {MAX_BITS}")]
    Bits {
        /// What was asked for.
        given: u32,
    },
    /// No bytes, or too many.
    #[error("{given} bytes are out of range: give 1 to {MAX_BYTES}")]
    Bytes {
        /// What was asked for.
        given: usize,
    },
    /// The operating system has no randomness.
    #[error("the operating system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

/// Random numbers that are never weaker than the operating system's. Clones share one source.
///
/// Every output is the operating system's bytes XOR what follows from one block of the pool, which they don't depend on:
/// whoever knows all about the source, or wrote it, knows nothing about the sum. Where the pool is empty the operating
/// system's bytes are given alone. No call waits for the source.
#[derive(Clone, Debug)]
pub struct QuantumRandomNumberGenerator {
    provider: QuantumProvider,
}

impl QuantumRandomNumberGenerator {
    /// A generator on the source of `provider`.
    pub const fn new(provider: QuantumProvider) -> Self {
        Self { provider }
    }

    /// What the next call rests on.
    pub fn backend(&self) -> Generator {
        if self.provider.status().pool_bytes > 0 { Generator::Qdk } else { Generator::Classical }
    }

    /// A start for a miner, 32 bits.
    ///
    /// # Errors
    /// [`RandomError::NoRandomness`].
    pub fn random_nonce(&self) -> Result<u32, RandomError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A number below 2^`bits`, for 1 to [`MAX_BITS`] bits.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn random_int(&self, bits: u32) -> Result<u64, RandomError> {
        if !(1..=MAX_BITS).contains(&bits) {
            return Err(RandomError::Bits { given: bits });
        }
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes) >> (MAX_BITS - bits))
    }

    /// `count` bytes, 1 to [`MAX_BYTES`].
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn random_bytes(&self, count: usize) -> Result<Vec<u8>, RandomError> {
        if !(1..=MAX_BYTES).contains(&count) {
            return Err(RandomError::Bytes { given: count });
        }
        let mut bytes = vec![0; count];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Fills `bytes`, in the caller's own place: a secret leaves no copy behind.
    ///
    /// # Errors
    /// [`RandomError::NoRandomness`].
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(RandomError::NoRandomness)?;
        if let Some(block) = self.provider.take() {
            mix(bytes, &block);
        }
        Ok(())
    }
}

/// Adds (XOR) a block to `bytes`; to more than a block's length what SHA-256 makes of block and place.
fn mix(bytes: &mut [u8], block: &[u8; BLOCK_BYTES]) {
    let add = |bytes: &mut [u8], stream: &[u8]| bytes.iter_mut().zip(stream).for_each(|(byte, other)| *byte ^= other);
    if bytes.len() <= BLOCK_BYTES {
        return add(bytes, block);
    }
    let stretch = tagged("qfzz/quantum-stretch/1").chain_update(block);
    for (place, part) in (0_u64..).zip(bytes.chunks_mut(BLOCK_BYTES)) {
        add(part, &stretch.clone().chain_update(place.to_le_bytes()).finalize());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mixed_in_can_be_taken_out_again_so_it_takes_nothing_away() {
        for length in [1, 31, 32, 33, 64, 1_000] {
            let before: Vec<u8> = (0..length).map(|at: usize| at as u8).collect();
            let mut bytes = before.clone();
            mix(&mut bytes, &[9; BLOCK_BYTES]);
            assert_ne!(bytes, before);
            mix(&mut bytes, &[9; BLOCK_BYTES]);
            assert_eq!(bytes, before, "{length} bytes");
        }
    }

    #[test]
    fn a_stretched_block_never_shows_itself_nor_repeats() {
        let mut stream = [0; 8 * BLOCK_BYTES];
        mix(&mut stream, &[9; BLOCK_BYTES]);
        let parts: std::collections::BTreeSet<&[u8]> = stream.chunks(BLOCK_BYTES).collect();
        assert_eq!(parts.len(), 8);
        assert!(!parts.contains(&[9; BLOCK_BYTES][..]));
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_naming_the_range() {
        let qrng = QuantumRandomNumberGenerator::new(QuantumProvider::off());
        for bits in [0, 65, u32::MAX] {
            assert_eq!(qrng.random_int(bits), Err(RandomError::Bits { given: bits }));
        }
        for count in [0, MAX_BYTES + 1, usize::MAX] {
            assert_eq!(qrng.random_bytes(count), Err(RandomError::Bytes { given: count }));
        }
        assert_eq!(RandomError::Bits { given: 65 }.to_string(), "65 bits are out of range: give 1 to 64");
        for bits in 1..=64 {
            let number = qrng.random_int(bits).expect("in range");
            assert!(bits == 64 || number < 1 << bits, "{number} of {bits} bits");
        }
        assert_eq!(qrng.backend().to_string(), "classical-csprng");
        assert_eq!(qrng.random_bytes(MAX_BYTES).expect("in range").len(), MAX_BYTES);
    }
}
