//! The local clocks: the only place that asks for the ledger's time, and for what this process has used of it.

use qfzz_ledger_core::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Now, UTC; the nearest time that can be shown if the clock is beyond that.
pub fn now() -> Timestamp {
    Timestamp::EPOCH.saturating_add(chrono::Utc::now().timestamp_millis())
}

/// Processor time that this process has used so far, on all cores, in milliseconds.
pub fn cpu_ms() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(used.tv_sec * 1_000 + used.tv_nsec / 1_000_000).unwrap_or(0)
}
