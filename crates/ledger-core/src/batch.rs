//! Batches: up to 256 records of one station, signed once; the links of a station's log (protocol, section 3).

use std::sync::{Arc, OnceLock};

pub use crate::batch_header::{BatchHeader, Introduction, SignedBatchHeader};
use crate::codec::{CodecError, Decode, Encode, Encoded, decode, decode_first, encoded_len};
use crate::crypto::{Signature, StationKey};
use crate::federation::Rules;
use crate::ids::{BatchId, BlockHash, RecordHash, RecordId, Sequence, StationId};
use crate::limits::{MAX_BATCH_BYTES, MAX_PROOFS_PER_BATCH};
use crate::merkle;
use crate::ml_dsa::MlDsaKey;
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
    /// that is missing, of the wrong length, out of place, or not the one that genesis names.
    #[error(
        "batch {station}.{sequence} breaks the rule that exactly a log's first batch introduces its station, with an \
        ML-DSA key exactly under `hybrid`"
    )]
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
    /// The signature has not the length of the federation's scheme.
    #[error("batch {station}.{sequence}: the signature has {bytes} bytes, the federation's have {expected}")]
    SignatureLength {
        /// The author.
        station: StationId,
        /// Its number.
        sequence: Sequence,
        /// Its bytes.
        bytes: usize,
        /// Those of the scheme.
        expected: usize,
    },
    /// The signature does not verify; under `hybrid`, its Ed25519 part.
    #[error("batch {station}.{sequence}: the signature does not verify")]
    Signature {
        /// The author.
        station: StationId,
        /// Its number.
        sequence: Sequence,
    },
    /// The signature's ML-DSA part does not verify under the key of its log's introduction.
    #[error("batch {station}.{sequence}: the ML-DSA signature does not verify")]
    MlDsaSignature {
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
            | Self::SignatureLength { .. }
            | Self::Signature { .. }
            | Self::MlDsaSignature { .. } => Severity::Peer,
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
        let signature = key.sign(rules.scheme(), &header.hash(rules));
        let signed_under = if rules.is_hybrid() { SignedUnder::by(key.ml_dsa_key()) } else { SignedUnder::default() };
        VerifiedBatch::with(rules, Self { header, signature, records }, signed_under)
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

    /// Checks everything that needs no chain: size, counts, length of the signature, introduction, number of proofs,
    /// records, signature, Merkle root.
    ///
    /// The ML-DSA part of a hybrid signature is checked where the batch introduces its key; of a later batch when it
    /// follows its log ([`VerifiedBatch::is_signed_under`]).
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
        check_length(&self.header, &self.signature, rules)?;
        check_introduction(&self.header, rules)?;
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
        let signed_under = check_signature(&self.header, &self.signature, rules, &hash)?;
        if records_root(rules, &station, sequence, &self.records) != self.header.records_root {
            return Err(BatchError::Root { station, sequence });
        }
        let id = rules.batch_id(&hash, self.signature.as_bytes());
        Ok(VerifiedBatch(Arc::new(Inner { batch: self, id, bytes, signed_under })))
    }
}

/// A batch that is passed on as it was encoded: its records were not read. Encodes as the [`SignedBatch`] does.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub struct EncodedBatch(Encoded);

impl EncodedBatch {
    /// Takes a batch's encoding, at most 60 KiB, and reads header and signature; returns its id, too.
    ///
    /// # Errors
    /// [`BatchError::Codec`] where it does not begin as a batch does.
    pub fn read(bytes: Vec<u8>, rules: &Rules) -> Result<(Self, BatchId), BatchError> {
        let (header, signature): (BatchHeader, Signature) = decode_first(&bytes, MAX_BATCH_BYTES as usize)?;
        Ok((Self(Encoded::from_bytes(bytes)), header.id(rules, &signature)))
    }

    /// Encodes a batch.
    pub fn of(batch: &SignedBatch) -> Self {
        Self(Encoded::of(batch))
    }
}

/// Checks that the signature has the length of the federation's scheme, before anything costs more.
///
/// # Errors
/// [`BatchError::SignatureLength`].
pub fn check_length(header: &BatchHeader, signature: &Signature, rules: &Rules) -> Result<(), BatchError> {
    let (bytes, expected) = (signature.as_bytes().len(), rules.scheme().signature_bytes());
    if bytes == expected {
        return Ok(());
    }
    Err(BatchError::SignatureLength { station: header.station, sequence: header.sequence, bytes, expected })
}

/// Checks that exactly the first batch of a log introduces its station, and follows nothing; and the key that it holds.
///
/// # Errors
/// [`BatchError::Introduction`].
pub fn check_introduction(header: &BatchHeader, rules: &Rules) -> Result<(), BatchError> {
    if header.introduces_as_it_must(rules) {
        Ok(())
    } else {
        Err(BatchError::Introduction { station: header.station, sequence: header.sequence })
    }
}

/// Checks the signature over `hash`, an introduction's ML-DSA part under the key that it holds, too. Returns what is
/// known of the ML-DSA part.
///
/// # Errors
/// [`BatchError::Signature`], [`BatchError::MlDsaSignature`].
pub fn check_signature(
    header: &BatchHeader,
    signature: &Signature,
    rules: &Rules,
    hash: &[u8; 32],
) -> Result<SignedUnder, BatchError> {
    let (station, sequence) = (header.station, header.sequence);
    if !signature.ed25519_verifies(rules.scheme(), &station, hash) {
        return Err(BatchError::Signature { station, sequence });
    }
    let signed_under = SignedUnder::default();
    if let Some(key) = header.introduced_key()
        && !signed_under.check(&key, || signature.ml_dsa_verifies(&key, hash))
    {
        return Err(BatchError::MlDsaSignature { station, sequence });
    }
    Ok(signed_under)
}

/// Under which key the ML-DSA part of a signature was found to verify: it costs as much as three Ed25519 parts, and is
/// asked for wherever a batch or a seal comes by.
#[derive(Debug, Default)]
pub struct SignedUnder(OnceLock<Found>);

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// This one.
    Key(MlDsaKey),
    /// The one of its log, or of its producer: it was connected before it was stored.
    OnChain,
}

impl SignedUnder {
    /// Just signed with this key.
    fn by(key: &MlDsaKey) -> Self {
        Self(OnceLock::from(Found::Key(key.clone())))
    }

    /// What stood on a chain was checked there, under the one key that its ancestors lead to.
    fn on_chain() -> Self {
        Self(OnceLock::from(Found::OnChain))
    }

    /// Whether the signature verifies under `key`, by `verify` unless that is known.
    pub(crate) fn check(&self, key: &MlDsaKey, verify: impl FnOnce() -> bool) -> bool {
        match self.0.get() {
            Some(Found::OnChain) => true,
            Some(Found::Key(known)) if known == key => true,
            Some(Found::Key(_)) => verify(),
            None => {
                let verifies = verify();
                if verifies {
                    self.0.get_or_init(|| Found::Key(key.clone()));
                }
                verifies
            }
        }
    }
}

/// How far something was checked before it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// By itself: it lay off the best chain.
    Alone,
    /// In full: it was signed here, or connected.
    OnChain,
}

impl From<Checked> for SignedUnder {
    fn from(checked: Checked) -> Self {
        match checked {
            Checked::Alone => Self::default(),
            Checked::OnChain => Self::on_chain(),
        }
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
            Self::StationAdmitted(admitted) if admitted.ml_dsa_key_hash.is_some() != rules.is_hybrid() => {
                Err(RecordError::KeyHash)
            }
            Self::StationAdmitted(_) => Ok(()),
            Self::StationExpelled(_) => Ok(()),
        }
    }
}

/// A batch that is valid by itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VerifiedBatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    batch: SignedBatch,
    id: BatchId,
    bytes: usize,
    signed_under: SignedUnder,
}

impl PartialEq for VerifiedBatch {
    fn eq(&self, other: &Self) -> bool {
        (self.id(), self.signed()) == (other.id(), other.signed())
    }
}

impl Eq for VerifiedBatch {}

impl VerifiedBatch {
    fn with(rules: &Rules, batch: SignedBatch, signed_under: SignedUnder) -> Self {
        let (id, bytes) = (batch.id(rules), encoded_len(&batch));
        Self(Arc::new(Inner { batch, id, bytes, signed_under }))
    }

    /// Whether the ML-DSA part of its signature is `key`'s, which its log was introduced with. Found out once.
    pub fn is_signed_under(&self, rules: &Rules, key: &MlDsaKey) -> bool {
        let SignedBatch { header, signature, .. } = self.signed();
        self.0.signed_under.check(key, || signature.ml_dsa_verifies(key, &header.hash(rules)))
    }

    /// The ML-DSA key that it introduces its station with.
    pub fn introduced_key(&self) -> Option<MlDsaKey> {
        self.header().introduced_key()
    }

    /// Takes up a batch that was verified before it was stored: checks that it is the one named `expected`.
    ///
    /// The id covers the header, the header the records' root; signature and records were checked before storing, as far
    /// as `checked` says, so only the records are compared with their root again.
    ///
    /// # Errors
    /// [`BatchError::Id`] where anything differs.
    pub fn reread(rules: &Rules, batch: SignedBatch, expected: BatchId, checked: Checked) -> Result<Self, BatchError> {
        let (station, sequence) = batch.place();
        let root = records_root(rules, &station, sequence, &batch.records);
        let read = Self::with(rules, batch, checked.into());
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
