//! What voices are worth, and the formulas that policies share (global trust, section 4).

use qfzz_ledger_core::score::{ONE, Score};

/// A station's evidence counts up to here: it is its own word.
const CAP: u64 = 2;

/// The jury's evidence counts up to here: each is another juror's.
const JURY_CAP: u64 = 8;

/// Evidence at one half that contents, creators and datasets start with, in millionths.
const KAPPA: u128 = 500_000;

/// Evidence at which confidence is one half: four full records.
const CONFIDENCE: u128 = 4_000_000;

const ONE_WIDE: u128 = ONE as u128;

/// One voice in a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// What it says.
    pub(super) score: Score,
    /// What that is worth, in millionths of a full record.
    pub(super) evidence: u64,
}

/// What a station's records about the subject are worth.
pub(super) fn evidence(weight: Score, records: u64) -> u64 {
    u64::from(weight.millionths()) * records.min(CAP)
}

/// What the jury's answers are worth.
pub(super) fn jury_evidence(answers: u32) -> u64 {
    u64::from(ONE) * u64::from(answers).min(JURY_CAP)
}

pub(super) fn total(parts: &[Part]) -> u128 {
    parts.iter().map(|part| u128::from(part.evidence)).sum()
}

/// All that a score rests on: the evidence of its parts, and kappa, that of the 0.5 that everything begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pot {
    kappa: u128,
    evidence: u128,
}

impl Pot {
    /// A user's score starts at a half already, so there kappa only fills up to one full record.
    pub(super) fn new(parts: &[Part], is_user: bool) -> Self {
        let evidence = total(parts);
        Self { kappa: if is_user { ONE_WIDE.saturating_sub(evidence) } else { KAPPA }, evidence }
    }

    /// Where what is said counts alone.
    pub(super) fn without_prior(parts: &[Part]) -> Self {
        Self { kappa: 0, evidence: total(parts) }
    }

    /// `(kappa * 0.5 + sum of evidence * score) / (kappa + evidence)`.
    pub(super) fn weighted(self, parts: &[Part]) -> Option<Score> {
        let said: u128 = parts.iter().map(|part| u128::from(part.evidence) * u128::from(part.score.millionths())).sum();
        let half = u128::from(Score::HALF.millionths());
        (self.kappa * half + said).checked_div(self.kappa + self.evidence).map(score)
    }

    /// How much of it so much evidence is.
    pub(super) fn share(self, evidence: u64) -> Score {
        (u128::from(evidence) * ONE_WIDE).checked_div(self.kappa + self.evidence).map_or(Score::ZERO, score)
    }

    /// How much of it is kappa: all where nobody has said anything that counts.
    pub(super) fn start(self) -> Score {
        (self.kappa * ONE_WIDE).checked_div(self.kappa + self.evidence).map_or(Score::ONE, score)
    }
}

/// `(E * ONE / (E + 4_000_000)) * max(0, ONE - 2 * spread) / ONE`, where spread is the mean distance from the score; 0 of no
/// evidence.
pub(super) fn confidence(of: Score, parts: &[Part]) -> Score {
    let all = total(parts);
    let distance =
        |part: &Part| u128::from(part.evidence) * u128::from(part.score.millionths().abs_diff(of.millionths()));
    let Some(spread) = parts.iter().map(distance).sum::<u128>().checked_div(all) else { return Score::ZERO };
    score((all * ONE_WIDE / (all + CONFIDENCE)) * ONE_WIDE.saturating_sub(2 * spread) / ONE_WIDE)
}

/// A number of millionths that is at most one, as a score.
pub(super) fn score(millionths: u128) -> Score {
    u32::try_from(millionths).ok().and_then(|it| Score::from_millionths(it).ok()).unwrap_or(Score::ONE)
}
