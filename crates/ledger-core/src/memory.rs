//! A store in memory: for the guide's facade, for tests and for the simulator.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use crate::batch::VerifiedBatch;
use crate::block::VerifiedBlock;
use crate::ids::{BlockHash, Sequence, StationId};
use crate::ledger::Transition;
use crate::overlay::LedgerRead;
use crate::record::Subject;
use crate::state::{Key, ReadError, StateRead, StateScan, Undo, Value, Writes};

/// What a ledger's transitions left; a clone reads the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    state: Writes,
    blocks: HashMap<BlockHash, VerifiedBlock>,
    undo: HashMap<BlockHash, Undo>,
    /// The batch last connected at each place.
    logs: HashMap<(StationId, Sequence), VerifiedBatch>,
}

impl MemoryStore {
    /// Applies a transition.
    pub fn apply(&self, transition: &Transition) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if transition.replaces_state {
            inner.state.clear();
        }
        for (key, value) in &transition.writes {
            match value {
                Some(value) => inner.state.insert(key.clone(), Some(value.clone())),
                None => inner.state.remove(key),
            };
        }
        for hash in &transition.dropped {
            inner.blocks.remove(hash);
        }
        for (block, undo) in &transition.connected {
            inner.blocks.insert(block.hash(), block.clone());
            inner.undo.insert(block.hash(), Undo::clone(undo));
            inner.logs.extend(block.batches().iter().map(|batch| (batch.signed().place(), batch.clone())));
        }
        inner.blocks.extend(transition.kept.iter().map(|block| (block.hash(), block.clone())));
    }

    /// The whole trust state, present keys only.
    pub fn state(&self) -> Writes {
        self.0.read().unwrap_or_else(PoisonError::into_inner).state.clone()
    }

    /// Forgets a block's undo data, as a store does with old ones.
    pub fn forget_undo(&self, hash: &BlockHash) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).undo.remove(hash);
    }
}

impl StateRead for MemoryStore {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).state.get(key).cloned().flatten())
    }
}

impl StateScan for MemoryStore {
    fn judged_subjects(&self) -> Result<BTreeSet<Subject>, ReadError> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).state.judged_subjects()
    }
}

impl LedgerRead for MemoryStore {
    fn block(&self, hash: &BlockHash) -> Result<Option<VerifiedBlock>, ReadError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).blocks.get(hash).cloned())
    }

    fn undo(&self, hash: &BlockHash) -> Result<Option<Undo>, ReadError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).undo.get(hash).cloned())
    }

    fn batch_at(&self, station: &StationId, sequence: Sequence) -> Result<Option<VerifiedBatch>, ReadError> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(inner.logs.get(&(*station, sequence)).cloned())
    }
}
