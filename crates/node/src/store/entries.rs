//! Reading the journal's entries as what they are: each is checked against the id that it was asked by.

use std::sync::Arc;

use qfzz_ledger_core::batch::{Checked, EncodedBatch, SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{EncodedBlock, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BatchId, BlockHash};

use super::StoreError;
use super::journal::{JournalReader, Place};
use super::schema::{BATCH_ENTRY, BLOCK_ENTRY, BlockEntry, OWN_BATCH_ENTRY};

/// Reads batches and blocks by place, from any thread.
#[derive(Clone)]
pub(super) struct Entries {
    pub(super) rules: Arc<Rules>,
    pub(super) journal: JournalReader,
}

impl Entries {
    /// The batch `id`, which was verified before it was written: in full, for it was signed here or connected.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if what lies there is whole but is not that batch; else those of the journal.
    pub(super) fn batch(&self, place: Place, id: BatchId) -> Result<VerifiedBatch, StoreError> {
        VerifiedBatch::reread(&self.rules, self.signed_batch(place)?, id, Checked::OnChain).map_err(|_| mismatch(place))
    }

    /// The batch that lies there, whichever it is.
    fn signed_batch(&self, place: Place) -> Result<SignedBatch, StoreError> {
        SignedBatch::decode(&self.batch_entry(place)?).map_err(|_| mismatch(place))
    }

    /// The encoding of the batch that lies there.
    fn batch_entry(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        let entry = self.journal.read(place)?;
        let is_batch = entry.kind == OWN_BATCH_ENTRY || entry.kind == BATCH_ENTRY;
        if is_batch { Ok(entry.bytes) } else { Err(mismatch(place)) }
    }

    /// The block `hash` for somebody who verifies it: what lies there has the ids that were asked for, and the checksums
    /// that it was written with.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if what lies there is whole but is no such block; else those of the journal.
    pub(super) fn signed_block(&self, place: Place, hash: &BlockHash) -> Result<SignedBlock, StoreError> {
        let entry = self.block_entry(place, hash)?;
        let named = |(place, id): &(Place, BatchId)| {
            let batch = self.signed_batch(*place)?;
            if batch.id(&self.rules) == *id { Ok(batch) } else { Err(mismatch(*place)) }
        };
        let batches = entry.batches.iter().map(named);
        Ok(SignedBlock { batches: batches.collect::<Result<_, _>>()?, sealed: entry.sealed })
    }

    /// The block `hash` for somebody who passes it on: as [`signed_block`](Self::signed_block), without reading records.
    ///
    /// # Errors
    /// As [`signed_block`](Self::signed_block).
    pub(super) fn encoded_block(&self, place: Place, hash: &BlockHash) -> Result<EncodedBlock, StoreError> {
        let entry = self.block_entry(place, hash)?;
        let named = |(place, id): &(Place, BatchId)| {
            let (batch, found) =
                EncodedBatch::read(self.batch_entry(*place)?, &self.rules).map_err(|_| mismatch(*place))?;
            if found == *id { Ok(batch) } else { Err(mismatch(*place)) }
        };
        let batches = entry.batches.iter().map(named);
        Ok(EncodedBlock { batches: batches.collect::<Result<_, _>>()?, sealed: entry.sealed })
    }

    /// The entry of a connected block.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    pub(super) fn block_entry(&self, place: Place, hash: &BlockHash) -> Result<BlockEntry, StoreError> {
        let entry = self.journal.read(place)?;
        let block = (entry.kind == BLOCK_ENTRY).then(|| BlockEntry::decode(&entry.bytes).ok()).flatten();
        block.filter(|block| block.sealed.hash(&self.rules) == *hash).ok_or_else(|| mismatch(place))
    }

    /// The block `hash` with its batches.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    pub(super) fn block(&self, place: Place, hash: &BlockHash) -> Result<(VerifiedBlock, BlockEntry), StoreError> {
        let entry = self.block_entry(place, hash)?;
        let batches: Result<Vec<_>, _> = entry.batches.iter().map(|(place, id)| self.batch(*place, *id)).collect();
        let block = VerifiedBlock::reread(&self.rules, entry.sealed.clone(), batches?, *hash, Checked::OnChain);
        Ok((block.map_err(|_| mismatch(place))?, entry))
    }
}

fn mismatch(place: Place) -> StoreError {
    StoreError::Mismatch { file: place.file, offset: place.offset }
}
