//! The query of a request, read strictly: nothing unknown, nothing twice, UTF-8 only.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::Uri;
use axum::http::request::Parts;

use super::problem::{Code, Problem, quoted};

/// The parameters that a request gives, each until it is taken.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query of `uri`, whose parameters must be among `known`.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut read: Vec<(String, String)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                let detail = format!("{} is not percent-encoded UTF-8: encode it", quoted(pair));
                return Err(Problem::new(Code::BadParameter, detail));
            };
            if !known.contains(&name.as_str()) {
                let those = if known.is_empty() {
                    "this route has none".to_owned()
                } else {
                    format!("use {}", known.join(", "))
                };
                let detail = format!("the parameter {} does not exist here: remove it; {those}", quoted(&name));
                return Err(Problem::of_field(name, Code::UnknownParameter, detail));
            }
            if read.iter().any(|(other, _)| *other == name) {
                let detail = format!("the parameter `{name}` is there twice: send it once");
                return Err(Problem::of_field(name, Code::BadParameter, detail));
            }
            read.push((name, value));
        }
        Ok(Self(read))
    }

    /// The text of a parameter, if it is there.
    pub(super) fn optional(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The text of a parameter.
    ///
    /// # Errors
    /// A [`Problem`] where it is missing.
    pub(super) fn required(&self, name: &str) -> Result<&str, Problem> {
        self.optional(name).ok_or_else(|| {
            Problem::of_field(name, Code::MissingParameter, format!("the parameter `{name}` is missing: add it"))
        })
    }

    /// A whole number from `low` to `high`, if the parameter is there.
    ///
    /// # Errors
    /// A [`Problem`] where it is something else.
    pub(super) fn number(&self, name: &str, low: u64, high: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.optional(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (low..=high).contains(&number) => Ok(Some(number)),
            _ => {
                let detail = format!("`{name}` is {}: give a whole number from {low} to {high}", quoted(text));
                Err(Problem::of_field(name, Code::BadParameter, detail))
            }
        }
    }
}

/// `text` without percent-encoding; `None` if what comes out is not UTF-8, or a `%` stands alone.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The last part of a path, decoded.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_: PathRejection| {
            Problem::new(Code::BadPath, "the path is not percent-encoded UTF-8: encode it")
        })?;
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, Code> {
        let uri = format!("/x?{text}").parse().expect("a target");
        Query::of(&uri, &["id", "limit"]).map_err(|problem| problem.code)
    }

    #[test]
    fn parameters_are_decoded_once() {
        let read = query("id=a%20b+c%2541&limit=7").expect("read");
        assert_eq!(read.optional("id"), Some("a b c%41"));
        assert_eq!(read.number("limit", 0, 7), Ok(Some(7)));
        assert_eq!(read.required("id"), Ok("a b c%41"));
        assert_eq!(query("").expect("read").number("limit", 0, 7), Ok(None));
    }

    #[test]
    fn what_is_unknown_repeated_or_malformed_is_refused() {
        for (text, code) in [
            ("x=1", Code::UnknownParameter),
            ("id=1&id=2", Code::BadParameter),
            ("id=%FF", Code::BadParameter),
            ("id=%4", Code::BadParameter),
            ("id=%zz", Code::BadParameter),
        ] {
            assert_eq!(query(text).expect_err(text), code, "{text}");
        }
        for text in ["limit=", "limit=-1", "limit=+1", "limit=8", "limit=x", "limit=99999999999999999999"] {
            assert_eq!(
                query(text).expect("read").number("limit", 1, 7).map_err(|problem| problem.code),
                Err(Code::BadParameter),
                "{text}"
            );
        }
        assert_eq!(
            query("").expect("read").required("id").map_err(|problem| problem.code),
            Err(Code::MissingParameter)
        );
    }
}
