//! The text that Python's `json.dumps(value, sort_keys=True)` gives.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::value::{Text, Value};

/// That text: ASCII, members sorted by code point, `", "` and `": "` between them.
pub fn dumps(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// The same of an object's members.
pub(super) fn dumps_object(members: &BTreeMap<Text, Value>) -> String {
    let mut out = String::new();
    write_object(members, &mut out);
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(number.as_str()),
        Value::Text(text) => write_text(text, out),
        Value::Array(elements) => {
            out.push('[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    out.push_str(", ");
                }
                write_value(element, out);
            }
            out.push(']');
        }
        Value::Object(members) => write_object(members, out),
    }
}

fn write_object(members: &BTreeMap<Text, Value>, out: &mut String) {
    out.push('{');
    for (position, (key, value)) in members.iter().enumerate() {
        if position > 0 {
            out.push_str(", ");
        }
        write_text(key, out);
        out.push_str(": ");
        write_value(value, out);
    }
    out.push('}');
}

fn write_text(text: &Text, out: &mut String) {
    out.push('"');
    for code in text.code_points() {
        match code {
            0x08 => out.push_str("\\b"),
            0x09 => out.push_str("\\t"),
            0x0a => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            0x0d => out.push_str("\\r"),
            0x22 => out.push_str("\\\""),
            0x5c => out.push_str("\\\\"),
            0x20..=0x7e => out.extend(char::from_u32(code)),
            0..=0xffff => write_unit(code, out),
            _ => {
                let beyond = code - 0x1_0000;
                write_unit(0xd800 | beyond >> 10, out);
                write_unit(0xdc00 | beyond & 0x3ff, out);
            }
        }
    }
    out.push('"');
}

fn write_unit(unit: u32, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\u{unit:04x}");
}
