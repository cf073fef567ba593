//! Global trust: the opinions of many stations about one subject, combined under a policy.
//!
//! All numbers are unsigned integers in millionths; `/` rounds down where it stands, products come first, so two
//! programs print the same digits. [`policy_weights`] is computed once per head; with it a query reads the opinions about
//! its subject and nothing else.

mod anchored;
mod eigentrust;
mod mean;
mod median;
mod parts;

pub use anchored::{Agreement, Grounds, grounds};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::{ONE, Score};
use qfzz_ledger_core::state::{
    Opinions, ReadError, StateRead, StateScan, Weights, equivocation, opinion_of, opinions, weights,
};

use crate::opinion::LiveOpinion;
use parts::{Part, Pot};

/// Stations that an answer lists, at most.
pub const MAX_LISTED: usize = 256;

/// How opinions are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The arithmetic mean of the opinions of the stations that have one: the guide's words, literally.
    Mean,
    /// Their median, by evidence.
    Median,
    /// By weights that flow from the founders along agreement.
    EigenTrust,
    /// By agreement with the founders and with drawn jurors; without founders as [`Policy::Median`].
    #[default]
    Anchored,
}

impl Policy {
    /// Every policy of this version.
    pub const ALL: [Self; 4] = [Self::Mean, Self::Median, Self::EigenTrust, Self::Anchored];

    /// Its name in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Median => "median",
            Self::EigenTrust => "eigentrust",
            Self::Anchored => "anchored",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No policy of this version has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a policy of this version: use `anchored`, `eigentrust`, `median` or `mean`")]
pub struct UnknownPolicy;

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or(UnknownPolicy)
    }
}

/// Why a station's opinion counts, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It counts.
    Counted,
    /// The station weighs nothing: nobody who is trusted has agreed with it yet.
    Unproven,
    /// Jurors contest what the station claims of this user.
    Contested,
    /// The station has no evidence about the subject.
    NoOpinion,
    /// The chain does not know the station, and genesis does not name it.
    UnknownStation,
    /// The station signed two batches for one place of its log: whatever it says counts for nothing.
    Equivocation,
}

impl Why {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Unproven => "unproven",
            Self::Contested => "contested",
            Self::NoOpinion => "no_opinion",
            Self::UnknownStation => "unknown_station",
            Self::Equivocation => "equivocation",
        }
    }
}

/// One station's part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    /// The station.
    pub station: StationId,
    /// Its score for the subject; 0.5 where it has no opinion, or none that counts.
    pub score: Score,
    /// Its evidence.
    pub evidence: u64,
    /// Its weight under the policy; 0 of an equivocator, and for this answer where its claim is contested.
    pub weight: Score,
    /// Why it counts, or does not.
    pub why: Why,
    /// Its part of all that the score rests on.
    pub share: Score,
}

/// The jury's part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JuryVoice {
    /// Its score for the subject.
    pub score: Score,
    /// Jurors' answers that it rests on.
    pub evidence: u32,
    /// Its part of all that the score rests on.
    pub share: Score,
}

/// One number, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalTrust {
    /// The score; 0.5 where no station has an opinion.
    pub score: Score,
    /// The policy that gave it.
    pub policy: Policy,
    /// Those with an opinion or named, by weight, then by id, at most [`MAX_LISTED`].
    pub voices: Vec<Voice>,
    /// Stations beyond those listed.
    pub more: usize,
    /// The jury, where it is heard.
    pub jury: Option<JuryVoice>,
    /// The part of the score that is the 0.5 of whatever nobody knows.
    pub start: Score,
    /// The weight of the asked stations that have a counted opinion, of that of all asked.
    pub coverage: Score,
    /// How much and how unanimous the evidence is.
    pub confidence: Score,
}

/// Every asked station's weight at one head under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWeights {
    policy: Policy,
    weights: Weights,
}

impl PolicyWeights {
    /// The policy that is followed: `median` where `anchored` has no founder.
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// The stations and their weights.
    pub const fn weights(&self) -> &Weights {
        &self.weights
    }

    /// A station's weight. Of stations that nobody knows only `mean` and `median` think as of others.
    fn of(&self, station: &StationId) -> Score {
        match self.policy {
            Policy::Mean | Policy::Median => Score::ONE,
            Policy::EigenTrust | Policy::Anchored => self.weights.of(station),
        }
    }
}

/// The weights under a policy, at the head that `read` stands for.
///
/// # Errors
/// [`ReadError`].
pub fn policy_weights(rules: &Rules, read: &impl StateScan, policy: Policy) -> Result<PolicyWeights, ReadError> {
    let anchored = weights(rules, read)?;
    let policy = match policy {
        Policy::Anchored if anchored.founders().is_empty() => Policy::Median,
        other => other,
    };
    let weights = match policy {
        Policy::Mean | Policy::Median => anchored.reweighed(|_| Score::ONE),
        Policy::EigenTrust => eigentrust::weights(rules, read, &anchored)?,
        Policy::Anchored => anchored,
    };
    Ok(PolicyWeights { policy, weights })
}

/// What stations said of the subject when they were asked at once.
pub type Live = BTreeMap<StationId, LiveOpinion>;

/// How far `subject` is trusted across stations, at the head that `read` and `weights` stand for.
///
/// `nodes`: only these stations are asked (unknown ones have no voice, double ones count once), and the jury is not;
/// without it the founders, the admitted and every station with a batch on the chain.
///
/// # Errors
/// [`ReadError`].
pub fn get_global_trust(
    rules: &Rules,
    read: &impl StateRead,
    weights: &PolicyWeights,
    subject: &Subject,
    nodes: Option<&BTreeSet<StationId>>,
) -> Result<GlobalTrust, ReadError> {
    get_live_global_trust(rules, read, weights, subject, nodes, &Live::new())
}

/// The same, with `live` opinions in the place of those that their stations have at the head; an equivocator's counts for
/// nothing. Weights, verdicts and the jury stay the head's.
///
/// # Errors
/// [`ReadError`].
pub fn get_live_global_trust(
    rules: &Rules,
    read: &impl StateRead,
    weights: &PolicyWeights,
    subject: &Subject,
    nodes: Option<&BTreeSet<StationId>>,
    live: &Live,
) -> Result<GlobalTrust, ReadError> {
    let opinions = match nodes {
        None => opinions(rules, read, subject)?,
        Some(nodes) => {
            let mut found = Opinions::default();
            for station in nodes {
                match equivocation(read, station)? {
                    Some(_) => found.equivocators.push(*station),
                    None => found.heard.extend(opinion_of(read, subject, station)?),
                }
            }
            found
        }
    };
    let at_head = opinions.heard.iter().map(|it| (it.station, (it.score, it.evidence)));
    let mut said: BTreeMap<StationId, (Score, u64)> = at_head.collect();
    for (station, opinion) in live {
        if equivocation(read, station)?.is_none() {
            said.insert(*station, (opinion.score, opinion.evidence));
        }
    }
    let policy = weights.policy;
    let mut voices = Vec::new();
    for (station, (score, evidence)) in said.into_iter().filter(|(_, (_, evidence))| *evidence > 0) {
        voices.push(voice(read, weights, subject, station, score, evidence)?);
    }
    let mut jury = match (policy, nodes) {
        (Policy::Anchored, None) => anchored::jury(read, subject)?,
        _ => None,
    };
    let mut parts: Vec<Part> = voices
        .iter()
        .map(|voice| Part {
            score: voice.score,
            evidence: match policy {
                Policy::Mean => mean::evidence(),
                _ => parts::evidence(voice.weight, voice.evidence),
            },
        })
        .collect();
    parts.extend(jury.map(|jury| Part { score: jury.score, evidence: parts::jury_evidence(jury.evidence) }));
    let pot = match policy {
        Policy::Mean | Policy::Median => Pot::without_prior(&parts),
        Policy::EigenTrust | Policy::Anchored => Pot::new(&parts, matches!(subject, Subject::User(_))),
    };
    let score = match policy {
        Policy::Mean => mean::score(&parts),
        Policy::Median => median::score(&parts),
        Policy::EigenTrust | Policy::Anchored if parts.is_empty() => None,
        Policy::EigenTrust | Policy::Anchored => pot.weighted(&parts),
    };
    let score = score.unwrap_or(Score::HALF);
    for (voice, part) in voices.iter_mut().zip(&parts) {
        voice.share = pot.share(part.evidence);
    }
    if let (Some(jury), Some(part)) = (&mut jury, parts.last()) {
        jury.share = pot.share(part.evidence);
    }

    let of = |weight: Score| u64::from(weight.millionths());
    let asked: u64 = match nodes {
        None => weights.weights.total(),
        Some(nodes) => {
            let honest = nodes.iter().filter(|station| !opinions.equivocators.contains(station));
            honest.map(|station| of(weights.of(station))).sum()
        }
    };
    let spoken: u64 = voices.iter().map(|voice| of(voice.weight)).sum();
    let coverage = (u128::from(spoken) * u128::from(ONE)).checked_div(u128::from(asked));
    let coverage = coverage.map_or(Score::ZERO, parts::score);
    let confidence = parts::confidence(score, &parts);
    if let Some(nodes) = nodes {
        voices.extend(silent(rules, weights, nodes, &voices, &opinions));
    }
    voices.extend(opinions.equivocators.iter().map(|station| without_voice(*station, Score::ZERO, Why::Equivocation)));
    voices.sort_unstable_by_key(|voice| (std::cmp::Reverse(voice.weight), voice.why as u8, voice.station));
    let more = voices.len().saturating_sub(MAX_LISTED);
    voices.truncate(MAX_LISTED);
    Ok(GlobalTrust { score, policy, voices, more, jury, start: pot.start(), coverage, confidence })
}

/// A station with evidence about the subject.
fn voice(
    read: &impl StateRead,
    weights: &PolicyWeights,
    subject: &Subject,
    station: StationId,
    score: Score,
    evidence: u64,
) -> Result<Voice, ReadError> {
    let number = weights.weights.get(&station).and_then(|it| it.number);
    let is_contested = match (weights.policy, number) {
        (Policy::Anchored, Some(number)) => anchored::is_contested(read, subject, number)?,
        _ => false,
    };
    let weight = if is_contested { Score::ZERO } else { weights.of(&station) };
    let why = match (is_contested, weight) {
        (true, _) => Why::Contested,
        (false, Score::ZERO) => Why::Unproven,
        (false, _) => Why::Counted,
    };
    Ok(Voice { station, score, evidence, weight, why, share: Score::ZERO })
}

/// The named stations without an opinion.
fn silent(
    rules: &Rules,
    weights: &PolicyWeights,
    nodes: &BTreeSet<StationId>,
    voices: &[Voice],
    opinions: &Opinions,
) -> Vec<Voice> {
    let heard = voices.iter().map(|voice| voice.station).chain(opinions.equivocators.iter().copied());
    let heard: BTreeSet<StationId> = heard.collect();
    let is_known = |station: &StationId| rules.is_founder(station) || weights.weights.get(station).is_some();
    let why = |station: &StationId| if is_known(station) { Why::NoOpinion } else { Why::UnknownStation };
    nodes.difference(&heard).map(|it| without_voice(*it, weights.of(it), why(it))).collect()
}

fn without_voice(station: StationId, weight: Score, why: Why) -> Voice {
    Voice { station, score: Score::HALF, evidence: 0, weight, why, share: Score::ZERO }
}
