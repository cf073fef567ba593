//! The store in memory: the same answers from maps, for tests and the simulator. It survives nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::{EncodedBlock, SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::ledger::Transition;
use qfzz_ledger_core::limits::MAX_UNDO_BLOCKS;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::{Key, ReadError, StateRead, Undo, Value, Writes};

use super::{LedgerStore, StoreError, StoreRead, StoredBatch};

/// A [`LedgerStore`] in memory.
pub struct MemoryStore {
    reader: MemoryReader,
}

impl MemoryStore {
    /// The empty store of `station`.
    pub fn new(rules: &Rules, station: StationId) -> Self {
        let content = Content {
            station,
            state: Writes::new(),
            best: vec![(rules.genesis_hash(), SealedHeader::genesis(rules))],
            blocks: HashMap::new(),
            undo: HashMap::new(),
            logs: HashMap::new(),
            own: BTreeMap::new(),
        };
        Self { reader: MemoryReader(Arc::new(RwLock::new(Arc::new(content)))) }
    }
}

impl LedgerStore for MemoryStore {
    type Reader = MemoryReader;

    fn commit(&mut self, transitions: &[Transition]) -> Result<(), StoreError> {
        let mut content = self.reader.0.write().unwrap_or_else(PoisonError::into_inner);
        // Copied only while somebody reads consistently.
        let content = Arc::make_mut(&mut content);
        transitions.iter().try_for_each(|transition| content.apply(transition))
    }

    fn reader(&self) -> MemoryReader {
        self.reader.clone()
    }
}

/// Everything, as of one commit.
#[derive(Clone)]
struct Content {
    station: StationId,
    state: Writes,
    /// From genesis on.
    best: Vec<(BlockHash, SealedHeader)>,
    /// On the best chain and off it.
    blocks: HashMap<BlockHash, VerifiedBlock>,
    undo: HashMap<BlockHash, Undo>,
    logs: HashMap<(StationId, Sequence), (VerifiedBatch, Height)>,
    own: BTreeMap<Sequence, VerifiedBatch>,
}

impl Content {
    fn apply(&mut self, transition: &Transition) -> Result<(), StoreError> {
        for hash in &transition.dropped {
            self.blocks.remove(hash);
        }
        let kept = transition.kept.iter().filter(|block| !transition.dropped.contains(&block.hash()));
        self.blocks.extend(kept.map(|block| (block.hash(), block.clone())));
        for hash in &transition.reverted {
            self.revert(hash)?;
        }
        self.own.extend(transition.own_batches.iter().map(|batch| (batch.sequence(), batch.clone())));
        for (block, undo) in &transition.connected {
            self.connect(block, undo)?;
        }
        if transition.replaces_state {
            self.state.clear();
        }
        self.state.extend(transition.writes.clone());
        self.state.retain(|_, value| value.is_some());
        Ok(())
    }

    fn revert(&mut self, hash: &BlockHash) -> Result<(), StoreError> {
        let is_head = self.best.len() > 1 && self.best.last().is_some_and(|(head, _)| head == hash);
        let Some(block) = self.blocks.get(hash).filter(|_| is_head).cloned() else {
            return Err(StoreError::NotNext { block: *hash });
        };
        self.best.pop();
        self.undo.remove(hash);
        for batch in block.batches() {
            self.logs.remove(&batch.signed().place());
            if batch.station() == self.station {
                self.own.insert(batch.sequence(), batch.clone());
            }
        }
        Ok(())
    }

    fn connect(&mut self, block: &VerifiedBlock, undo: &Undo) -> Result<(), StoreError> {
        let (hash, height) = (block.hash(), block.index());
        let follows = self.best.last().is_some_and(|(head, _)| *head == block.header().previous);
        if !follows || height.get() != self.best.len() as u64 {
            return Err(StoreError::NotNext { block: hash });
        }
        self.best.push((hash, block.sealed().clone()));
        self.blocks.insert(hash, block.clone());
        self.undo.insert(hash, undo.clone());
        if let Some(old) = height.get().checked_sub(MAX_UNDO_BLOCKS)
            && let Some((old, _)) = self.at(Height::new(old))
        {
            self.undo.remove(&old);
        }
        for batch in block.batches() {
            self.logs.insert(batch.signed().place(), (batch.clone(), height));
            if batch.station() == self.station {
                self.own.remove(&batch.sequence());
            }
        }
        Ok(())
    }

    fn at(&self, height: Height) -> Option<(BlockHash, SealedHeader)> {
        self.best.get(usize::try_from(height.get()).ok()?).cloned()
    }
}

/// Reads a [`MemoryStore`]. Cheap to clone.
#[derive(Clone)]
pub struct MemoryReader(Arc<RwLock<Arc<Content>>>);

impl MemoryReader {
    fn content(&self) -> Arc<Content> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StateRead for MemoryReader {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        Ok(self.content().state.get(key).cloned().flatten())
    }
}

impl LedgerRead for MemoryReader {
    fn block(&self, hash: &BlockHash) -> Result<Option<VerifiedBlock>, ReadError> {
        Ok(self.content().blocks.get(hash).cloned())
    }

    fn undo(&self, hash: &BlockHash) -> Result<Option<Undo>, ReadError> {
        Ok(self.content().undo.get(hash).cloned())
    }

    fn batch_at(&self, station: &StationId, sequence: Sequence) -> Result<Option<VerifiedBatch>, ReadError> {
        Ok(self.content().logs.get(&(*station, sequence)).map(|(batch, _)| batch.clone()))
    }
}

impl StoreRead for MemoryReader {
    fn header_at(&self, height: Height) -> Result<Option<(BlockHash, SealedHeader)>, StoreError> {
        Ok(self.content().at(height))
    }

    fn best_height(&self, hash: &BlockHash) -> Result<Option<Height>, StoreError> {
        let content = self.content();
        let height = match content.blocks.get(hash) {
            Some(block) => block.index(),
            None => Height::ZERO,
        };
        Ok(content.at(height).filter(|(best, _)| best == hash).map(|_| height))
    }

    fn header(&self, hash: &BlockHash) -> Result<Option<SealedHeader>, StoreError> {
        let content = self.content();
        let genesis = content.best.first().filter(|(genesis, _)| genesis == hash).map(|(_, sealed)| sealed.clone());
        Ok(genesis.or_else(|| content.blocks.get(hash).map(|block| block.sealed().clone())))
    }

    fn headers(&self, from: Height, limit: usize) -> Result<Vec<(BlockHash, SealedHeader)>, StoreError> {
        let skipped = usize::try_from(from.get()).unwrap_or(usize::MAX);
        Ok(self.content().best.iter().skip(skipped).take(limit).cloned().collect())
    }

    fn side_headers(&self) -> Result<Vec<(BlockHash, SealedHeader)>, StoreError> {
        let content = self.content();
        let is_best = |block: &VerifiedBlock| content.at(block.index()).is_some_and(|(hash, _)| hash == block.hash());
        let side = content.blocks.values().filter(|block| !is_best(block));
        let mut headers: Vec<_> = side.map(|block| (block.hash(), block.sealed().clone())).collect();
        headers.sort_by_key(|(hash, sealed)| (sealed.header.index, *hash));
        Ok(headers)
    }

    fn signed_block(&self, hash: &BlockHash) -> Result<Option<SignedBlock>, StoreError> {
        Ok(self.content().blocks.get(hash).map(VerifiedBlock::to_signed))
    }

    fn encoded_block(&self, hash: &BlockHash) -> Result<Option<EncodedBlock>, StoreError> {
        Ok(self.content().blocks.get(hash).map(VerifiedBlock::to_encoded))
    }

    fn batch(&self, station: &StationId, sequence: Sequence) -> Result<Option<StoredBatch>, StoreError> {
        let content = self.content();
        if let Some((batch, height)) = content.logs.get(&(*station, sequence)) {
            return Ok(Some(StoredBatch { batch: batch.clone(), height: Some(*height) }));
        }
        let own = content.own.get(&sequence).filter(|batch| batch.station() == *station);
        Ok(own.map(|batch| StoredBatch { batch: batch.clone(), height: None }))
    }

    fn own_pending(&self) -> Result<Vec<VerifiedBatch>, StoreError> {
        Ok(self.content().own.values().cloned().collect())
    }

    fn consistent<T, E: From<StoreError>>(&self, mut read: impl FnMut(&Self) -> Result<T, E>) -> Result<T, E> {
        read(&Self(Arc::new(RwLock::new(self.content()))))
    }
}
