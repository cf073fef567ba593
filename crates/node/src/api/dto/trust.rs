//! Trust as the API shows it: by the ledger, by one station.

use qfzz_ledger_core::ids::{Id, StationId};
use qfzz_ledger_core::record::Metadata;
use qfzz_ledger_core::score::{Band, Score};
use qfzz_ledger_core::time::Timestamp;
use serde::Serialize;
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
