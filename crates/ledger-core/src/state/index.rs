//! Where the branch's blocks and batches stand: heights by hash, and the block of each batch.

use super::scratch::{DAMAGED, expect_value};
use super::{Key, ReadError, Scratch, StateRead, Value};
use crate::codec::{Decode, Encode};
use crate::federation::Rules;
use crate::ids::{BlockHash, Height, Sequence};

/// Batches of one log that share a value, at most: 64 of 40 bytes each.
const BATCHES_PER_VALUE: u64 = 64;

/// From which sequence on a station's batches stand in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogBlock {
    /// The first one, of those that share a value.
    pub first: Sequence,
    /// The block.
    pub block: BlockHash,
}

/// The height of a block of the branch; `None` where it is not on it.
pub(super) fn height_of(rules: &Rules, read: &impl StateRead, block: &BlockHash) -> Result<Option<Height>, ReadError> {
    if *block == rules.genesis_hash() {
        return Ok(Some(Height::ZERO));
    }
    match read.get(&Key::BlockHeight(*block))? {
        Some(Value::BlockHeight(height)) => Ok(Some(height)),
        Some(_) => Err(ReadError::Damaged { what: "a block's height" }),
        None => Ok(None),
    }
}

/// The block of the branch that holds a batch of the station with a `number`, given that one does.
pub(super) fn block_of_batch(
    read: &impl StateRead,
    number: u32,
    sequence: Sequence,
) -> Result<Option<BlockHash>, ReadError> {
    match read.get(&Key::LogBlocks(number, sequence.get() / BATCHES_PER_VALUE))? {
        Some(Value::LogBlocks(blocks)) => Ok(blocks.iter().rev().find(|it| it.first <= sequence).map(|it| it.block)),
        Some(_) => Err(ReadError::Damaged { what: "the blocks of a log" }),
        None => Ok(None),
    }
}

impl<R: StateRead> Scratch<'_, R> {
    /// Takes note of a block's height.
    pub(super) fn set_height(&mut self, block: BlockHash, height: Height) -> Result<(), ReadError> {
        *self.slot(Key::BlockHeight(block))? = Some(Value::BlockHeight(height));
        Ok(())
    }

    /// Takes note that a batch stands in a block; batches come in the order of their log.
    pub(super) fn note_batch(&mut self, number: u32, sequence: Sequence, block: BlockHash) -> Result<(), ReadError> {
        let slot = self.slot(Key::LogBlocks(number, sequence.get() / BATCHES_PER_VALUE))?;
        let mut blocks = expect_value!(slot.as_ref(), Value::LogBlocks)?.unwrap_or_default();
        if blocks.last().is_none_or(|last| last.block != block) {
            blocks.push(LogBlock { first: sequence, block });
            *slot = Some(Value::LogBlocks(blocks));
        }
        Ok(())
    }
}
