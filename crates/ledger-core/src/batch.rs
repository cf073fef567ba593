//! Batches: up to 256 records of one station, signed once; the links of a station's log (protocol, section 3).

use std::sync::Arc;

pub use crate::batch_header::{BatchHeader, Introduction, SignedBatchHeader};
use crate::codec::{CodecError, Decode, Encode, decode, encoded_len};
use crate::crypto::{Signature, StationKey};
use crate::federation::{Rules, SignatureScheme};
use crate::ids::{BatchId, BlockHash, RecordHash, RecordId, Sequence, StationId};
use crate::limits::{MAX_BATCH_BYTES, MAX_PROOFS_PER_BATCH};
use crate::merkle;
use crate::record::{Record, RecordError};
use crate::severity::Severity;
use crate::time::Timestamp;

/// A batch as received: nothing checked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedBatch {
    /// What was signed.
    pub header: BatchHeader,
    /// The author's signature over the header's hash.
    pub signature: Signature,
    /// The records, in order.
    pub records: Vec<Record>,
}

/// Why a batch is not valid by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not a batch's encoding, or of a newer version.
    #[error("batch cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// More bytes or records than allowed, or none where one is needed.
    #[error("batch {station}.{sequence} has {records} records in {bytes} bytes, outside the limits")]
    Size {
        /// The author.
        station: StationId,
        /// Its number.
        sequence: Sequence,
        /// Records in it.
        records: usize,
        /// Its encoded length.
        bytes: usize,
    },
    /// The header's count is not that of the records.
    #[error("batch {station}.{sequence} says {said} records and has {found}")]
    Count {
        /// The author.
        station: StationId,
        /// Its number.
        sequence: Sequence,
        /// The header's count.
        said: u16,
        /// Records found.
        found: usize,
    },
    /// An introduction in another batch than the first, none in the first, a `previous` in the first, or an ML-DSA key
    /// under another scheme.
    #[error("batch {station}.{sequence} breaks the rule that exactly a log's first batch introduces its station")]
    Introduction {
        /// The author.
        station: StationId,
        /// Its number.
        sequence: Sequence,
    },
    /// More proofs of equivocation than a batch may hold: each costs two signatures to check.
    #[error(
        "batch {station}.{sequence} holds {found} proofs of equivocation: at most {MAX_PROOFS_PER_BATCH} are allowed"
    )]
    Proofs {
        /// The author.
        station: StationId,
        /// Its number.
        sequence: Sequence,
        /// Proofs in it.
        found: usize,
    },
    /// A record is invalid by itself.
    #[error("record {id}: {error}")]
    Record {
        /// The record.
        id: RecordId,
        /// What is wrong with it.
        error: RecordError,
    },
    /// The records are not those that were signed.
    #[error("batch {station}.{sequence}: the records are not those of its Merkle root")]
    Root {
        /// The author.
        station: StationId,
        /// Its number.
        sequence: Sequence,
    },
    /// The signature does not verify.
    #[error("batch {station}.{sequence}: the signature does not verify")]
    Signature {
        /// The author.
        station: StationId,
        /// Its number.
        sequence: Sequence,
    },
    /// Read back from the store, it is not the batch that was asked for.
    #[error("batch {station}.{sequence} is not the one that was stored as {expected}")]
    Id {
        /// The author.
        station: StationId,
        /// Its number.
        sequence: Sequence,
        /// The id asked for.
        expected: BatchId,
    },
}

impl BatchError {
    /// Who is at fault.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Codec(CodecError::UnknownTag { .. }) => Severity::Later,
            Self::Codec(CodecError::TooLong { .. } | CodecError::Malformed)
            | Self::Size { .. }
            | Self::Count { .. }
            | Self::Introduction { .. }
            | Self::Proofs { .. }
            | Self::Record { .. }
            | Self::Root { .. }
            | Self::Signature { .. } => Severity::Peer,
            Self::Id { .. } => Severity::Fatal,
        }
    }
}

impl SignedBatch {
    /// Signs `records` as the batch at `sequence` after `previous`; the first one carries `introduction`.
    ///
    /// The caller keeps within the limits ([`own_log`](crate::own_log) does).
    pub fn sign(
        rules: &Rules,
        key: &StationKey,
        place: (Sequence, BatchId),
        seen: BlockHash,
        created_at: Timestamp,
        introduction: Option<Introduction>,
        records: Vec<Record>,
    ) -> VerifiedBatch {
        let (station, (sequence, previous)) = (key.station(), place);
        let header = BatchHeader {
            station,
            sequence,
            previous,
            seen,
            created_at,
            record_count: u16::try_from(records.len()).expect("a batch holds at most 256 records"),
            records_root: records_root(rules, &station, sequence, &records),
            introduction,
        };
        let signature = key.sign(&header.hash(rules));
        VerifiedBatch::new(rules, Self { header, signature, records })
    }

    /// Decodes a batch, at most 60 KiB.
    ///
    /// # Errors
    /// [`BatchError::Codec`]; an unknown record kind is `Later`, not the sender's fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        Ok(decode(bytes, MAX_BATCH_BYTES as usize)?)
    }

    /// The author's place in its log.
    pub fn place(&self) -> (StationId, Sequence) {
        (self.header.station, self.header.sequence)
    }

    /// The batch's id, whether it is valid or not.
    pub fn id(&self, rules: &Rules) -> BatchId {
        self.header.id(rules, &self.signature)
    }

    /// Checks everything that needs no chain: size, counts, introduction, number of proofs, records, signature, Merkle
    /// root.
    ///
    /// # Errors
    /// [`BatchError`], the first that applies, in that order.
    pub fn verify(self, rules: &Rules) -> Result<VerifiedBatch, BatchError> {
        let (station, sequence) = self.place();
        let (bytes, count) = (encoded_len(&self), self.records.len());
        let limits = rules.limits();
        let needs_record = sequence != Sequence::ZERO;
        if bytes > limits.batch_bytes as usize
            || count > usize::from(limits.batch_records)
            || (needs_record && count == 0)
        {
            return Err(BatchError::Size { station, sequence, records: count, bytes });
        }
        if usize::from(self.header.record_count) != count {
            return Err(BatchError::Count { station, sequence, said: self.header.record_count, found: count });
        }
        check_introduction(&self.header)?;
        let proofs = self.records.iter().filter(|record| record.proof().is_some()).count();
        if proofs > MAX_PROOFS_PER_BATCH {
            return Err(BatchError::Proofs { station, sequence, found: proofs });
        }
        let mut passed = None;
        for (index, record) in (0..).zip(&self.records) {
            // Records of one batch mostly have one action: what has passed is not looked up again.
            let action = match record {
                Record::UserAction(action) => Some((&action.action, action.trust_delta)),
                _ => None,
            };
            if action.is_some() && action == passed {
                continue;
            }
            record.check(rules).map_err(|error| {
                let id = RecordId { station, sequence, index };
                BatchError::Record { id, error }
            })?;
            passed = action;
        }
        let hash = self.header.hash(rules);
        if !self.signature.verifies(&station, &hash) {
            return Err(BatchError::Signature { station, sequence });
        }
        if records_root(rules, &station, sequence, &self.records) != self.header.records_root {
            return Err(BatchError::Root { station, sequence });
        }
        let id = rules.batch_id(&hash, self.signature.as_bytes());
        Ok(VerifiedBatch(Arc::new(Inner { batch: self, id, bytes })))
    }
}

/// Checks that exactly the first batch of a log introduces its station, and follows nothing.
///
/// # Errors
/// [`BatchError::Introduction`].
pub fn check_introduction(header: &BatchHeader) -> Result<(), BatchError> {
    if header.introduces_as_it_must() {
        Ok(())
    } else {
        Err(BatchError::Introduction { station: header.station, sequence: header.sequence })
    }
}

fn record_hashes(rules: &Rules, station: &StationId, sequence: Sequence, records: &[Record]) -> Vec<[u8; 32]> {
    rules.record_hasher(station, sequence).hash_all(records)
}

fn records_root(rules: &Rules, station: &StationId, sequence: Sequence, records: &[Record]) -> [u8; 32] {
    merkle::root(&record_hashes(rules, station, sequence, records))
}

impl Record {
    /// Judges the record by itself and genesis alone: an action must be in the table, with the table's delta; a
    /// dataset must keep the dataset rules; a proof must prove what it says.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn check(&self, rules: &Rules) -> Result<(), RecordError> {
        match self {
            Self::UserAction(action) => match rules.delta_of(&action.action) {
                None => Err(RecordError::UnknownAction { action: action.action.clone() }),
                Some(expected) if expected != action.trust_delta => {
                    Err(RecordError::WrongDelta { found: action.trust_delta, expected })
                }
                Some(_) => Ok(()),
            },
            Self::DatasetRegistered(dataset) => Ok(rules.parameters().datasets.check(dataset)?),
            Self::ContentAdded(_)
            | Self::ContentVerified(_)
            | Self::ContentReported(_)
            | Self::DatasetVerified(_)
            | Self::DatasetRated(_)
            | Self::Testimony(_) => Ok(()),
            Self::BatchEquivocation(proof) => Ok(proof.check(rules)?),
            Self::StationAdmitted(admitted) => {
                let is_hybrid = rules.parameters().signatures == SignatureScheme::Hybrid;
                if admitted.ml_dsa_key_hash.is_some() == is_hybrid { Ok(()) } else { Err(RecordError::KeyHash) }
            }
            Self::StationExpelled(_) => Ok(()),
        }
    }
}

/// A batch that is valid by itself. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBatch(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    batch: SignedBatch,
    id: BatchId,
    bytes: usize,
}

impl VerifiedBatch {
    fn new(rules: &Rules, batch: SignedBatch) -> Self {
        let (id, bytes) = (batch.id(rules), encoded_len(&batch));
        Self(Arc::new(Inner { batch, id, bytes }))
    }

    /// Takes up a batch that was verified before it was stored: checks that it is the one named `expected`.
    ///
    /// The id covers the header, the header the records' root; signature and records were checked before storing, so
    /// only the records are compared with their root again.
    ///
    /// # Errors
    /// [`BatchError::Id`] where anything differs.
    pub fn reread(rules: &Rules, batch: SignedBatch, expected: BatchId) -> Result<Self, BatchError> {
        let (station, sequence) = batch.place();
        let root = records_root(rules, &station, sequence, &batch.records);
        let read = Self::new(rules, batch);
        if read.id() != expected || root != read.header().records_root {
            return Err(BatchError::Id { station, sequence, expected });
        }
        Ok(read)
    }

    /// The batch as signed.
    pub fn signed(&self) -> &SignedBatch {
        &self.0.batch
    }

    /// Its header.
    pub fn header(&self) -> &BatchHeader {
        &self.0.batch.header
    }

    /// Its header with the signature: what a proof of equivocation holds of it.
    pub fn signed_header(&self) -> SignedBatchHeader {
        let SignedBatch { header, signature, .. } = self.signed();
        SignedBatchHeader { header: header.clone(), signature: signature.clone() }
    }

    /// Its records, in order.
    pub fn records(&self) -> &[Record] {
        &self.0.batch.records
    }

    /// Its id.
    pub fn id(&self) -> BatchId {
        self.0.id
    }

    /// Its author.
    pub fn station(&self) -> StationId {
        self.0.batch.header.station
    }

    /// Its number in its author's log.
    pub fn sequence(&self) -> Sequence {
        self.0.batch.header.sequence
    }

    /// The length of its encoding, in bytes.
    pub fn encoded_len(&self) -> usize {
        self.0.bytes
    }

    /// The hashes of its records, in order: the leaves of its Merkle tree.
    pub fn record_hashes(&self, rules: &Rules) -> Vec<RecordHash> {
        let hashes = record_hashes(rules, &self.station(), self.sequence(), self.records());
        hashes.into_iter().map(RecordHash::from_bytes).collect()
    }

    /// The id of the record at `index`, whether there is one or not.
    pub fn record_id(&self, index: u16) -> RecordId {
        RecordId { station: self.station(), sequence: self.sequence(), index }
    }
}
