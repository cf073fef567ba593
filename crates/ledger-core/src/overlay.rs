//! What was decided and is not in the store yet: read before the store, dropped when the store reports the commit.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::batch::VerifiedBatch;
use crate::block::VerifiedBlock;
use crate::ids::{BlockHash, Sequence, StationId};
use crate::record::Subject;
use crate::state::{Key, ReadError, StateRead, StateScan, Undo, Value, Writes};

/// The port through which the ledger reads what was committed.
pub trait LedgerRead: StateRead {
    /// A block that was connected or kept; `None` if there is none of that hash.
    ///
    /// # Errors
    /// [`ReadError`], which stops the node.
    fn block(&self, hash: &BlockHash) -> Result<Option<VerifiedBlock>, ReadError>;

    /// The undo data of a connected block; `None` if it is no longer kept.
    ///
    /// # Errors
    /// [`ReadError`], which stops the node.
    fn undo(&self, hash: &BlockHash) -> Result<Option<Undo>, ReadError>;

    /// A batch of a connected block at this place of a station's log: the one on the best chain, but for moments after
    /// a reorganisation.
    ///
    /// # Errors
    /// [`ReadError`], which stops the node.
    fn batch_at(&self, station: &StationId, sequence: Sequence) -> Result<Option<VerifiedBatch>, ReadError>;
}

/// A store with the changes on their way to it. Each change carries the number of its transition.
#[derive(Clone, Debug)]
pub struct Overlay<R> {
    store: R,
    state: HashMap<Key, (u64, Option<Value>)>,
    blocks: HashMap<BlockHash, (u64, VerifiedBlock)>,
    undo: HashMap<BlockHash, (u64, Arc<Undo>)>,
    /// The newest transition that replaces the whole state: until it is committed the store's is out of date.
    replaced_by: Option<u64>,
}

impl<R> Overlay<R> {
    /// Nothing on its way to `store`.
    pub fn new(store: R) -> Self {
        Self { store, state: HashMap::new(), blocks: HashMap::new(), undo: HashMap::new(), replaced_by: None }
    }

    /// The store.
    pub const fn store(&self) -> &R {
        &self.store
    }

    /// A block on its way.
    pub fn put_block(&mut self, number: u64, block: VerifiedBlock) {
        self.blocks.insert(block.hash(), (number, block));
    }

    /// A block's undo data on its way.
    pub fn put_undo(&mut self, number: u64, block: BlockHash, undo: Arc<Undo>) {
        self.undo.insert(block, (number, undo));
    }

    /// Changes of the state on their way.
    pub fn put_state(&mut self, number: u64, writes: &Writes) {
        self.state.extend(writes.iter().map(|(key, value)| (key.clone(), (number, value.clone()))));
    }

    /// A whole new state on its way.
    pub fn replace_state(&mut self, number: u64, writes: &Writes) {
        self.state.clear();
        self.replaced_by = Some(number);
        self.put_state(number, writes);
    }

    /// Drops what the store holds now: everything up to transition `number`.
    pub fn committed(&mut self, number: u64) {
        self.state.retain(|_, (at, _)| *at > number);
        if self.state.is_empty() {
            // What a full block needed would stay reserved for good.
            self.state = HashMap::new();
        }
        self.blocks.retain(|_, (at, _)| *at > number);
        self.undo.retain(|_, (at, _)| *at > number);
        self.replaced_by = self.replaced_by.filter(|at| *at > number);
    }
}

impl<R: StateRead> StateRead for Overlay<R> {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        match self.state.get(key) {
            Some((_, value)) => Ok(value.clone()),
            None if self.replaced_by.is_some() => Ok(None),
            None => self.store.get(key),
        }
    }
}

impl<R: StateScan> StateScan for Overlay<R> {
    fn judged_subjects(&self) -> Result<BTreeSet<Subject>, ReadError> {
        let mut all = if self.replaced_by.is_some() { BTreeSet::new() } else { self.store.judged_subjects()? };
        all.extend(self.state.keys().filter_map(Key::judged_subject).cloned());
        Ok(all)
    }
}

impl<R: LedgerRead> LedgerRead for Overlay<R> {
    fn block(&self, hash: &BlockHash) -> Result<Option<VerifiedBlock>, ReadError> {
        match self.blocks.get(hash) {
            Some((_, block)) => Ok(Some(block.clone())),
            None => self.store.block(hash),
        }
    }

    fn undo(&self, hash: &BlockHash) -> Result<Option<Undo>, ReadError> {
        match self.undo.get(hash) {
            Some((_, undo)) => Ok(Some(Undo::clone(undo))),
            None => self.store.undo(hash),
        }
    }

    fn batch_at(&self, station: &StationId, sequence: Sequence) -> Result<Option<VerifiedBatch>, ReadError> {
        let mut on_the_way = self.blocks.values().flat_map(|(_, block)| block.batches());
        match on_the_way.find(|batch| batch.signed().place() == (*station, sequence)) {
            Some(batch) => Ok(Some(batch.clone())),
            None => self.store.batch_at(station, sequence),
        }
    }
}
