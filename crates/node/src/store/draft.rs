//! What a commit will write to the view: blocks connected and reverted, read through to what the view holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::limits::MAX_UNDO_BLOCKS;
use qfzz_ledger_core::state::{Key, ReadError, StateRead, Undo, Value};

use super::StoreError;
use super::journal::Place;
use super::lookup::Lookup;
use super::schema::{self, BlockAt, BlockEntry, Link, Logged, Own};
use super::view::{Damage, Pair, ViewError, ViewReader, Writes};

/// Changes to the view that are not written yet.
pub(super) struct Draft {
    view: ViewReader,
    /// What is on its way to the view, newest first.
    below: Vec<Arc<Writes>>,
    station: StationId,
    writes: Writes,
    bytes: usize,
}

impl Draft {
    /// No changes, for the station whose own batches are kept.
    pub(super) fn new(view: ViewReader, station: StationId) -> Self {
        Self::over(view, Vec::new(), station)
    }

    /// As [`new`](Self::new), where `below`, newest first, is on its way to the view. Whether the view has it meanwhile,
    /// or a part of it, makes no difference.
    pub(super) fn over(view: ViewReader, below: Vec<Arc<Writes>>, station: StationId) -> Self {
        Self { view, below, station, writes: Writes::new(), bytes: 0 }
    }

    /// The changes.
    pub(super) fn writes(&self) -> &Writes {
        &self.writes
    }

    /// The changes.
    pub(super) fn into_writes(self) -> Writes {
        self.writes
    }

    /// Forgets the changes, once the view has them.
    pub(super) fn clear(&mut self) {
        self.writes.clear();
        self.bytes = 0;
    }

    /// The bytes of the changes, about.
    pub(super) fn size(&self) -> usize {
        self.bytes
    }

    /// Whether `station` is the one whose own batches are kept.
    pub(super) fn is_own(&self, station: &StationId) -> bool {
        self.station == *station
    }

    /// Writes values of the trust state.
    pub(super) fn put_state<'a>(&mut self, writes: impl IntoIterator<Item = (&'a Key, &'a Option<Value>)>) {
        for (key, value) in writes {
            self.set(schema::state_key(key), value.as_ref().map(schema::encode_state));
        }
    }

    /// Removes the whole trust state.
    pub(super) fn clear_state(&mut self) -> Result<(), ViewError> {
        for (key, _) in self.all(&[schema::STATE])? {
            self.set(key, None);
        }
        Ok(())
    }

    /// Notes a batch of this station that is not on the best chain.
    pub(super) fn put_own(&mut self, sequence: Sequence, own: Own) {
        self.set(schema::own_key(sequence), Some(own.encode()));
    }

    /// Notes genesis.
    pub(super) fn put_genesis(&mut self, link: &Link) {
        self.set(schema::height_key(Height::ZERO), Some(link.encode()));
    }

    /// Notes where a block's entry lies, on the best chain or off it.
    pub(super) fn put_block(&mut self, hash: &BlockHash, at: BlockAt) {
        self.set(schema::block_key(hash), Some(at.encode()));
    }

    /// Forgets where the entry of a block off the best chain lies.
    pub(super) fn drop_block(&mut self, hash: &BlockHash) -> Result<(), ViewError> {
        if let Some(at) = self.block_at(hash)?
            && !self.is_best(at.height, hash)?
        {
            self.set(schema::block_key(hash), None);
        }
        Ok(())
    }

    /// Puts a block, whose entry lies at `place` and whose batches lie at `batches`, on top of the best chain. Its
    /// effect on the trust state is written apart.
    ///
    /// # Errors
    /// [`StoreError::NotNext`] if it does not follow the head, or a batch does not follow its log.
    pub(super) fn connect(
        &mut self,
        block: &VerifiedBlock,
        place: Place,
        batches: &[(Place, BatchId)],
        undo: &Undo,
    ) -> Result<(), StoreError> {
        let (hash, height) = (block.hash(), block.index());
        let not_next = StoreError::NotNext { block: hash };
        let parent = height.previous().map(|below| self.is_best(below, &block.header().previous)).transpose()?;
        if parent != Some(true) || self.link(height)?.is_some() {
            return Err(not_next);
        }
        self.set(schema::height_key(height), Some(Link { hash, sealed: block.sealed().clone() }.encode()));
        self.put_block(&hash, BlockAt { height, place });
        for (batch, (place, id)) in block.batches().iter().zip(batches) {
            let (station, sequence) = batch.signed().place();
            let mut chunk = self.log_chunk(&station, sequence)?;
            if chunk.len() != schema::log_index(sequence) {
                return Err(not_next);
            }
            chunk.push(Logged { place: *place, id: *id, height });
            self.set(schema::log_key(&station, sequence), Some(schema::encode_log(&chunk)));
            if self.is_own(&station) {
                self.set(schema::own_key(sequence), None);
            }
        }
        for (number, chunk) in (0..).zip(schema::encode_undo(undo)) {
            self.set(schema::undo_key(height, number), Some(chunk));
        }
        if let Some(old) = height.get().checked_sub(MAX_UNDO_BLOCKS) {
            self.remove_undo(Height::new(old))?;
        }
        Ok(())
    }

    /// Takes the head off the best chain; this station's batches in it are pending again. Its effect on the trust state
    /// is taken back apart.
    ///
    /// # Errors
    /// [`StoreError::NotNext`] if it is not the head.
    pub(super) fn revert(&mut self, block: &VerifiedBlock, entry: &BlockEntry) -> Result<(), StoreError> {
        let (hash, height) = (block.hash(), block.index());
        let not_next = StoreError::NotNext { block: hash };
        let above = height.next().map(|above| self.link(above)).transpose()?.flatten();
        if !self.is_best(height, &hash)? || above.is_some() {
            return Err(not_next);
        }
        self.set(schema::height_key(height), None);
        self.remove_undo(height)?;
        for (batch, (place, id)) in block.batches().iter().zip(&entry.batches).rev() {
            let (station, sequence) = batch.signed().place();
            let mut chunk = self.log_chunk(&station, sequence)?;
            if chunk.len() != schema::log_index(sequence) + 1 {
                return Err(ViewError::damaged(Damage::Meaning).into());
            }
            chunk.pop();
            let rest = (!chunk.is_empty()).then(|| schema::encode_log(&chunk));
            self.set(schema::log_key(&station, sequence), rest);
            if self.is_own(&station) {
                self.put_own(sequence, Own { place: *place, id: *id });
            }
        }
        Ok(())
    }

    fn remove_undo(&mut self, height: Height) -> Result<(), ViewError> {
        for (key, _) in self.all(&schema::undo_prefix(height))? {
            self.set(key, None);
        }
        Ok(())
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.writes.insert(key, value);
    }
}

impl Lookup for Draft {
    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        let layers = std::iter::once(&self.writes).chain(self.below.iter().map(Arc::as_ref));
        match layers.filter_map(|writes| writes.get(key)).next() {
            Some(value) => Ok(value.clone()),
            None => self.view.get(key),
        }
    }

    fn all(&self, prefix: &[u8]) -> Result<Vec<Pair>, ViewError> {
        let mut entries: BTreeMap<_, _> = self.view.all(prefix)?.into_iter().collect();
        let upwards = self.below.iter().rev().map(Arc::as_ref).chain([&self.writes]);
        for (key, value) in upwards.flat_map(|writes| writes.range(prefix.to_vec()..schema::after(prefix))) {
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            };
        }
        Ok(entries.into_iter().collect())
    }
}

impl StateRead for Draft {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        self.state(key).map_err(|error| StoreError::from(error).into())
    }
}
