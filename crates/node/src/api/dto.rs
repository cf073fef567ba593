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
use utoipa::ToSchema;

use super::json::canonical_object;
use super::schema;

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
    #[schema(value_type = Option<schema::Whole>)]
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

/// How far a check of the chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Checking {
    /// Blocks checked.
    pub done: u64,
    /// Blocks to check.
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
    /// Always `pending`: it waits for a block.
    status: &'static str,
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { record_id, hash, batch_id } = self;
        ShownReceipt { record_id, hash, batch_id, sequence: record_id.sequence, status: "pending" }.serialize(to)
    }
}

/// Whose answer a score is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// The ledger's: all records of all stations.
    Ledger,
    /// One station's opinion.
    Opinion(StationId),
    /// A station's that has no record about the subject on the chain.
    NoOpinion(StationId),
    /// Of a station that the chain does not know.
    UnknownStation(StationId),
    /// Of a station that signed two batches with one sequence: what it says counts for nothing.
    Equivocator(StationId),
}

/// A score at one head, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "ShownTrust")]
pub struct Trust {
    /// Whose it is.
    pub voice: Voice,
    /// The ledger's with what is pending; an opinion's is always the confirmed one.
    pub score: Score,
    /// At the head, the same on every node.
    pub confirmed_score: Score,
    /// What `score` rests on: actions of a user, verifications and reports of a content or of a creator's contents.
    pub evidence: u64,
    /// The part of it that is on the chain.
    pub confirmed_evidence: u64,
    /// Pending records about the subject, which count in the ledger's `score` only.
    pub pending: u64,
    /// Whether there is any record about the subject, by this voice: else the score is the one of whoever is unknown.
    pub known: bool,
    /// The head.
    pub head: Head,
}

/// A score at one head, and what it rests on.
#[derive(Serialize, ToSchema)]
#[schema(as = Trust)]
pub(super) struct ShownTrust {
    /// Whose opinion it is; null: the ledger's, of all records of all stations.
    #[serde(serialize_with = "text_or_null")]
    #[schema(value_type = Option<schema::PeerId>)]
    station_id: Option<StationId>,
    /// 0.5 where nothing is known. The ledger's counts what is pending, an opinion's does not.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    score: Score,
    /// At the head, the same on every node.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    confirmed_score: Score,
    /// The range that `score` is in.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Band)]
    band: Band,
    /// What `score` rests on: actions of a user, verifications and reports of a content or of a creator's contents.
    evidence: u64,
    /// The part of it that is on the chain.
    confirmed_evidence: u64,
    /// Records about the subject that wait for a block.
    pending: u64,
    /// Whether `score` and `evidence` count those.
    includes_pending: bool,
    /// Whether there is any record about the subject; else the score is only the one that everything begins with.
    known: bool,
    /// Whether the one that was asked has a voice at all: not so of a station that the chain does not know, or that
    /// equivocated.
    answered: bool,
    /// `ledger`, `counted`, `no_opinion`, `unknown_station` or `equivocation`.
    why: &'static str,
    /// The head that it was computed at.
    head: Head,
}

impl From<Trust> for ShownTrust {
    fn from(trust: Trust) -> Self {
        let Trust { voice, score, confirmed_score, evidence, confirmed_evidence, pending, known, head } = trust;
        let (station_id, why) = match voice {
            Voice::Ledger => (None, "ledger"),
            Voice::Opinion(station) => (Some(station), "counted"),
            Voice::NoOpinion(station) => (Some(station), "no_opinion"),
            Voice::UnknownStation(station) => (Some(station), "unknown_station"),
            Voice::Equivocator(station) => (Some(station), "equivocation"),
        };
        Self {
            station_id,
            score,
            confirmed_score,
            band: score.band(),
            evidence,
            confirmed_evidence,
            pending,
            includes_pending: voice == Voice::Ledger,
            known,
            answered: !matches!(voice, Voice::UnknownStation(_) | Voice::Equivocator(_)),
            why,
            head,
        }
    }
}

/// How far a user is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UserTrust {
    /// Who.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Id)]
    pub user_id: Id,
    /// The score, and what it rests on.
    #[serde(flatten)]
    #[schema(value_type = ShownTrust)]
    pub trust: Trust,
}

/// How far a content is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ContentTrust {
    /// The content.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Id)]
    pub content_id: Id,
    /// Who made it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Id)]
    pub creator_id: Id,
    /// The score, and what it rests on.
    #[serde(flatten)]
    #[schema(value_type = ShownTrust)]
    pub trust: Trust,
    /// How often it was verified, as counted in `score`.
    pub verifications: u64,
    /// How often it was reported, as counted in `score`.
    pub reports: u64,
    /// Its score while it is neither verified nor reported.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    pub initial_score: Score,
    /// What the station said about it that added it first; `None` if nobody added it.
    #[serde(serialize_with = "metadata_or_null")]
    #[schema(value_type = Option<schema::Metadata>)]
    pub metadata: Option<Metadata>,
    /// When it was first named; `None` if it never was.
    #[serde(serialize_with = "text_or_null")]
    #[schema(value_type = Option<schema::Time>)]
    pub created_at: Option<Timestamp>,
    /// When that last changed.
    #[serde(serialize_with = "text_or_null")]
    #[schema(value_type = Option<schema::Time>)]
    pub updated_at: Option<Timestamp>,
}

/// How far a creator is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreatorTrust {
    /// Who.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Id)]
    pub creator_id: Id,
    /// The score, and what it rests on.
    #[serde(flatten)]
    #[schema(value_type = ShownTrust)]
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
    /// Pending records about the subject; no opinion counts them.
    pub pending: u64,
    /// The head it was computed at.
    pub head: Head,
}

/// The newest batch of a station's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogHead {
    /// Its number.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Whole)]
    pub sequence: Sequence,
    /// Its id.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    pub batch_id: BatchId,
}

/// One station's part in a combined score.
#[derive(Serialize, ToSchema)]
#[schema(as = Voice)]
pub(super) struct ShownVoice<'a> {
    /// The station.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    station_id: StationId,
    /// Its own score for the subject; 0.5 where it has no opinion.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    score: Score,
    /// Its own records about the subject.
    evidence: u64,
    /// Its weight under the policy.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    weight: Score,
    /// Its newest batch that is known here; null where there is none.
    head: Option<&'a LogHead>,
    /// Whether it has a voice at all: not so of a station that the chain does not know, or that equivocated.
    answered: bool,
    /// `counted`, `no_opinion`, `unknown_station` or `equivocation`.
    why: &'static str,
}

/// The opinions of many stations, combined.
#[derive(Serialize, ToSchema)]
#[schema(as = GlobalTrust)]
pub(super) struct ShownGlobal<'a> {
    /// `user`, `content` or `creator`.
    kind: &'static str,
    /// The user, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    /// The content, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
    /// The creator, where it is about one or one's content.
    #[serde(skip_serializing_if = "Option::is_none")]
    creator_id: Option<&'a str>,
    /// 0.5 where no station has an opinion.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    score: Score,
    /// The range that `score` is in.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Band)]
    band: Band,
    /// How the opinions were combined.
    policy: &'static str,
    /// Those with an opinion, and those that were named, by weight; at most 256.
    stations: Vec<ShownVoice<'a>>,
    /// Stations beyond those listed.
    more: usize,
    /// The weight of the asked stations that have an opinion, as part of that of all asked.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    coverage: Score,
    /// How much and how unanimous the evidence is.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    confidence: Score,
    /// Records about the subject that wait for a block.
    pending: u64,
    /// Always false: opinions are those of the chain.
    includes_pending: bool,
    /// The head that it was computed at.
    head: Head,
}

impl Serialize for GlobalTrust {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
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
            answered: !matches!(voice.why, combined::Why::UnknownStation | combined::Why::Equivocation),
            why: voice.why.as_str(),
        };
        ShownGlobal {
            kind,
            user_id,
            content_id,
            creator_id,
            score,
            band: score.band(),
            policy: policy.as_str(),
            stations: voices.iter().map(shown).collect(),
            more,
            coverage,
            confidence,
            pending: self.pending,
            includes_pending: false,
            head: self.head,
        }
        .serialize(to)
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
    /// How long it took, in milliseconds.
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
