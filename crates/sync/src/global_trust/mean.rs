//! The policy `mean`: the sum of the opinions' scores by their number, whatever their weight. The guide's words,
//! literally.

use qfzz_ledger_core::score::{ONE, Score};

use super::parts::Part;

/// The mean, rounded down to a millionth; `None` of no voice.
pub(super) fn score(parts: &[Part]) -> Option<Score> {
    let sum = parts.iter().map(|part| u64::from(part.score.millionths())).sum();
    Score::mean(sum, parts.len() as u64)
}

/// Every voice is worth the same, whatever its evidence.
pub(super) const fn evidence() -> u64 {
    ONE as u64
}
