//! Values of JSON as Python holds them.

use std::collections::BTreeMap;

/// A value. Two values are equal where Python prints the same text for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Text),
    /// An array.
    Array(Vec<Self>),
    /// An object, its members in the order of their keys' code points.
    Object(BTreeMap<Text, Self>),
}

/// A number: the text that Python prints for it. Python tells integers (of any size) from floats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// An integer.
    Integer(String),
    /// A float, which may also be `NaN`, `Infinity` or `-Infinity`.
    Float(String),
}

impl Number {
    /// The number that the JSON number `text` is to Python.
    pub(super) fn of_json(text: &str) -> Self {
        if text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
            // Python's integers have no negative zero.
            let text = if text == "-0" { "0" } else { text };
            return Self::Integer(text.to_owned());
        }
        let double: f64 = text.parse().expect("every JSON number is one of Rust's");
        Self::Float(python_repr(double))
    }

    /// The text that Python prints.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Integer(text) | Self::Float(text) => text,
        }
    }

    /// A whole number that is not negative, if it is an integer and fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Integer(text) => text.parse().ok(),
            Self::Float(_) => None,
        }
    }
}

/// Digits before the point from which Python writes an exponent.
const FIRST_WITH_EXPONENT: i32 = 16;

/// The smallest exponent that Python writes out in zeros.
const LAST_WITHOUT_EXPONENT: i32 = -4;

/// What Python's `repr` prints for a float: the shortest decimal that reads back as the same double.
fn python_repr(double: f64) -> String {
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        return if double > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let shortest = format!("{double:e}");
    let (mantissa, _) = shortest.split_once('e').expect("that format has an exponent");
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // Where two decimals of that length are equally near, Python takes the even one, as rounding to a length does. Next
    // to a power of two that may not read back.
    let rounded = format!("{double:.*e}", digits - 1);
    let scientific = if rounded.parse() == Ok(double) { rounded } else { shortest };
    let (mantissa, exponent) = scientific.split_once('e').expect("that format has an exponent");
    let exponent: i32 = exponent.parse().expect("a double's exponent is small");
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    if !(LAST_WITHOUT_EXPONENT..FIRST_WITH_EXPONENT).contains(&exponent) {
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{direction}{:02}", exponent.unsigned_abs());
    }
    let digits: String = mantissa.chars().filter(|digit| *digit != '.').collect();
    let Ok(before_point) = usize::try_from(exponent + 1) else {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    };
    match before_point {
        0 => format!("{sign}0.{digits}"),
        _ if before_point >= digits.len() => format!("{sign}{digits:0<before_point$}.0"),
        _ => format!("{sign}{}.{}", &digits[..before_point], &digits[before_point..]),
    }
}

/// A string of Python: code points, among them single surrogates, which are no Unicode text.
///
/// Held in WTF-8 (UTF-8, and surrogates in the same way), whose order of bytes is the order of code points.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Vec<u8>);

impl Text {
    /// The Unicode text that it is; `None` with a single surrogate in it.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Adds Unicode text.
    pub(super) fn push_str(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Adds a code point, also that of a surrogate.
    pub(super) fn push(&mut self, code: u32) {
        match char::from_u32(code) {
            Some(character) => self.push_str(character.encode_utf8(&mut [0; 4])),
            None => {
                let low = |shift: u32| 0x80 | u8::try_from(code >> shift & 0x3f).expect("six bits");
                self.0.extend_from_slice(&[0xe0 | u8::try_from(code >> 12 & 0xf).expect("four bits"), low(6), low(0)]);
            }
        }
    }

    /// Its code points.
    pub(super) fn code_points(&self) -> impl Iterator<Item = u32> + '_ {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (&first, _) = rest.split_first()?;
            let length = match first {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            let (this, after) = rest.split_at(length);
            rest = after;
            let lead = if length == 1 { u32::from(first) } else { u32::from(first) & (0x7f >> length) };
            Some(this[1..].iter().fold(lead, |code, byte| code << 6 | u32::from(byte & 0x3f)))
        })
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl Value {
    /// The text that it is, if it is Unicode text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => text.as_str(),
            _ => None,
        }
    }

    /// The number that it is.
    pub const fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    /// What kind of value it is, for an error.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(Number::Integer(_)) => "an integer",
            Self::Number(Number::Float(_)) => "a float",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_is_printed_as_python_does() {
        for (json, printed) in [
            ("0.1", "0.1"),
            ("1e-7", "1e-07"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("0.000123", "0.000123"),
            ("1e16", "1e+16"),
            ("1e15", "1000000000000000.0"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("12345678901234567.0", "1.2345678901234568e+16"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("0.3000000000000000400000", "0.30000000000000004"),
            ("1.50", "1.5"),
            ("100.0", "100.0"),
            ("1E2", "100.0"),
            ("122.5", "122.5"),
            ("1.5e300", "1.5e+300"),
            ("5e-324", "5e-324"),
            // Halfway between two decimals of that length; and one of which the nearer decimal is another double.
            ("-664742861425528.25", "-664742861425528.2"),
            ("5.684341886080801486968994140625e-14", "5.684341886080802e-14"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("-0.0", "-0.0"),
            ("0e0", "0.0"),
            ("1e400", "Infinity"),
            ("-1e400", "-Infinity"),
            ("1e-400", "0.0"),
        ] {
            assert_eq!(Number::of_json(json), Number::Float(printed.to_owned()), "{json}");
        }
    }

    #[test]
    fn an_integer_keeps_every_digit() {
        for (json, printed) in [
            ("0", "0"),
            ("-0", "0"),
            ("-17", "-17"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ] {
            assert_eq!(Number::of_json(json), Number::Integer(printed.to_owned()), "{json}");
        }
        assert_eq!(Number::of_json("18446744073709551615").as_u64(), Some(u64::MAX));
        for no_u64 in ["18446744073709551616", "-1", "1.0"] {
            assert_eq!(Number::of_json(no_u64).as_u64(), None, "{no_u64}");
        }
    }

    #[test]
    fn texts_are_in_the_order_of_their_code_points_surrogates_too() {
        let codes = [
            0x0, 0x41, 0x7f, 0xe9, 0x7ff, 0x800, 0xd7ff, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xe000, 0xffff, 0x1_0000,
            0x10_ffff,
        ];
        let texts = codes.map(|code| {
            let mut text = Text::default();
            text.push(code);
            assert_eq!(text.code_points().collect::<Vec<_>>(), [code]);
            assert_eq!(text.as_str().is_none(), (0xd800..0xe000).contains(&code), "{code:x}");
            text
        });
        assert!(texts.is_sorted());
        assert_eq!(Text::from("a\u{10ffff}\u{e9}").code_points().collect::<Vec<_>>(), [0x61, 0x10_ffff, 0xe9]);
    }
}
