//! Proofs that a record stands in a block, which anybody can check without a node, a chain or a clock.
//!
//! A proof leads from a record over the Merkle tree of its batch to the header that its station signed, and from that
//! batch over the Merkle tree of its block to the header that its producer worked for and sealed. Genesis comes with
//! it, because the federation's id, difficulty and action table follow from genesis, and its hash is the id.
//!
//! A proof shows inclusion in that block. It does not show that the block is on the best chain, nor what precedes it.

use crate::batch::{BatchError, BatchHeader, VerifiedBatch, check_introduction, check_length};
use crate::block::{BlockError, SealedHeader, VerifiedBlock};
use crate::codec::encode;
use crate::crypto::Signature;
use crate::federation::{Genesis, GenesisError, Rules};
use crate::ids::{BatchId, BlockHash, FederationId, Height, RecordHash, RecordId, Sequence, StationId};
use crate::limits::MAX_CLOCK_SKEW_MS;
use crate::merkle::InclusionProof;
use crate::ml_dsa::MlDsaKey;
use crate::record::{Record, RecordError};

/// A proof as received: nothing checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProof {
    /// The federation's parameters and nonce: their hash is its id.
    pub genesis: Genesis,
    /// The record.
    pub record: Record,
    /// From the record's hash to the root in the batch's header.
    pub path: InclusionProof,
    /// What the record's station signed.
    pub header: BatchHeader,
    /// The station's signature.
    pub signature: Signature,
    /// The author's ML-DSA key, exactly under `hybrid`.
    pub author_key: Option<MlDsaKey>,
    /// The block that holds the batch; `None` while the batch is pending.
    pub block: Option<BlockPart>,
}

/// The part of a proof that leads from a batch to its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPart {
    /// The producer's ML-DSA key, exactly under `hybrid`.
    pub producer_key: Option<MlDsaKey>,
    /// The block's header and its producer's seal.
    pub sealed: SealedHeader,
    /// From the batch's id to the root in the block's header.
    pub path: InclusionProof,
}

/// What a proof that holds has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The federation that all of it belongs to.
    pub federation: FederationId,
    /// The record's place.
    pub record: RecordId,
    /// The record's hash.
    pub hash: RecordHash,
    /// Its batch.
    pub batch: BatchId,
    /// Height, hash and producer of its block; `None`: it is signed, but the proof names no block.
    pub block: Option<(Height, BlockHash, StationId)>,
}

/// Why a proof does not hold. The first that applies, in this order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The genesis is none.
    #[error("its genesis cannot be used: {0}")]
    Genesis(#[from] GenesisError),
    /// Another federation than was asked for.
    #[error("it is of the federation {found}, not of {expected}")]
    Federation {
        /// The federation that its genesis makes.
        found: FederationId,
        /// The one asked for.
        expected: FederationId,
    },
    /// The record breaks the federation's rules.
    #[error("its record is not valid: {0}")]
    Record(#[from] RecordError),
    /// The batch's header breaks the rules of a station's log.
    #[error("its batch is not valid: {0}")]
    Batch(#[from] BatchError),
    /// The batch's header counts other records than the path does.
    #[error("its batch {station}.{sequence} has {said} records, but the path is one of a tree of {leaves}")]
    RecordCount {
        /// The batch's author.
        station: StationId,
        /// The batch's number.
        sequence: Sequence,
        /// The header's count.
        said: u16,
        /// The path's.
        leaves: u64,
    },
    /// An ML-DSA key is missing, or there is one where stations sign without, or genesis names another for this founder.
    #[error("it has not the ML-DSA key of station {station}")]
    Key {
        /// The station.
        station: StationId,
    },
    /// The ML-DSA part of a signature is not of the key in the proof.
    #[error("the ML-DSA signature of station {station} does not verify")]
    MlDsaSignature {
        /// The station.
        station: StationId,
    },
    /// The station did not sign that header.
    #[error("the signature of station {station} under its batch {sequence} does not verify")]
    Signature {
        /// The batch's author.
        station: StationId,
        /// The batch's number.
        sequence: Sequence,
    },
    /// The record is not in the batch.
    #[error("the path from record {record} does not lead to the root of its batch")]
    RecordPath {
        /// The record.
        record: RecordId,
    },
    /// The block's header breaks a rule: version, size, difficulty, proof of work or seal.
    #[error("its block is not valid: {0}")]
    Block(#[from] BlockError),
    /// The block's header counts other batches than the path does, or is genesis, which has none.
    #[error("its block {index} has {said} batches, but the path is one of a tree of {leaves}")]
    BatchCount {
        /// The block's height.
        index: Height,
        /// The header's count.
        said: u32,
        /// The path's.
        leaves: u64,
    },
    /// The batch is not in the block.
    #[error("the path from batch {batch} does not lead to the root of block {index}")]
    BatchPath {
        /// The batch.
        batch: BatchId,
        /// The block's height.
        index: Height,
    },
    /// The batch is dated after the block, so no valid block holds it.
    #[error("its batch {station}.{sequence} is dated after its block")]
    BatchTime {
        /// The batch's author.
        station: StationId,
        /// The batch's number.
        sequence: Sequence,
    },
}

impl RecordProof {
    /// The proof for the record at `index` of a batch that waits for a block; `None` where there is no such record.
    /// `author_key` is the ML-DSA key of the batch's station under `hybrid`.
    pub fn of_pending(rules: &Rules, batch: &VerifiedBatch, index: u16, author_key: Option<MlDsaKey>) -> Option<Self> {
        let record = batch.records().get(usize::from(index))?.clone();
        let leaves: Vec<[u8; 32]> = batch.record_hashes(rules).iter().map(|hash| *hash.as_bytes()).collect();
        Some(Self {
            genesis: rules.genesis().clone(),
            record,
            path: InclusionProof::new(&leaves, usize::from(index))?,
            header: batch.header().clone(),
            signature: batch.signed().signature.clone(),
            author_key,
            block: None,
        })
    }

    /// The proof for a record in `block`; `None` where the block does not hold it. `keys` are the ML-DSA keys of the
    /// record's station and of the block's producer under `hybrid`.
    pub fn in_block(rules: &Rules, block: &VerifiedBlock, id: &RecordId, keys: [Option<MlDsaKey>; 2]) -> Option<Self> {
        let [author_key, producer_key] = keys;
        let place = (id.station, id.sequence);
        let at = block.batches().iter().position(|batch| batch.signed().place() == place)?;
        let ids: Vec<[u8; 32]> = block.batches().iter().map(|batch| *batch.id().as_bytes()).collect();
        let part = BlockPart { producer_key, sealed: block.sealed().clone(), path: InclusionProof::new(&ids, at)? };
        Some(Self { block: Some(part), ..Self::of_pending(rules, &block.batches()[at], id.index, author_key)? })
    }

    /// The record's place, as the proof has it; `None` where its index is beyond any batch.
    pub fn record_id(&self) -> Option<RecordId> {
        let index = u16::try_from(self.path.index).ok()?;
        Some(RecordId { station: self.header.station, sequence: self.header.sequence, index })
    }

    /// Checks everything: genesis and its proof of work, the record by the federation's rules, the batch's header and
    /// signature, both paths, the block's difficulty, proof of work and seal.
    ///
    /// Genesis says of a founder which ML-DSA key is its own; of anybody else's the proof shows that the chain's rules
    /// hold if it is the one that the station introduced itself with.
    ///
    /// # Errors
    /// [`ProofError`]: why it does not hold.
    pub fn verify(&self, expected: Option<FederationId>) -> Result<Proven, ProofError> {
        let rules = Rules::new(self.genesis.clone())?;
        let federation = rules.federation();
        if let Some(expected) = expected.filter(|expected| *expected != federation) {
            return Err(ProofError::Federation { found: federation, expected });
        }
        self.record.check(&rules)?;
        check_length(&self.header, &self.signature, &rules)?;
        check_introduction(&self.header, &rules)?;
        let BatchHeader { station, sequence, record_count, records_root, created_at, .. } = self.header;
        let leaves = self.path.leaves;
        let counts_fit = leaves == u64::from(record_count) && record_count <= rules.limits().batch_records;
        let (Some(record), true) = (self.record_id(), counts_fit) else {
            return Err(ProofError::RecordCount { station, sequence, said: record_count, leaves });
        };
        let digest = self.header.hash(&rules);
        if !self.signature.ed25519_verifies(rules.scheme(), &station, &digest) {
            return Err(ProofError::Signature { station, sequence });
        }
        let introduced = self.header.introduced_key();
        if introduced.is_some() && introduced != self.author_key {
            return Err(ProofError::Key { station });
        }
        check_key(&rules, &station, self.author_key.as_ref(), |key| self.signature.ml_dsa_verifies(key, &digest))?;
        let hash = rules.record_hasher(&station, sequence).hash(record.index, &encode(&self.record));
        if !self.path.proves(hash.as_bytes(), &records_root) {
            return Err(ProofError::RecordPath { record });
        }
        let batch = rules.batch_id(&digest, self.signature.as_bytes());
        let proven = Proven { federation, record, hash, batch, block: None };
        let Some(BlockPart { producer_key, sealed, path }) = &self.block else { return Ok(proven) };

        let block = sealed.check_alone(&rules)?;
        let sealed_by = |key: &MlDsaKey| sealed.is_sealed_under(&rules, &block, key);
        check_key(&rules, &sealed.header.producer, producer_key.as_ref(), sealed_by)?;
        let (index, said) = (sealed.header.index, sealed.header.batch_count);
        if path.leaves != u64::from(said) || index == Height::ZERO {
            return Err(ProofError::BatchCount { index, said, leaves: path.leaves });
        }
        if !path.proves(batch.as_bytes(), &sealed.header.merkle_root) {
            return Err(ProofError::BatchPath { batch, index });
        }
        if created_at > sealed.header.timestamp.saturating_add(MAX_CLOCK_SKEW_MS) {
            return Err(ProofError::BatchTime { station, sequence });
        }
        Ok(Proven { block: Some((index, block, sealed.header.producer)), ..proven })
    }
}

/// Checks the ML-DSA key that a proof gives for a station, and by `verifies` what it signed.
fn check_key(
    rules: &Rules,
    station: &StationId,
    key: Option<&MlDsaKey>,
    verifies: impl FnOnce(&MlDsaKey) -> bool,
) -> Result<(), ProofError> {
    let station = *station;
    let Some(key) = key else {
        return if rules.is_hybrid() { Err(ProofError::Key { station }) } else { Ok(()) };
    };
    let is_expected = rules.founder_key_hash(&station).is_none_or(|expected| key.hash() == expected);
    if !(rules.is_hybrid() && is_expected) {
        return Err(ProofError::Key { station });
    }
    if verifies(key) { Ok(()) } else { Err(ProofError::MlDsaSignature { station }) }
}
