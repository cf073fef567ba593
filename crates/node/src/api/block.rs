//! Blocks and records as they are shown, and as they are exported.

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::SealedHeader;
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BatchId, BlockHash, ContentHash, Height, RecordHash, RecordId, Sequence, StationId};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::score::{Delta, Score};
use qfzz_ledger_core::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::dto::{Head, ShownRegistration, number, shown_metadata, text};
use super::schema;

/// A batch with what its station had seen.
#[derive(Clone, Debug)]
pub struct SeenBatch {
    /// The batch.
    pub batch: VerifiedBatch,
    /// The height of the block that its station had seen as head; `None` if that is not on the best chain.
    pub seen: Option<Height>,
}

/// A block of the best chain or off it; genesis too, which has neither seal nor batches.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its hash.
    pub hash: BlockHash,
    /// Its header and seal.
    pub sealed: SealedHeader,
    /// Its batches, in order.
    pub batches: Vec<SeenBatch>,
}

/// A record that was found by its id.
#[derive(Clone, Debug)]
pub struct FoundRecord {
    /// The batch that holds it.
    pub batch: SeenBatch,
    /// Its index in that batch, which has such a record.
    pub index: u16,
    /// The block of the best chain that holds it; `None` while it is pending.
    pub block: Option<Head>,
    /// Blocks from that one to the head, both counted; 0 while it is pending.
    pub confirmations: u64,
    /// Whether no block takes it, because its author was expelled.
    pub is_refused: bool,
}

/// A block as `/v1/chain/blocks` shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Block)]
pub(super) struct ShownBlock<'a> {
    /// Its height; genesis has 0.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Whole)]
    index: Height,
    /// Its hash.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    hash: BlockHash,
    /// The hash of the block before; `0` in genesis.
    previous_hash: String,
    /// When its producer made it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Time)]
    timestamp: Timestamp,
    /// Who made it; null in genesis.
    #[schema(value_type = Option<schema::PeerId>)]
    producer: Option<String>,
    /// The version of the block's rules.
    version: u32,
    /// Zero hex digits that its hash starts with.
    difficulty: u32,
    /// What proof of work varied.
    #[schema(value_type = schema::Whole)]
    nonce: u64,
    /// The Merkle root of the batches' ids; in genesis the hash of the federation's parameters.
    #[schema(value_type = schema::Hash)]
    merkle_root: String,
    /// The number of batches.
    batch_count: u32,
    /// The sum of the encoded lengths of the batches, in bytes.
    body_bytes: u32,
    /// The next preimage of the producer's reveal chain.
    #[schema(value_type = schema::Hash)]
    reveal: String,
    /// The producer's signature over the hash; empty in genesis.
    #[schema(value_type = schema::Hex)]
    seal: String,
    /// The records of all batches, in order.
    records: Vec<ShownRecord<'a>>,
}

impl<'a> ShownBlock<'a> {
    /// Shows `block`. `previous_hash` of genesis is `0`, and it has no producer.
    pub(super) fn new(block: &'a Block, rules: &Rules) -> Self {
        let header = &block.sealed.header;
        let is_genesis = header.index == Height::ZERO;
        Self {
            index: header.index,
            hash: block.hash,
            previous_hash: if is_genesis { "0".to_owned() } else { header.previous.to_string() },
            timestamp: header.timestamp,
            producer: (!is_genesis).then(|| header.producer.to_string()),
            version: header.version,
            difficulty: header.difficulty.digits(),
            nonce: header.nonce,
            merkle_root: hex::encode(header.merkle_root),
            batch_count: header.batch_count,
            body_bytes: header.body_bytes,
            reveal: hex::encode(header.reveal),
            seal: hex::encode(block.sealed.seal.as_bytes()),
            records: block.batches.iter().flat_map(|batch| shown_records(batch, rules)).collect(),
        }
    }
}

/// A block as it is exported: as shown, and the bytes from which every bit of it can be verified again.
#[derive(Serialize, ToSchema)]
#[schema(as = ExportedBlock)]
pub(super) struct ExportedBlock<'a> {
    /// The block as it is shown.
    #[serde(flatten)]
    shown: ShownBlock<'a>,
    /// The encoded header.
    #[schema(value_type = schema::Hex)]
    header: String,
    /// The encoded signed batches, in order.
    #[schema(value_type = Vec<schema::Hex>)]
    batches: Vec<String>,
    /// In block 0: the encoded parameters of the federation and their nonce.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Hex>)]
    genesis: Option<String>,
}

impl<'a> ExportedBlock<'a> {
    pub(super) fn new(block: &'a Block, rules: &Rules) -> Self {
        let header = &block.sealed.header;
        Self {
            shown: ShownBlock::new(block, rules),
            header: hex::encode(encode(header)),
            batches: block.batches.iter().map(|seen| hex::encode(encode(seen.batch.signed()))).collect(),
            genesis: (header.index == Height::ZERO).then(|| hex::encode(rules.genesis().encode())),
        }
    }
}

/// The members of a block as it is exported.
///
/// # Errors
/// None that is known: what is shown can be written as JSON.
pub fn exported(block: &Block, rules: &Rules) -> serde_json::Result<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_slice(&serde_json::to_vec(&ExportedBlock::new(block, rules))?)
}

/// A record as it is shown: its fields, then where it stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Record)]
pub(super) struct ShownRecord<'a> {
    /// Its fields.
    #[serde(flatten)]
    fields: Fields<'a>,
    /// Its place, which is its name.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::RecordId)]
    record_id: RecordId,
    /// Its hash: a leaf of its batch's Merkle tree.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    hash: RecordHash,
    /// Who signed it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    station_id: StationId,
    /// The batch that holds it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    batch_id: BatchId,
    /// The height of the block that its author had seen as head; null if that is not on this chain.
    seen: Option<u64>,
}

/// A record's fields, the same names as when it is sent.
#[derive(Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = RecordFields)]
pub(super) enum Fields<'a> {
    /// A user did something.
    UserAction {
        #[schema(value_type = schema::Id)]
        user_id: &'a str,
        #[schema(value_type = schema::Id)]
        action: &'a str,
        #[schema(value_type = schema::Target)]
        target: &'a str,
        #[serde(serialize_with = "number")]
        #[schema(value_type = schema::Delta)]
        trust_delta: Delta,
        #[serde(serialize_with = "text")]
        #[schema(value_type = schema::Time)]
        timestamp: Timestamp,
    },
    /// A content exists.
    ContentAdded {
        #[schema(value_type = schema::Id)]
        content_id: &'a str,
        #[schema(value_type = schema::Id)]
        creator_id: &'a str,
        #[serde(serialize_with = "number")]
        #[schema(value_type = schema::Score)]
        initial_score: Score,
        #[schema(value_type = Option<schema::Metadata>)]
        metadata: Option<Box<RawValue>>,
    },
    /// A content was verified.
    ContentVerified {
        #[schema(value_type = schema::Id)]
        content_id: &'a str,
        #[schema(value_type = schema::Id)]
        creator_id: &'a str,
    },
    /// A content was reported.
    ContentReported {
        #[schema(value_type = schema::Id)]
        content_id: &'a str,
        #[schema(value_type = schema::Id)]
        creator_id: &'a str,
    },
    /// A dataset exists.
    DatasetRegistered(ShownRegistration<'a>),
    /// Somebody computed a dataset's SHA-256.
    DatasetVerified {
        #[schema(value_type = schema::Id)]
        dataset_id: &'a str,
        #[serde(serialize_with = "text")]
        #[schema(value_type = schema::Hash)]
        sha256: ContentHash,
    },
    /// Somebody rated a dataset.
    DatasetRated {
        #[schema(value_type = schema::Id)]
        dataset_id: &'a str,
        #[serde(serialize_with = "number")]
        #[schema(value_type = schema::Score)]
        rating: Score,
    },
    /// A station checked another's record.
    Testimony {
        /// The record's place.
        #[serde(serialize_with = "text")]
        #[schema(value_type = schema::RecordId)]
        about_id: RecordId,
        /// The record's hash.
        #[serde(serialize_with = "text")]
        #[schema(value_type = schema::Hash)]
        about_hash: RecordHash,
        /// `agree` or `contest`.
        answer: &'static str,
    },
    /// A founder admitted a station; without effect by anybody else.
    StationAdmitted {
        /// Whom.
        #[serde(serialize_with = "text")]
        #[schema(value_type = schema::PeerId)]
        admitted_id: StationId,
        /// Why.
        reason: &'a str,
        /// The hash of its ML-DSA key, where stations sign with one.
        #[schema(value_type = Option<schema::Hash>)]
        ml_dsa_key_hash: Option<String>,
    },
    /// A founder wanted a station expelled; without effect by anybody else.
    StationExpelled {
        /// Whom.
        #[serde(serialize_with = "text")]
        #[schema(value_type = schema::PeerId)]
        expelled_id: StationId,
        /// Why.
        reason: &'a str,
    },
    /// A station signed two batches with one sequence.
    BatchEquivocation {
        /// Who signed both; `station_id` is who proves it.
        #[serde(serialize_with = "text")]
        #[schema(value_type = schema::PeerId)]
        accused_id: StationId,
        /// The sequence of both.
        #[serde(serialize_with = "number")]
        #[schema(value_type = schema::Whole)]
        sequence: Sequence,
        /// The two, in order of their ids.
        batches: [ShownHeader; 2],
    },
}

/// One of the two batches that prove an equivocation: all that is needed to verify it again.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownHeader {
    /// Its id.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    batch_id: BatchId,
    /// The encoded header.
    #[schema(value_type = schema::Hex)]
    header: String,
    /// What signs it.
    #[schema(value_type = schema::Hex)]
    signature: String,
}

impl<'a> Fields<'a> {
    pub(super) fn new(record: &'a Record, rules: &Rules) -> Self {
        match record {
            Record::UserAction(record) => Self::UserAction {
                user_id: record.user_id.as_str(),
                action: record.action.as_str(),
                target: record.target.as_str(),
                trust_delta: record.trust_delta,
                timestamp: record.timestamp,
            },
            Record::ContentAdded(record) => Self::ContentAdded {
                content_id: record.content_id.as_str(),
                creator_id: record.creator_id.as_str(),
                initial_score: record.initial_score,
                metadata: shown_metadata(&record.metadata),
            },
            Record::ContentVerified(record) => {
                Self::ContentVerified { content_id: record.content_id.as_str(), creator_id: record.creator_id.as_str() }
            }
            Record::ContentReported(record) => {
                Self::ContentReported { content_id: record.content_id.as_str(), creator_id: record.creator_id.as_str() }
            }
            Record::DatasetRegistered(dataset) => Self::DatasetRegistered(ShownRegistration::new(dataset)),
            Record::DatasetVerified(record) => {
                Self::DatasetVerified { dataset_id: record.dataset_id.as_str(), sha256: record.sha256 }
            }
            Record::DatasetRated(record) => {
                Self::DatasetRated { dataset_id: record.dataset_id.as_str(), rating: record.rating }
            }
            Record::Testimony(it) => {
                Self::Testimony { about_id: it.record, about_hash: it.hash, answer: it.answer.as_str() }
            }
            Record::StationAdmitted(record) => Self::StationAdmitted {
                admitted_id: record.station,
                reason: record.reason.as_str(),
                ml_dsa_key_hash: record.ml_dsa_key_hash.map(hex::encode),
            },
            Record::StationExpelled(record) => {
                Self::StationExpelled { expelled_id: record.station, reason: record.reason.as_str() }
            }
            Record::BatchEquivocation(proof) => Self::BatchEquivocation {
                accused_id: proof.station(),
                sequence: proof.sequence(),
                batches: proof.headers().map(|signed| ShownHeader {
                    batch_id: signed.id(rules),
                    header: hex::encode(encode(&signed.header)),
                    signature: hex::encode(signed.signature.as_bytes()),
                }),
            },
        }
    }
}

/// The records of a batch, in order.
fn shown_records<'a>(seen: &'a SeenBatch, rules: &Rules) -> impl Iterator<Item = ShownRecord<'a>> {
    let (batch, seen) = (&seen.batch, seen.seen.map(Height::get));
    let hashes = batch.record_hashes(rules);
    (0..).zip(batch.records()).zip(hashes).map(move |((index, record), hash)| ShownRecord {
        fields: Fields::new(record, rules),
        record_id: batch.record_id(index),
        hash,
        station_id: batch.station(),
        batch_id: batch.id(),
        seen,
    })
}

/// The answer to `/v1/records/{id}`.
#[derive(Serialize, ToSchema)]
#[schema(as = FoundRecord)]
pub(super) struct ShownFound<'a> {
    /// The record.
    record: Option<ShownRecord<'a>>,
    /// Its place, which is its name.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::RecordId)]
    record_id: RecordId,
    /// Who signed it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    station_id: StationId,
    /// `pending`, `confirmed`, or `refused`: its author was expelled before a block took it.
    status: &'static str,
    /// The block of the best chain that holds it; null while it is pending.
    block: Option<Head>,
    /// Blocks from that one to the head, both counted; 0 while it is pending.
    confirmations: u64,
}

impl<'a> ShownFound<'a> {
    pub(super) fn new(found: &'a FoundRecord, rules: &Rules) -> Self {
        Self {
            record: shown_records(&found.batch, rules).nth(usize::from(found.index)),
            record_id: found.batch.batch.record_id(found.index),
            station_id: found.batch.batch.station(),
            status: match found.block {
                Some(_) => "confirmed",
                None if found.is_refused => "refused",
                None => "pending",
            },
            block: found.block,
            confirmations: found.confirmations,
        }
    }
}
