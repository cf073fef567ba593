//! Blocks and records as they are shown, and as they are exported.

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::SealedHeader;
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, RecordHash, RecordId, Sequence, StationId};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::score::{Delta, Score};
use qfzz_ledger_core::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::dto::{Head, number, shown_metadata, text};

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
}

/// A block as `/v1/chain/blocks` shows it.
#[derive(Serialize)]
pub(super) struct ShownBlock<'a> {
    #[serde(serialize_with = "number")]
    index: Height,
    #[serde(serialize_with = "text")]
    hash: BlockHash,
    previous_hash: String,
    #[serde(serialize_with = "text")]
    timestamp: Timestamp,
    producer: Option<String>,
    version: u32,
    difficulty: u32,
    nonce: u64,
    merkle_root: String,
    batch_count: u32,
    body_bytes: u32,
    reveal: String,
    seal: String,
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
#[derive(Serialize)]
pub(super) struct ExportedBlock<'a> {
    #[serde(flatten)]
    shown: ShownBlock<'a>,
    /// The encoded header.
    header: String,
    /// The encoded signed batches, in order.
    batches: Vec<String>,
    /// In block 0: the encoded parameters of the federation and their nonce.
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// A record as it is shown: its fields, then where it stands.
#[derive(Serialize)]
pub(super) struct ShownRecord<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    #[serde(serialize_with = "text")]
    record_id: RecordId,
    #[serde(serialize_with = "text")]
    hash: RecordHash,
    #[serde(serialize_with = "text")]
    station_id: StationId,
    #[serde(serialize_with = "text")]
    batch_id: BatchId,
    seen: Option<u64>,
}

/// A record's fields, the same names as when it is sent.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Fields<'a> {
    UserAction {
        user_id: &'a str,
        action: &'a str,
        target: &'a str,
        #[serde(serialize_with = "number")]
        trust_delta: Delta,
        #[serde(serialize_with = "text")]
        timestamp: Timestamp,
    },
    ContentAdded {
        content_id: &'a str,
        creator_id: &'a str,
        #[serde(serialize_with = "number")]
        initial_score: Score,
        metadata: Option<Box<RawValue>>,
    },
    ContentVerified {
        content_id: &'a str,
        creator_id: &'a str,
    },
    ContentReported {
        content_id: &'a str,
        creator_id: &'a str,
    },
    BatchEquivocation {
        /// Who signed both; `station_id` is who proves it.
        #[serde(serialize_with = "text")]
        accused_id: StationId,
        #[serde(serialize_with = "number")]
        sequence: Sequence,
        batches: [ShownHeader; 2],
    },
}

/// One of the two batches that prove an equivocation: all that is needed to verify it again.
#[derive(Serialize)]
struct ShownHeader {
    #[serde(serialize_with = "text")]
    batch_id: BatchId,
    /// The encoded header.
    header: String,
    signature: String,
}

impl<'a> Fields<'a> {
    fn new(record: &'a Record, rules: &Rules) -> Self {
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
#[derive(Serialize)]
pub(super) struct ShownFound<'a> {
    record: Option<ShownRecord<'a>>,
    #[serde(serialize_with = "text")]
    record_id: RecordId,
    #[serde(serialize_with = "text")]
    station_id: StationId,
    status: &'static str,
    block: Option<Head>,
    confirmations: u64,
}

impl<'a> ShownFound<'a> {
    pub(super) fn new(found: &'a FoundRecord, rules: &Rules) -> Self {
        Self {
            record: shown_records(&found.batch, rules).nth(usize::from(found.index)),
            record_id: found.batch.batch.record_id(found.index),
            station_id: found.batch.batch.station(),
            status: if found.block.is_some() { "confirmed" } else { "pending" },
            block: found.block,
            confirmations: found.confirmations,
        }
    }
}
