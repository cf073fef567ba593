//! Trust as the API shows it: by the ledger, by one station, by many combined.

use std::collections::BTreeMap;

use qfzz_ledger_core::ids::{BatchId, Id, Sequence, StationId};
use qfzz_ledger_core::record::{Metadata, Subject};
use qfzz_ledger_core::score::{Band, Score};
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::global_trust as combined;
use serde::Serialize;
use serde::ser::Serializer;
use utoipa::ToSchema;

use super::{Head, metadata_or_null, number, text, text_or_null};
use crate::api::schema;

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
    /// What `score` rests on: actions of a user, verifications and reports of a content or of a creator's contents,
    /// verifications and ratings of a dataset.
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
pub(in crate::api) struct ShownTrust {
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
    /// What `score` rests on: actions of a user, verifications and reports of a content or of a creator's contents,
    /// verifications and ratings of a dataset.
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
    /// Whether `score` reaches this station's `trust.submit_threshold`: its users with less submit no datasets here.
    pub may_submit: bool,
    /// Whether `score` reaches this station's `trust.community_threshold`.
    pub community_trusted: bool,
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
pub(in crate::api) struct ShownVoice<'a> {
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
    /// `counted`, `unproven`, `contested`, `no_opinion`, `unknown_station` or `equivocation`.
    why: &'static str,
}

/// What drawn jurors found.
#[derive(Serialize, ToSchema)]
#[schema(as = Jury)]
struct ShownJury {
    /// Its score for the subject.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    score: Score,
    /// The answers that it rests on.
    evidence: u32,
}

/// The opinions of many stations, combined.
#[derive(Serialize, ToSchema)]
#[schema(as = GlobalTrust)]
pub(in crate::api) struct ShownGlobal<'a> {
    /// `user`, `content`, `creator` or `dataset`.
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
    /// The dataset, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_id: Option<&'a str>,
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
    /// What drawn jurors found; null where it is not heard, or has not said anything yet.
    jury: Option<ShownJury>,
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
        let (kind, user_id, content_id, creator_id, dataset_id) = match &self.subject {
            Subject::User(user) => ("user", Some(user.as_str()), None, None, None),
            Subject::Content { creator_id, content_id } => {
                ("content", None, Some(content_id.as_str()), Some(creator_id.as_str()), None)
            }
            Subject::Creator(creator) => ("creator", None, None, Some(creator.as_str()), None),
            Subject::Dataset(dataset) => ("dataset", None, None, None, Some(dataset.as_str())),
        };
        let combined::GlobalTrust { score, policy, ref voices, more, ref jury, coverage, confidence } = self.combined;
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
            dataset_id,
            score,
            band: score.band(),
            policy: policy.as_str(),
            stations: voices.iter().map(shown).collect(),
            more,
            jury: jury.as_ref().map(|jury| ShownJury { score: jury.score, evidence: jury.evidence }),
            coverage,
            confidence,
            pending: self.pending,
            includes_pending: false,
            head: self.head,
        }
        .serialize(to)
    }
}
