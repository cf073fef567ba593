//! A station's reveal chain, and the draws that follow from reveals (protocol, section 4).
//!
//! The chain starts from a secret; each step hashes the one before. The introduction commits to the end, and each
//! block that the station produces reveals the next preimage, so nobody can choose a draw by trying nonces.

use crate::crypto::{Tag, TaggedHash};
use crate::ids::{FederationId, StationId};

/// Steps of a station's reveal chain by default: blocks that it can produce.
pub const DEFAULT_REVEALS: u32 = 1 << 22;

/// Steps between two checkpoints that a station keeps.
pub const REVEAL_CHECKPOINT: u32 = 1 << 11;

/// Blocks before the end of its reveal chain at which a station begins to warn.
pub const REVEALS_LOW: u32 = 10_000;

/// One step of the chains of one station.
#[derive(Clone)]
pub struct RevealStep(TaggedHash);

impl RevealStep {
    /// The step function of `station` in `federation`.
    pub fn new(federation: &FederationId, station: &StationId) -> Self {
        Self(TaggedHash::new(Tag::Reveal, federation, &[station.as_bytes()]))
    }

    /// The value that `preimage` opens.
    pub fn of(&self, preimage: &[u8; 32]) -> [u8; 32] {
        self.0.hash(&[preimage])
    }
}

/// A station's own chain, with a checkpoint every 2^11 steps so that a reveal costs at most as many hashes.
#[derive(Clone)]
pub struct RevealChain {
    step: RevealStep,
    steps: u32,
    /// The values at 0, 2^11, 2 * 2^11, ... steps from the secret.
    checkpoints: Vec<[u8; 32]>,
    commitment: [u8; 32],
}

impl RevealChain {
    /// Walks the whole chain once: `steps` hashes, about 0.3 s for the default.
    pub fn new(federation: &FederationId, station: &StationId, secret: [u8; 32], steps: u32) -> Self {
        let step = RevealStep::new(federation, station);
        let mut checkpoints = Vec::with_capacity((steps / REVEAL_CHECKPOINT + 1) as usize);
        let mut value = secret;
        for number in 0..steps {
            if number % REVEAL_CHECKPOINT == 0 {
                checkpoints.push(value);
            }
            value = step.of(&value);
        }
        Self { step, steps, checkpoints, commitment: value }
    }

    /// Takes up a chain from kept `checkpoints`; `None` if they are not those of this secret, length and commitment.
    ///
    /// Only the first checkpoint and the last stretch are recomputed; a wrong one between them shows when a reveal
    /// from it does not open its successor ([`RevealChain::reveal`]).
    pub fn resume(
        federation: &FederationId,
        station: &StationId,
        secret: [u8; 32],
        steps: u32,
        checkpoints: Vec<[u8; 32]>,
        commitment: [u8; 32],
    ) -> Option<Self> {
        let expected = steps.div_ceil(REVEAL_CHECKPOINT) as usize;
        if checkpoints.len() != expected || checkpoints.first() != Some(&secret) {
            return None;
        }
        let chain = Self { step: RevealStep::new(federation, station), steps, checkpoints, commitment };
        (chain.value_at(steps)? == commitment).then_some(chain)
    }

    /// What the introduction commits to: the chain's end.
    pub const fn commitment(&self) -> [u8; 32] {
        self.commitment
    }

    /// The checkpoints, to be kept for [`RevealChain::resume`].
    pub fn checkpoints(&self) -> &[[u8; 32]] {
        &self.checkpoints
    }

    /// The chain's length.
    pub const fn steps(&self) -> u32 {
        self.steps
    }

    /// The preimage for a station that has produced `produced` blocks on the branch, given what its last block (or
    /// its introduction) left as `last`; `None` when the chain is used up or does not lead to `last`.
    pub fn reveal(&self, produced: u64, last: &[u8; 32]) -> Option<[u8; 32]> {
        let at = u32::try_from(u64::from(self.steps).checked_sub(produced)?.checked_sub(1)?).ok()?;
        let value = self.value_at(at)?;
        (self.step.of(&value) == *last).then_some(value)
    }

    /// Blocks that can still be produced after `produced`.
    pub fn left(&self, produced: u64) -> u64 {
        u64::from(self.steps).saturating_sub(produced)
    }

    /// The value `at` steps from the secret.
    fn value_at(&self, at: u32) -> Option<[u8; 32]> {
        let index = (at / REVEAL_CHECKPOINT).min(u32::try_from(self.checkpoints.len()).ok()?.checked_sub(1)?);
        let start = *self.checkpoints.get(index as usize)?;
        Some((index * REVEAL_CHECKPOINT..at).fold(start, |value, _| self.step.of(&value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEDERATION: FederationId = FederationId::from_bytes([1; 32]);
    const STATION: StationId = StationId::from_bytes([2; 32]);

    #[test]
    fn each_reveal_opens_the_one_before_until_the_chain_is_used_up() {
        let chain = RevealChain::new(&FEDERATION, &STATION, [3; 32], 5_000);
        let step = RevealStep::new(&FEDERATION, &STATION);
        let mut last = chain.commitment();
        for produced in 0..5_000 {
            let reveal = chain.reveal(produced, &last).expect("the chain has 5,000 steps");
            assert_eq!(step.of(&reveal), last);
            last = reveal;
        }
        assert_eq!(last, [3; 32]);
        assert_eq!(chain.reveal(5_000, &last), None);
        assert_eq!(chain.left(4_990), 10);
    }

    #[test]
    fn a_chain_resumes_from_its_checkpoints_only() {
        for steps in [1_000, 2_048, 5_000] {
            let chain = RevealChain::new(&FEDERATION, &STATION, [3; 32], steps);
            let resume = |checkpoints, commitment| {
                RevealChain::resume(&FEDERATION, &STATION, [3; 32], steps, checkpoints, commitment)
            };
            let kept = chain.checkpoints().to_vec();
            let resumed = resume(kept.clone(), chain.commitment()).expect("the same chain");
            assert_eq!(resumed.reveal(0, &chain.commitment()), chain.reveal(0, &chain.commitment()));
            assert!(resume(kept.clone(), [0; 32]).is_none());
            assert!(resume(kept[1..].to_vec(), chain.commitment()).is_none());
        }
    }
}
