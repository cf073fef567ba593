//! Making the next block: its template, and taking it in once its nonce was found.

use super::{BlocksOutcome, Ledger, NoBlock, Template, Transition};
use crate::batch::VerifiedBatch;
use crate::block::{SealedHeader, VerifiedBlock, batches_root};
use crate::header::{BLOCK_VERSION, BlockHeader};
use crate::ids::Sequence;
use crate::limits::MAX_CLOCK_SKEW_MS;
use crate::overlay::LedgerRead;
use crate::state::{ReadError, station_state};
use crate::time::Timestamp;

impl<R: LedgerRead> Ledger<R> {
    /// The next block's template, from the pool: `first` is what must be stored before it may be announced, this
    /// station's introduction.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn template(&mut self, now: Timestamp) -> Result<(Option<Transition>, Result<Template, NoBlock>), ReadError> {
        if self.pool.records() == 0 {
            return Ok((None, Err(NoBlock::NothingPending)));
        }
        if !self.is_admitted(&self.own.station())? {
            return Ok((None, Err(NoBlock::NotAdmitted)));
        }
        let introduced = self.sign(Vec::new(), now)?;
        let producer = self.own.station();
        let state = station_state(&self.read, &producer)?;
        let introduction = match &state {
            Some(_) => None,
            None => self.pool.batch(&producer, Sequence::ZERO).cloned(),
        };
        let (produced, last) = match &state {
            Some(state) => (state.produced, state.reveal),
            None => (0, self.own.reveals().commitment()),
        };
        let Some(reveal) = self.own.reveals().reveal(produced, &last) else {
            return Ok((introduced, Err(NoBlock::RevealsUsedUp)));
        };
        let head = self.chain.head();
        let median = self.chain.median_time(&head);
        let timestamp = now.max(median.saturating_add(1));
        if timestamp > now.saturating_add(MAX_CLOCK_SKEW_MS) {
            return Ok((introduced, Err(NoBlock::ClockBehind)));
        }
        let latest = timestamp.saturating_add(MAX_CLOCK_SKEW_MS);
        let batches = self.pool.select(self.rules.limits(), introduction.as_ref(), latest);
        let has_records = batches.iter().any(|batch| !batch.records().is_empty());
        let (Some(index), true) = (self.chain.height().next(), has_records) else {
            return Ok((introduced, Err(NoBlock::NothingPending)));
        };
        let bytes: usize = batches.iter().map(VerifiedBatch::encoded_len).sum();
        let header = BlockHeader {
            version: BLOCK_VERSION,
            difficulty: self.rules.parameters().difficulty,
            index,
            previous: head,
            merkle_root: batches_root(&batches),
            batch_count: u32::try_from(batches.len()).expect("selected within the limit"),
            body_bytes: u32::try_from(bytes).expect("selected within the limit"),
            timestamp,
            producer,
            reveal,
            nonce: 0,
        };
        Ok((introduced, Ok(Template { header, batches })))
    }

    /// Seals a template whose nonce was found (in `header`) and takes it in; refused if the head moved meanwhile is
    /// not an error: it then stands off the best chain.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mined(
        &mut self,
        template: Template,
        header: BlockHeader,
        now: Timestamp,
    ) -> Result<(Option<VerifiedBlock>, BlocksOutcome), ReadError> {
        let sealed = SealedHeader::seal(&self.rules, self.own.key(), header);
        match VerifiedBlock::assemble(&self.rules, sealed.clone(), template.batches) {
            Ok(block) => Ok((Some(block.clone()), self.add_blocks(vec![block], now)?)),
            Err(error) => {
                let refused = Some((sealed.hash(&self.rules), error.into()));
                Ok((None, BlocksOutcome { refused, ..BlocksOutcome::default() }))
            }
        }
    }
}
