//! JSON read strictly: no field twice, numbers as they were written, metadata in one canonical form.
//!
//! serde_json alone would keep the last of two equal keys, and would take numbers through `f64`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Levels of objects and arrays that metadata may have, the outermost counted.
pub const MAX_METADATA_DEPTH: usize = 8;

/// Places that an exponent may move a decimal point: more than any score or delta can need.
const MAX_SHIFT: i64 = 64;

/// Why a text is not a JSON object without repeated fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Not JSON.
    #[error("it is not JSON: {reason}")]
    NotJson {
        /// The field whose value could not be read, if the trouble is there.
        field: Option<String>,
        /// What was expected, and where.
        reason: String,
    },
    /// JSON, but not an object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A field is there twice.
    #[error("it has the field `{field}` twice")]
    Duplicate {
        /// Which.
        field: String,
    },
}

/// The members of the JSON object `text`, values as they were written.
///
/// # Errors
/// [`ObjectError`]; nothing may stand beside the object but white space.
pub fn members(text: &str) -> Result<BTreeMap<String, &RawValue>, ObjectError> {
    let mut seed = Members { current: None, duplicate: None };
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = (&mut seed).deserialize(&mut reader).and_then(|members| reader.end().map(|()| members));
    match parsed {
        Ok(Some(members)) => match seed.duplicate {
            Some(field) => Err(ObjectError::Duplicate { field }),
            None => Ok(members),
        },
        Ok(None) => Err(ObjectError::NotAnObject),
        Err(error) => Err(ObjectError::NotJson { field: seed.current, reason: reason(&error) }),
    }
}

/// What was expected, and where: the line only where there are several, for most texts are one line of many.
fn reason(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// Reads an object and remembers where it is, so that an error can name the field.
struct Members {
    current: Option<String>,
    duplicate: Option<String>,
}

impl<'de> DeserializeSeed<'de> for &mut Members {
    type Value = Option<BTreeMap<String, &'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Members {
    type Value = Option<BTreeMap<String, &'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            self.current = Some(key.clone());
            let value = map.next_value::<&RawValue>()?;
            self.current = None;
            if members.insert(key.clone(), value).is_some() {
                self.duplicate.get_or_insert(key);
            }
        }
        Ok(Some(members))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<&RawValue>()?.is_some() {}
        Ok(None)
    }
}

/// Why a JSON value cannot be metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not an object, or an object in it is not well formed.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Deeper than [`MAX_METADATA_DEPTH`].
    #[error("it has more than {MAX_METADATA_DEPTH} levels of objects and arrays")]
    TooDeep,
    /// A text in it is not Unicode.
    #[error("it holds a text that is not Unicode")]
    NotUnicode,
}

/// The canonical form of the JSON object `text`: keys in the order of their bytes, no white space, numbers as written.
///
/// # Errors
/// [`MetadataError`].
pub fn canonical_object(text: &str) -> Result<String, MetadataError> {
    let mut out = String::with_capacity(text.len());
    write_object(text, 1, &mut out)?;
    Ok(out)
}

fn write_object(text: &str, level: usize, out: &mut String) -> Result<(), MetadataError> {
    if level > MAX_METADATA_DEPTH {
        return Err(MetadataError::TooDeep);
    }
    out.push('{');
    for (position, (key, value)) in members(text)?.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        out.push_str(&quote(&key));
        out.push(':');
        write_value(value, level, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_value(value: &RawValue, level: usize, out: &mut String) -> Result<(), MetadataError> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => write_object(text, level + 1, out),
        Some(b'[') => {
            if level >= MAX_METADATA_DEPTH {
                return Err(MetadataError::TooDeep);
            }
            let elements: Vec<&RawValue> = serde_json::from_str(text)
                .map_err(|error| ObjectError::NotJson { field: None, reason: reason(&error) })?;
            out.push('[');
            for (position, element) in elements.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_value(element, level + 1, out)?;
            }
            out.push(']');
            Ok(())
        }
        Some(b'"') => {
            let string: String = serde_json::from_str(text).map_err(|_| MetadataError::NotUnicode)?;
            out.push_str(&quote(&string));
            Ok(())
        }
        _ => {
            out.push_str(text);
            Ok(())
        }
    }
}

fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a text can be written as JSON")
}

/// The JSON number `text` without exponent: `1e-2` is `0.01`, exactly.
///
/// `None` if it is not a JSON number, or if its exponent is beyond all reason.
pub fn plain_decimal(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let Some((mantissa, exponent)) = digits.split_once(['e', 'E']) else {
        return Some(text.to_owned());
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{part}");
    if all.bytes().all(|digit| digit == b'0') {
        return Some("0".to_owned());
    }
    let exponent: i64 = exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?;
    if exponent.abs() > MAX_SHIFT {
        return None;
    }
    let point = i64::try_from(whole.len()).ok()? + exponent;
    Some(match usize::try_from(point) {
        Ok(point) if point >= all.len() => format!("{sign}{all:0<point$}"),
        Ok(point) if point > 0 => format!("{sign}{}.{}", &all[..point], &all[point..]),
        _ => format!("{sign}0.{}{all}", "0".repeat(usize::try_from(-point).ok()?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_numbers_as_written() {
        let members = members(r#" {"b": 0.10000000000000000001, "a": "x"} "#).expect("an object");
        let shown: Vec<_> = members.iter().map(|(key, value)| (key.as_str(), value.get())).collect();
        assert_eq!(shown, [("a", "\"x\""), ("b", "0.10000000000000000001")]);
    }

    #[test]
    fn what_is_not_one_object_is_refused_and_the_field_named() {
        let refused = |text: &str| members(text).expect_err(text);
        for text in ["1", "-1", "0.5", "true", "null", "\"x\"", "[1,[2]]"] {
            assert_eq!(refused(text), ObjectError::NotAnObject, "{text}");
        }
        for text in ["", "{", "{} {}", "{'a':1}", "{\"a\":1,}", "nonsense"] {
            assert!(matches!(refused(text), ObjectError::NotJson { .. }), "{text}");
        }
        for number in ["NaN", "Infinity", "-Infinity", "+1", ".5", "1.", "-", "nan"] {
            let error = refused(&format!("{{\"trust_delta\":{number}}}"));
            let named = matches!(&error, ObjectError::NotJson { field: Some(field), .. } if field == "trust_delta");
            assert!(named, "{number}: {error:?}");
        }
        assert_eq!(refused(r#"{"a":1,"b":2,"\u0061":3}"#), ObjectError::Duplicate { field: "a".to_owned() });
    }

    #[test]
    fn metadata_has_one_canonical_form() {
        let text = " { \"b\" : [ 1.0 , {\"y\":null, \"x\":\"\\u0041\\n\"} ] ,\n\"a\":-0.50e3, \"\u{e9}\":true } ";
        assert_eq!(
            canonical_object(text).as_deref(),
            Ok("{\"a\":-0.50e3,\"b\":[1.0,{\"x\":\"A\\n\",\"y\":null}],\"\u{e9}\":true}")
        );
        let once = canonical_object(text).expect("canonical");
        assert_eq!(canonical_object(&once), Ok(once));
    }

    #[test]
    fn metadata_is_an_object_of_at_most_eight_levels_without_repeated_keys() {
        let nested = |open: &str, close: &str, levels: usize| {
            format!("{{\"a\":{}{}}}", open.repeat(levels), close.repeat(levels))
        };
        assert!(canonical_object(&nested("[", "]", 7)).is_ok());
        assert_eq!(canonical_object(&nested("[", "]", 8)), Err(MetadataError::TooDeep));
        let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(canonical_object(&objects(8)).is_ok());
        assert_eq!(canonical_object(&objects(9)), Err(MetadataError::TooDeep));
        assert_eq!(canonical_object(&nested("[", "]", 100_000)), Err(MetadataError::TooDeep));
        let inner = r#"{"a":[{"b":1,"b":2}]}"#;
        assert_eq!(canonical_object(inner), Err(ObjectError::Duplicate { field: "b".to_owned() }.into()));
        assert_eq!(canonical_object("[]"), Err(ObjectError::NotAnObject.into()));
        assert_eq!(canonical_object(r#"{"a":"\ud800"}"#), Err(MetadataError::NotUnicode));
    }

    #[test]
    fn exponents_are_written_out_exactly() {
        for (given, plain) in [
            ("0.54", "0.54"),
            ("-1", "-1"),
            ("1e-2", "0.01"),
            ("-5E-1", "-0.5"),
            ("12.5e-1", "1.25"),
            ("1e0", "1"),
            ("0.001e+3", "0001"),
            ("1.5e1", "15"),
            ("1e2", "100"),
            ("0e999999999999999999999", "0"),
            ("1e-64", "0.0000000000000000000000000000000000000000000000000000000000000001"),
        ] {
            assert_eq!(plain_decimal(given).as_deref(), Some(plain), "{given}");
        }
        for given in ["1e65", "1e-65", "1e999999999999999999999", "\"1\"", "null", "-", ""] {
            assert_eq!(plain_decimal(given), None, "{given}");
        }
    }
}
