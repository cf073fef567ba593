//! An entry: a number, and when it was appended, as a record of about 160 bytes.

use anyhow::Result;
use qfzz_ledger_core::ids::{Id, Target};
use qfzz_ledger_core::record::{Record, UserAction};
use qfzz_ledger_core::score::Delta;
use rustix::time::{ClockId, clock_gettime};

use crate::samples;

/// What the subject of an entry is called, before its number.
const PREFIX: &str = "entry-";

/// Bytes of the text that says when, filled up.
const FILLED: usize = 95;

/// A number, and microseconds of `CLOCK_MONOTONIC`, which all processes of a machine share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) micros: u64,
}

/// Now, in microseconds of `CLOCK_MONOTONIC`.
pub(super) fn micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000).unwrap_or(0)
}

impl Entry {
    /// Appended now.
    pub(super) fn now(number: u64) -> Self {
        Self { number, micros: micros() }
    }

    /// As the record that is signed.
    pub(super) fn record(&self) -> Result<Record> {
        Ok(Record::UserAction(UserAction {
            user_id: Id::new(format!("{PREFIX}{:08}", self.number))?,
            action: Id::new("interaction")?,
            target: Target::new(format!("{:.<FILLED$}", self.micros))?,
            trust_delta: Delta::from_millionths(10_000)?,
            timestamp: samples::at()?,
        }))
    }

    /// What a record says, if it is an entry.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let Record::UserAction(action) = record else { return None };
        let number = action.user_id.as_str().strip_prefix(PREFIX)?.parse().ok()?;
        let micros = action.target.as_str().trim_end_matches('.').parse().ok()?;
        Some(Self { number, micros })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qfzz_ledger_core::codec::encoded_len;

    #[test]
    fn an_entry_is_read_back_and_has_about_160_bytes() {
        for number in [0, 7, 12_345_678, 123_456_789] {
            let entry = Entry::now(number);
            let record = entry.record().expect("a valid record");
            assert_eq!(Entry::of(&record), Some(entry));
            assert!((155..=165).contains(&encoded_len(&record)), "{}", encoded_len(&record));
        }
        let other = samples::record(1, 10).expect("a valid record");
        assert_eq!(Entry::of(&other), None);
    }
}
