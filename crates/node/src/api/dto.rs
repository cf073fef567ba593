//! What the API shows: plain values in the ledger's own types, and how each is written as JSON.
//!
//! Hashes, ids and times are texts, bytes are hex, scores are JSON numbers written from their integers.

mod dataset;
mod duty;
mod global;
mod trust;

use std::fmt::Display;

use qfzz_ledger_core::header::{Difficulty, Work};
use qfzz_ledger_core::ids::{
    BatchId, BlockHash, FederationId, Height, Name, RecordHash, RecordId, Sequence, StationId,
};
use qfzz_ledger_core::record::Metadata;
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::report::SyncReport;
use serde::Serialize;
use serde::ser::{Error, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::json::canonical_object;
use super::schema;

pub use dataset::{Dataset, DatasetChange, DatasetPage, DatasetTrust};
pub(super) use dataset::{ShownChange, ShownDataset, ShownRegistration};
pub use duty::{AnsweredBy, Draw, Draws, Duty, DutyPage};
pub(super) use duty::{ShownDraws, ShownSubject};
pub(super) use global::ShownGlobal;
pub use global::{GlobalTrust, Live, LogHead, Rests};
pub use trust::{ContentTrust, CreatorTrust, Trust, UserTrust, Voice};

/// Writes a value as the text it is shown as.
pub(super) fn text<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// Writes a value as text, or null.
fn text_or_null<S: Serializer>(value: &Option<impl Display>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

/// Writes a value that is shown as a JSON number: a score, a delta, a height. No `f64` in between.
pub(super) fn number<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(value.to_string()).map_err(S::Error::custom)?.serialize(to)
}

/// As [`number`], or null.
fn number_or_null<S: Serializer>(value: &Option<impl Display>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => number(value, to),
        None => to.serialize_none(),
    }
}

fn difficulty<S: Serializer>(value: &Difficulty, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u32(value.digits())
}

fn work<S: Serializer>(value: &Work, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u128(value.attempts())
}

fn metadata_or_null<S: Serializer>(value: &Option<Metadata>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().and_then(shown_metadata).serialize(to)
}

/// Metadata as JSON; `None` where another station wrote what is no JSON object within the limits.
pub(super) fn shown_metadata(metadata: &Metadata) -> Option<Box<RawValue>> {
    RawValue::from_string(canonical_object(metadata.as_str()).ok()?).ok()
}

/// A block's place and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Head {
    /// Its height.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Whole)]
    pub index: Height,
    /// Its hash.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    pub hash: BlockHash,
}

/// Something that an operator should know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What programs tell it by.
    pub code: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What helps.
    pub remedy: &'static str,
}

impl Trouble {
    /// Takes the parts.
    pub const fn new(code: &'static str, problem: String, remedy: &'static str) -> Self {
        Self { code, problem, remedy }
    }
}

/// Something that an operator should know, and what to do about it.
#[derive(Serialize, ToSchema)]
#[schema(as = Trouble)]
pub(super) struct ShownTrouble<'a> {
    /// What programs tell it by.
    code: &'a str,
    /// What is wrong.
    problem: &'a str,
    /// What is wrong and what helps, in one sentence.
    detail: String,
    /// What helps.
    remedy: &'a str,
}

impl Serialize for Trouble {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { code, problem, remedy } = self;
        ShownTrouble { code, problem, detail: format!("{problem}: {remedy}"), remedy }.serialize(to)
    }
}

/// One screen about this station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Status {
    /// This station.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    pub station_id: StationId,
    /// What it calls itself.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Name)]
    pub name: Name,
    /// Its federation, if it has one.
    #[serde(serialize_with = "text_or_null")]
    #[schema(value_type = Option<schema::Hash>)]
    pub federation_id: Option<FederationId>,
    /// What the federation calls itself.
    #[serde(serialize_with = "text_or_null")]
    #[schema(value_type = Option<schema::Name>)]
    pub federation: Option<Name>,
    /// How its stations sign: `ed25519` or `hybrid`.
    #[schema(value_type = Option<String>)]
    pub signatures: Option<&'static str>,
    /// The hash of this station's ML-DSA key: what founders name it by where stations sign with `hybrid`.
    #[schema(value_type = schema::Hash)]
    pub ml_dsa_key_hash: String,
    /// The program's version.
    pub version: String,
    /// The multiaddresses under which it can be reached, peer id included.
    pub listen: Vec<String>,
    /// The head of the best chain.
    pub head: Option<Head>,
    /// Records on the best chain.
    pub records: u64,
    /// Records that wait for a block, of all stations.
    pub pending_records: u64,
    /// Connected peers.
    pub peers: u64,
    /// Records that it is asked to check and has not answered about.
    pub open_duties: u64,
    /// The greatest height that a connected peer tells of; it has proven nothing yet.
    #[serde(serialize_with = "number_or_null")]
    #[schema(value_type = Option<schema::Whole>)]
    pub known_height: Option<Height>,
    /// Whether it has caught up with a peer, or founded the federation and has none.
    pub synced: bool,
    /// Whether it may sign records: not before it knows its own log.
    pub signing: bool,
    /// How far the check of the whole chain is that was asked for; null while none is under way.
    pub verifying: Option<Checking>,
    /// How far the import is that is under way, in bytes of the file; null while there is none.
    pub importing: Option<Checking>,
    /// Whether it mines by itself.
    pub mining: bool,
    /// Reorganisations since the start.
    pub reorganisations: u64,
    /// Bytes that its data takes on the disk, where that can be told.
    pub data_bytes: Option<u64>,
    /// Bytes that are left for it on the disk, where that can be told.
    pub free_bytes: Option<u64>,
    /// When it started.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Time)]
    pub started_at: Timestamp,
    /// Peers that are kept away for what they did, the longest first, at most 32.
    pub banned: Vec<BannedPeer>,
    /// How many are kept away in all.
    pub banned_total: u64,
    /// What is wrong, most pressing first; empty when all is well.
    #[schema(value_type = Vec<ShownTrouble>)]
    pub problems: Vec<Trouble>,
    /// What an operator may want to know, though nothing has to be done.
    pub notices: Vec<String>,
}

/// How far a check of the chain is, in blocks, or an import, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Checking {
    /// What is done.
    pub done: u64,
    /// What there is to do.
    pub of: u64,
}

/// A peer that is kept away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BannedPeer {
    /// Who.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    pub peer_id: StationId,
    /// What it did, in the past tense.
    pub reason: String,
    /// When it may come back.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Time)]
    pub until: Timestamp,
}

/// Whether the node is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// It has a federation, and has caught up with a peer or is a founder without peers.
    pub ready: bool,
    /// Why not; empty when ready.
    pub reasons: Vec<String>,
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Peer {
    /// Who.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    pub peer_id: StationId,
    /// The multiaddress by which it can be dialled, as far as it is known; else that of the connection.
    pub address: String,
    /// What it calls itself, as it told or as its introduction on the chain says.
    #[serde(serialize_with = "text_or_null")]
    #[schema(value_type = Option<schema::Name>)]
    pub name: Option<Name>,
    /// Its head, once it has told.
    pub head: Option<Head>,
    /// Since when it is connected.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Time)]
    pub connected_since: Timestamp,
}

/// A connection that was asked for and stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Dialled {
    /// Who answered.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    pub peer_id: StationId,
    /// Under which multiaddress.
    pub address: String,
    /// The federation, which is now also this node's.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    pub federation_id: FederationId,
    /// What it calls itself.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Name)]
    pub federation: Name,
    /// Whether this node had no federation before.
    pub joined: bool,
}

/// A station that takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StationInfo {
    /// Which.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    pub station_id: StationId,
    /// What it calls itself.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Name)]
    pub name: Name,
    /// Its records on the chain.
    pub records: u64,
    /// Its batches on the chain.
    pub batches: u64,
    /// Whether genesis names it.
    pub founder: bool,
    /// Whether it may publish and produce: everybody where admission is open.
    pub admitted: bool,
    /// Whether it is a founder, or two of them admitted it (one where genesis names one); only by roster.
    pub vouched: bool,
    /// Whether the founders expelled it.
    pub expelled: bool,
    /// Whether it is this station, or connected to it.
    pub connected: bool,
    /// Whether it was proven on the chain to have signed two batches with one sequence: its opinions count for nothing.
    pub equivocated: bool,
    /// The record that first proved it.
    #[serde(serialize_with = "text_or_null")]
    #[schema(value_type = Option<schema::RecordId>)]
    pub equivocation: Option<RecordId>,
}

/// The acknowledgement of a record: it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its place, which is its name.
    pub record_id: RecordId,
    /// Its hash: a leaf of its batch's Merkle tree.
    pub hash: RecordHash,
    /// The batch that holds it.
    pub batch_id: BatchId,
    /// Whether it is refused, because this station was expelled.
    pub is_refused: bool,
}

/// A one-time invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Invitation {
    /// The ticket; it holds a secret.
    pub ticket: String,
    /// Until when it can be used.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Time)]
    pub expires: Timestamp,
}

/// The acknowledgement of a record: it is on disk.
#[derive(Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(super) struct ShownReceipt<'a> {
    /// Its place, which is its name.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::RecordId)]
    record_id: &'a RecordId,
    /// Its hash: a leaf of its batch's Merkle tree.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    hash: &'a RecordHash,
    /// The batch that holds it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    batch_id: &'a BatchId,
    /// The number of that batch in its station's log.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Whole)]
    sequence: Sequence,
    /// `pending`: it waits for a block; `refused`: this station was expelled, and nobody takes it.
    status: &'static str,
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { record_id, hash, batch_id, is_refused } = self;
        let status = if *is_refused { "refused" } else { "pending" };
        ShownReceipt { record_id, hash, batch_id, sequence: record_id.sequence, status }.serialize(to)
    }
}

/// Figures about the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Statistics {
    /// Blocks of the best chain, genesis counted.
    pub chain_length: u64,
    /// Records on it.
    pub total_records: u64,
    /// Records that wait for a block.
    pub pending_records: u64,
    /// Zero hex digits that every block's hash starts with.
    #[serde(serialize_with = "difficulty")]
    #[schema(value_type = schema::Difficulty)]
    pub difficulty: Difficulty,
    /// Whether every block that is shown was verified.
    pub is_valid: bool,
    /// The same, as the guide's `get_chain_stats` calls it.
    pub chain_valid: bool,
    /// Distinct pairs of content and creator on the chain.
    pub indexed_records: u64,
    /// Distinct users on the chain.
    pub total_users: u64,
    /// Expected hash attempts behind the chain.
    #[serde(serialize_with = "work")]
    #[schema(value_type = schema::Whole)]
    pub work: Work,
    /// The head.
    pub head: Head,
}

/// What importing a file came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Imported {
    /// What the file is.
    pub format: ImportFormat,
    /// Blocks in the file, block 0 too.
    pub blocks: u64,
    /// Records that were added: 0 if all of it was here already.
    pub records: u64,
    /// The SHA-256 of the file.
    #[schema(value_type = schema::Hash)]
    pub source: String,
    /// Of the records added, those whose metadata is too large or no JSON: only its SHA-256 is kept.
    pub metadata_left_out: u64,
}

/// What an imported file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportFormat {
    /// A chain that a station of this program exported.
    Export,
    /// A chain of the original program.
    Chain,
    /// A station's ledger of the original program.
    Ledger,
}

/// What verifying the stored chain came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verification {
    /// Whether every block is valid and follows the one before.
    pub valid: bool,
    /// Blocks found valid, from genesis on.
    pub blocks: u64,
    /// What is wrong with the block after those, with its index; left out when valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What one sync with one peer did.
#[derive(Serialize, ToSchema)]
#[schema(as = SyncReport)]
pub(super) struct ShownReport {
    /// The peer.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    peer: StationId,
    /// Blocks taken in.
    blocks: u64,
    /// Batches taken in beside those in blocks.
    batches: u64,
    /// Records in those blocks and batches.
    records: u64,
    /// Bytes of answers received.
    bytes_in: u64,
    /// Bytes of requests sent.
    bytes_out: u64,
    /// Requests that were answered.
    round_trips: u64,
    /// Blocks that left the best chain.
    reorg_depth: u64,
    /// How long it took until all that was taken over was on disk, in milliseconds.
    elapsed_ms: u64,
    /// Time that the processor spent on it here, in milliseconds.
    cpu_ms: u64,
    /// What the peer did wrong, or why the sync ended early; null if both are equal now as far as the peer goes.
    fault: Option<String>,
}

impl From<&SyncReport> for ShownReport {
    fn from(report: &SyncReport) -> Self {
        let SyncReport { peer, blocks, batches, records, bytes_in, bytes_out, .. } = *report;
        let SyncReport { round_trips, reorg_depth, elapsed_ms, cpu_ms, ref fault, .. } = *report;
        let fault = fault.as_ref().map(ToString::to_string);
        Self {
            peer,
            blocks,
            batches,
            records,
            bytes_in,
            bytes_out,
            round_trips,
            reorg_depth,
            elapsed_ms,
            cpu_ms,
            fault,
        }
    }
}
