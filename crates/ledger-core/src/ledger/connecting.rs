//! Connecting blocks: to the head, or as a better branch.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::Ledger;
use super::outcome::{BlocksOutcome, Transition};
use crate::batch::VerifiedBatch;
use crate::block::VerifiedBlock;
use crate::chain::{ChainError, Path};
use crate::ids::{BlockHash, Height, StationId};
use crate::overlay::{LedgerRead, Overlay};
use crate::state::{BlockRead, ConnectError, Connected, Layer, ReadError, StateRead, Undo, Writes, connect};
use crate::time::Timestamp;

/// A transition's writes while blocks are being added to it.
#[derive(Default)]
pub(super) struct Group {
    pub(super) kept: Vec<VerifiedBlock>,
    pub(super) dropped: Vec<BlockHash>,
    pub(super) connected: Vec<(VerifiedBlock, Arc<Undo>)>,
    pub(super) writes: Writes,
}

impl Group {
    /// A block that came and went within this group is neither kept nor dropped.
    fn forget_what_was_never_stored(&mut self) {
        let dropped: HashSet<BlockHash> = self.dropped.iter().copied().collect();
        let kept: HashSet<BlockHash> = self.kept.iter().map(VerifiedBlock::hash).collect();
        self.kept.retain(|block| !dropped.contains(&block.hash()));
        self.dropped.retain(|hash| !kept.contains(hash));
    }
}

/// Why blocks could not be connected.
enum Refused {
    /// A block doesn't fit the state.
    Invalid {
        /// The block.
        block: BlockHash,
        /// What is wrong with it.
        error: ConnectError,
    },
    /// The seal of the block that was handed over is not good, which says nothing about the block itself.
    Unsealed {
        /// The block.
        block: BlockHash,
        /// What is wrong with it.
        error: ConnectError,
    },
    /// The body of a block off the best chain is not in the store any more: it lay there unsynced. Or what was kept is
    /// of no use, because its seal is not good; with another seal it may be.
    Lost {
        /// The block.
        ancestor: BlockHash,
    },
}

impl Refused {
    /// What `error` says of `block`, where `handed` was handed over.
    fn of(handed: BlockHash, block: BlockHash, error: ConnectError) -> Self {
        match error {
            ConnectError::Seal { .. } if handed == block => Self::Unsealed { block, error },
            ConnectError::Seal { .. } => Self::Lost { ancestor: block },
            error => Self::Invalid { block, error },
        }
    }
}

/// Blocks of any branch, by hash; the newest that was connected needs no disk.
struct Bodies<'a, R> {
    read: &'a Overlay<R>,
    newest: Option<&'a VerifiedBlock>,
}

impl<R: LedgerRead> BlockRead for Bodies<'_, R> {
    fn past_block(&self, hash: &BlockHash) -> Result<VerifiedBlock, ReadError> {
        match self.newest.filter(|block| block.hash() == *hash) {
            Some(block) => Ok(block.clone()),
            None => self.read.block(hash)?.ok_or(ReadError::Damaged { what: "a block" }),
        }
    }
}

impl<R: LedgerRead> Ledger<R> {
    /// Takes in verified blocks, parents before children. What extends the head is connected in one transition, each
    /// reorganisation is one of its own, and what is not better is kept off the best chain.
    ///
    /// # Errors
    /// [`ReadError`]; a block that is refused is in the outcome.
    pub fn add_blocks(&mut self, blocks: Vec<VerifiedBlock>, now: Timestamp) -> Result<BlocksOutcome, ReadError> {
        let mut outcome = BlocksOutcome::default();
        let mut group = Group::default();
        for block in blocks {
            let hash = block.hash();
            if self.chain.contains(&hash) {
                continue;
            }
            if let Err(error) = self.chain.check(&hash, block.header(), now) {
                outcome.refused = Some((hash, error.into()));
                break;
            }
            let head = self.chain.head();
            if block.header().previous != head {
                self.compare_off_chain(&block)?;
            }
            self.chain.insert(hash, block.header());
            let refused = if block.header().previous == head {
                self.extend(block, &mut group, &mut outcome, now)?
            } else if self.is_better_than_head(&hash) {
                self.read.put_block(self.number + 1, block);
                self.flush(&mut group, &mut outcome);
                self.reorganise(&hash, &mut outcome, now)?
            } else {
                self.read.put_block(self.number + 1, block.clone());
                group.kept.push(block);
                None
            };
            match refused {
                None => {}
                Some(Refused::Invalid { block, error }) => {
                    group.dropped.extend(self.chain.reject(&block));
                    outcome.refused = Some((block, error.into()));
                }
                Some(Refused::Unsealed { block, error }) => {
                    group.dropped.extend(self.chain.forget(&block));
                    outcome.refused = Some((block, error.into()));
                }
                Some(Refused::Lost { ancestor }) => {
                    group.dropped.extend(self.chain.forget(&ancestor));
                    outcome.refused = Some((hash, ChainError::UnknownParent { hash, previous: ancestor }.into()));
                }
            }
            if outcome.refused.is_some() {
                group.dropped.retain(|dropped| *dropped != hash);
                break;
            }
        }
        group.dropped.extend(self.chain.prune());
        group.forget_what_was_never_stored();
        self.flush(&mut group, &mut outcome);
        Ok(outcome)
    }

    fn bodies(&self) -> Bodies<'_, R> {
        Bodies { read: &self.read, newest: self.newest.as_ref() }
    }

    fn is_better_than_head(&self, hash: &BlockHash) -> bool {
        let tip = |hash| self.chain.tip(&self.rules, hash);
        matches!((tip(hash), tip(&self.chain.head())), (Some(new), Some(head)) if new.is_better_than(&head))
    }

    fn flush(&mut self, group: &mut Group, outcome: &mut BlocksOutcome) {
        let group = std::mem::take(group);
        if !(group.kept.is_empty() && group.dropped.is_empty() && group.connected.is_empty()) {
            let transition = self.next_transition(group);
            outcome.transitions.push(transition);
        }
    }

    /// Connects a block to the head.
    fn extend(
        &mut self,
        block: VerifiedBlock,
        group: &mut Group,
        outcome: &mut BlocksOutcome,
        now: Timestamp,
    ) -> Result<Option<Refused>, ReadError> {
        let (hash, number) = (block.hash(), self.number + 1);
        let Connected { mut writes, undo, .. } = match connect(&self.rules, &self.read, &self.bodies(), &block) {
            Ok(connected) => connected,
            Err(ConnectError::Read(error)) => return Err(error),
            Err(ConnectError::Parent { .. }) => return Err(ReadError::Damaged { what: "the trust state" }),
            Err(error) => {
                self.compare_off_chain(&block)?;
                return Ok(Some(Refused::of(hash, hash, error)));
            }
        };
        self.compare_next(&block)?;
        let undo = Arc::new(undo);
        self.read.put_state(number, &writes);
        self.read.put_undo(number, hash, Arc::clone(&undo));
        self.read.put_block(number, block.clone());
        self.chain.adopt(&Path { fork: block.header().previous, blocks: vec![hash] });
        outcome.left_out.extend(self.reconcile_pool(&[], std::slice::from_ref(&block), &writes, now)?);
        group.writes.append(&mut writes);
        self.newest = Some(block.clone());
        group.connected.push((block, undo));
        Ok(None)
    }

    /// Makes the chain that ends with `hash` the best one: one transition, from the fork on.
    fn reorganise(
        &mut self,
        hash: &BlockHash,
        outcome: &mut BlocksOutcome,
        now: Timestamp,
    ) -> Result<Option<Refused>, ReadError> {
        const MISSING: ReadError = ReadError::Damaged { what: "a block" };
        let tip = *hash;
        let path = self.chain.path_to(hash).ok_or(MISSING)?;
        let reverted_hashes = self.chain.above(&path.fork);
        let read_block = |hash: &BlockHash| self.read.block(hash)?.ok_or(MISSING);
        let reverted = reverted_hashes.iter().map(read_block).collect::<Result<Vec<_>, _>>()?;

        let empty = Writes::new();
        let undo: Option<Vec<Undo>> =
            reverted_hashes.iter().map(|hash| self.read.undo(hash)).collect::<Result<_, ReadError>>()?;
        let (mut layer, replaces_state) = match undo {
            Some(undo) => {
                let mut layer = Layer::new(&self.read as &dyn StateRead);
                undo.into_iter().for_each(|undo| layer.apply(undo));
                (layer, false)
            }
            // Deeper than undo data is kept: the state at the fork is made anew from genesis.
            None => (self.replay_to(&path.fork, &empty)?, true),
        };
        let mut connected = Vec::with_capacity(path.blocks.len());
        for hash in &path.blocks {
            let Some(block) = self.read.block(hash)? else { return Ok(Some(Refused::Lost { ancestor: *hash })) };
            match connect(&self.rules, &layer, &self.bodies(), &block) {
                Ok(made) => {
                    layer.apply(made.writes);
                    connected.push((block, Arc::new(made.undo)));
                }
                Err(ConnectError::Read(error)) => return Err(error),
                Err(ConnectError::Parent { .. }) => return Err(ReadError::Damaged { what: "the trust state" }),
                Err(error) => return Ok(Some(Refused::of(tip, *hash, error))),
            }
        }
        let writes = layer.into_writes();

        let number = self.number + 1;
        if replaces_state {
            self.read.replace_state(number, &writes);
        } else {
            self.read.put_state(number, &writes);
        }
        for (block, undo) in &connected {
            self.read.put_undo(number, block.hash(), Arc::clone(undo));
            self.read.put_block(number, block.clone());
        }
        self.chain.adopt(&path);
        let joined: Vec<VerifiedBlock> = connected.iter().map(|(block, _)| block.clone()).collect();
        outcome.left_out.extend(self.reconcile_pool(&reverted, &joined, &writes, now)?);
        let transition = self.next_transition(Group { connected, writes, ..Group::default() });
        outcome.transitions.push(Transition { reverted: reverted_hashes, replaces_state, ..transition });
        Ok(None)
    }

    /// The state at a block of the best chain, from genesis on.
    fn replay_to<'a>(&self, fork: &BlockHash, empty: &'a Writes) -> Result<Layer<'a, dyn StateRead + 'a>, ReadError> {
        let mut layer = Layer::new(empty as &dyn StateRead);
        let end = self.chain.height_of(fork).unwrap_or(Height::ZERO);
        for height in 1..=end.get() {
            let hash = self.chain.at(Height::new(height)).ok_or(ReadError::Damaged { what: "a block" })?;
            let block = self.read.block(&hash)?.ok_or(ReadError::Damaged { what: "a block" })?;
            let made = connect(&self.rules, &layer, &self.bodies(), &block)
                .map_err(|_| ReadError::Damaged { what: "a block" })?;
            layer.apply(made.writes);
        }
        Ok(layer)
    }

    /// Keeps in the pool what follows the chain now. `reverted` highest first, `connected` lowest first; `writes` are
    /// what both changed. Returns what is left out because its author is not admitted any more.
    fn reconcile_pool(
        &mut self,
        reverted: &[VerifiedBlock],
        connected: &[VerifiedBlock],
        writes: &Writes,
        now: Timestamp,
    ) -> Result<Vec<VerifiedBatch>, ReadError> {
        let mut left: BTreeMap<StationId, Vec<VerifiedBatch>> = BTreeMap::new();
        for batch in reverted.iter().rev().flat_map(VerifiedBlock::batches) {
            left.entry(batch.station()).or_default().push(batch.clone());
        }
        let joined = connected.iter().flat_map(VerifiedBlock::batches).map(VerifiedBatch::station);
        let stations: BTreeSet<StationId> = joined.chain(left.keys().copied()).collect();
        for station in stations {
            let end = self.chain_end(&station)?;
            self.pool.reconcile(&station, end, left.remove(&station).unwrap_or_default(), now);
        }
        self.leave_out(writes, !reverted.is_empty())
    }
}
