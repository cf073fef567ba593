//! Settings as text: every value, from whatever source, is read from its text, so `12345` can be a name in the
//! environment and `true` is the same in a file and in a variable.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use qfzz_ledger_core::score::Score;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

/// A value that is read from text, or from a number or truth value as if it were text.
struct FromText<T>(T);

impl<'de, T> Deserialize<'de> for FromText<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = input.deserialize_any(TextVisitor)?;
        text.parse().map(Self).map_err(|why| D::Error::custom(format_args!("`{text}` {why}")))
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}

/// One value.
pub(super) mod one {
    use super::*;

    pub(in crate::config) fn serialize<T: fmt::Display, S: Serializer>(
        value: &T,
        output: S,
    ) -> Result<S::Ok, S::Error> {
        output.collect_str(value)
    }

    pub(in crate::config) fn deserialize<'de, D, T>(input: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr,
        T::Err: fmt::Display,
    {
        FromText::deserialize(input).map(|FromText(value)| value)
    }
}

/// A list; text is taken as a list that commas separate.
pub(super) mod many {
    use super::*;

    pub(in crate::config) fn serialize<T: fmt::Display, S: Serializer>(
        list: &[T],
        output: S,
    ) -> Result<S::Ok, S::Error> {
        output.collect_seq(list.iter().map(ToString::to_string))
    }

    pub(in crate::config) fn deserialize<'de, D, T>(input: D) -> Result<Vec<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr,
        T::Err: fmt::Display,
    {
        let texts = input.deserialize_any(ListVisitor)?;
        let parse = |text: &String| text.parse().map_err(|why| D::Error::custom(format_args!("`{text}` {why}")));
        texts.iter().map(parse).collect()
    }

    struct ListVisitor;

    impl<'de> Visitor<'de> for ListVisitor {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(FromText(text)) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
        }
    }
}

/// Writes a score as a number.
pub(super) fn decimal<S: Serializer>(score: &Score, output: S) -> Result<S::Ok, S::Error> {
    // Dividing rounds to the nearest float, whose shortest decimal is the score's.
    output.serialize_f64(f64::from(score.millionths()) / 1e6)
}

/// Reads `true` or `false`.
pub(super) fn truth<'de, D: Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    let text = input.deserialize_any(TextVisitor)?;
    text.parse().map_err(|_| D::Error::custom(format_args!("`{text}` is neither true nor false")))
}

/// Writes a duration as text, such as `1h30m`.
pub(super) fn duration<S: Serializer>(duration: &Duration, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(&show_duration(*duration))
}

/// Reads a duration of at least `MILLIS` milliseconds.
pub(super) fn at_least<'de, const MILLIS: u64, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = input.deserialize_any(TextVisitor)?;
    let low = Duration::from_millis(MILLIS);
    match parse_duration(&text) {
        Ok(duration) if duration >= low => Ok(duration),
        Ok(_) => Err(D::Error::custom(format_args!("`{text}` is too short: give {} or more", show_duration(low)))),
        Err(why) => Err(D::Error::custom(format_args!("`{text}` {why}"))),
    }
}

/// Units of a duration with their milliseconds, longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest duration that is taken, in milliseconds: a year, so that sums with times never overflow.
const MAX_DURATION_MS: u64 = 366 * 86_400_000;

/// Why something is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number with a unit, or several.
    #[error("is not a duration: give a whole number and ms, s, m, h or d, such as 1h or 500ms")]
    NotADuration,
    /// Over a year.
    #[error("is too long: give at most 366d")]
    TooLong,
}

/// Reads `500ms`, `30s`, `1h30m`: whole numbers, each with a unit.
///
/// # Errors
/// [`DurationError`] if a number or a unit is missing, or if it is longer than 366 days.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut millis = 0_u64;
    let mut rest = text;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(DurationError::NotADuration)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError::NotADuration)?.1;
        if number.is_empty() {
            return Err(DurationError::NotADuration);
        }
        // Only digits, so what does not parse is too large.
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
        millis = part.and_then(|part| part.checked_add(millis)).ok_or(DurationError::TooLong)?;
        if millis > MAX_DURATION_MS {
            return Err(DurationError::TooLong);
        }
        if after.is_empty() {
            return Ok(Duration::from_millis(millis));
        }
        rest = after;
    }
}

/// Shows a duration as [`parse_duration`] reads it; what is finer than a millisecond is left out.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, scale) in UNITS {
        if millis >= scale {
            text.push_str(&format!("{}{unit}", millis / scale));
            millis %= scale;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
