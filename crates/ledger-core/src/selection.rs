//! A block's body while it is being put together: what fits, and what may not follow what was left out.

use std::collections::HashSet;

use crate::batch::VerifiedBatch;
use crate::federation::Limits;
use crate::ids::StationId;
use crate::time::Timestamp;

/// The least that an encoded batch takes, in bytes: four hashes, numbers and lengths, a signature.
const LEAST_BATCH_BYTES: usize = 200;

/// What of a block is left to some.
pub(crate) struct Share {
    bytes: usize,
    batches: u32,
}

impl Share {
    /// What newcomers may take while others wait.
    pub(crate) fn quarter(limits: &Limits) -> Self {
        Self { bytes: limits.body_bytes as usize / 4, batches: limits.block_batches.div_ceil(4) }
    }

    pub(crate) fn has_room_for(&self, batch: &VerifiedBatch) -> bool {
        self.batches > 0 && batch.encoded_len() <= self.bytes
    }

    pub(crate) fn take(&mut self, batch: &VerifiedBatch) {
        self.bytes -= batch.encoded_len();
        self.batches -= 1;
    }
}

/// What became of a batch that was offered to a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It stands in the block.
    Taken,
    /// It doesn't fit any more.
    NoRoom,
    /// It is dated after the block, or follows one of its log that is left out.
    Skipped,
}

/// A block's body while it is being put together.
pub(crate) struct Selection {
    left: Share,
    latest: Timestamp,
    batches: Vec<VerifiedBatch>,
    /// Stations of whose logs a batch was left out, so that nothing may follow.
    stopped: HashSet<StationId>,
}

impl Selection {
    pub(crate) fn new(limits: &Limits, latest: Timestamp) -> Self {
        let left = Share { bytes: limits.body_bytes as usize, batches: limits.block_batches };
        Self { left, latest, batches: Vec::new(), stopped: HashSet::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.left.batches == 0 || self.left.bytes < LEAST_BATCH_BYTES
    }

    pub(crate) fn offer(&mut self, batch: &VerifiedBatch) -> Offered {
        let station = batch.station();
        if self.stopped.contains(&station) {
            return Offered::Skipped;
        }
        let is_ahead = batch.header().created_at > self.latest;
        if is_ahead || !self.left.has_room_for(batch) {
            self.stopped.insert(station);
            return if is_ahead { Offered::Skipped } else { Offered::NoRoom };
        }
        self.left.take(batch);
        self.batches.push(batch.clone());
        Offered::Taken
    }
    pub(crate) fn into_batches(self) -> Vec<VerifiedBatch> {
        self.batches
    }
}
