//! Health tests of the raw bits, those of NIST SP 800-90B, section 4.4: the repetition count test (4.4.1) and the
//! adaptive proportion test (4.4.2).
//!
//! A sample is one measured qubit. It is assessed with [`ASSESSED_TENTHS`] tenths of a bit of min-entropy: an even qubit
//! has one bit, and 0.9 leaves a hardware's readout a bias of 3.6 %. A source as good as that fails a test by chance with a
//! probability of at most 2^-40 a sample or window, the strictest that the section recommends; an even one far more rarely.

use std::fmt;

/// The assessed min-entropy of a sample, in tenths of a bit.
pub(super) const ASSESSED_TENTHS: u32 = 9;

/// The logarithm, to base 2, of the probability of a false alarm, negated.
const ALPHA_BITS: u32 = 40;

/// As many equal samples in a row fail: 1 + ceil(40 / 0.9).
const REPETITIONS: u32 = 1 + (ALPHA_BITS * 10).div_ceil(ASSESSED_TENTHS);

/// Samples of a window of the adaptive proportion test, as the section sets it for binary sources.
const WINDOW: u32 = 1_024;

/// As many samples of a window that equal its first fail: 1 + critbinom(1024, 2^-0.9, 1 - 2^-40). A test computes it.
const PROPORTION: u32 = 661;

/// Which test a source failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthTest {
    /// Too many equal bits in a row.
    RepetitionCount,
    /// Too many equal bits in a window.
    AdaptiveProportion,
}

impl HealthTest {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::RepetitionCount, Self::AdaptiveProportion];

    /// Its name as a metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RepetitionCount => "repetition_count",
            Self::AdaptiveProportion => "adaptive_proportion",
        }
    }
}

impl fmt::Display for HealthTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RepetitionCount => "the repetition count test",
            Self::AdaptiveProportion => "the adaptive proportion test",
        })
    }
}

/// The tests of one stream, sample by sample.
#[derive(Default)]
pub(super) struct HealthTests {
    /// The sample before, and how often it has come in a row; 0 before the first.
    last: bool,
    run: u32,
    /// The first sample of the window, how many it has, and how many of them equal the first.
    first: bool,
    seen: u32,
    same: u32,
}

impl HealthTests {
    /// Tests the bits of `raw`, each byte's highest first.
    ///
    /// # Errors
    /// The first test that fails; nothing of the stream may be used then.
    pub(super) fn feed(&mut self, raw: &[u8]) -> Result<(), HealthTest> {
        raw.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).try_for_each(|it| self.sample(it))
    }

    fn sample(&mut self, sample: bool) -> Result<(), HealthTest> {
        self.run = if self.run > 0 && sample == self.last { self.run + 1 } else { 1 };
        self.last = sample;
        if self.run >= REPETITIONS {
            return Err(HealthTest::RepetitionCount);
        }
        if self.seen == 0 {
            (self.first, self.same) = (sample, 0);
        }
        self.same += u32::from(sample == self.first);
        self.seen = (self.seen + 1) % WINDOW;
        if self.same >= PROPORTION { Err(HealthTest::AdaptiveProportion) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cutoffs_are_those_of_the_standard() {
        // P(X > k) of a binomial distribution by its logarithms, from the top down.
        let p = (-f64::from(ASSESSED_TENTHS) / 10.0).exp2();
        let log_factorial = |n: u32| (1..=n).map(|i| f64::from(i).ln()).sum::<f64>();
        let term = |k: u32| {
            let ways = log_factorial(WINDOW) - log_factorial(k) - log_factorial(WINDOW - k);
            (ways + f64::from(k) * p.ln() + f64::from(WINDOW - k) * (1.0 - p).ln()).exp()
        };
        let alpha = (-f64::from(ALPHA_BITS)).exp2();
        let mut above = 0.0;
        // The smallest k with P(X <= k) >= 1 - alpha.
        let critical = (0..=WINDOW).rev().find(|k| {
            above += term(*k);
            above > alpha
        });
        assert_eq!(critical.map(|k| k + 1), Some(PROPORTION));
        assert_eq!(REPETITIONS, 46);
    }

    #[test]
    fn constant_bits_fail_at_the_cutoff_and_not_before() {
        for byte in [0x00, 0xff] {
            assert_eq!(HealthTests::default().feed(&[byte; 5]), Ok(()), "40 bits");
            assert_eq!(HealthTests::default().feed(&[byte; 6]), Err(HealthTest::RepetitionCount), "48 bits");
        }
        let mut tests = HealthTests::default();
        assert_eq!((0..45).try_for_each(|_| tests.sample(true)), Ok(()));
        assert_eq!(tests.sample(true), Err(HealthTest::RepetitionCount));
    }

    #[test]
    fn biased_bits_fail_within_a_window_and_even_ones_pass() {
        // 3 of 4 are ones, never more than 6 in a row.
        assert_eq!(HealthTests::default().feed(&[0b1110_1110; 128]), Err(HealthTest::AdaptiveProportion));
        assert_eq!(HealthTests::default().feed(&[0b1010_1010; 100_000]), Ok(()));
        let mut bytes = vec![0; 1_000_000];
        getrandom::fill(&mut bytes).expect("random");
        assert_eq!(HealthTests::default().feed(&bytes), Ok(()));
    }
}
