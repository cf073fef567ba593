//! Global trust: the opinions of many stations about one subject, combined under a policy.
//!
//! All numbers are unsigned integers in millionths; `/` rounds down where it stands, products come first, so two
//! programs print the same digits.

mod mean;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::{ONE, Score};
use qfzz_ledger_core::state::{
    Opinion, Opinions, ReadError, StateRead, chain_state, equivocation, equivocators, opinion_of, opinions,
    station_state,
};

/// Stations that an answer lists, at most.
pub const MAX_LISTED: usize = 256;

/// How opinions are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The arithmetic mean of the opinions of the stations that have one: the guide's words, literally.
    #[default]
    Mean,
}

impl Policy {
    /// Every policy of this version.
    pub const ALL: [Self; 1] = [Self::Mean];

    /// Its name in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
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
#[error("is not a policy of this version: use `mean`")]
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
    /// Its weight under the policy; 0 of an equivocator.
    pub weight: Score,
    /// Why it counts, or does not.
    pub why: Why,
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
    /// The weight of the asked stations that have a counted opinion, of that of all asked.
    pub coverage: Score,
    /// How much and how unanimous the evidence is.
    pub confidence: Score,
}

/// How far `subject` is trusted across stations, at the head that `read` stands for.
///
/// `nodes`: only these stations are asked (unknown ones have no voice, double ones count once); without it the
/// founders and every station with a batch on the chain.
///
/// # Errors
/// [`ReadError`].
pub fn get_global_trust(
    rules: &Rules,
    read: &impl StateRead,
    subject: &Subject,
    policy: Policy,
    nodes: Option<&BTreeSet<StationId>>,
) -> Result<GlobalTrust, ReadError> {
    let (asked, opinions) = match nodes {
        Some(nodes) => {
            let mut found = Opinions::default();
            for station in nodes {
                match equivocation(read, station)? {
                    Some(_) => found.equivocators.push(*station),
                    None => found.heard.extend(opinion_of(read, subject, station)?),
                }
            }
            (nodes.len() as u64 - found.equivocators.len() as u64, found)
        }
        None => {
            let mut asked = u64::from(chain_state(read, rules)?.stations);
            for founder in &rules.parameters().founders {
                asked += u64::from(station_state(read, &founder.station)?.is_none());
            }
            (asked.saturating_sub(u64::from(equivocators(read)?)), opinions(rules, read, subject)?)
        }
    };
    let mut answer = match policy {
        Policy::Mean => combine(policy, asked, nodes, &opinions, mean::score),
    };
    for voice in answer.voices.iter_mut().filter(|voice| voice.why == Why::NoOpinion) {
        if !rules.is_founder(&voice.station) && station_state(read, &voice.station)?.is_none() {
            voice.why = Why::UnknownStation;
        }
    }
    answer.voices.sort_unstable_by_key(order);
    Ok(answer)
}

/// By weight, then those who have a voice, then by id.
fn order(voice: &Voice) -> (std::cmp::Reverse<Score>, u8, StationId) {
    (std::cmp::Reverse(voice.weight), voice.why as u8, voice.station)
}

/// Puts an answer together from the opinions with a voice, of `asked` stations; every weight is ONE, but for
/// equivocators, whose is 0.
fn combine(
    policy: Policy,
    asked: u64,
    nodes: Option<&BTreeSet<StationId>>,
    opinions: &Opinions,
    score: impl Fn(&[&Opinion]) -> Option<Score>,
) -> GlobalTrust {
    let counted: Vec<&Opinion> = opinions.heard.iter().filter(|opinion| opinion.evidence > 0).collect();
    let score = score(&counted).unwrap_or(Score::HALF);
    let mut voices: Vec<Voice> = counted
        .iter()
        .map(|opinion| Voice {
            station: opinion.station,
            score: opinion.score,
            evidence: opinion.evidence,
            weight: Score::ONE,
            why: Why::Counted,
        })
        .collect();
    if let Some(nodes) = nodes {
        let heard = counted.iter().map(|opinion| opinion.station).chain(opinions.equivocators.iter().copied());
        let heard: BTreeSet<StationId> = heard.collect();
        let silent = nodes.difference(&heard);
        voices.extend(silent.map(|station| Voice {
            station: *station,
            score: Score::HALF,
            evidence: 0,
            weight: Score::ONE,
            why: Why::NoOpinion,
        }));
    }
    voices.extend(opinions.equivocators.iter().map(|station| Voice {
        station: *station,
        score: Score::HALF,
        evidence: 0,
        weight: Score::ZERO,
        why: Why::Equivocation,
    }));
    voices.sort_unstable_by_key(order);
    let more = voices.len().saturating_sub(MAX_LISTED);
    voices.truncate(MAX_LISTED);
    let coverage = Score::mean(counted.len() as u64 * u64::from(ONE), asked).unwrap_or(Score::ZERO);
    GlobalTrust { score, policy, voices, more, coverage, confidence: confidence(score, &counted) }
}

/// `(E * ONE / (E + 4_000_000)) * max(0, ONE - 2 * spread) / ONE`, spread = the mean distance from the score; 0 of
/// no voice (section 7 of the design's page on global trust).
fn confidence(score: Score, counted: &[&Opinion]) -> Score {
    let (one, e) = (u128::from(ONE), counted.len() as u128 * u128::from(ONE));
    if e == 0 {
        return Score::ZERO;
    }
    let distance = |opinion: &&Opinion| u128::from(opinion.score.millionths().abs_diff(score.millionths()));
    let spread = counted.iter().map(|opinion| one * distance(opinion)).sum::<u128>() / e;
    let confidence = (e * one / (e + 4_000_000)) * one.saturating_sub(2 * spread) / one;
    // Both factors are at most ONE.
    u32::try_from(confidence).ok().and_then(|it| Score::from_millionths(it).ok()).unwrap_or(Score::ONE)
}
