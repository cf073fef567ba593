//! The ledger: chain, trust state and pool of one station, changed only by [`Transition`]s.
//!
//! It decides and does no I/O: it reads what was committed through [`LedgerRead`], and returns each change as one
//! value for the store. Until the store reports a transition as committed, its changes are read from an overlay.

mod admission;
mod connecting;
mod equivocation;
mod logs;
mod mining;
mod outcome;

use connecting::Group;

pub use outcome::{Assembled, BatchOutcome, BlockRefusal, BlocksOutcome, NoBlock, Template, Transition};

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::batch::{BatchError, SignedBatch, VerifiedBatch};
use crate::block::{Announcement, BlockError, VerifiedBlock};
use crate::chain::{Chain, Path};
use crate::evidence::Evidence;
use crate::federation::Rules;
use crate::fork_choice::Tip;
use crate::header::BlockHeader;
use crate::held::Held;
use crate::ids::{BatchId, BlockHash, Sequence};
use crate::limits::{MAX_CLOCK_SKEW_MS, MAX_SEQUENCE_AHEAD};
use crate::mempool::{Inserted, LogEnd, Mempool};
use crate::overlay::{LedgerRead, Overlay};
use crate::own_log::OwnLog;
use crate::record::{Record, Subject};
use crate::reveal::RevealStep;
use crate::state::{
    ChainState, ConnectError, Opinion, PendingRecord, ReadError, chain_state, ml_dsa_key, opinion_with, station_state,
};
use crate::time::Timestamp;

/// The ledger of one station. See the module.
pub struct Ledger<R> {
    rules: Arc<Rules>,
    read: Overlay<R>,
    chain: Chain,
    pool: Mempool,
    held: Held,
    evidence: Evidence,
    own: OwnLog,
    number: u64,
    /// The head's body, for the draws of the block on it.
    newest: Option<VerifiedBlock>,
}

impl<R: LedgerRead> Ledger<R> {
    /// Takes up what the store holds: the headers of the best chain above genesis, lowest first; those off it, parents
    /// before children; this station's batches that are not on the chain, in order. Of what is off the best chain only
    /// what is not better is taken up.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(
        rules: Arc<Rules>,
        store: R,
        own: OwnLog,
        best: impl IntoIterator<Item = (BlockHash, BlockHeader)>,
        side: impl IntoIterator<Item = (BlockHash, BlockHeader)>,
        own_pending: impl IntoIterator<Item = VerifiedBatch>,
        now: Timestamp,
    ) -> Result<Self, ReadError> {
        let mut chain = Chain::new(&rules);
        for (hash, header) in best {
            if header.previous != chain.head() {
                return Err(ReadError::Damaged { what: "the index of headers" });
            }
            chain.insert(hash, &header);
            chain.adopt(&Path { fork: header.previous, blocks: vec![hash] });
        }
        for (hash, header) in side {
            let (head, Some(work)) = (chain.tip(&rules, &chain.head()), chain.work_of(&header.previous)) else {
                continue;
            };
            let rank = rules.rank(&header.previous, &header.producer);
            let tip = Tip { work: work.plus(header.difficulty.work()), rank, hash };
            // What it was weighed against was lost before it was synced: unknown again, it is fetched and weighed anew.
            let is_better = head.is_none_or(|head| tip.is_better_than(&head));
            if !is_better && !chain.contains(&hash) {
                chain.insert(hash, &header);
            }
        }
        let pool = Mempool::new(own.station());
        let (read, held, evidence) = (Overlay::new(store), Held::default(), Evidence::default());
        let mut ledger = Self { rules, read, chain, pool, held, evidence, own, number: 0, newest: None };
        for batch in own_pending {
            let end = ledger.chain_end(&batch.station())?;
            // After damage one before it may be missing, which comes back from a peer.
            if let Inserted::Gap { .. } = ledger.pool.insert(batch.clone(), end, now) {
                ledger.held.insert(batch, now);
            }
        }
        Ok(ledger)
    }

    /// The federation's rules.
    pub const fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The tree of known blocks.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What waits for a block.
    pub const fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// Batches that wait for their predecessor or the clock.
    pub const fn held(&self) -> &Held {
        &self.held
    }

    /// This station's own log.
    pub const fn own(&self) -> &OwnLog {
        &self.own
    }

    /// The trust state and blocks, with what is on its way to the store.
    pub const fn read(&self) -> &Overlay<R> {
        &self.read
    }

    /// The head's state.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn chain_state(&self) -> Result<ChainState, ReadError> {
        chain_state(&self.read, &self.rules)
    }

    /// Records about `subject` that wait for a block, in pool order; this station's own only while it is admitted.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn pending_about(&self, subject: &Subject) -> Result<Vec<PendingRecord<'_>>, ReadError> {
        let mut records = self.pool.records_about(subject);
        let own = self.own.station();
        if !self.is_admitted(&own)? {
            records.retain(|record| record.batch.station != own);
        }
        Ok(records)
    }

    /// What this station's own records say about `subject`, those that wait for a block included while it is admitted;
    /// `None` where it has none, or has equivocated.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn own_opinion(&self, subject: &Subject) -> Result<Option<Opinion>, ReadError> {
        let own = self.own.station();
        let pending = if self.is_admitted(&own)? { self.pool.records_of(&own, subject) } else { Vec::new() };
        opinion_with(&self.rules, &self.read, subject, &own, pending)
    }

    /// The store holds everything up to transition `number` now.
    pub fn committed(&mut self, number: u64) {
        self.read.committed(number);
    }

    /// Signs `records`, valid by themselves, as the next batches of this station's log. Without records it signs the
    /// introduction if there is none yet; `None` if nothing had to be signed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn sign(&mut self, records: Vec<Record>, now: Timestamp) -> Result<Option<Transition>, ReadError> {
        let station = self.own.station();
        let end = self.log_end(&station)?;
        let batches = self.own.sign(&self.rules, end, self.chain.head(), now, records);
        if batches.is_empty() {
            return Ok(None);
        }
        let chain_end = self.chain_end(&station)?;
        for batch in &batches {
            self.pool.insert(batch.clone(), chain_end, now);
        }
        Ok(Some(self.transition_of_own(batches)))
    }

    fn transition_of_own(&mut self, own_batches: Vec<VerifiedBatch>) -> Transition {
        Transition { own_batches, ..self.next_transition(Group::default()) }
    }

    fn next_transition(&mut self, group: Group) -> Transition {
        self.number += 1;
        Transition {
            number: self.number,
            own_batches: Vec::new(),
            kept: group.kept,
            dropped: group.dropped,
            reverted: Vec::new(),
            connected: group.connected,
            replaces_state: false,
            writes: group.writes,
            head: self.chain.head(),
            height: self.chain.height(),
        }
    }

    /// Takes in a batch that somebody sent, cheap checks first: author admitted, sequence within 1,024 of the next, not
    /// known, then what [`SignedBatch::verify`] checks. At a place that is taken it is compared with what stands there.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn add_batch(&mut self, batch: SignedBatch, now: Timestamp) -> Result<BatchOutcome, ReadError> {
        let (station, sequence) = batch.place();
        if station != self.own.station() && !self.is_admitted(&station)? {
            return Ok(BatchOutcome::NotAdmitted);
        }
        let next = self.log_end(&station)?.next;
        if sequence.get() > next.get().saturating_add(MAX_SEQUENCE_AHEAD) {
            return Ok(BatchOutcome::TooFar);
        }
        if sequence < next {
            return self.compare_taken(batch);
        }
        match batch.verify(&self.rules) {
            Ok(batch) => self.take_in(batch, now),
            Err(error) => Ok(BatchOutcome::Invalid(error)),
        }
    }

    /// Takes in a batch that was verified: as [`add_batch`](Self::add_batch), without its last check.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn add_verified(&mut self, batch: VerifiedBatch, now: Timestamp) -> Result<BatchOutcome, ReadError> {
        let (station, sequence) = batch.signed().place();
        let next = self.log_end(&station)?.next;
        if sequence.get() > next.get().saturating_add(MAX_SEQUENCE_AHEAD) {
            return Ok(BatchOutcome::TooFar);
        }
        if sequence < next {
            let is_settled = self.is_settled(&station, &batch.id())?;
            return if is_settled { Ok(BatchOutcome::Known) } else { self.outcome_at_taken_place(&batch) };
        }
        self.take_in(batch, now)
    }

    fn take_in(&mut self, batch: VerifiedBatch, now: Timestamp) -> Result<BatchOutcome, ReadError> {
        let station = batch.station();
        if station != self.own.station() && !self.is_admitted(&station)? {
            return Ok(BatchOutcome::NotAdmitted);
        }
        if let Some(refusal) = self.refuse_by_key(&batch)? {
            return Ok(refusal);
        }
        self.compare_with_waiting(&batch)?;
        if batch.header().created_at > now.saturating_add(MAX_CLOCK_SKEW_MS) {
            self.held.insert(batch, now);
            return Ok(BatchOutcome::Ahead);
        }
        let chain_end = self.chain_end(&station)?;
        match self.pool.insert(batch.clone(), chain_end, now) {
            Inserted::Added => {}
            Inserted::Known => return Ok(BatchOutcome::Known),
            Inserted::Taken => return self.outcome_at_taken_place(&batch),
            Inserted::Unlinked => {
                self.see(batch.signed_header())?;
                return Ok(BatchOutcome::Unlinked);
            }
            Inserted::Full => return Ok(BatchOutcome::Full),
            Inserted::Gap { from } => {
                self.held.insert(batch, now);
                return Ok(BatchOutcome::Gap { from });
            }
        }
        let mut batches = vec![batch];
        while let Some(next) = batches.last().and_then(|last| last.sequence().next())
            && let Some(held) = self.held.get(&station, next).cloned()
            && held.header().created_at <= now.saturating_add(MAX_CLOCK_SKEW_MS)
            && self.is_signed(&held)? == Some(true)
            && self.pool.insert(held.clone(), chain_end, now) == Inserted::Added
        {
            self.held.take(&station, next);
            batches.push(held);
        }
        let is_own = station == self.own.station();
        if is_own {
            batches.iter().for_each(|batch| self.evidence.note_foreign(batch.header().created_at));
        }
        let transition = is_own.then(|| Box::new(self.transition_of_own(batches.clone())));
        Ok(BatchOutcome::Added { batches, transition })
    }

    /// What a batch of a place that is free comes to by its ML-DSA key, where that is not good.
    fn refuse_by_key(&self, batch: &VerifiedBatch) -> Result<Option<BatchOutcome>, ReadError> {
        if let Some(key) = batch.introduced_key()
            && !self.key_fits(&batch.station(), &key)?
        {
            return Ok(Some(BatchOutcome::NotAdmitted));
        }
        if self.is_signed(batch)? != Some(false) {
            return Ok(None);
        }
        let (station, sequence) = batch.signed().place();
        let LogEnd { next, last } = self.log_end(&station)?;
        // What doesn't link may be of another introduction, and then whoever sent it may be honest.
        let is_next = sequence == next && sequence != Sequence::ZERO && batch.header().previous == last;
        let error = BatchError::MlDsaSignature { station, sequence };
        Ok(Some(if is_next { BatchOutcome::Invalid(error) } else { BatchOutcome::Unlinked }))
    }

    /// Tries again what waited for the clock or its predecessor; drops what waited too long.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn retry_held(&mut self, now: Timestamp) -> Result<Vec<BatchOutcome>, ReadError> {
        self.held.expire(now);
        let mut outcomes = Vec::new();
        for (batch, since) in self.held.take_all() {
            let next = self.log_end(&batch.station())?.next;
            let is_due = batch.header().created_at <= now.saturating_add(MAX_CLOCK_SKEW_MS);
            if batch.sequence() > next || (batch.sequence() == next && !is_due) {
                self.held.put_back(batch, since);
            } else if batch.sequence() == next {
                outcomes.push(self.take_in(batch, now)?);
            }
        }
        Ok(outcomes)
    }

    /// Checks an announcement as far as it can be checked without the body: rules 1 to 4 and the seal, the ids of 6,
    /// and where the parent is the head also the admission and the reveal of 5.
    ///
    /// # Errors
    /// [`BlockRefusal`].
    pub fn check_announcement(&self, announced: &Announcement, now: Timestamp) -> Result<BlockHash, BlockRefusal> {
        let hash = announced.check_alone(&self.rules)?;
        let header = &announced.sealed.header;
        self.chain.check(&hash, header, now)?;
        if header.previous == self.chain.head() {
            let producer = header.producer;
            if !self.is_admitted(&producer).map_err(ConnectError::from)? {
                return Err(ConnectError::NotAdmitted { block: hash, station: producer }.into());
            }
            let known = station_state(&self.read, &producer).map_err(ConnectError::from)?.map(|state| state.reveal);
            let introduced = announced.introduction.as_ref().and_then(|(batch, _)| batch.introduction.as_ref());
            let last = known.or(introduced.map(|it| it.reveal_commitment));
            let last = last.ok_or(ConnectError::Introduction { block: hash, producer })?;
            if RevealStep::new(&self.rules.federation(), &producer).of(&header.reveal) != last {
                return Err(ConnectError::Reveal { block: hash, producer }.into());
            }
            self.check_announced_seal(announced, hash)?;
        }
        Ok(hash)
    }

    /// The ML-DSA part of the seal of a block that was announced upon the head.
    fn check_announced_seal(&self, announced: &Announcement, hash: BlockHash) -> Result<(), ConnectError> {
        if !self.rules.is_hybrid() {
            return Ok(());
        }
        let producer = announced.sealed.header.producer;
        let introduced = || announced.introduction.as_ref().and_then(|(batch, _)| batch.introduced_key());
        let key = ml_dsa_key(&self.read, &producer)?.or_else(introduced);
        if key.is_some_and(|key| announced.sealed.is_sealed_under(&self.rules, &hash, &key)) {
            return Ok(());
        }
        Err(ConnectError::Seal { block: hash, producer })
    }

    /// Puts an announced block together from the pool and `extra` batches.
    ///
    /// # Errors
    /// [`BlockError`]: only its producer is answerable for the body.
    pub fn assemble(
        &self,
        announced: &Announcement,
        extra: &BTreeMap<BatchId, VerifiedBatch>,
    ) -> Result<Result<Assembled, BlockError>, ReadError> {
        let here = |id: &BatchId| extra.get(id).or_else(|| self.pool.by_id(id)).cloned();
        let mut batches: Vec<Option<VerifiedBatch>> = announced.batch_ids.iter().map(here).collect();
        // Whoever made a block at the same time took much the same batches, which are in the pool no more.
        if batches.iter().any(Option::is_none)
            && let Some(hash) = self.chain.at(announced.sealed.header.index)
            && let Some(sibling) = self.read.block(&hash)?
        {
            let taken: HashMap<BatchId, &VerifiedBatch> = sibling.batches().iter().map(|it| (it.id(), it)).collect();
            for (batch, id) in batches.iter_mut().zip(&announced.batch_ids).filter(|(batch, _)| batch.is_none()) {
                *batch = taken.get(id).copied().cloned();
            }
        }
        let missing: Vec<u32> = (0..).zip(&batches).filter(|(_, it)| it.is_none()).map(|(index, _)| index).collect();
        if !missing.is_empty() {
            return Ok(Ok(Assembled::Missing(missing)));
        }
        let batches = batches.into_iter().flatten().collect();
        Ok(VerifiedBlock::assemble(&self.rules, announced.sealed.clone(), batches).map(Assembled::Block))
    }
}
