//! The policy `median`: the weighted median, every station of the same weight.

use qfzz_ledger_core::score::Score;

use super::parts::{Part, total};

/// Voices by rising score; the first score at which half of the evidence is reached. `None` of no voice.
pub(super) fn score(parts: &[Part]) -> Option<Score> {
    let (mut rising, all, mut so_far) = (parts.to_vec(), total(parts), 0);
    rising.sort_by_key(|part| part.score);
    let reached = |part: &&Part| {
        so_far += u128::from(part.evidence);
        2 * so_far >= all
    };
    rising.iter().find(reached).map(|part| part.score)
}
