//! Blocks: batches of many stations in one order, sealed by proof of work and by the producer's signature.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::{
    BatchError, BatchHeader, Checked, EncodedBatch, SignedBatch, SignedUnder, VerifiedBatch, check_introduction,
    check_length, check_signature,
};
use crate::codec::{CodecError, Decode, Encode, decode};
use crate::crypto::{Signature, StationKey};
use crate::federation::Rules;
use crate::header::{BLOCK_VERSION, BlockHeader, Difficulty};
use crate::ids::{BatchId, BlockHash, Height, Sequence, StationId};
use crate::limits::{MAX_BODY_BYTES, MAX_GOSSIP_BYTES};
use crate::merkle;
use crate::ml_dsa::MlDsaKey;
use crate::severity::Severity;

/// A header with its producer's signature over the block's hash.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SealedHeader {
    /// The header.
    pub header: BlockHeader,
    /// The seal; none for genesis.
    pub seal: Signature,
}

/// Why a block is not valid by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not a block's encoding, or of a newer version.
    #[error("block cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// Rule 1: more than the limits allow.
    #[error("block {index}: {batches} batches in {bytes} bytes are outside the limits")]
    Size {
        /// Its height.
        index: Height,
        /// Batches it says or has.
        batches: u64,
        /// Bytes it says or has.
        bytes: u64,
    },
    /// Rule 1: a version that this program does not know.
    #[error("block {index} has version {version}; this program knows {BLOCK_VERSION}")]
    Version {
        /// Its height.
        index: Height,
        /// The version found.
        version: u32,
    },
    /// Rule 2: not the federation's difficulty.
    #[error("block {index} has difficulty {}, the federation's is {}", found.digits(), expected.digits())]
    Difficulty {
        /// Its height.
        index: Height,
        /// The difficulty found.
        found: Difficulty,
        /// The federation's.
        expected: Difficulty,
    },
    /// Rule 2: too few leading zeros.
    #[error("block {index} {hash} has no proof of work")]
    Work {
        /// Its height.
        index: Height,
        /// Its hash.
        hash: BlockHash,
    },
    /// Rule 5: the seal has not the length of the federation's scheme, or does not verify; under `hybrid`, its Ed25519
    /// part.
    #[error("block {index} {hash}: its seal is not its producer's")]
    Seal {
        /// Its height.
        index: Height,
        /// Its hash.
        hash: BlockHash,
    },
    /// Rule 6: root, count or size of the body are not the header's.
    #[error("block {index} {hash}: the body is not the header's")]
    Body {
        /// Its height.
        index: Height,
        /// Its hash.
        hash: BlockHash,
    },
    /// Rule 7: a batch is dated more than 120 s after the block.
    #[error("block {index} {hash}: batch {station}.{sequence} is dated after the block")]
    BatchTime {
        /// Its height.
        index: Height,
        /// Its hash.
        hash: BlockHash,
        /// The batch's author.
        station: StationId,
        /// The batch's number.
        sequence: Sequence,
    },
    /// Rules 7 and 8: a batch is invalid by itself.
    #[error("block {index}: {error}")]
    Batch {
        /// Its height.
        index: Height,
        /// What is wrong with the batch.
        error: BatchError,
    },
}

impl BlockError {
    /// Who is at fault.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Codec(CodecError::UnknownTag { .. }) | Self::Version { .. } => Severity::Later,
            Self::Batch { error, .. } => error.severity(),
            Self::Codec(CodecError::TooLong { .. } | CodecError::Malformed)
            | Self::Size { .. }
            | Self::Difficulty { .. }
            | Self::Work { .. }
            | Self::Seal { .. }
            | Self::Body { .. }
            | Self::BatchTime { .. } => Severity::Peer,
        }
    }
}

impl SealedHeader {
    /// Seals a header whose nonce was found.
    pub fn seal(rules: &Rules, key: &StationKey, header: BlockHeader) -> Self {
        let seal = key.sign(rules.scheme(), &rules.seal_digest(&rules.block_hash(&header)));
        Self { header, seal }
    }

    /// Genesis' header, without a seal.
    pub fn genesis(rules: &Rules) -> Self {
        Self { header: rules.genesis().header(), seal: Signature::none() }
    }

    /// The block's hash.
    pub fn hash(&self, rules: &Rules) -> BlockHash {
        rules.block_hash(&self.header)
    }

    /// Rules 1, 2 and the seal of rule 5: what needs neither parent nor body. Returns the hash.
    ///
    /// Under `hybrid` that is the seal's length and its Ed25519 part; the ML-DSA part is checked when the block is
    /// connected, for the producer's key stands in the parent's state or in the body.
    ///
    /// # Errors
    /// [`BlockError`], cheap checks first.
    pub fn check_alone(&self, rules: &Rules) -> Result<BlockHash, BlockError> {
        let header = &self.header;
        let (index, limits) = (header.index, rules.limits());
        if header.version != BLOCK_VERSION {
            return Err(BlockError::Version { index, version: header.version });
        }
        if header.batch_count > limits.block_batches || header.body_bytes > limits.body_bytes {
            let (batches, bytes) = (u64::from(header.batch_count), u64::from(header.body_bytes));
            return Err(BlockError::Size { index, batches, bytes });
        }
        let expected = rules.parameters().difficulty;
        if header.difficulty != expected {
            return Err(BlockError::Difficulty { index, found: header.difficulty, expected });
        }
        let hash = self.hash(rules);
        if self.seal.as_bytes().len() != rules.scheme().signature_bytes() {
            return Err(BlockError::Seal { index, hash });
        }
        if !expected.is_met_by(&hash) {
            return Err(BlockError::Work { index, hash });
        }
        if !self.seal.ed25519_verifies(rules.scheme(), &header.producer, &rules.seal_digest(&hash)) {
            return Err(BlockError::Seal { index, hash });
        }
        Ok(hash)
    }

    /// Whether the ML-DSA part of the seal under the block `hash` is `key`'s.
    pub fn is_sealed_under(&self, rules: &Rules, hash: &BlockHash, key: &MlDsaKey) -> bool {
        self.seal.ml_dsa_verifies(key, &rules.seal_digest(hash))
    }
}

/// A block as received: nothing checked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedBlock {
    /// Header and seal.
    pub sealed: SealedHeader,
    /// The body, in order.
    pub batches: Vec<SignedBatch>,
}

/// A block that is passed on as its batches were encoded. Encodes as the [`SignedBlock`] does.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub struct EncodedBlock {
    /// Header and seal.
    pub sealed: SealedHeader,
    /// The body, in order.
    pub batches: Vec<EncodedBatch>,
}

impl SignedBlock {
    /// Checks everything that needs no chain: rules 1, 2, the seal of 5, 6 without ancestors, the batches of 7, and 8.
    ///
    /// `known` gives batches that were verified before, by id, which are not verified again.
    ///
    /// # Errors
    /// [`BlockError`], cheap checks first.
    pub fn verify(self, rules: &Rules, known: &HashMap<BatchId, VerifiedBatch>) -> Result<VerifiedBlock, BlockError> {
        self.verify_by(rules, known, |batches| batches.into_iter().map(|batch| batch.verify(rules)).collect())
    }

    /// As [`verify`](Self::verify), with `verify_all` to verify the batches: on several cores, say.
    ///
    /// # Errors
    /// [`BlockError`], cheap checks first.
    pub fn verify_by(
        self,
        rules: &Rules,
        known: &HashMap<BatchId, VerifiedBatch>,
        verify_all: impl FnOnce(Vec<SignedBatch>) -> Result<Vec<VerifiedBatch>, BatchError>,
    ) -> Result<VerifiedBlock, BlockError> {
        let hash = self.sealed.check_alone(rules)?;
        let header = &self.sealed.header;
        let index = header.index;
        if self.batches.len() != header.batch_count as usize {
            return Err(BlockError::Body { index, hash });
        }
        // Hashing is cheap: only what the header commits to is worth the signatures' cost.
        let ids: Vec<BatchId> = self.batches.iter().map(|batch| batch.id(rules)).collect();
        if ids_root(&ids) != header.merkle_root {
            return Err(BlockError::Body { index, hash });
        }
        let unknown = ids.iter().zip(self.batches).filter(|(id, _)| !known.contains_key(*id));
        let verified = verify_all(unknown.map(|(_, batch)| batch).collect());
        let mut verified = verified.map_err(|error| BlockError::Batch { index, error })?.into_iter();
        let batches = ids.iter().filter_map(|id| known.get(id).cloned().or_else(|| verified.next())).collect();
        VerifiedBlock::assemble_checked(self.sealed, hash, batches, SignedUnder::default())
    }
}

/// A block that is valid by itself; whether it fits a chain is judged when it is connected. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VerifiedBlock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sealed: SealedHeader,
    hash: BlockHash,
    batches: Vec<VerifiedBatch>,
    sealed_under: SignedUnder,
}

impl PartialEq for VerifiedBlock {
    fn eq(&self, other: &Self) -> bool {
        (self.hash(), self.sealed(), self.batches()) == (other.hash(), other.sealed(), other.batches())
    }
}

impl Eq for VerifiedBlock {}

impl VerifiedBlock {
    /// Puts a block together from verified batches.
    ///
    /// # Errors
    /// [`BlockError`] where header or body break a rule that needs no chain.
    pub fn assemble(rules: &Rules, sealed: SealedHeader, batches: Vec<VerifiedBatch>) -> Result<Self, BlockError> {
        let hash = sealed.check_alone(rules)?;
        Self::assemble_checked(sealed, hash, batches, SignedUnder::default())
    }

    /// Takes up a block that was verified before it was stored, as far as `checked` says: checks that it is the one named
    /// `expected`.
    ///
    /// # Errors
    /// [`BlockError::Body`] where header or body are not that block's.
    pub fn reread(
        rules: &Rules,
        sealed: SealedHeader,
        batches: Vec<VerifiedBatch>,
        expected: BlockHash,
        checked: Checked,
    ) -> Result<Self, BlockError> {
        if sealed.hash(rules) != expected {
            return Err(BlockError::Body { index: sealed.header.index, hash: expected });
        }
        Self::assemble_checked(sealed, expected, batches, checked.into())
    }

    /// Rule 6 and the times of rule 7, for a header that was checked.
    fn assemble_checked(
        sealed: SealedHeader,
        hash: BlockHash,
        batches: Vec<VerifiedBatch>,
        sealed_under: SignedUnder,
    ) -> Result<Self, BlockError> {
        let header = &sealed.header;
        let bytes: usize = batches.iter().map(VerifiedBatch::encoded_len).sum();
        let fits = batches.len() == header.batch_count as usize
            && bytes == header.body_bytes as usize
            && batches_root(&batches) == header.merkle_root;
        if !fits {
            return Err(BlockError::Body { index: header.index, hash });
        }
        let latest = header.timestamp.saturating_add(crate::limits::MAX_CLOCK_SKEW_MS);
        if let Some(batch) = batches.iter().find(|batch| batch.header().created_at > latest) {
            let (station, sequence) = batch.signed().place();
            return Err(BlockError::BatchTime { index: header.index, hash, station, sequence });
        }
        Ok(Self(Arc::new(Inner { sealed, hash, batches, sealed_under })))
    }

    /// Whether the ML-DSA part of its seal is `key`'s, its producer's by the parent's state or by its own first batch.
    /// Found out once.
    pub fn is_sealed_under(&self, rules: &Rules, key: &MlDsaKey) -> bool {
        self.0.sealed_under.check(key, || self.sealed().is_sealed_under(rules, &self.hash(), key))
    }

    /// The first batch's header where it introduces the producer.
    pub fn producer_introduction(&self) -> Option<&BatchHeader> {
        let first = self.batches().first().map(VerifiedBatch::header);
        first.filter(|batch| batch.station == self.header().producer && batch.introduction.is_some())
    }

    /// Header and seal.
    pub fn sealed(&self) -> &SealedHeader {
        &self.0.sealed
    }

    /// Its header.
    pub fn header(&self) -> &BlockHeader {
        &self.0.sealed.header
    }

    /// Its hash.
    pub fn hash(&self) -> BlockHash {
        self.0.hash
    }

    /// Its height.
    pub fn index(&self) -> Height {
        self.header().index
    }

    /// Its batches, in order.
    pub fn batches(&self) -> &[VerifiedBatch] {
        &self.0.batches
    }

    /// The number of its records.
    pub fn record_count(&self) -> u64 {
        self.batches().iter().map(|batch| batch.records().len() as u64).sum()
    }

    /// The block as it is sent.
    pub fn to_signed(&self) -> SignedBlock {
        let batches = self.batches().iter().map(|batch| batch.signed().clone()).collect();
        SignedBlock { sealed: self.sealed().clone(), batches }
    }

    /// The block as it is passed on.
    pub fn to_encoded(&self) -> EncodedBlock {
        let batches = self.batches().iter().map(|batch| EncodedBatch::of(batch.signed())).collect();
        EncodedBlock { sealed: self.sealed().clone(), batches }
    }

    /// How the block is announced: header, seal, the producer's introduction if it is in this block, batch ids.
    pub fn announcement(&self) -> Announcement {
        let first = self.batches().first().map(VerifiedBatch::signed);
        let introduces = |batch: &&SignedBatch| {
            batch.header.station == self.header().producer && batch.header.sequence == Sequence::ZERO
        };
        Announcement {
            sealed: self.sealed().clone(),
            introduction: first.filter(introduces).map(|batch| (batch.header.clone(), batch.signature.clone())),
            batch_ids: self.batches().iter().map(VerifiedBatch::id).collect(),
        }
    }
}

/// The Merkle root of a block's body.
pub fn batches_root(batches: &[VerifiedBatch]) -> [u8; 32] {
    let ids: Vec<BatchId> = batches.iter().map(VerifiedBatch::id).collect();
    ids_root(&ids)
}

fn ids_root(ids: &[BatchId]) -> [u8; 32] {
    let leaves: Vec<[u8; 32]> = ids.iter().map(|id| *id.as_bytes()).collect();
    merkle::root(&leaves)
}

/// A block announced compactly: who has the batches can put it together.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Announcement {
    /// Header and seal.
    pub sealed: SealedHeader,
    /// Header and signature of the producer's introduction, where this block carries it.
    pub introduction: Option<(BatchHeader, Signature)>,
    /// The ids of the batches, in order.
    pub batch_ids: Vec<BatchId>,
}

impl Announcement {
    /// Decodes an announcement, at most 64 KiB.
    ///
    /// # Errors
    /// [`BlockError::Codec`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        Ok(decode(bytes, MAX_GOSSIP_BYTES)?)
    }

    /// Rules 1, 2, the seal of 5, and of rule 6 that the ids are those of the header. Returns the hash.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn check_alone(&self, rules: &Rules) -> Result<BlockHash, BlockError> {
        let hash = self.sealed.check_alone(rules)?;
        let header = &self.sealed.header;
        if self.batch_ids.len() != header.batch_count as usize || ids_root(&self.batch_ids) != header.merkle_root {
            return Err(BlockError::Body { index: header.index, hash });
        }
        if let Some((introduction, signature)) = &self.introduction {
            let digest = introduction.hash(rules);
            let is_first = self.batch_ids.first() == Some(&rules.batch_id(&digest, signature.as_bytes()));
            let is_producers = introduction.station == header.producer && introduction.sequence == Sequence::ZERO;
            let is_valid = check_length(introduction, signature, rules)
                .and_then(|()| check_introduction(introduction, rules))
                .and_then(|()| check_signature(introduction, signature, rules, &digest));
            if !is_first || !is_producers || is_valid.is_err() {
                return Err(BlockError::Body { index: header.index, hash });
            }
        }
        Ok(hash)
    }
}

/// The most bytes that an encoded block can take: body, header, seal (3.4 KiB at most) and their lengths.
pub const MAX_BLOCK_BYTES: usize = MAX_BODY_BYTES as usize + 4 * 1_024;
