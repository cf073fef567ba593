//! The policy `mean`: the sum of the opinions' scores by their number, whatever their weight.

use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::state::Opinion;

/// The mean, rounded down to a millionth; `None` of no voice.
pub(super) fn score(voices: &[&Opinion]) -> Option<Score> {
    let sum = voices.iter().map(|opinion| u64::from(opinion.score.millionths())).sum();
    Score::mean(sum, voices.len() as u64)
}
