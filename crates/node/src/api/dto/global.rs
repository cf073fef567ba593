//! Global trust as the API shows it: the opinions of many stations combined, and what that rests on.

use std::collections::{BTreeMap, BTreeSet};

use qfzz_ledger_core::ids::{BatchId, Sequence, StationId};
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::{Band, ONE, Score};
use qfzz_sync::global_trust as combined;
use qfzz_sync::opinion::Unanswered;
use serde::Serialize;
use serde::ser::Serializer;
use utoipa::ToSchema;

use super::{Head, ShownSubject, number, text};
use crate::api::schema;

/// The opinions of many stations, combined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalTrust {
    /// About whom or what.
    pub subject: Subject,
    /// The combined score, and what it rests on.
    pub combined: combined::GlobalTrust,
    /// The newest batch known of each station that has a part in it.
    pub newest: BTreeMap<StationId, LogHead>,
    /// What the weights rest on, where that was asked for.
    pub rests: BTreeMap<StationId, Rests>,
    /// Whom this station asked at once; `None` where it was not told to.
    pub live: Option<Live>,
    /// Records about the subject that wait for a block, as far as this station knows.
    pub pending: u64,
    /// The head it was computed at.
    pub head: Head,
}

/// Stations that were asked at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Whose live opinion stands in the place of the chain's.
    pub answered: BTreeSet<StationId>,
    /// Whose does not, and why.
    pub unanswered: BTreeMap<StationId, Unanswered>,
    /// Which stations are connected.
    pub connected: BTreeSet<StationId>,
}

impl Live {
    /// Why a station's live opinion is not in the answer; `None` where it is.
    pub(crate) fn why_not(&self, station: &StationId) -> Option<Unanswered> {
        if self.answered.contains(station) {
            return None;
        }
        let not_asked =
            || if self.connected.contains(station) { Unanswered::NotAsked } else { Unanswered::NotConnected };
        Some(self.unanswered.get(station).copied().unwrap_or_else(not_asked))
    }
}

/// What a station's weight under `anchored` rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rests {
    /// Whether it anchors the network itself.
    pub is_founder: bool,
    /// Whether founders vouch for it, which is an advance of 0.5.
    pub is_vouched: bool,
    /// How far it agrees with founders and the jury.
    pub grounds: combined::Grounds,
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

/// How far a station agrees with another, or with the jury.
#[derive(Serialize, ToSchema)]
#[schema(as = Agreement)]
struct ShownAgreement {
    /// How much they have in common: 0.4 for each plain subject (one opinion at 0.1 or 0.9).
    #[serde(serialize_with = "millionths")]
    #[schema(value_type = schema::Amount)]
    info: u64,
    /// How far they agree on it.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    agreement: Score,
}

impl From<&combined::Agreement> for ShownAgreement {
    fn from(it: &combined::Agreement) -> Self {
        Self { info: it.info, agreement: it.agreement }
    }
}

/// The same, with a founder.
#[derive(Serialize, ToSchema)]
#[schema(as = FounderAgreement)]
struct ShownFounder {
    /// The founder.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    station_id: StationId,
    /// How far the station agrees with it.
    #[serde(flatten)]
    #[schema(value_type = ShownAgreement)]
    beside: ShownAgreement,
}

/// What a station's weight under `anchored` rests on.
#[derive(Serialize, ToSchema)]
#[schema(as = Grounds)]
struct ShownGrounds {
    /// Whether genesis names it: then it anchors the network itself.
    founder: bool,
    /// Whether founders vouch for it, which is an advance of 0.5.
    vouched: bool,
    /// The station beside each founder but itself.
    founders: Vec<ShownFounder>,
    /// The station beside the jury and the other jurors.
    jury: ShownAgreement,
    /// Subjects and claims of it that the jury has an opinion about.
    checked: u64,
    /// How far the jury contradicts them: 1 for each that it wholly does.
    #[serde(serialize_with = "millionths")]
    #[schema(value_type = schema::Amount)]
    contradicted: u64,
}

impl From<&Rests> for ShownGrounds {
    fn from(it: &Rests) -> Self {
        let Rests { is_founder, is_vouched, grounds } = it;
        let beside =
            |(founder, it): &(StationId, combined::Agreement)| ShownFounder { station_id: *founder, beside: it.into() };
        Self {
            founder: *is_founder,
            vouched: *is_vouched,
            founders: grounds.founders.iter().map(beside).collect(),
            jury: (&grounds.jury).into(),
            checked: grounds.checked,
            contradicted: grounds.contradicted,
        }
    }
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
    /// Its part of all that the score rests on.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    share: Score,
    /// Its newest batch that is known here; null where there is none.
    head: Option<&'a LogHead>,
    /// With `live=true`: whether `score` and `evidence` are what it answered now; else they are the chain's. Without:
    /// whether it has a voice at all, which a station that the chain does not know, or that equivocated, has not.
    answered: bool,
    /// With `live=true`: why it did not answer; null where it did.
    unanswered: Option<&'static str>,
    /// `counted`, `unproven`, `contested`, `no_opinion`, `unknown_station` or `equivocation`.
    why: &'static str,
    /// With `explain=true` and under `anchored`: what the weight rests on; else null.
    grounds: Option<ShownGrounds>,
}

/// A station that was asked at once, and whose answer does not count.
#[derive(Serialize, ToSchema)]
#[schema(as = Unanswered)]
struct ShownUnanswered {
    /// The station.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    station_id: StationId,
    /// `not_connected`, `not_asked`, `equivocation`, `late`, `busy`, `no_answer`, `unreadable`, `other_federation`,
    /// `other_station`, `other_subject`, `replayed_nonce`, `behind`, `other_time`, `wrong_signature` or `overtaken`.
    why: &'static str,
    /// Whether an honest station gives no such answer.
    fault: bool,
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
    /// Its part of all that the score rests on.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    share: Score,
}

/// The opinions of many stations, combined.
#[derive(Serialize, ToSchema)]
#[schema(as = GlobalTrust)]
pub(in crate::api) struct ShownGlobal<'a> {
    /// What it is about.
    #[serde(flatten)]
    subject: ShownSubject<'a>,
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
    /// The part of the score that is the 0.5 of whatever nobody knows.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    start: Score,
    /// The weight of the asked stations that have an opinion, as part of that of all asked.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    coverage: Score,
    /// How much and how unanimous the evidence is.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Score)]
    confidence: Score,
    /// Whether stations were asked at once. Then the answer is this station's alone: another one may hear others.
    live: bool,
    /// With `live=true`: the stations asked whose answer does not count, each with the reason.
    unanswered: Vec<ShownUnanswered>,
    /// Records about the subject that wait for a block, as far as this station knows.
    pending: u64,
    /// Whether `score` counts what waits for a block at stations that answered; false without `live`.
    includes_pending: bool,
    /// The head that it was computed at.
    head: Head,
}

impl Serialize for GlobalTrust {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let combined::GlobalTrust { score, policy, ref voices, more, start, coverage, confidence, .. } = self.combined;
        let jury =
            |jury: &combined::JuryVoice| ShownJury { score: jury.score, evidence: jury.evidence, share: jury.share };
        let unanswered = self.live.iter().flat_map(|live| &live.unanswered);
        let unanswered = unanswered.map(|(station, why)| ShownUnanswered {
            station_id: *station,
            why: why.as_str(),
            fault: why.is_fault(),
        });
        ShownGlobal {
            subject: ShownSubject::new(&self.subject),
            score,
            band: score.band(),
            policy: policy.as_str(),
            stations: voices.iter().map(|voice| self.voice(voice)).collect(),
            more,
            jury: self.combined.jury.as_ref().map(jury),
            start,
            coverage,
            confidence,
            live: self.live.is_some(),
            unanswered: unanswered.collect(),
            pending: self.pending,
            includes_pending: self.live.as_ref().is_some_and(|live| !live.answered.is_empty()),
            head: self.head,
        }
        .serialize(to)
    }
}

impl GlobalTrust {
    fn voice(&self, voice: &combined::Voice) -> ShownVoice<'_> {
        let live = self.live.as_ref().map(|live| live.why_not(&voice.station));
        let has_voice = !matches!(voice.why, combined::Why::UnknownStation | combined::Why::Equivocation);
        ShownVoice {
            station_id: voice.station,
            score: voice.score,
            evidence: voice.evidence,
            weight: voice.weight,
            share: voice.share,
            head: self.newest.get(&voice.station),
            answered: live.map_or(has_voice, |why_not| why_not.is_none()),
            unanswered: live.flatten().map(Unanswered::as_str),
            why: voice.why.as_str(),
            grounds: self.rests.get(&voice.station).map(ShownGrounds::from),
        }
    }
}

/// Writes millionths as a JSON number with at most six decimals.
fn millionths<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
    let (whole, rest) = (value / u64::from(ONE), value % u64::from(ONE));
    let decimals = format!("{rest:06}");
    match decimals.trim_end_matches('0') {
        "" => number(&whole, to),
        decimals => number(&format_args!("{whole}.{decimals}"), to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millionths_are_written_exactly_and_as_short_as_can_be() {
        let shown = |value: u64| {
            let mut text = Vec::new();
            millionths(&value, &mut serde_json::Serializer::new(&mut text)).expect("memory can be written");
            String::from_utf8(text).expect("JSON is UTF-8")
        };
        for (value, text) in [(0, "0"), (400_000, "0.4"), (1, "0.000001"), (2_000_000, "2"), (12_345_678, "12.345678")]
        {
            assert_eq!(shown(value), text);
        }
        assert_eq!(shown(u64::MAX), "18446744073709.551615");
    }
}
