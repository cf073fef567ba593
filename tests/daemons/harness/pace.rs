//! What happens at a rate: when each is due, and by rank how long they took.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until the `number`-th of so many a second is due, and says when that was: what is late counts as late.
pub fn wait_until_due(start: Instant, number: u64, rate: u64) -> Instant {
    let due = start + Duration::from_micros(number * 1_000_000 / rate);
    thread::sleep(due.saturating_duration_since(Instant::now()));
    due
}

/// What so many of 100 are at most, of what is sorted.
pub fn share_of(sorted: &[Duration], of_100: usize) -> Duration {
    sorted[(sorted.len() * of_100 / 100).min(sorted.len() - 1)]
}
