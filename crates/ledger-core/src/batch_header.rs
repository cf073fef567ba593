//! What a batch's author signs: the batch without its records.

use crate::codec::{Decode, Encode, encode};
use crate::crypto::Signature;
use crate::federation::Rules;
use crate::ids::{BatchId, BlockHash, Name, Sequence, StationId};
use crate::time::Timestamp;

/// What a station says of itself in its first batch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Introduction {
    /// What it calls itself.
    pub name: Name,
    /// The end of its reveal chain.
    pub reveal_commitment: [u8; 32],
    /// Its ML-DSA key, exactly under the scheme `hybrid`.
    pub ml_dsa_key: Option<Vec<u8>>,
}

/// What a batch's author signs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BatchHeader {
    /// The author.
    pub station: StationId,
    /// The batch's number in the author's log.
    pub sequence: Sequence,
    /// The id of the batch before; zeros for sequence 0.
    pub previous: BatchId,
    /// The head that the author had seen when it signed; never a rule of validity.
    pub seen: BlockHash,
    /// When it was signed, as the author says.
    pub created_at: Timestamp,
    /// The number of records.
    pub record_count: u16,
    /// The Merkle root of the record hashes.
    pub records_root: [u8; 32],
    /// Exactly in sequence 0.
    pub introduction: Option<Introduction>,
}

impl BatchHeader {
    /// What the author signs (section 1).
    pub fn hash(&self, rules: &Rules) -> [u8; 32] {
        rules.batch_hash(&encode(self))
    }

    /// The id of the batch with this header and `signature`.
    pub fn id(&self, rules: &Rules, signature: &Signature) -> BatchId {
        rules.batch_id(&self.hash(rules), signature.as_bytes())
    }

    /// Whether exactly the first batch of a log introduces its station, and follows nothing; an ML-DSA key belongs to
    /// the scheme `hybrid`, which this version has not got.
    pub fn introduces_as_it_must(&self) -> bool {
        let is_first = self.sequence == Sequence::ZERO;
        let introduces = self.introduction.is_some();
        let has_ml_dsa_key = self.introduction.as_ref().is_some_and(|it| it.ml_dsa_key.is_some());
        let follows_nothing = self.previous == BatchId::ZERO;
        is_first == introduces && !has_ml_dsa_key && (!is_first || follows_nothing)
    }
}

/// A batch's header with its author's signature: all that its id rests on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedBatchHeader {
    /// What was signed.
    pub header: BatchHeader,
    /// The author's signature over the header's hash.
    pub signature: Signature,
}

impl SignedBatchHeader {
    /// The author's place in its log.
    pub fn place(&self) -> (StationId, Sequence) {
        (self.header.station, self.header.sequence)
    }

    /// The id of the batch.
    pub fn id(&self, rules: &Rules) -> BatchId {
        self.header.id(rules, &self.signature)
    }

    /// Whether the author made the signature.
    pub fn is_signed(&self, rules: &Rules) -> bool {
        self.signature.verifies(&self.header.station, &self.header.hash(rules))
    }
}
