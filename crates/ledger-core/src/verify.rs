//! Verifying a whole chain from genesis: every rule again, and the state that follows.

use std::collections::HashMap;

use crate::block::{SignedBlock, VerifiedBlock};
use crate::chain::{Chain, Path};
use crate::federation::Rules;
use crate::ids::Height;
use crate::ledger::BlockRefusal;
use crate::state::{Layer, RecentBlocks, StateRead, Writes, connect};

/// Walks a chain from genesis up, block by block.
///
/// It rests on nothing but genesis, so it keeps the whole trust state in memory, and the blocks that a dispute may reach.
pub struct Verifier<'a> {
    rules: &'a Rules,
    chain: Chain,
    state: Writes,
    recent: RecentBlocks,
    records: u64,
}

/// The first block that does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {height}: {refusal}")]
pub struct ChainFault {
    /// Its height.
    pub height: Height,
    /// What is wrong with it.
    pub refusal: BlockRefusal,
}

impl<'a> Verifier<'a> {
    /// Genesis alone, which `rules` have checked.
    pub fn from_genesis(rules: &'a Rules) -> Self {
        Self { rules, chain: Chain::new(rules), state: Writes::new(), recent: RecentBlocks::default(), records: 0 }
    }

    /// Verifies the next block, signatures and all, and connects it.
    ///
    /// # Errors
    /// [`ChainFault`]; the walk cannot go on.
    pub fn next(&mut self, block: SignedBlock) -> Result<VerifiedBlock, ChainFault> {
        let height = block.sealed.header.index;
        let fault = |refusal| ChainFault { height, refusal };
        let block = block.verify(self.rules, &HashMap::new()).map_err(|error| fault(error.into()))?;
        let (hash, header) = (block.hash(), block.header());
        // Time has passed since the block was taken in, so rule 4's upper bound holds by itself.
        let checked = self.chain.check(&hash, header, header.timestamp);
        checked.map_err(|error| fault(error.into()))?;
        let layer = Layer::new(&self.state as &dyn StateRead);
        let connected = connect(self.rules, &layer, &self.recent, &block).map_err(|error| fault(error.into()))?;
        self.state.extend(connected.writes);
        self.chain.insert(hash, header);
        self.chain.adopt(&Path { fork: header.previous, blocks: vec![hash] });
        self.records += block.record_count();
        self.recent.push(block.clone());
        Ok(block)
    }

    /// The chain so far.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The trust state so far.
    pub const fn state(&self) -> &Writes {
        &self.state
    }

    /// Records so far.
    pub const fn records(&self) -> u64 {
        self.records
    }
}
