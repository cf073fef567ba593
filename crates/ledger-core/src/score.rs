//! Scores and deltas in millionths, and the bands that people read.
//!
//! No floating point: two nodes must agree on every digit, so scores are integers from the first fold to the last.

use std::fmt;
use std::str::FromStr;

use crate::codec::{Encode, decode_through};

/// One whole in millionths.
pub const ONE: u32 = 1_000_000;

/// Why something is not a score or a delta.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// A score outside 0 to 1, or a delta outside -1 to 1.
    #[error("is out of range: give a number from {low} to 1")]
    OutOfRange {
        /// The lowest number allowed: 0 for a score, -1 for a delta.
        low: i8,
    },
    /// More than six decimal places; refused rather than rounded.
    #[error("has more than six decimal places: round it yourself")]
    TooPrecise,
    /// Not a decimal number.
    #[error("is not a decimal number, such as 0.54")]
    NotANumber,
}

/// How far something is trusted: 0..=1_000_000 millionths, shown as a decimal (`0.54`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct Score(u32);

impl Score {
    /// Not at all.
    pub const ZERO: Self = Self(0);
    /// Neutral: what is unknown.
    pub const HALF: Self = Self(500_000);
    /// Wholly.
    pub const ONE: Self = Self(ONE);

    /// Takes millionths.
    ///
    /// # Errors
    /// [`ScoreError::OutOfRange`] above 1_000_000.
    pub const fn from_millionths(millionths: u32) -> Result<Self, ScoreError> {
        if millionths > ONE {
            return Err(ScoreError::OutOfRange { low: 0 });
        }
        Ok(Self(millionths))
    }

    /// Millionths, 0..=1_000_000.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// This score moved by `delta`, held within 0..=1.
    #[must_use]
    pub fn moved(self, delta: Delta) -> Self {
        Self(self.0.saturating_add_signed(delta.0).min(ONE))
    }

    /// The score of content: `0.1 + 0.8 * verifications / (verifications + reports)`, rounded down to a millionth;
    /// `None` while there is neither.
    pub fn of_content(verifications: u64, reports: u64) -> Option<Self> {
        let total = u128::from(verifications) + u128::from(reports);
        if total == 0 {
            return None;
        }
        let share = 800_000 * u128::from(verifications) / total;
        // At most 100_000 + 800_000.
        Some(Self(100_000 + u32::try_from(share).unwrap_or(800_000)))
    }

    /// The arithmetic mean of `count` scores that add up to `sum` millionths, rounded down; `None` of none.
    pub fn mean(sum: u64, count: u64) -> Option<Self> {
        let mean = sum.checked_div(count)?;
        Some(Self(u32::try_from(mean).unwrap_or(ONE).min(ONE)))
    }

    /// The band that people read.
    pub const fn band(self) -> Band {
        match self.0 {
            0..200_000 => Band::Untrusted,
            200_000..400_000 => Band::Low,
            400_000..600_000 => Band::Neutral,
            600_000..800_000 => Band::High,
            _ => Band::VeryHigh,
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, i64::from(self.0))
    }
}

impl FromStr for Score {
    type Err = ScoreError;

    fn from_str(text: &str) -> Result<Self, ScoreError> {
        let millionths = parse_decimal(text, 0)?;
        u32::try_from(millionths).map_err(|_| ScoreError::OutOfRange { low: 0 }).and_then(Self::from_millionths)
    }
}

decode_through!(Score, u32, |millionths| Score::from_millionths(millionths).ok(), "score out of range");

/// How far an action moves a user's score: -1_000_000..=1_000_000 millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct Delta(i32);

impl Delta {
    /// Moves nothing.
    pub const ZERO: Self = Self(0);

    /// Takes millionths.
    ///
    /// # Errors
    /// [`ScoreError::OutOfRange`] beyond 1_000_000 either way.
    pub const fn from_millionths(millionths: i32) -> Result<Self, ScoreError> {
        if millionths.unsigned_abs() > ONE {
            return Err(ScoreError::OutOfRange { low: -1 });
        }
        Ok(Self(millionths))
    }

    /// Millionths, -1_000_000..=1_000_000.
    pub const fn millionths(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, i64::from(self.0))
    }
}

impl FromStr for Delta {
    type Err = ScoreError;

    fn from_str(text: &str) -> Result<Self, ScoreError> {
        let millionths = parse_decimal(text, -1)?;
        i32::try_from(millionths).map_err(|_| ScoreError::OutOfRange { low: -1 }).and_then(Self::from_millionths)
    }
}

decode_through!(Delta, i32, |millionths| Delta::from_millionths(millionths).ok(), "delta out of range");

/// What a score means to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Band {
    /// Below 0.2.
    Untrusted,
    /// Below 0.4.
    Low,
    /// Below 0.6.
    Neutral,
    /// Below 0.8.
    High,
    /// From 0.8.
    VeryHigh,
}

impl Band {
    /// Its name in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Low => "low",
            Self::Neutral => "neutral",
            Self::High => "high",
            Self::VeryHigh => "very_high",
        }
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn write_decimal(f: &mut fmt::Formatter<'_>, millionths: i64) -> fmt::Result {
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, part) = (millionths.unsigned_abs() / u64::from(ONE), millionths.unsigned_abs() % u64::from(ONE));
    let digits = format!("{part:06}");
    match digits.trim_end_matches('0') {
        "" => write!(f, "{sign}{whole}"),
        digits => write!(f, "{sign}{whole}.{digits}"),
    }
}

/// Reads a plain decimal (no exponent) as millionths; `low` is only for the error.
fn parse_decimal(text: &str, low: i8) -> Result<i64, ScoreError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) || digits.ends_with('.') {
        return Err(ScoreError::NotANumber);
    }
    let part = part.trim_end_matches('0');
    if part.len() > 6 {
        return Err(ScoreError::TooPrecise);
    }
    let whole: i64 = match whole.trim_start_matches('0') {
        "" => 0,
        "1" => 1,
        _ => return Err(ScoreError::OutOfRange { low }),
    };
    let part: i64 = format!("{part:0<6}").parse().map_err(|_| ScoreError::NotANumber)?;
    let millionths = whole * i64::from(ONE) + part;
    Ok(if negative { -millionths } else { millionths })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(text: &str) -> Score {
        text.parse().expect("a score")
    }

    #[test]
    fn a_score_is_shown_as_the_decimal_it_was_read_from() {
        for text in ["0", "0.5", "0.54", "0.000001", "0.999999", "1"] {
            assert_eq!(score(text).to_string(), text);
        }
        assert_eq!(score("1.0"), Score::ONE);
        assert_eq!(score("0.5400000000"), score("0.54"));
        assert_eq!("-0.05".parse::<Delta>().map(|delta| delta.to_string()), Ok("-0.05".to_owned()));
    }

    #[test]
    fn what_is_no_score_is_refused_and_never_rounded() {
        let refused = |text: &str| text.parse::<Score>().expect_err("refused");
        assert_eq!(refused("1.2"), ScoreError::OutOfRange { low: 0 });
        assert_eq!(refused("-0.1"), ScoreError::OutOfRange { low: 0 });
        assert_eq!(refused("0.1234567"), ScoreError::TooPrecise);
        for text in ["", "NaN", "1e-3", ".5", "5.", "0,5", "+1", "--1", "0x1"] {
            assert_eq!(refused(text), ScoreError::NotANumber, "{text}");
        }
        assert_eq!("-1.000001".parse::<Delta>(), Err(ScoreError::OutOfRange { low: -1 }));
    }

    #[test]
    fn the_guides_user_reaches_0_54_and_scores_are_clamped() {
        let moved = |from: Score, by: &str| from.moved(by.parse().expect("a delta"));
        assert_eq!(moved(moved(Score::HALF, "0.01"), "0.03"), score("0.54"));
        assert_eq!(moved(score("0.98"), "0.05"), Score::ONE);
        assert_eq!(moved(score("0.02"), "-0.05"), Score::ZERO);
    }

    #[test]
    fn content_verified_four_of_five_times_has_0_74() {
        assert_eq!(Score::of_content(4, 1), Some(score("0.74")));
        assert_eq!(Score::of_content(1, 2), Some(score("0.366666")));
        assert_eq!(Score::of_content(u64::MAX, 0), Some(score("0.9")));
        assert_eq!(Score::of_content(0, 0), None);
    }

    #[test]
    fn bands_begin_at_their_lower_bound() {
        let bands = ["0.199999", "0.2", "0.4", "0.6", "0.8"].map(|text| score(text).band());
        assert_eq!(bands, [Band::Untrusted, Band::Low, Band::Neutral, Band::High, Band::VeryHigh]);
    }
}
