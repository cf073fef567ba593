//! How much each station's word counts under the policy `anchored`: a function of the kept sums alone (global trust,
//! section 3).

use std::collections::BTreeMap;

use super::sums::{Sums, UNIT};
use super::{
    ReadError, Standing, StateRead, chain_state, equivocation, is_vouched, roster_at, roster_len, standing, station_id,
    sums,
};
use crate::federation::Rules;
use crate::ids::StationId;
use crate::score::{ONE, Score};

const ONE_WIDE: u128 = ONE as u128;

/// Information at which a stranger is half known: six plain subjects.
const LAMBDA: u128 = 6 * UNIT as u128;

/// The same, between founders: two.
const LAMBDA_FOUNDER: u128 = 2 * UNIT as u128;

/// What a vouched station weighs before anything is known, in millionths. A key by itself costs nothing and weighs
/// nothing.
const PRIOR_VOUCHED: u128 = 500_000;

/// A subject shared with the jury counts as so many.
const JURY_FACTOR: u128 = 5;

/// One contradiction weighs as much as so many confirmations.
const BETA: u128 = 4;

/// A station that is asked, and what its word weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationWeight {
    /// The station.
    pub station: StationId,
    /// Its number; none while it has no batch on the branch.
    pub number: Option<u32>,
    /// Its weight under `anchored`.
    pub weight: Score,
}

/// Every station that is asked at one head, and its weight: founders, the admitted, and all with a batch on the chain,
/// without equivocators. Computed once per head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    stations: Vec<StationWeight>,
    total: u64,
    founders: Vec<(u32, StationId)>,
}

impl Weights {
    /// The stations, in the order of their ids' bytes.
    pub fn stations(&self) -> &[StationWeight] {
        &self.stations
    }

    /// The sum of all weights, in millionths.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The founders that have not equivocated, each with its place in genesis; without one nothing is anchored.
    pub fn founders(&self) -> &[(u32, StationId)] {
        &self.founders
    }

    /// The same stations with other weights, given in their order.
    #[must_use]
    pub fn reweighed(&self, mut weight: impl FnMut(&StationWeight) -> Score) -> Self {
        let stations = self.stations.iter().map(|it| StationWeight { weight: weight(it), ..it.clone() });
        let stations: Vec<StationWeight> = stations.collect();
        Self { total: total(&stations), stations, founders: self.founders.clone() }
    }

    /// A station's entry; `None` of one that is unknown or has equivocated.
    pub fn get(&self, station: &StationId) -> Option<&StationWeight> {
        let at = self.stations.binary_search_by(|it| it.station.cmp(station)).ok()?;
        self.stations.get(at)
    }

    /// A station's weight; zero of one that is unknown or has equivocated.
    pub fn of(&self, station: &StationId) -> Score {
        self.get(station).map_or(Score::ZERO, |it| it.weight)
    }
}

/// The weights at the head that `read` stands for.
///
/// # Errors
/// [`ReadError`].
pub fn weights(rules: &Rules, read: &impl StateRead) -> Result<Weights, ReadError> {
    let known = asked(rules, read)?;
    let mut of_founders = Vec::new();
    for (place, founder) in (0..).zip(&rules.parameters().founders) {
        if let Some(number) = known.get(&founder.station) {
            of_founders.push((place, founder.station, number.map_or(Ok(Sums::default()), |it| sums(read, it))?));
        }
    }
    let founders = founders_weights(&of_founders);
    let top = founders.iter().map(|it| it.raw).max().unwrap_or(0);
    let mut stations = Vec::with_capacity(known.len());
    for (station, number) in known {
        let sums = number.map_or(Ok(Sums::default()), |number| sums(read, number))?;
        let before_standing = match of_founders.iter().position(|(_, founder, _)| *founder == station) {
            Some(at) => founders[at].weight,
            None => {
                let prior = if is_vouched(rules, read, &station)? { PRIOR_VOUCHED } else { 0 };
                strangers_weight(&sums, prior, top, of_founders.iter().zip(&founders).map(|(it, w)| (it.0, w.weight)))
            }
        };
        let weight = before_standing * standing_of(&sums) / ONE_WIDE;
        // Both factors are at most ONE.
        let weight = u32::try_from(weight).ok().and_then(|it| Score::from_millionths(it).ok()).unwrap_or(Score::ONE);
        stations.push(StationWeight { station, number, weight });
    }
    let founders = of_founders.into_iter().map(|(place, station, _)| (place, station)).collect();
    Ok(Weights { total: total(&stations), stations, founders })
}

fn total(stations: &[StationWeight]) -> u64 {
    stations.iter().map(|it| u64::from(it.weight.millionths())).sum()
}

/// Founders, the admitted, and all with a batch on the chain, without equivocators; each with its number.
fn asked(rules: &Rules, read: &impl StateRead) -> Result<BTreeMap<StationId, Option<u32>>, ReadError> {
    let mut known = BTreeMap::new();
    for number in 0..chain_state(read, rules)?.stations {
        known.insert(station_id(read, number)?, Some(number));
    }
    for founder in &rules.parameters().founders {
        known.entry(founder.station).or_insert(None);
    }
    for place in 0..roster_len(read)? {
        let station = roster_at(read, place)?;
        if standing(rules, read, &station)? == Standing::Admitted {
            known.entry(station).or_insert(None);
        }
    }
    let mut honest = BTreeMap::new();
    for (station, number) in known {
        if equivocation(read, &station)?.is_none() {
            honest.insert(station, number);
        }
    }
    Ok(honest)
}

struct FounderWeight {
    /// r: how far enough of the other founders agree.
    raw: u128,
    /// w0.
    weight: u128,
}

fn founders_weights(founders: &[(u32, StationId, Sums)]) -> Vec<FounderWeight> {
    let raw = |of: &(u32, StationId, Sums)| {
        let others = founders.iter().filter(|other| other.0 != of.0).map(|other| of.2.with_founder(other.0));
        let mut seen: Vec<u128> = others
            .filter(|pair| pair.info > 0)
            .map(|pair| {
                let (info, agreement) = (u128::from(pair.info), u128::from(pair.agreement()));
                (info * agreement + LAMBDA_FOUNDER * ONE_WIDE) / (info + LAMBDA_FOUNDER)
            })
            .collect();
        seen.sort_unstable_by(|one, other| other.cmp(one));
        // A minority of founders cannot vouch for itself.
        let half = seen.len().div_ceil(2);
        half.checked_sub(1).map_or(ONE_WIDE, |at| seen[at])
    };
    let raw: Vec<u128> = founders.iter().map(raw).collect();
    let top = raw.iter().copied().max().unwrap_or(0);
    raw.into_iter()
        .map(|raw| FounderWeight { raw, weight: (raw * ONE_WIDE).checked_div(top).unwrap_or(ONE_WIDE) })
        .collect()
}

/// w0 of a station that is no founder; `founders` are places in genesis and w0.
fn strangers_weight(sums: &Sums, prior: u128, top: u128, founders: impl Iterator<Item = (u32, u128)>) -> u128 {
    let (mut num, mut den) = (LAMBDA * ONE_WIDE * prior, LAMBDA * ONE_WIDE);
    let mut add = |weight: u128, pair: super::PairSums| {
        num += weight * u128::from(pair.info) * u128::from(pair.agreement());
        den += weight * u128::from(pair.info);
    };
    for (place, weight) in founders {
        add(weight, sums.with_founder(place));
    }
    add(JURY_FACTOR * ONE_WIDE, sums.jury.pair);
    let weight = num / den;
    (weight * ONE_WIDE).checked_div(top).unwrap_or(weight).min(ONE_WIDE)
}

/// T: what contradictions by the jury leave of a weight, in millionths.
fn standing_of(sums: &Sums) -> u128 {
    let (checked, contradicted) = (u128::from(sums.jury.checked), u128::from(sums.jury.contradicted));
    let good = (checked * ONE_WIDE).saturating_sub(contradicted) + ONE_WIDE;
    good * ONE_WIDE / (good + BETA * contradicted)
}
