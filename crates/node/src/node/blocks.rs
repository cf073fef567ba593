//! Blocks for the API, read from the store.

use std::sync::atomic::{AtomicU64, Ordering};

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::{SealedHeader, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height};
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::{ReadError, StateRead, chain_state};
use qfzz_ledger_core::verify::Verifier;

use crate::api::block::{Block, SeenBatch};
use crate::api::dto::{Checking, Verification};
use crate::api::port::PortError;
use crate::store::{StoreError, StoreRead, StoreReader};

/// Blocks read from the disk in one go while a stream of them is read.
const BLOCKS_AT_ONCE: u64 = 16;

/// The height of the block that a batch's author had seen, if it is on the best chain.
pub(super) fn seen(reader: &StoreReader, batch: &VerifiedBatch) -> Result<Option<Height>, StoreError> {
    let hash = batch.header().seen;
    let Some(sealed) = reader.header(&hash)? else { return Ok(None) };
    let height = sealed.header.index;
    Ok(reader.header_at(height)?.filter(|(best, _)| *best == hash).map(|_| height))
}

pub(super) fn show(reader: &StoreReader, block: &VerifiedBlock) -> Result<Block, StoreError> {
    let mut batches = Vec::with_capacity(block.batches().len());
    let mut last: Option<(BlockHash, Option<Height>)> = None;
    for batch in block.batches() {
        let hash = batch.header().seen;
        // Batches of one block have mostly seen the same head.
        let seen = match last {
            Some((known, seen)) if known == hash => seen,
            _ => seen(reader, batch)?,
        };
        last = Some((hash, seen));
        batches.push(SeenBatch { batch: batch.clone(), seen });
    }
    Ok(Block { hash: block.hash(), sealed: block.sealed().clone(), batches })
}

fn genesis(rules: &Rules) -> Block {
    Block { hash: rules.genesis_hash(), sealed: SealedHeader::genesis(rules), batches: Vec::new() }
}

/// The block with this hash, genesis too.
pub(super) fn block_by_hash(reader: &StoreReader, hash: &BlockHash) -> Result<Option<Block>, PortError> {
    if *hash == reader.rules().genesis_hash() {
        return Ok(Some(genesis(reader.rules())));
    }
    match LedgerRead::block(reader, hash)? {
        Some(block) => Ok(Some(show(reader, &block)?)),
        None => Ok(None),
    }
}

/// Where a stream of blocks is.
pub(super) struct Reading {
    pub(super) next: u64,
    pub(super) end: u64,
    pub(super) previous: Option<BlockHash>,
}

impl Reading {
    /// The next blocks; an error if the chain was reorganised below them meanwhile.
    pub(super) fn read(&mut self, reader: &StoreReader) -> Result<Vec<Block>, PortError> {
        let moved = || PortError::NotReady { reason: "the chain was reorganised while it was read: ask again".into() };
        let mut blocks = Vec::new();
        while self.next <= self.end && (blocks.len() as u64) < BLOCKS_AT_ONCE {
            let (hash, sealed) = reader.header_at(Height::new(self.next))?.ok_or_else(moved)?;
            if self.previous.is_some_and(|previous| previous != sealed.header.previous) {
                return Err(moved());
            }
            blocks.push(block_by_hash(reader, &hash)?.ok_or_else(moved)?);
            (self.previous, self.next) = (Some(hash), self.next + 1);
        }
        Ok(blocks)
    }
}

/// The one connected block within two hashes, genesis too; `None` if there is none.
pub(super) fn block_within(
    reader: &StoreReader,
    first: &BlockHash,
    last: &BlockHash,
) -> Result<Option<BlockHash>, PortError> {
    let genesis = reader.rules().genesis_hash();
    // Two are as good as many.
    let mut found = reader.connected_within(first, last, 2)?;
    found.extend((first..=last).contains(&&genesis).then_some(genesis));
    match found[..] {
        [] => Ok(None),
        [hash] => Ok(Some(hash)),
        _ => Err(PortError::SeveralBlocks),
    }
}

/// How far a check of the whole chain is, or an import; nothing is under way while `of` is 0.
#[derive(Default)]
pub(crate) struct CheckProgress {
    done: AtomicU64,
    of: AtomicU64,
}

impl CheckProgress {
    /// How far it is; `None` while nothing is checked.
    pub(super) fn read(&self) -> Option<Checking> {
        let (done, of) = (self.done.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed));
        (of > 0).then_some(Checking { done, of })
    }

    /// `done` of `of` are done; nothing is under way with 0 of 0.
    pub(crate) fn set(&self, done: u64, of: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
    }
}

/// Verifies the whole stored chain again, from genesis, and that the stored trust state is what follows from it.
/// What cannot be read as it was written is as invalid as what breaks a rule.
pub(super) fn verify(reader: &StoreReader, progress: &CheckProgress) -> Result<Verification, PortError> {
    let verified = verify_all(reader, progress);
    let blocks = progress.read().map_or(0, |checking| checking.done);
    progress.set(0, 0);
    match verified {
        Err(error @ ReadError::Damaged { .. }) => {
            Ok(Verification { valid: false, blocks, problem: Some(error.to_string()) })
        }
        verified => Ok(verified?),
    }
}

fn verify_all(reader: &StoreReader, progress: &CheckProgress) -> Result<Verification, ReadError> {
    let mut verifier = Verifier::from_genesis(reader.rules());
    let chain = chain_state(reader, reader.rules())?;
    let end = chain.height.get();
    for height in 1..=end {
        progress.set(height, end + 1);
        let at = |problem| Ok(Verification { valid: false, blocks: height, problem: Some(problem) });
        let Some((hash, _)) = reader.header_at(Height::new(height))? else {
            return at(format!("block {height} is missing"));
        };
        let Some(block) = reader.signed_block(&hash)? else {
            return at(format!("the body of block {height} is missing"));
        };
        if let Err(fault) = verifier.next(block) {
            return at(fault.to_string());
        }
    }
    let is_still_head = || Ok::<_, ReadError>(chain_state(reader, reader.rules())?.head == chain.head);
    for (key, value) in verifier.state() {
        if reader.get(key)? != *value && is_still_head()? {
            let problem = Some("the stored trust state is not what follows from the chain".to_owned());
            return Ok(Verification { valid: false, blocks: end + 1, problem });
        }
    }
    Ok(Verification { valid: true, blocks: end + 1, problem: None })
}
