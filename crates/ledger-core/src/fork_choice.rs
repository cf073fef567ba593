//! Which of two chains is better: more work, then the lower rank, then the lower hash; nothing else.

use std::cmp::{Ordering, Reverse};

use crate::header::Work;
use crate::ids::BlockHash;

/// A chain's last block, with what fork choice looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The work of the whole chain.
    pub work: Work,
    /// H(`qfzz/rank/1`, previous | producer): trying nonces doesn't change it.
    pub rank: [u8; 32],
    /// The block.
    pub hash: BlockHash,
}

impl Tip {
    fn preference(&self) -> (Work, Reverse<[u8; 32]>, Reverse<BlockHash>) {
        (self.work, Reverse(self.rank), Reverse(self.hash))
    }

    /// Whether this chain is to be preferred to `other`: a function of the two alone.
    pub fn is_better_than(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Greater
    }
}

impl Ord for Tip {
    fn cmp(&self, other: &Self) -> Ordering {
        self.preference().cmp(&other.preference())
    }
}

impl PartialOrd for Tip {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
