//! The elements of a JSON array, read one by one: a file of any length takes the memory of its largest element.

use std::io::{self, BufRead};

/// Why the next element cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ElementError {
    /// The input cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something else is there than the array, or what stands between its elements.
    #[error("{expected} is expected")]
    Expected {
        /// What should be there.
        expected: &'static str,
    },
    /// The input ends before the array does.
    #[error("the file breaks off here")]
    BrokenOff,
    /// An element longer than the limit.
    #[error("it has more than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

/// An array of objects, while it is read.
pub struct Elements<R> {
    input: R,
    limit: usize,
    /// Elements that were handed out.
    count: u64,
    has_begun: bool,
    has_ended: bool,
}

impl<R: BufRead> Elements<R> {
    /// Reads an array from `input`, none of its elements longer than `limit` bytes.
    pub const fn new(input: R, limit: usize) -> Self {
        Self { input, limit, count: 0, has_begun: false, has_ended: false }
    }

    /// The index of the element that [`next_element`](Self::next_element) reads, or failed to read.
    pub const fn index(&self) -> u64 {
        self.count
    }

    /// The text of the next element, from `{` to the brace that closes it; `None` behind the last one.
    ///
    /// The text is cut where its braces say so: it still has to be parsed.
    ///
    /// # Errors
    /// [`ElementError`].
    pub fn next_element(&mut self) -> Result<Option<Vec<u8>>, ElementError> {
        if self.has_ended {
            return Ok(None);
        }
        let mut first = self.skip_white()?;
        if !self.has_begun {
            if first != Some(b'[') {
                return Err(ElementError::Expected { expected: "an array of blocks, which begins with `[`," });
            }
            self.has_begun = true;
            self.input.consume(1);
            first = self.skip_white()?;
        } else if first == Some(b',') {
            self.input.consume(1);
            first = self.skip_white()?;
            if first == Some(b']') {
                return Err(ElementError::Expected { expected: "a block behind the comma" });
            }
        } else if first.is_some_and(|byte| byte != b']') {
            return Err(ElementError::Expected { expected: "`,` or `]` before it" });
        }
        match first {
            None => Err(ElementError::BrokenOff),
            Some(b'{') => {
                let element = self.object()?;
                self.count += 1;
                Ok(Some(element))
            }
            Some(b']') => {
                self.input.consume(1);
                self.has_ended = true;
                match self.skip_white()? {
                    None => Ok(None),
                    Some(_) => Err(ElementError::Expected { expected: "nothing behind the last block" }),
                }
            }
            Some(_) => Err(ElementError::Expected { expected: "an object" }),
        }
    }

    /// The next byte that is no white space, which stays in the input.
    fn skip_white(&mut self) -> io::Result<Option<u8>> {
        loop {
            let ahead = self.input.fill_buf()?;
            if ahead.is_empty() {
                return Ok(None);
            }
            let white = ahead.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
            let next = ahead.get(white).copied();
            self.input.consume(white);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    fn object(&mut self) -> Result<Vec<u8>, ElementError> {
        let mut element = Vec::new();
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        loop {
            let ahead = self.input.fill_buf()?;
            if ahead.is_empty() {
                return Err(ElementError::BrokenOff);
            }
            let mut end = None;
            for (at, byte) in ahead.iter().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_text => escaped = true,
                    b'"' => in_text = !in_text,
                    b'{' if !in_text => depth += 1,
                    b'}' if !in_text => {
                        depth -= 1;
                        if depth == 0 {
                            end = Some(at + 1);
                            break;
                        }
                    }
                    _ => {}
                }
            }
            let taken = end.unwrap_or(ahead.len());
            if element.len() + taken > self.limit {
                return Err(ElementError::TooLong { limit: self.limit });
            }
            element.extend_from_slice(&ahead[..taken]);
            self.input.consume(taken);
            if end.is_some() {
                return Ok(element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, limit: usize) -> Result<Vec<String>, (u64, String)> {
        // A small buffer, so that elements span several of them.
        let mut elements = Elements::new(io::BufReader::with_capacity(3, text.as_bytes()), limit);
        let mut found = Vec::new();
        loop {
            match elements.next_element() {
                Ok(Some(element)) => found.push(String::from_utf8(element).expect("cut between characters")),
                Ok(None) => return Ok(found),
                Err(error) => return Err((elements.index(), error.to_string())),
            }
        }
    }

    #[test]
    fn elements_are_cut_at_their_own_braces() {
        let elements = [r#"{"a": "}\"{", "b": [{}]}"#, "{}", r#"{"\\": "é"}"#];
        let text = format!(" [\n{} ,{}\n,\t{} ]\r\n", elements[0], elements[1], elements[2]);
        assert_eq!(read(&text, 99).expect("an array"), elements);
        assert_eq!(read("[]", 99).expect("an array"), [""; 0]);
    }

    #[test]
    fn what_is_no_array_of_objects_is_refused_at_the_element() {
        for (text, index) in [
            ("", 0),
            ("{}", 0),
            ("[", 0),
            ("[1]", 0),
            ("[{}", 1),
            ("[{} {}]", 1),
            ("[{},]", 1),
            ("[{},{", 1),
            ("[{},{}]x", 2),
            ("[{},{\"a\": \"}]", 1),
            ("[{}, {\"abcdefgh\": 12345}]", 1),
        ] {
            let refused = read(text, 12).expect_err(text);
            assert_eq!(refused.0, index, "{text}: {}", refused.1);
        }
    }
}
