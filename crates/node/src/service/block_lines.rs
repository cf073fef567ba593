//! Which blocks the log tells of: each at the head of a chain, one now and then of a catch-up.

use crate::rate::{Bucket, Rate};

/// How often a line may tell of a block. A chain that grows keeps below it, a catch-up connects hundreds a second.
const TOLD: Rate = Rate::per_minute(20, 60);

/// Counts blocks between two lines.
pub(super) struct BlockLines {
    left: Bucket,
    untold: u64,
}

impl BlockLines {
    /// None yet.
    pub(super) const fn new(now_ms: i64) -> Self {
        Self { left: Bucket::full(TOLD, now_ms), untold: 0 }
    }

    /// A block was connected. Where a line is due: of how many blocks before this one there was none.
    pub(super) fn next(&mut self, now_ms: i64) -> Option<u64> {
        if self.left.spend(1, now_ms) {
            return Some(std::mem::take(&mut self.untold));
        }
        self.untold += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_that_is_mined_has_its_line_and_a_catch_up_one_a_second() {
        let mut lines = BlockLines::new(0);
        for second in 0..1_000 {
            assert_eq!(lines.next(second * 1_000), Some(0), "one block a second");
        }
        // 400 blocks a second for ten seconds.
        let told: Vec<u64> = (0..4_000).filter_map(|number| lines.next(1_000_000 + number * 10_000 / 4_000)).collect();
        assert_eq!(told.len(), 20 + 9);
        assert!(told[20..].iter().all(|untold| (300..=400).contains(untold)), "{told:?}");
        assert!(lines.next(1_060_000).is_some_and(|untold| untold > 0), "the next one tells of the rest");
        assert_eq!(lines.next(1_060_000), Some(0));
    }
}
