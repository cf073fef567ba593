//! The ledger: chain, trust state and pool of one station, changed only by [`Transition`]s.
//!
//! It decides and does no I/O: it reads what was committed through [`LedgerRead`], and returns each change as one
//! value for the store. Until the store reports a transition as committed, its changes are read from an overlay.

mod admission;
mod equivocation;
mod logs;
mod mining;
mod outcome;

pub use outcome::{Assembled, BatchOutcome, BlockRefusal, BlocksOutcome, NoBlock, Template, Transition};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::batch::{BatchError, SignedBatch, VerifiedBatch};
use crate::block::{Announcement, BlockError, VerifiedBlock};
use crate::chain::{Chain, ChainError, Path};
use crate::evidence::Evidence;
use crate::federation::Rules;
use crate::fork_choice::Tip;
use crate::header::BlockHeader;
use crate::held::Held;
use crate::ids::{BatchId, BlockHash, Height, Sequence, StationId};
use crate::limits::{MAX_CLOCK_SKEW_MS, MAX_SEQUENCE_AHEAD};
use crate::mempool::{Inserted, LogEnd, Mempool};
use crate::overlay::{LedgerRead, Overlay};
use crate::own_log::OwnLog;
use crate::record::{Record, Subject};
use crate::reveal::RevealStep;
use crate::state::{
    BlockRead, ChainState, ConnectError, Connected, Layer, Opinion, PendingRecord, ReadError, StateRead, Undo, Writes,
    chain_state, connect, ml_dsa_key, opinion_with, station_state,
};
use crate::time::Timestamp;

/// A transition's writes while blocks are being added to it.
#[derive(Default)]
struct Group {
    kept: Vec<VerifiedBlock>,
    dropped: Vec<BlockHash>,
    connected: Vec<(VerifiedBlock, Arc<Undo>)>,
    writes: Writes,
}

impl Group {
    /// A block that came and went within this group is neither kept nor dropped.
    fn forget_what_was_never_stored(&mut self) {
        let dropped: HashSet<BlockHash> = self.dropped.iter().copied().collect();
        let kept: HashSet<BlockHash> = self.kept.iter().map(VerifiedBlock::hash).collect();
        self.kept.retain(|block| !dropped.contains(&block.hash()));
        self.dropped.retain(|hash| !kept.contains(hash));
    }
}

/// Why blocks could not be connected.
enum Refused {
    /// A block doesn't fit the state.
    Invalid {
        /// The block.
        block: BlockHash,
        /// What is wrong with it.
        error: ConnectError,
    },
    /// The seal of the block that was handed over is not good, which says nothing about the block itself.
    Unsealed {
        /// The block.
        block: BlockHash,
        /// What is wrong with it.
        error: ConnectError,
    },
    /// The body of a block off the best chain is not in the store any more: it lay there unsynced. Or what was kept is
    /// of no use, because its seal is not good; with another seal it may be.
    Lost {
        /// The block.
        ancestor: BlockHash,
    },
}

impl Refused {
    /// What `error` says of `block`, where `handed` was handed over.
    fn of(handed: BlockHash, block: BlockHash, error: ConnectError) -> Self {
        match error {
            ConnectError::Seal { .. } if handed == block => Self::Unsealed { block, error },
            ConnectError::Seal { .. } => Self::Lost { ancestor: block },
            error => Self::Invalid { block, error },
        }
    }
}

/// Blocks of any branch, by hash; the newest that was connected needs no disk.
struct Bodies<'a, R> {
    read: &'a Overlay<R>,
    newest: Option<&'a VerifiedBlock>,
}

impl<R: LedgerRead> BlockRead for Bodies<'_, R> {
    fn past_block(&self, hash: &BlockHash) -> Result<VerifiedBlock, ReadError> {
        match self.newest.filter(|block| block.hash() == *hash) {
            Some(block) => Ok(block.clone()),
            None => self.read.block(hash)?.ok_or(ReadError::Damaged { what: "a block" }),
        }
    }
}

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

    /// Takes in verified blocks, parents before children. What extends the head is connected in one transition, each
    /// reorganisation is one of its own, and what is not better is kept off the best chain.
    ///
    /// # Errors
    /// [`ReadError`]; a block that is refused is in the outcome.
    pub fn add_blocks(&mut self, blocks: Vec<VerifiedBlock>, now: Timestamp) -> Result<BlocksOutcome, ReadError> {
        let mut outcome = BlocksOutcome::default();
        let mut group = Group::default();
        for block in blocks {
            let hash = block.hash();
            if self.chain.contains(&hash) {
                continue;
            }
            if let Err(error) = self.chain.check(&hash, block.header(), now) {
                outcome.refused = Some((hash, error.into()));
                break;
            }
            let head = self.chain.head();
            if block.header().previous != head {
                self.compare_off_chain(&block)?;
            }
            self.chain.insert(hash, block.header());
            let refused = if block.header().previous == head {
                self.extend(block, &mut group, &mut outcome, now)?
            } else if self.is_better_than_head(&hash) {
                self.read.put_block(self.number + 1, block);
                self.flush(&mut group, &mut outcome);
                self.reorganise(&hash, &mut outcome, now)?
            } else {
                self.read.put_block(self.number + 1, block.clone());
                group.kept.push(block);
                None
            };
            match refused {
                None => {}
                Some(Refused::Invalid { block, error }) => {
                    group.dropped.extend(self.chain.reject(&block));
                    outcome.refused = Some((block, error.into()));
                }
                Some(Refused::Unsealed { block, error }) => {
                    group.dropped.extend(self.chain.forget(&block));
                    outcome.refused = Some((block, error.into()));
                }
                Some(Refused::Lost { ancestor }) => {
                    group.dropped.extend(self.chain.forget(&ancestor));
                    outcome.refused = Some((hash, ChainError::UnknownParent { hash, previous: ancestor }.into()));
                }
            }
            if outcome.refused.is_some() {
                group.dropped.retain(|dropped| *dropped != hash);
                break;
            }
        }
        group.dropped.extend(self.chain.prune());
        group.forget_what_was_never_stored();
        self.flush(&mut group, &mut outcome);
        Ok(outcome)
    }

    fn bodies(&self) -> Bodies<'_, R> {
        Bodies { read: &self.read, newest: self.newest.as_ref() }
    }

    fn is_better_than_head(&self, hash: &BlockHash) -> bool {
        let tip = |hash| self.chain.tip(&self.rules, hash);
        matches!((tip(hash), tip(&self.chain.head())), (Some(new), Some(head)) if new.is_better_than(&head))
    }

    fn flush(&mut self, group: &mut Group, outcome: &mut BlocksOutcome) {
        let group = std::mem::take(group);
        if !(group.kept.is_empty() && group.dropped.is_empty() && group.connected.is_empty()) {
            let transition = self.next_transition(group);
            outcome.transitions.push(transition);
        }
    }

    /// Connects a block to the head.
    fn extend(
        &mut self,
        block: VerifiedBlock,
        group: &mut Group,
        outcome: &mut BlocksOutcome,
        now: Timestamp,
    ) -> Result<Option<Refused>, ReadError> {
        let (hash, number) = (block.hash(), self.number + 1);
        let Connected { mut writes, undo, .. } = match connect(&self.rules, &self.read, &self.bodies(), &block) {
            Ok(connected) => connected,
            Err(ConnectError::Read(error)) => return Err(error),
            Err(ConnectError::Parent { .. }) => return Err(ReadError::Damaged { what: "the trust state" }),
            Err(error) => {
                self.compare_off_chain(&block)?;
                return Ok(Some(Refused::of(hash, hash, error)));
            }
        };
        self.compare_next(&block)?;
        let undo = Arc::new(undo);
        self.read.put_state(number, &writes);
        self.read.put_undo(number, hash, Arc::clone(&undo));
        self.read.put_block(number, block.clone());
        self.chain.adopt(&Path { fork: block.header().previous, blocks: vec![hash] });
        outcome.left_out.extend(self.reconcile_pool(&[], std::slice::from_ref(&block), &writes, now)?);
        group.writes.append(&mut writes);
        self.newest = Some(block.clone());
        group.connected.push((block, undo));
        Ok(None)
    }

    /// Makes the chain that ends with `hash` the best one: one transition, from the fork on.
    fn reorganise(
        &mut self,
        hash: &BlockHash,
        outcome: &mut BlocksOutcome,
        now: Timestamp,
    ) -> Result<Option<Refused>, ReadError> {
        const MISSING: ReadError = ReadError::Damaged { what: "a block" };
        let tip = *hash;
        let path = self.chain.path_to(hash).ok_or(MISSING)?;
        let reverted_hashes = self.chain.above(&path.fork);
        let read_block = |hash: &BlockHash| self.read.block(hash)?.ok_or(MISSING);
        let reverted = reverted_hashes.iter().map(read_block).collect::<Result<Vec<_>, _>>()?;

        let empty = Writes::new();
        let undo: Option<Vec<Undo>> =
            reverted_hashes.iter().map(|hash| self.read.undo(hash)).collect::<Result<_, ReadError>>()?;
        let (mut layer, replaces_state) = match undo {
            Some(undo) => {
                let mut layer = Layer::new(&self.read as &dyn StateRead);
                undo.into_iter().for_each(|undo| layer.apply(undo));
                (layer, false)
            }
            // Deeper than undo data is kept: the state at the fork is made anew from genesis.
            None => (self.replay_to(&path.fork, &empty)?, true),
        };
        let mut connected = Vec::with_capacity(path.blocks.len());
        for hash in &path.blocks {
            let Some(block) = self.read.block(hash)? else { return Ok(Some(Refused::Lost { ancestor: *hash })) };
            match connect(&self.rules, &layer, &self.bodies(), &block) {
                Ok(made) => {
                    layer.apply(made.writes);
                    connected.push((block, Arc::new(made.undo)));
                }
                Err(ConnectError::Read(error)) => return Err(error),
                Err(ConnectError::Parent { .. }) => return Err(ReadError::Damaged { what: "the trust state" }),
                Err(error) => return Ok(Some(Refused::of(tip, *hash, error))),
            }
        }
        let writes = layer.into_writes();

        let number = self.number + 1;
        if replaces_state {
            self.read.replace_state(number, &writes);
        } else {
            self.read.put_state(number, &writes);
        }
        for (block, undo) in &connected {
            self.read.put_undo(number, block.hash(), Arc::clone(undo));
            self.read.put_block(number, block.clone());
        }
        self.chain.adopt(&path);
        let joined: Vec<VerifiedBlock> = connected.iter().map(|(block, _)| block.clone()).collect();
        outcome.left_out.extend(self.reconcile_pool(&reverted, &joined, &writes, now)?);
        let transition = self.next_transition(Group { connected, writes, ..Group::default() });
        outcome.transitions.push(Transition { reverted: reverted_hashes, replaces_state, ..transition });
        Ok(None)
    }

    /// The state at a block of the best chain, from genesis on.
    fn replay_to<'a>(&self, fork: &BlockHash, empty: &'a Writes) -> Result<Layer<'a, dyn StateRead + 'a>, ReadError> {
        let mut layer = Layer::new(empty as &dyn StateRead);
        let end = self.chain.height_of(fork).unwrap_or(Height::ZERO);
        for height in 1..=end.get() {
            let hash = self.chain.at(Height::new(height)).ok_or(ReadError::Damaged { what: "a block" })?;
            let block = self.read.block(&hash)?.ok_or(ReadError::Damaged { what: "a block" })?;
            let made = connect(&self.rules, &layer, &self.bodies(), &block)
                .map_err(|_| ReadError::Damaged { what: "a block" })?;
            layer.apply(made.writes);
        }
        Ok(layer)
    }

    /// Keeps in the pool what follows the chain now. `reverted` highest first, `connected` lowest first; `writes` are
    /// what both changed. Returns what is left out because its author is not admitted any more.
    fn reconcile_pool(
        &mut self,
        reverted: &[VerifiedBlock],
        connected: &[VerifiedBlock],
        writes: &Writes,
        now: Timestamp,
    ) -> Result<Vec<VerifiedBatch>, ReadError> {
        let mut left: BTreeMap<StationId, Vec<VerifiedBatch>> = BTreeMap::new();
        for batch in reverted.iter().rev().flat_map(VerifiedBlock::batches) {
            left.entry(batch.station()).or_default().push(batch.clone());
        }
        let joined = connected.iter().flat_map(VerifiedBlock::batches).map(VerifiedBatch::station);
        let stations: BTreeSet<StationId> = joined.chain(left.keys().copied()).collect();
        for station in stations {
            let end = self.chain_end(&station)?;
            self.pool.reconcile(&station, end, left.remove(&station).unwrap_or_default(), now);
        }
        self.leave_out(writes, !reverted.is_empty())
    }
}
