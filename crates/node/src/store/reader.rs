//! Reading the store on disk, from any thread and without waiting for commits.

use std::collections::BTreeSet;
use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::{EncodedBlock, SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::state::{Key, ReadError, StateRead, StateScan, Undo, Value};

use super::entries::Entries;
use super::lookup::Lookup;
use super::schema::{self, BlockAt, Link};
use super::side::SideReader;
use super::view::{Damage, ViewError, ViewReader};
use super::{StoreError, StoreRead, StoredBatch};

/// Reads a [`DiskStore`](super::DiskStore). Cheap to clone.
#[derive(Clone)]
pub struct StoreReader {
    entries: Entries,
    view: ViewReader,
    side: SideReader,
    salvaged: Option<SideReader>,
    station: StationId,
    /// Inside a consistent reading, where another one has nothing to add.
    within: bool,
}

impl StoreReader {
    pub(super) fn new(
        entries: Entries,
        view: ViewReader,
        side: SideReader,
        salvaged: Option<SideReader>,
        station: StationId,
    ) -> Self {
        Self { entries, view, side, salvaged, station, within: false }
    }

    /// A block that a repair found whole above something that is missing: a sync need not ask a peer for it.
    pub fn salvaged(&self, hash: &BlockHash) -> Option<VerifiedBlock> {
        // What cannot be read there is fetched.
        self.salvaged.as_ref()?.block(&self.entries.rules, hash).ok().flatten()
    }

    /// The federation's rules.
    pub const fn rules(&self) -> &Arc<Rules> {
        &self.entries.rules
    }

    /// How many entries the view has.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    pub fn view_entries(&self) -> Result<u64, StoreError> {
        Ok(self.view.entries()?)
    }

    /// A block that was connected is found through the view, one that was kept in its file. A block that is being
    /// connected is in the view before its file goes.
    pub(super) fn find_block(&self, hash: &BlockHash) -> Result<Option<VerifiedBlock>, StoreError> {
        if let Some(at) = self.view.block_at(hash)? {
            return Ok(Some(self.entries.block(at.place, hash)?.0));
        }
        if let Some(block) = self.side.block(&self.entries.rules, hash)? {
            return Ok(Some(block));
        }
        match self.view.block_at(hash)? {
            Some(at) => Ok(Some(self.entries.block(at.place, hash)?.0)),
            None => Ok(None),
        }
    }

    /// At most `limit` blocks that were connected at some time, from the hash `first` to `last`, by rising hash.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    pub fn connected_within(
        &self,
        first: &BlockHash,
        last: &BlockHash,
        limit: usize,
    ) -> Result<Vec<BlockHash>, StoreError> {
        let end = schema::after(&[schema::BLOCK]);
        self.consistent(|store| {
            let mut hashes = Vec::new();
            for entry in store.view.range(&schema::block_key(first), &end).take(limit) {
                let wrong = || ViewError::damaged(Damage::Meaning);
                let hash = schema::hash_of_block_key(&entry?.0).ok_or_else(wrong)?;
                if hash > *last {
                    break;
                }
                hashes.push(hash);
            }
            Ok(hashes)
        })
    }

    fn find_undo(&self, hash: &BlockHash) -> Result<Option<Undo>, StoreError> {
        self.consistent(|store| match store.view.block_at(hash)? {
            Some(at) if store.view.is_best(at.height, hash)? => Ok(store.view.undo_at(at.height)?),
            _ => Ok(None),
        })
    }
}

impl StateRead for StoreReader {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        self.view.state(key).map_err(|error| StoreError::from(error).into())
    }
}

impl StateScan for StoreReader {
    fn judged_subjects(&self) -> Result<BTreeSet<Subject>, ReadError> {
        let (first, end) = schema::subject_keys();
        let mut subjects = BTreeSet::new();
        for entry in self.view.range(&first, &end) {
            let (key, _) = entry.map_err(StoreError::from)?;
            let key =
                schema::decode_state_key(&key).map_err(|_| StoreError::from(ViewError::damaged(Damage::Meaning)))?;
            subjects.extend(key.judged_subject().cloned());
        }
        Ok(subjects)
    }
}

impl LedgerRead for StoreReader {
    fn block(&self, hash: &BlockHash) -> Result<Option<VerifiedBlock>, ReadError> {
        Ok(self.find_block(hash)?)
    }

    fn undo(&self, hash: &BlockHash) -> Result<Option<Undo>, ReadError> {
        Ok(self.find_undo(hash)?)
    }

    fn batch_at(&self, station: &StationId, sequence: Sequence) -> Result<Option<VerifiedBatch>, ReadError> {
        let stored = StoreRead::batch(self, station, sequence)?;
        Ok(stored.filter(|stored| stored.height.is_some()).map(|stored| stored.batch))
    }
}

impl StoreRead for StoreReader {
    fn header_at(&self, height: Height) -> Result<Option<(BlockHash, SealedHeader)>, StoreError> {
        Ok(self.view.link(height)?.map(|Link { hash, sealed }| (hash, sealed)))
    }

    fn best_height(&self, hash: &BlockHash) -> Result<Option<Height>, StoreError> {
        if *hash == self.entries.rules.genesis_hash() {
            return Ok(Some(Height::ZERO));
        }
        self.consistent(|store| match store.view.block_at(hash)? {
            Some(at) if store.view.is_best(at.height, hash)? => Ok(Some(at.height)),
            _ => Ok(None),
        })
    }

    fn header(&self, hash: &BlockHash) -> Result<Option<SealedHeader>, StoreError> {
        let rules = &self.entries.rules;
        if *hash == rules.genesis_hash() {
            return Ok(Some(SealedHeader::genesis(rules)));
        }
        if let Some(at) = self.view.block_at(hash)? {
            return Ok(Some(self.entries.block_entry(at.place, hash)?.sealed));
        }
        if let Some(sealed) = self.side.sealed(rules, hash)? {
            return Ok(Some(sealed));
        }
        match self.view.block_at(hash)? {
            Some(at) => Ok(Some(self.entries.block_entry(at.place, hash)?.sealed)),
            None => Ok(None),
        }
    }

    fn headers(&self, from: Height, limit: usize) -> Result<Vec<(BlockHash, SealedHeader)>, StoreError> {
        let end = schema::after(&[schema::HEIGHT]);
        self.consistent(|store| {
            let entries = store.view.range(&schema::height_key(from), &end).take(limit);
            let links = entries.map(|entry| match Link::decode(&entry?.1) {
                Ok(Link { hash, sealed }) => Ok((hash, sealed)),
                Err(_) => Err(ViewError::damaged(Damage::Meaning).into()),
            });
            links.collect()
        })
    }

    fn side_headers(&self) -> Result<Vec<(BlockHash, SealedHeader)>, StoreError> {
        self.consistent(|store| {
            let mut headers = store.side.headers(&store.entries.rules)?;
            for (key, value) in store.view.all(&[schema::BLOCK])? {
                let wrong = || ViewError::damaged(Damage::Meaning);
                let hash = schema::hash_of_block_key(&key).ok_or_else(wrong)?;
                let at = BlockAt::decode(&value).map_err(|_| wrong())?;
                if !store.view.is_best(at.height, &hash)? {
                    headers.push((hash, store.entries.block_entry(at.place, &hash)?.sealed));
                }
            }
            headers.sort_by_key(|(hash, sealed)| (sealed.header.index, *hash));
            headers.dedup_by_key(|(hash, _)| *hash);
            Ok(headers)
        })
    }

    fn signed_block(&self, hash: &BlockHash) -> Result<Option<SignedBlock>, StoreError> {
        match self.view.block_at(hash)? {
            Some(at) => Ok(Some(self.entries.signed_block(at.place, hash)?)),
            None => Ok(self.find_block(hash)?.map(|block| block.to_signed())),
        }
    }

    fn encoded_block(&self, hash: &BlockHash) -> Result<Option<EncodedBlock>, StoreError> {
        match self.view.block_at(hash)? {
            Some(at) => Ok(Some(self.entries.encoded_block(at.place, hash)?)),
            None => Ok(self.find_block(hash)?.map(|block| block.to_encoded())),
        }
    }

    fn batch(&self, station: &StationId, sequence: Sequence) -> Result<Option<StoredBatch>, StoreError> {
        let found = self.consistent(|store| {
            if let Some(logged) = store.view.logged(station, sequence)? {
                return Ok(Some((logged.place, logged.id, Some(logged.height))));
            }
            let own = if *station == store.station { store.view.own(sequence)? } else { None };
            Ok::<_, StoreError>(own.map(|own| (own.place, own.id, None)))
        })?;
        let read = |(place, id, height)| Ok(StoredBatch { batch: self.entries.batch(place, id)?, height });
        found.map(read).transpose()
    }

    fn own_pending(&self) -> Result<Vec<VerifiedBatch>, StoreError> {
        let own = self.consistent(|store| Ok::<_, StoreError>(store.view.own_all()?))?;
        own.into_iter().map(|own| self.entries.batch(own.place, own.id)).collect()
    }

    fn consistent<T, E: From<StoreError>>(&self, mut read: impl FnMut(&Self) -> Result<T, E>) -> Result<T, E> {
        if self.within {
            return read(self);
        }
        let within = Self { within: true, ..self.clone() };
        let mut answer = None;
        let undisturbed = self.view.consistent(|_| {
            answer = Some(read(&within));
            Ok::<(), ViewError>(())
        });
        undisturbed.map_err(|error| E::from(StoreError::from(error)))?;
        answer.expect("an undisturbed reading was made")
    }
}
