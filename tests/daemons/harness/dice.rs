//! Seeded random numbers, so that a failing run can be repeated.

use std::env;

/// The generator SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From `QFZZ_TEST_SEED` or, without it, `default`; prints which, so that a failing run can be repeated.
    ///
    /// # Panics
    /// If the variable is no number.
    pub fn from_environment(default: u64) -> Self {
        let seed = match env::var("QFZZ_TEST_SEED") {
            Ok(text) => text.parse().expect("QFZZ_TEST_SEED is a number"),
            Err(_) => default,
        };
        println!("seed {seed} (QFZZ_TEST_SEED)");
        Self(seed)
    }

    /// The generator that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, over the whole range.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(choices.len() as u64)).expect("an index fits");
        &choices[index]
    }
}
