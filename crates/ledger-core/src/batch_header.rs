//! What a batch's author signs: the batch without its records.

use crate::codec::{Decode, Encode, encode};
use crate::crypto::Signature;
use crate::federation::{Rules, SignatureScheme};
use crate::ids::{BatchId, BlockHash, Name, Sequence, StationId};
use crate::ml_dsa::MlDsaKey;
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

impl Introduction {
    /// Its ML-DSA key, if it holds one of the right length.
    pub fn key(&self) -> Option<MlDsaKey> {
        MlDsaKey::from_bytes(self.ml_dsa_key.as_ref()?)
    }
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

    /// Whether exactly the first batch of a log introduces its station, and follows nothing; the introduction holds an
    /// ML-DSA key exactly under the scheme `hybrid`, and a founder's is the one that genesis names.
    pub fn introduces_as_it_must(&self, rules: &Rules) -> bool {
        let is_first = self.sequence == Sequence::ZERO;
        let follows_nothing = self.previous == BatchId::ZERO;
        match &self.introduction {
            None => !is_first,
            Some(introduction) => is_first && follows_nothing && self.has_right_key(rules, introduction),
        }
    }

    fn has_right_key(&self, rules: &Rules, introduction: &Introduction) -> bool {
        match rules.scheme() {
            SignatureScheme::Ed25519 => introduction.ml_dsa_key.is_none(),
            SignatureScheme::Hybrid => introduction
                .key()
                .is_some_and(|key| rules.founder_key_hash(&self.station).is_none_or(|expected| key.hash() == expected)),
        }
    }

    /// The ML-DSA key that it introduces its station with.
    pub fn introduced_key(&self) -> Option<MlDsaKey> {
        self.introduction.as_ref().and_then(Introduction::key)
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

    /// Whether the signature has the scheme's length, and its Ed25519 part is the author's.
    pub fn is_signed(&self, rules: &Rules) -> bool {
        self.signature.ed25519_verifies(rules.scheme(), &self.header.station, &self.header.hash(rules))
    }

    /// Whether the signature's ML-DSA part is `key`'s.
    pub fn is_signed_under(&self, rules: &Rules, key: &MlDsaKey) -> bool {
        self.signature.ml_dsa_verifies(key, &self.header.hash(rules))
    }
}
