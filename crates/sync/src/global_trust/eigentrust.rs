//! The policy `eigentrust`: weight flows from station to station along their agreement, from the founders (Kamvar,
//! Schlosser and Garcia-Molina, 2003; global trust, section 4).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::score::{ONE, Score};
use qfzz_ledger_core::state::{PairSums, ReadError, StateScan, Weights, difference, information, opinions};

/// The share that comes from the founders in every round, in millionths.
const ALPHA: u128 = 150_000;

/// Rounds.
const ROUNDS: usize = 20;

/// Weight is counted in parts of this.
const FINE: u128 = 1_000_000_000_000;

const ONE_WIDE: u128 = ONE as u128;

/// Every asked station's weight. All opinions on the chain are read: ask once per head.
///
/// # Errors
/// [`ReadError`].
pub(super) fn weights(rules: &Rules, read: &impl StateScan, asked: &Weights) -> Result<Weights, ReadError> {
    let stations: Vec<StationId> = asked.stations().iter().map(|it| it.station).collect();
    let rows = rows(rules, read, &stations)?;
    let place = |station: &StationId| stations.binary_search(station).ok();
    let founders: BTreeSet<usize> = asked.founders().iter().filter_map(|(_, founder)| place(founder)).collect();
    let trusted = if founders.is_empty() { (0..stations.len()).collect() } else { founders };
    let share = FINE.checked_div(trusted.len() as u128).unwrap_or(0);
    let before: Vec<u128> = (0..stations.len()).map(|it| if trusted.contains(&it) { share } else { 0 }).collect();
    let mut trust = before.clone();
    for _ in 0..ROUNDS {
        let mut next = vec![0; stations.len()];
        for (row, own) in rows.iter().zip(&trust) {
            let sum: u128 = row.values().sum();
            if sum == 0 {
                trusted.iter().for_each(|to| next[*to] += own * before[*to] / FINE);
            } else {
                row.iter().for_each(|(to, agreement)| next[*to] += own * agreement / sum);
            }
        }
        trust = before
            .iter()
            .zip(next)
            .map(|(before, next)| (ALPHA * before + (ONE_WIDE - ALPHA) * next) / ONE_WIDE)
            .collect();
    }
    let top = trust.iter().copied().max().unwrap_or(0);
    let mut weights =
        trust.into_iter().map(|it| (it * ONE_WIDE).checked_div(top).map_or(Score::ZERO, super::parts::score));
    Ok(asked.reweighed(|_| weights.next().unwrap_or(Score::ZERO)))
}

/// How far each station agrees with each other one, over all subjects that both know, by their places.
fn rows(rules: &Rules, read: &impl StateScan, stations: &[StationId]) -> Result<Vec<BTreeMap<usize, u128>>, ReadError> {
    let mut pairs: HashMap<(usize, usize), PairSums> = HashMap::new();
    for subject in read.judged_subjects()? {
        let heard = opinions(rules, read, &subject)?.heard;
        let voices = heard.iter().filter(|opinion| opinion.evidence > 0);
        let voices: Vec<(usize, Score)> = voices
            .filter_map(|opinion| Some((stations.binary_search(&opinion.station).ok()?, opinion.score)))
            .collect();
        for (at, (one, said)) in voices.iter().enumerate() {
            for (other, heard) in &voices[at + 1..] {
                let pair = pairs.entry((*one.min(other), *one.max(other))).or_default();
                let info = information(*said, *heard);
                pair.info += info;
                pair.weighted += u128::from(info) * u128::from(difference(*said, *heard));
            }
        }
    }
    let mut rows = vec![BTreeMap::new(); stations.len()];
    for ((one, other), pair) in pairs {
        let agreement = u128::from(pair.info) * u128::from(pair.agreement()) / ONE_WIDE;
        if agreement > 0 {
            rows[one].insert(other, agreement);
            rows[other].insert(one, agreement);
        }
    }
    Ok(rows)
}
