//! Seeded chance, and what is drawn from it.

use qfzz_tests::harness::Dice;

/// A stream of random draws. What draws from streams of its own does not disturb the others.
pub(crate) struct Chance(Dice);

impl Chance {
    /// The stream `purpose` of `seed`.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self(Dice::new(dice.roll() ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.0.below(u64::try_from(high - low + 1).expect("low is not above high"))).expect("small")
    }

    /// An index below `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.0.below(len as u64)).expect("an index fits")
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        *self.0.pick(choices)
    }
}
