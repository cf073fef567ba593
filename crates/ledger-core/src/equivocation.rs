//! The proof that a station signed two batches for one place of its log (protocol, section 3).
//!
//! It is valid by itself: the two headers and their signatures are all that it takes, and the tags of the signatures
//! say that both were made for this federation. Under the scheme `hybrid` that goes for the Ed25519 parts; whether the
//! ML-DSA parts verify depends on the accused's key, which the state knows: where they don't, it has no effect.

use crate::batch_header::SignedBatchHeader;
use crate::codec::{Decode, Encode};
use crate::federation::Rules;
use crate::ids::{BatchId, Sequence, StationId};
use crate::ml_dsa::MlDsaKey;

/// Two signed headers of one station and sequence with different ids; the one with the lower id comes first, so a pair
/// has one encoding.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BatchEquivocation {
    first: SignedBatchHeader,
    second: SignedBatchHeader,
}

/// Why two headers prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EquivocationError {
    /// They are of different stations, or of different places in the log.
    #[error("the two headers are not of one station and sequence")]
    Places,
    /// A header that no valid batch has.
    #[error("a header breaks the rule that exactly a log's first batch introduces its station")]
    Introduction,
    /// One batch twice, or the higher id first.
    #[error("the two batches are one, or not in order of their ids")]
    Order,
    /// A signature does not verify.
    #[error("a header's signature does not verify")]
    Signature,
}

impl BatchEquivocation {
    /// Puts two signed headers in order.
    ///
    /// # Errors
    /// [`EquivocationError`] where they prove nothing.
    pub fn new(rules: &Rules, one: SignedBatchHeader, other: SignedBatchHeader) -> Result<Self, EquivocationError> {
        let (first, second) = if one.id(rules) < other.id(rules) { (one, other) } else { (other, one) };
        let proof = Self { first, second };
        proof.check(rules)?;
        Ok(proof)
    }

    /// Checks that the two headers prove what they are to prove, cheap checks first: place, form, order of the ids,
    /// Ed25519 signatures by the strict rules.
    ///
    /// # Errors
    /// [`EquivocationError`], the first that applies, in that order.
    pub fn check(&self, rules: &Rules) -> Result<(), EquivocationError> {
        let Self { first, second } = self;
        if first.place() != second.place() {
            return Err(EquivocationError::Places);
        }
        if !first.header.introduces_as_it_must(rules) || !second.header.introduces_as_it_must(rules) {
            return Err(EquivocationError::Introduction);
        }
        if first.id(rules) >= second.id(rules) {
            return Err(EquivocationError::Order);
        }
        if !first.is_signed(rules) || !second.is_signed(rules) {
            return Err(EquivocationError::Signature);
        }
        Ok(())
    }

    /// Whether both ML-DSA parts are `key`'s: without that a hybrid proof has no effect. Anybody can put another part
    /// under a header, and who broke Ed25519 alone must not silence a station.
    pub fn is_signed_under(&self, rules: &Rules, key: &MlDsaKey) -> bool {
        self.headers().iter().all(|header| header.is_signed_under(rules, key))
    }

    /// The station that signed both.
    pub fn station(&self) -> StationId {
        self.first.header.station
    }

    /// The place in its log that both claim.
    pub fn sequence(&self) -> Sequence {
        self.first.header.sequence
    }

    /// The two signed headers, the one with the lower id first.
    pub const fn headers(&self) -> [&SignedBatchHeader; 2] {
        [&self.first, &self.second]
    }

    /// The ids of the two batches, the lower one first.
    pub fn batch_ids(&self, rules: &Rules) -> [BatchId; 2] {
        self.headers().map(|header| header.id(rules))
    }
}
