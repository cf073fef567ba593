//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at: a hundredth of the shortest limit that a test asserts.
const POLL: Duration = Duration::from_millis(10);

/// Looks at `condition` until it holds, and returns what it found and after which time.
///
/// # Panics
/// After `deadline`, with `what` and the last reason why it did not hold.
pub fn wait_for<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Result<T, String>) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(found) => return (found, start.elapsed()),
            Err(reason) if start.elapsed() > deadline => panic!("not within {deadline:?}: {what}; last seen: {reason}"),
            Err(_) => thread::sleep(POLL),
        }
    }
}
