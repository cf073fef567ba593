//! How good scores are: three figures, by the reference's definitions.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::reference::Known;

/// From here on a bad subject counts as promoted, in millionths: the band `high`.
const PROMOTED: u32 = 600_000;

/// Below it a good subject counts as slandered: the band `low`.
const SLANDERED: u32 = 400_000;

/// Three figures, not a number where there is nothing to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Mean absolute error of the scores.
    pub(crate) error: f64,
    /// The chance that a good subject scores above a bad one; ties count half.
    pub(crate) auc: f64,
    /// The part of the frauds that succeed.
    pub(crate) fraud: f64,
}

impl Figures {
    /// Of scores in millionths; a subject that is not heard of has a score, and is in no figure but the fraud's.
    pub(crate) fn of(subjects: &[Known], is_heard: &[bool], scores: &[u32]) -> Self {
        let all = || subjects.iter().zip(scores);
        let heard = || all().zip(is_heard).filter(|(_, is_heard)| **is_heard).map(|(it, _)| it);
        let error = |(known, score): (&Known, &u32)| Some((f64::from(*score) - known.truth?).abs() / 1e6);
        let of = |is_good: bool| {
            heard()
                .filter(move |(known, _)| known.is_good == Some(is_good))
                .map(|(_, score)| *score)
                .collect::<Vec<_>>()
        };
        let succeeds = |(known, score): (&Known, &u32)| {
            let is_won = if known.target? { *score >= PROMOTED } else { *score < SLANDERED };
            Some(if is_won { 1.0 } else { 0.0 })
        };
        Self {
            error: mean(heard().filter_map(error)),
            auc: auc(of(true), of(false)),
            fraud: mean(all().filter_map(succeeds)),
        }
    }

    /// As the reference writes them.
    pub(crate) fn read(value: &Value) -> Result<Self> {
        let figures = value.as_array().filter(|it| it.len() == 3).context("the reference writes three figures")?;
        let [error, auc, fraud] = [0, 1, 2].map(|at| figures[at].as_f64().unwrap_or(f64::NAN));
        Ok(Self { error, auc, fraud })
    }

    pub(crate) fn mean(of: &[Self]) -> Self {
        let mean = |figure: fn(&Self) -> f64| mean(of.iter().map(figure));
        Self { error: mean(|it| it.error), auc: mean(|it| it.auc), fraud: mean(|it| it.fraud) }
    }

    pub(crate) const fn all(&self) -> [f64; 3] {
        [self.error, self.auc, self.fraud]
    }

    /// The greatest difference of any figure; infinite where only one of both has it.
    pub(crate) fn distance(&self, other: &Self) -> f64 {
        let pairs = self.all().into_iter().zip(other.all());
        let apart = pairs.map(|(one, other)| match (one.is_nan(), other.is_nan()) {
            (true, true) => 0.0,
            (false, false) => (one - other).abs(),
            _ => f64::INFINITY,
        });
        apart.fold(0.0, f64::max)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { f64::NAN } else { sum / f64::from(count) }
}

/// Of every good and every bad subject, how often the good one scores higher.
fn auc(mut good: Vec<u32>, mut bad: Vec<u32>) -> f64 {
    good.sort_unstable();
    bad.sort_unstable();
    let won = good.iter().map(|score| {
        let below = bad.partition_point(|it| it < score);
        let same = bad.partition_point(|it| it <= score) - below;
        below as f64 + same as f64 / 2.0
    });
    won.sum::<f64>() / (good.len() as f64 * bad.len() as f64)
}
