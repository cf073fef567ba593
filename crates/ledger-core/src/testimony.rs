//! Testimonies: a station's independent check of another's record (global trust, section 5).

use std::fmt;
use std::str::FromStr;

use crate::codec::{Decode, Encode};
use crate::ids::{RecordHash, RecordId};

/// A station checked what another's record claims.
///
/// It names the record by its place and its hash, for an equivocator's place may hold two.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Testimony {
    /// The record's place.
    pub record: RecordId,
    /// The record's hash.
    pub hash: RecordHash,
    /// What the check found.
    pub answer: Answer,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Answer {
    /// The thing is as the record claims.
    Agree,
    /// It is not.
    Contest,
}

impl Answer {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Contest => "contest",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Neither of the two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no answer: send `agree` or `contest`")]
pub struct UnknownAnswer;

impl FromStr for Answer {
    type Err = UnknownAnswer;

    fn from_str(text: &str) -> Result<Self, UnknownAnswer> {
        [Self::Agree, Self::Contest].into_iter().find(|answer| answer.as_str() == text).ok_or(UnknownAnswer)
    }
}
