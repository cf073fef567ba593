//! Where the logs of stations end, and what they hold.

use super::Ledger;
use crate::batch::VerifiedBatch;
use crate::ids::{Sequence, StationId};
use crate::mempool::LogEnd;
use crate::overlay::LedgerRead;
use crate::state::{ReadError, StationState, station_state};

impl<R: LedgerRead> Ledger<R> {
    /// Where a station's log ends on the chain.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn chain_end(&self, station: &StationId) -> Result<LogEnd, ReadError> {
        let state = station_state(&self.read, station)?;
        Ok(state.map_or(LogEnd::EMPTY, |StationState { next, last, .. }| LogEnd { next, last }))
    }

    /// Where a station's log ends, with what is pending.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn log_end(&self, station: &StationId) -> Result<LogEnd, ReadError> {
        match self.pool.log_end(station) {
            Some(end) => Ok(end),
            None => self.chain_end(station),
        }
    }

    /// What is on the chain of a station's log from a sequence on, in order: the first batches that fit into so many
    /// bytes.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn confirmed_from(
        &self,
        station: &StationId,
        from: Sequence,
        bytes: usize,
    ) -> Result<Vec<VerifiedBatch>, ReadError> {
        let (end, mut next, mut left) = (self.chain_end(station)?.next, Some(from), bytes);
        let mut found = Vec::new();
        while let Some(sequence) = next.filter(|sequence| *sequence < end)
            && let Some(batch) = self.read.batch_at(station, sequence)?
            && batch.encoded_len() <= left
        {
            left -= batch.encoded_len();
            found.push(batch);
            next = sequence.next();
        }
        Ok(found)
    }
}
