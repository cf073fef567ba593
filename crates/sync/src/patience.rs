//! How long a peer may keep a sync waiting.

use std::sync::{Mutex, PoisonError};

/// How long a peer may give nothing, over all requests of a sync, in milliseconds.
const PATIENCE_MS: i64 = 60_000;

/// Bytes of answers that pay for a millisecond of waiting. Slower, and one peer could hold a sync for days.
const BYTES_PER_MS: u64 = 8;

/// What is left of it. Answers earn it back, up to what it was.
pub(crate) struct Patience(Mutex<Left>);

struct Left {
    millis: i64,
    bytes_in: u64,
}

impl Patience {
    /// All of it, with a session that has moved `bytes_in` bytes so far.
    pub(crate) const fn new(bytes_in: u64) -> Self {
        Self(Mutex::new(Left { millis: PATIENCE_MS, bytes_in }))
    }

    /// Counts a wait of `millis`, after which the session has moved `bytes_in` bytes; false once nothing is left.
    pub(crate) fn outlasts(&self, millis: i64, bytes_in: u64) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = bytes_in.saturating_sub(left.bytes_in) / BYTES_PER_MS;
        let earned = i64::try_from(earned).unwrap_or(PATIENCE_MS);
        left.bytes_in = bytes_in.max(left.bytes_in);
        left.millis = left.millis.saturating_sub(millis.max(0)).saturating_add(earned).min(PATIENCE_MS);
        left.millis >= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_uses_it_up_and_answers_earn_it_back() {
        let patience = Patience::new(100);
        assert!(patience.outlasts(60_000, 100));
        assert!(!patience.outlasts(1, 100));
        assert!(patience.outlasts(0, 100 + 8 * 1_001));
        assert!(patience.outlasts(1_000, 100 + 8 * 1_001));
        assert!(!patience.outlasts(1, 100 + 8 * 1_001));
    }

    #[test]
    fn much_given_at_once_does_not_buy_a_long_silence() {
        let patience = Patience::new(0);
        assert!(patience.outlasts(0, u64::MAX));
        assert!(!patience.outlasts(60_001, u64::MAX));
    }
}
