//! The local clock: the only place that asks it for the ledger's time.

use qfzz_ledger_core::time::Timestamp;

/// Now, UTC; the nearest time that can be shown if the clock is beyond that.
pub fn now() -> Timestamp {
    Timestamp::EPOCH.saturating_add(chrono::Utc::now().timestamp_millis())
}
