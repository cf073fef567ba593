//! JSON read as Python's `json.loads` reads it, but for a key that is there twice, which is refused.

use std::collections::BTreeMap;

use super::value::{Number, Text, Value};

/// Levels of objects and arrays, at most.
pub const MAX_DEPTH: usize = 64;

/// Digits of an integer, at most, as in Python itself.
pub const MAX_DIGITS: usize = 4_300;

/// Why a text is no such JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Something else is there than JSON has in this place.
    #[error("it is not JSON: at byte {at} {expected} is expected")]
    Expected {
        /// Where, counted from the start of the block.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// Not UTF-8.
    #[error("it is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Where, counted from the start of the block.
        at: usize,
    },
    /// Objects and arrays in each other beyond [`MAX_DEPTH`].
    #[error("it has more than {MAX_DEPTH} levels of objects and arrays")]
    TooDeep,
    /// An integer beyond [`MAX_DIGITS`].
    #[error("it has an integer of more than {MAX_DIGITS} digits")]
    TooManyDigits,
    /// A key twice in one object.
    #[error("an object has the key {key} twice")]
    Duplicate {
        /// The key as Python writes it.
        key: String,
    },
}

/// Reads `json`, which is one value and white space around it.
///
/// # Errors
/// [`ParseError`].
pub fn parse(json: &[u8]) -> Result<Value, ParseError> {
    let json = std::str::from_utf8(json).map_err(|error| ParseError::NotUtf8 { at: error.valid_up_to() })?;
    let mut parser = Parser { json, at: 0 };
    parser.skip_white();
    let value = parser.value(0)?;
    parser.skip_white();
    if parser.at < json.len() { Err(parser.expected("the end")) } else { Ok(value) }
}

struct Parser<'a> {
    json: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.json[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    const fn expected(&self, expected: &'static str) -> ParseError {
        ParseError::Expected { at: self.at, expected }
    }

    fn skip_white(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        if depth > MAX_DEPTH {
            return Err(ParseError::TooDeep);
        }
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.text().map(Value::Text),
            Some(_) => self.word_or_number(),
            None => Err(self.expected("a value")),
        }
    }

    fn word_or_number(&mut self) -> Result<Value, ParseError> {
        let float = |text: &str| Value::Number(Number::Float(text.to_owned()));
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            // Python writes and reads these, though JSON has none of them.
            ("NaN", float("NaN")),
            ("Infinity", float("Infinity")),
            ("-Infinity", float("-Infinity")),
        ];
        for (word, value) in words {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            self.at = start;
            return Err(self.expected("a value"));
        }
        let integer_end = self.at;
        if self.take(b'.') && self.digits() == 0 {
            return Err(self.expected("a digit"));
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
        }
        if self.at == integer_end && self.at - start > MAX_DIGITS {
            return Err(ParseError::TooManyDigits);
        }
        Ok(Value::Number(Number::of_json(&self.json[start..self.at])))
    }

    /// Takes digits; how many there were.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn array(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_white();
        if self.take(b']') {
            return Ok(Value::Array(elements));
        }
        loop {
            self.skip_white();
            elements.push(self.value(depth)?);
            self.skip_white();
            if self.take(b']') {
                return Ok(Value::Array(elements));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut members = BTreeMap::new();
        self.skip_white();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_white();
            let key = self.text()?;
            self.skip_white();
            if !self.take(b':') {
                return Err(self.expected("`:`"));
            }
            self.skip_white();
            let value = self.value(depth)?;
            if members.contains_key(&key) {
                return Err(ParseError::Duplicate { key: super::text::dumps(&Value::Text(key)) });
            }
            members.insert(key, value);
            self.skip_white();
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn text(&mut self) -> Result<Text, ParseError> {
        if !self.take(b'"') {
            return Err(self.expected("a string"));
        }
        let mut text = Text::default();
        loop {
            let plain = self.rest().bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            let Some(length) = plain else {
                self.at = self.json.len();
                return Err(self.expected("the end of the string"));
            };
            text.push_str(&self.json[self.at..self.at + length]);
            self.at += length;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    let code = self.escape()?;
                    text.push(code);
                }
                _ => return Err(self.expected("no control character in the string")),
            }
        }
    }

    /// Takes an escape; two that make a surrogate pair are one code point.
    fn escape(&mut self) -> Result<u32, ParseError> {
        self.at += 1;
        let escaped = self.peek().ok_or_else(|| self.expected("an escape"))?;
        let code = match escaped {
            b'"' | b'\\' | b'/' => u32::from(escaped),
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => 0x0a,
            b'r' => 0x0d,
            b't' => 0x09,
            b'u' => {
                self.at += 1;
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) || !self.rest().starts_with("\\u") {
                    return Ok(first);
                }
                let before = self.at;
                self.at += 2;
                let second = self.unit()?;
                if (0xdc00..0xe000).contains(&second) {
                    return Ok(0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00)));
                }
                self.at = before;
                return Ok(first);
            }
            _ => return Err(self.expected("an escape")),
        };
        self.at += 1;
        Ok(code)
    }

    /// Takes four hex digits.
    fn unit(&mut self) -> Result<u32, ParseError> {
        let digits = self.json.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(self.expected("four hex digits"));
        }
        let unit =
            digits.iter().filter_map(|digit| char::from(*digit).to_digit(16)).fold(0, |unit, digit| unit << 4 | digit);
        self.at += 4;
        Ok(unit)
    }
}
