//! What the API shows: plain values in the ledger's own types, and how each is written as JSON.
//!
//! Hashes, ids and times are texts, bytes are hex, scores are JSON numbers written from their integers.

use std::collections::BTreeMap;
use std::fmt::Display;

use qfzz_ledger_core::header::{Difficulty, Work};
use qfzz_ledger_core::ids::{
    BatchId, BlockHash, FederationId, Height, Id, Name, RecordHash, RecordId, Sequence, StationId,
};
use qfzz_ledger_core::record::{Metadata, Subject};
use qfzz_ledger_core::score::{Band, Score};
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::global_trust as combined;
use qfzz_sync::report::SyncReport;
use serde::Serialize;
use serde::ser::{Error, Serializer};
use serde_json::value::RawValue;

use super::json::canonical_object;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Its height.
    #[serde(serialize_with = "number")]
    pub index: Height,
    /// Its hash.
    #[serde(serialize_with = "text")]
    pub hash: BlockHash,
}

/// Something that an operator should know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What is wrong.
    pub problem: String,
    /// What helps.
    pub remedy: String,
}

/// One screen about this station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// This station.
    #[serde(serialize_with = "text")]
    pub station_id: StationId,
    /// What it calls itself.
    #[serde(serialize_with = "text")]
    pub name: Name,
    /// Its federation, if it has one.
    #[serde(serialize_with = "text_or_null")]
    pub federation_id: Option<FederationId>,
    /// What the federation calls itself.
    #[serde(serialize_with = "text_or_null")]
    pub federation: Option<Name>,
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
    /// The greatest height that a connected peer tells of; it has proven nothing yet.
    #[serde(serialize_with = "number_or_null")]
    pub known_height: Option<Height>,
    /// Whether it has caught up with a peer, or founded the federation and has none.
    pub synced: bool,
    /// Whether it may sign records: not before it knows its own log.
    pub signing: bool,
    /// How far the check of the whole chain is that was asked for; null while none is under way.
    pub verifying: Option<Checking>,
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
    pub started_at: Timestamp,
    /// Peers that are kept away for what they did, the longest first, at most 32.
    pub banned: Vec<BannedPeer>,
    /// How many are kept away in all.
    pub banned_total: u64,
    /// What is wrong, most pressing first; empty when all is well.
    pub problems: Vec<Trouble>,
}

/// How far a check of the chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Checking {
    /// Blocks checked.
    pub done: u64,
    /// Blocks to check.
    pub of: u64,
}

/// A peer that is kept away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BannedPeer {
    /// Who.
    #[serde(serialize_with = "text")]
    pub peer_id: StationId,
    /// What it did, in the past tense.
    pub reason: String,
    /// When it may come back.
    #[serde(serialize_with = "text")]
    pub until: Timestamp,
}

/// Whether the node is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// It has a federation, and has caught up with a peer or is a founder without peers.
    pub ready: bool,
    /// Why not; empty when ready.
    pub reasons: Vec<String>,
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Who.
    #[serde(serialize_with = "text")]
    pub peer_id: StationId,
    /// The multiaddress of the connection.
    pub address: String,
    /// What it calls itself, once its introduction is on the chain.
    #[serde(serialize_with = "text_or_null")]
    pub name: Option<Name>,
    /// Its head, once it has told.
    pub head: Option<Head>,
    /// Since when it is connected.
    #[serde(serialize_with = "text")]
    pub connected_since: Timestamp,
}

/// A connection that was asked for and stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dialled {
    /// Who answered.
    #[serde(serialize_with = "text")]
    pub peer_id: StationId,
    /// Under which multiaddress.
    pub address: String,
    /// The federation, which is now also this node's.
    #[serde(serialize_with = "text")]
    pub federation_id: FederationId,
    /// What it calls itself.
    #[serde(serialize_with = "text")]
    pub federation: Name,
    /// Whether this node had no federation before.
    pub joined: bool,
}

/// A station that takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StationInfo {
    /// Which.
    #[serde(serialize_with = "text")]
    pub station_id: StationId,
    /// What it calls itself.
    #[serde(serialize_with = "text")]
    pub name: Name,
    /// Its records on the chain.
    pub records: u64,
    /// Its batches on the chain.
    pub batches: u64,
    /// Whether genesis names it.
    pub founder: bool,
    /// Whether it is this station, or connected to it.
    pub connected: bool,
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
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            #[serde(serialize_with = "text")]
            record_id: &'a RecordId,
            #[serde(serialize_with = "text")]
            hash: &'a RecordHash,
            #[serde(serialize_with = "text")]
            batch_id: &'a BatchId,
            #[serde(serialize_with = "number")]
            sequence: Sequence,
            status: &'static str,
        }
        let Self { record_id, hash, batch_id } = self;
        Shown { record_id, hash, batch_id, sequence: record_id.sequence, status: "pending" }.serialize(to)
    }
}

/// A score at one head, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "ShownTrust")]
pub struct Trust {
    /// Whose opinion it is; `None`: the ledger's.
    pub station_id: Option<StationId>,
    /// With what is pending; an opinion's is always the confirmed one.
    pub score: Score,
    /// At the head, the same on every node.
    pub confirmed_score: Score,
    /// What `score` rests on: actions of a user, verifications and reports of a content or of a creator's contents.
    pub evidence: u64,
    /// Pending records about the subject, which count in `score` only.
    pub pending: u64,
    /// The head.
    pub head: Head,
}

/// [`Trust`] with its band.
#[derive(Serialize)]
struct ShownTrust {
    #[serde(serialize_with = "text_or_null")]
    station_id: Option<StationId>,
    #[serde(serialize_with = "number")]
    score: Score,
    #[serde(serialize_with = "number")]
    confirmed_score: Score,
    #[serde(serialize_with = "text")]
    band: Band,
    evidence: u64,
    pending: u64,
    head: Head,
}

impl From<Trust> for ShownTrust {
    fn from(trust: Trust) -> Self {
        let Trust { station_id, score, confirmed_score, evidence, pending, head } = trust;
        Self { station_id, score, confirmed_score, band: score.band(), evidence, pending, head }
    }
}

/// How far a user is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserTrust {
    /// Who.
    #[serde(serialize_with = "text")]
    pub user_id: Id,
    /// The score, and what it rests on.
    #[serde(flatten)]
    pub trust: Trust,
}

/// How far a content is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContentTrust {
    /// The content.
    #[serde(serialize_with = "text")]
    pub content_id: Id,
    /// Who made it.
    #[serde(serialize_with = "text")]
    pub creator_id: Id,
    /// The score, and what it rests on.
    #[serde(flatten)]
    pub trust: Trust,
    /// How often it was verified, as counted in `score`.
    pub verifications: u64,
    /// How often it was reported, as counted in `score`.
    pub reports: u64,
    /// Its score while it is neither verified nor reported.
    #[serde(serialize_with = "number")]
    pub initial_score: Score,
    /// What the station said about it that added it first; `None` if nobody added it.
    #[serde(serialize_with = "metadata_or_null")]
    pub metadata: Option<Metadata>,
    /// When it was first named; `None` if it never was.
    #[serde(serialize_with = "text_or_null")]
    pub created_at: Option<Timestamp>,
    /// When that last changed.
    #[serde(serialize_with = "text_or_null")]
    pub updated_at: Option<Timestamp>,
}

/// How far a creator is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreatorTrust {
    /// Who.
    #[serde(serialize_with = "text")]
    pub creator_id: Id,
    /// The score, and what it rests on.
    #[serde(flatten)]
    pub trust: Trust,
    /// The contents whose mean it is, as counted in `score`.
    pub contents: u64,
}

/// The opinions of many stations, combined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalTrust {
    /// About whom or what.
    pub subject: Subject,
    /// The combined score, and what it rests on.
    pub combined: combined::GlobalTrust,
    /// The newest batch known of each station that has a part in it.
    pub newest: BTreeMap<StationId, LogHead>,
    /// The head it was computed at.
    pub head: Head,
}

/// The newest batch of a station's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LogHead {
    /// Its number.
    #[serde(serialize_with = "number")]
    pub sequence: Sequence,
    /// Its id.
    #[serde(serialize_with = "text")]
    pub batch_id: BatchId,
}

/// One station's part in a combined score.
#[derive(Serialize)]
struct ShownVoice<'a> {
    #[serde(serialize_with = "text")]
    station_id: StationId,
    #[serde(serialize_with = "number")]
    score: Score,
    evidence: u64,
    #[serde(serialize_with = "number")]
    weight: Score,
    head: Option<&'a LogHead>,
    /// Whether the opinion is as fresh as was asked for: always, while no station is asked at once.
    answered: bool,
    why: &'static str,
}

impl Serialize for GlobalTrust {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            kind: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            user_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            content_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            creator_id: Option<&'a str>,
            #[serde(serialize_with = "number")]
            score: Score,
            #[serde(serialize_with = "text")]
            band: Band,
            policy: &'static str,
            stations: Vec<ShownVoice<'a>>,
            more: usize,
            #[serde(serialize_with = "number")]
            coverage: Score,
            #[serde(serialize_with = "number")]
            confidence: Score,
            head: Head,
        }
        let (kind, user_id, content_id, creator_id) = match &self.subject {
            Subject::User(user) => ("user", Some(user.as_str()), None, None),
            Subject::Content { creator_id, content_id } => {
                ("content", None, Some(content_id.as_str()), Some(creator_id.as_str()))
            }
            Subject::Creator(creator) => ("creator", None, None, Some(creator.as_str())),
        };
        let combined::GlobalTrust { score, policy, ref voices, more, coverage, confidence } = self.combined;
        let shown = |voice: &combined::Voice| ShownVoice {
            station_id: voice.station,
            score: voice.score,
            evidence: voice.evidence,
            weight: voice.weight,
            head: self.newest.get(&voice.station),
            answered: true,
            why: voice.why.as_str(),
        };
        let (band, policy, head) = (score.band(), policy.as_str(), self.head);
        let stations = voices.iter().map(shown).collect();
        Shown { kind, user_id, content_id, creator_id, score, band, policy, stations, more, coverage, confidence, head }
            .serialize(to)
    }
}

/// Figures about the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Blocks of the best chain, genesis counted.
    pub chain_length: u64,
    /// Records on it.
    pub total_records: u64,
    /// Records that wait for a block.
    pub pending_records: u64,
    /// Zero hex digits that every block's hash starts with.
    #[serde(serialize_with = "difficulty")]
    pub difficulty: Difficulty,
    /// Whether every block that is shown was verified.
    pub is_valid: bool,
    /// Distinct pairs of content and creator on the chain.
    pub indexed_records: u64,
    /// Distinct users on the chain.
    pub total_users: u64,
    /// Expected hash attempts behind the chain.
    #[serde(serialize_with = "work")]
    pub work: Work,
    /// The head.
    pub head: Head,
}

/// What verifying the stored chain came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Whether every block is valid and follows the one before.
    pub valid: bool,
    /// Blocks found valid, from genesis on.
    pub blocks: u64,
    /// What is wrong with the block after those, with its index; left out when valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A sync report, as shown.
#[derive(Serialize)]
pub(super) struct ShownReport {
    #[serde(serialize_with = "text")]
    peer: StationId,
    blocks: u64,
    batches: u64,
    records: u64,
    bytes_in: u64,
    bytes_out: u64,
    round_trips: u64,
    reorg_depth: u64,
    elapsed_ms: u64,
    cpu_ms: u64,
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
