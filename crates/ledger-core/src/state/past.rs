//! The blocks below the one that is being connected: draws choose among the parent's records, and a dispute may name a
//! record of the last 1,024 blocks.

use std::collections::{HashMap, VecDeque};

use super::ReadError;
use super::draw::DUTY_BLOCKS;
use crate::block::VerifiedBlock;
use crate::ids::BlockHash;

/// The port through which blocks of the branch are read.
pub trait BlockRead {
    /// The block with this hash, which is on the branch, above genesis and at most 1,024 blocks below the one that is
    /// connected.
    ///
    /// # Errors
    /// [`ReadError`]; also where it is missing.
    fn past_block(&self, hash: &BlockHash) -> Result<VerifiedBlock, ReadError>;
}

/// The newest blocks of a chain that is walked up from genesis, in memory: at most 1,025 MiB of bodies.
#[derive(Clone, Debug, Default)]
pub struct RecentBlocks {
    blocks: HashMap<BlockHash, VerifiedBlock>,
    order: VecDeque<BlockHash>,
}

impl RecentBlocks {
    /// Adds the next block, and forgets the one that is too far below it.
    pub fn push(&mut self, block: VerifiedBlock) {
        self.order.push_back(block.hash());
        self.blocks.insert(block.hash(), block);
        if self.order.len() as u64 > DUTY_BLOCKS + 1
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
    }
}

impl BlockRead for RecentBlocks {
    fn past_block(&self, hash: &BlockHash) -> Result<VerifiedBlock, ReadError> {
        self.blocks.get(hash).cloned().ok_or(ReadError::Damaged { what: "a block" })
    }
}
