//! A block as the guide knows it: genesis, too, which has neither producer nor seal.

use crate::batch::VerifiedBatch;
use crate::block::VerifiedBlock;
use crate::federation::Rules;
use crate::header::BlockHeader;
use crate::ids::{BlockHash, Height};
use crate::record::Record;
use crate::time::Timestamp;

/// A block of the chain, genesis or one that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    header: BlockHeader,
    hash: BlockHash,
    batches: Vec<VerifiedBatch>,
}

impl Block {
    /// The federation's genesis.
    pub(super) fn genesis(rules: &Rules) -> Self {
        Self { header: rules.genesis().header(), hash: rules.genesis_hash(), batches: Vec::new() }
    }

    /// Its place in the chain; genesis has 0.
    pub const fn index(&self) -> Height {
        self.header.index
    }

    /// Its hash.
    pub const fn hash(&self) -> BlockHash {
        self.hash
    }

    /// The hash of the block before; `None` for genesis, where the guide has `"0"`.
    pub fn previous_hash(&self) -> Option<BlockHash> {
        (self.header.index != Height::ZERO).then_some(self.header.previous)
    }

    /// When it was made.
    pub const fn timestamp(&self) -> Timestamp {
        self.header.timestamp
    }

    /// What its proof of work varied.
    pub const fn nonce(&self) -> u64 {
        self.header.nonce
    }

    /// The records of all its batches, in order; genesis has none.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.batches.iter().flat_map(VerifiedBatch::records)
    }
}

impl From<VerifiedBlock> for Block {
    fn from(block: VerifiedBlock) -> Self {
        Self { header: block.header().clone(), hash: block.hash(), batches: block.batches().to_vec() }
    }
}
