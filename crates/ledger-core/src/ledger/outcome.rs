//! What the ledger's operations come to: transitions for the store, and what became of batches and blocks.

use std::sync::Arc;

use crate::batch::{BatchError, VerifiedBatch};
use crate::block::{BlockError, VerifiedBlock};
use crate::chain::ChainError;
use crate::header::BlockHeader;
use crate::ids::{BlockHash, Height, Sequence};
use crate::severity::Severity;
use crate::state::{ConnectError, Undo, Writes};

/// The only change that the store ever writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Counts from 1 since the ledger was opened; commits happen in this order.
    pub number: u64,
    /// Batches that this station signed, or learnt of its own log.
    pub own_batches: Vec<VerifiedBatch>,
    /// Verified blocks off the best chain.
    pub kept: Vec<VerifiedBlock>,
    /// Blocks off the best chain that are forgotten.
    pub dropped: Vec<BlockHash>,
    /// Blocks that leave the best chain, highest first.
    pub reverted: Vec<BlockHash>,
    /// Blocks that join the best chain, lowest first, each with what takes it back.
    pub connected: Vec<(VerifiedBlock, Arc<Undo>)>,
    /// Whether `writes` are the whole trust state, not changes of it.
    pub replaces_state: bool,
    /// The trust state's new values, after all of this.
    pub writes: Writes,
    /// The head after all of this.
    pub head: BlockHash,
    /// The head's height.
    pub height: Height,
}

impl Transition {
    /// Whether the head changes.
    pub fn moves_head(&self) -> bool {
        !self.connected.is_empty()
    }

    /// Whether it only adds batches of this station's own log, which wait for a block.
    pub fn is_own_only(&self) -> bool {
        let has_blocks = !(self.kept.is_empty() && self.connected.is_empty());
        let loses_blocks = !(self.dropped.is_empty() && self.reverted.is_empty());
        !has_blocks && !loses_blocks && !self.replaces_state && self.writes.is_empty()
    }
}

/// What became of a batch that somebody sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It waits for a block now, and so do those that waited for it.
    Added {
        /// The batches added, in order; this one first.
        batches: Vec<VerifiedBatch>,
        /// What has to be stored: batches of this station's own log.
        transition: Option<Box<Transition>>,
    },
    /// It is known; or its author is known to have equivocated, and its place is taken.
    Known,
    /// Its place is taken by another batch: its author equivocated. The first stands.
    Taken,
    /// It waits for what is before it, from this sequence on.
    Gap {
        /// The first batch missing.
        from: Sequence,
    },
    /// It is dated more than 120 s ahead of the local clock, and waits.
    Ahead,
    /// Its author is not admitted: nothing else about it was checked. Or it introduces itself with another ML-DSA key than
    /// it was admitted with.
    NotAdmitted,
    /// Its sequence is more than 1,024 ahead of the next one.
    TooFar,
    /// It does not link to its station's log as known here; or it is ahead of it, and its ML-DSA signature is not of the
    /// key that the log began with here.
    Unlinked,
    /// The pool is full.
    Full,
    /// It is not valid by itself.
    Invalid(BatchError),
}

/// Why a block was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockRefusal {
    /// It is not valid by itself.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// It does not fit the chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// It, or an ancestor of it, does not fit the state.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl BlockRefusal {
    /// Who is at fault.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Block(error) => error.severity(),
            Self::Chain(error) => error.severity(),
            Self::Connect(error) => error.severity(),
        }
    }
}

/// What taking in blocks changed.
#[derive(Clone, Debug, Default)]
pub struct BlocksOutcome {
    /// The changes, in order.
    pub transitions: Vec<Transition>,
    /// The first block that was refused, and why; blocks after it were not looked at.
    pub refused: Option<(BlockHash, BlockRefusal)>,
    /// What left the chain or the pool because its author is not admitted any more; in order within each log.
    pub left_out: Vec<VerifiedBatch>,
}

/// A block without its nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The header, with nonce 0.
    pub header: BlockHeader,
    /// The body.
    pub batches: Vec<VerifiedBatch>,
}

/// Why there is no block to mine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBlock {
    /// No record waits.
    #[error("no records are pending")]
    NothingPending,
    /// The station is not admitted: nobody would take its block.
    #[error("this station is not admitted to the federation, and only stations that are may mine: ask a founder")]
    NotAdmitted,
    /// The station's reveal chain is used up.
    #[error("this station's reveal chain is used up: it can produce no more blocks in this federation")]
    RevealsUsedUp,
    /// The local clock is more than 120 s behind the chain's: what it dated would be refused.
    #[error("this station's clock is behind the chain's by more than 120 s: set the clock")]
    ClockBehind,
}

/// What stands in a block that was announced, as far as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assembled {
    /// All of it.
    Block(VerifiedBlock),
    /// Batches are missing, by their index in the block.
    Missing(Vec<u32>),
}
