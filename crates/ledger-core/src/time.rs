//! Points in time: Unix milliseconds, UTC.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::codec::{Encode, decode_through};

/// The last millisecond of the year 9999: what RFC 3339 can show.
const MAX_MILLIS: i64 = 253_402_300_799_999;

/// Why something is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Before 1970 or after 9999.
    #[error("is out of range: give a time from 1970 to 9999")]
    OutOfRange,
    /// Not RFC 3339.
    #[error("is not a time: give RFC 3339, such as 2026-01-25T10:00:00Z")]
    NotRfc3339,
}

/// Unix milliseconds, UTC, 0..=253_402_300_799_999; shown as RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00.000Z.
    pub const EPOCH: Self = Self(0);

    /// Takes Unix milliseconds.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] outside 1970 to 9999.
    pub const fn from_millis(millis: i64) -> Result<Self, TimeError> {
        if millis < 0 || millis > MAX_MILLIS {
            return Err(TimeError::OutOfRange);
        }
        Ok(Self(millis))
    }

    /// Unix milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// `millis` later, held within the range.
    #[must_use]
    pub const fn saturating_add(self, millis: i64) -> Self {
        let sum = self.0.saturating_add(millis);
        if sum < 0 {
            Self(0)
        } else if sum > MAX_MILLIS {
            Self(MAX_MILLIS)
        } else {
            Self(sum)
        }
    }

    /// Milliseconds from `earlier` to this; negative if it is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| TimeError::NotRfc3339)?;
        Self::from_millis(time.timestamp_millis())
    }
}

decode_through!(Timestamp, i64, |millis| Timestamp::from_millis(millis).ok(), "time out of range");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_and_read_as_rfc_3339() {
        let time = Timestamp::from_millis(1_769_335_200_000).expect("in range");
        assert_eq!(time.to_string(), "2026-01-25T10:00:00.000Z");
        assert_eq!("2026-01-25T10:00:00Z".parse(), Ok(time));
        assert_eq!("2026-01-25T11:00:00+01:00".parse(), Ok(time));
        assert_eq!("1969-12-31T23:59:59Z".parse::<Timestamp>(), Err(TimeError::OutOfRange));
        assert_eq!("yesterday".parse::<Timestamp>(), Err(TimeError::NotRfc3339));
        assert_eq!(Timestamp::from_millis(MAX_MILLIS + 1), Err(TimeError::OutOfRange));
    }
}
