//! What peers gossip: batches and announced blocks, each answered with a verdict about its sender.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use qfzz_ledger_core::batch::{SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{Announcement, VerifiedBlock};
use qfzz_ledger_core::chain::ChainError;
use qfzz_ledger_core::codec::encoded_len;
use qfzz_ledger_core::ids::{BatchId, BlockHash, Sequence, StationId};
use qfzz_ledger_core::ledger::{Assembled, BatchOutcome, BlockRefusal};
use qfzz_ledger_core::limits::{MAX_CLOCK_SKEW_MS, MAX_HELD, MAX_ORPHANS, ORPHAN_FOR_MS};
use qfzz_ledger_core::orphans::Orphans;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::{ConnectError, ReadError};
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::message::MAX_RESPONSE_BYTES;

use super::State;
use super::clients::record_events;
use super::syncing::{BAN_MS, PAUSE_MS};
use crate::rate::{Bucket, Rate};
use crate::service::effect::{Checked, Effect, Event, MessageToken, Verdict};

/// Pairs of parent and producer whose blocks are counted, at most; the oldest are forgotten first.
const MAX_COUNTED: usize = 1_000;

/// Blocks of one producer on one parent that are relayed.
const MAX_RELAYED: u8 = 2;

/// After the first request for a body that was in vain, in milliseconds; each later pause is twice the one before.
/// Whoever passed an announcement on may still be fetching the body itself.
const FIRST_PAUSE_MS: i64 = 100;

/// The longest such pause, in milliseconds: a body that comes late must not wait as long at every station on its way.
const LONGEST_PAUSE_MS: i64 = 5_000;

/// Between two notices that a newer version is in use, in milliseconds: a stranger must not fill the log.
const TELL_AGAIN_MS: i64 = 3_600_000;

/// Announcements without a known parent that one peer may send. An honest one's are few: whoever is far behind hears of
/// each new block once, and federations make one in seconds.
const STRAYS: Rate = Rate::per_second(512, 32);

/// Announced blocks whose batches are being fetched, at most, and of those from one peer. Each may hold 1 MiB of them.
const MAX_INCOMPLETE: (usize, usize) = (32, 8);

/// An announced block whose batches are being fetched.
struct Incomplete {
    announcement: Announcement,
    /// Who announced it.
    from: StationId,
    batches: BTreeMap<BatchId, VerifiedBatch>,
    since: Timestamp,
    /// Requests that brought nothing.
    attempts: u32,
    /// When to ask again; none while a request is under way.
    again_at: Option<Timestamp>,
}

/// How long a verdict is owed, in milliseconds: gossip keeps messages for five heartbeats of a second.
const OWED_MS: i64 = 5_000;

/// Between two requests for what is missing of one log, in milliseconds.
const LOG_PAUSE_MS: i64 = 500;

/// Between two requests for the batch before one that does not link, of one log, in milliseconds.
const BACK_PAUSE_MS: i64 = 30_000;

/// Bytes from which on an answer may have been cut at its limit.
const FULL_ANSWER_BYTES: usize = MAX_RESPONSE_BYTES / 2;

/// Logs whose newest batch is passed on at once, at most; syncs carry the rest.
const MAX_PASSED_ON: usize = 256;

/// The newest batch taken in of each log.
pub(super) type Newest = BTreeMap<StationId, VerifiedBatch>;

/// Gossips the newest batch of each log that was fetched. Whoever is behind this station lacks these logs as well, and
/// asks for what precedes; where it is known, it ends.
pub(super) fn pass_on(newest: Newest, effects: &mut Vec<Effect>) {
    effects.extend(newest.into_values().take(MAX_PASSED_ON).map(Effect::PublishBatch));
}

/// What a verdict that is owed is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Awaiting {
    Batch(BatchId),
    Block(BlockHash),
}

#[derive(Default)]
pub(super) struct Gossip {
    orphans: Orphans,
    /// Announcements dated ahead of the local clock, with their senders.
    ahead: VecDeque<(Announcement, StationId)>,
    incomplete: BTreeMap<BlockHash, Incomplete>,
    /// Messages about batches that wait for their predecessor, and blocks that wait for their parent: the verdict is
    /// given when that came, while they can be relayed.
    owed: BTreeMap<Awaiting, (MessageToken, Timestamp)>,
    /// Logs that were asked for a moment ago.
    asked_logs: BTreeMap<StationId, Timestamp>,
    /// Logs of which the batch before one that does not link was asked for lately.
    asked_back: BTreeMap<StationId, Timestamp>,
    /// How many blocks of a producer on a parent were relayed.
    relayed: HashMap<(BlockHash, StationId), u8>,
    relayed_order: VecDeque<(BlockHash, StationId)>,
    /// What connected peers may yet announce that attaches to nothing.
    strays: BTreeMap<StationId, Bucket>,
    /// When it was last told that a newer version is in use.
    newer_told: Option<Timestamp>,
}

impl Gossip {
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.incomplete.values().filter_map(|incomplete| incomplete.again_at).min()
    }

    /// Takes note that a verdict is owed; false if too many are.
    fn owe(&mut self, awaiting: Awaiting, message: MessageToken, now: Timestamp) -> bool {
        let fits = self.owed.len() < MAX_HELD + MAX_ORPHANS;
        if fits {
            self.owed.insert(awaiting, (message, now));
        }
        fits
    }

    /// Whether what is missing of a log is asked for now: not with every batch that comes while it is under way.
    fn may_ask_for_log(&mut self, station: StationId, now: Timestamp) -> bool {
        let is_recent = self.asked_logs.get(&station).is_some_and(|since| now.since(*since) < LOG_PAUSE_MS);
        let may_ask = !is_recent && self.asked_logs.len() < MAX_HELD;
        if may_ask {
            self.asked_logs.insert(station, now);
        }
        may_ask
    }

    /// Counts an announcement whose parent is not known; false if its sender has made too many.
    fn may_stray(&mut self, from: StationId, now: Timestamp) -> bool {
        let full = || Bucket::full(STRAYS, now.as_millis());
        self.strays.entry(from).or_insert_with(full).spend(1, now.as_millis())
    }

    /// Forgets what was counted of a peer.
    pub(super) fn disconnected(&mut self, peer: &StationId) {
        self.strays.remove(peer);
    }

    /// Whether the batch before one that does not link is asked for now.
    fn may_ask_back(&mut self, station: StationId, now: Timestamp) -> bool {
        self.asked_back.retain(|_, since| now.since(*since) < BACK_PAUSE_MS);
        let may_ask = !self.asked_back.contains_key(&station) && self.asked_back.len() < MAX_HELD;
        if may_ask {
            self.asked_back.insert(station, now);
        }
        may_ask
    }

    /// Gives the verdict if it is owed.
    fn settle(&mut self, awaiting: Awaiting, verdict: Verdict) -> Option<Effect> {
        self.owed.remove(&awaiting).map(|(message, _)| Effect::Verdict(message, verdict))
    }

    /// Whether one more block of this producer on this parent is relayed.
    fn relays(&mut self, parent: BlockHash, producer: StationId) -> bool {
        let key = (parent, producer);
        if !self.relayed.contains_key(&key) {
            self.relayed_order.push_back(key);
            if self.relayed_order.len() > MAX_COUNTED
                && let Some(oldest) = self.relayed_order.pop_front()
            {
                self.relayed.remove(&oldest);
            }
        }
        let count = self.relayed.entry(key).or_default();
        *count = count.saturating_add(1);
        *count <= MAX_RELAYED
    }
}

impl<R: LedgerRead> State<R> {
    pub(super) fn on_gossip_batch(
        &mut self,
        message: MessageToken,
        from: StationId,
        data: &[u8],
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        if self.holds_stranger(from, data, now, effects)? {
            effects.push(Effect::Verdict(message, Verdict::Ignore));
            return Ok(());
        }
        let outcome = match SignedBatch::decode(data) {
            Ok(batch) => {
                let (place, id) = (batch.place(), batch.id(self.ledger.rules()));
                let outcome = self.ledger.add_batch(batch, now)?;
                if let BatchOutcome::Gap { from: missing } = outcome {
                    self.ask_for_log(from, place.0, missing, now, effects);
                    if self.gossip.owe(Awaiting::Batch(id), message, now) {
                        return Ok(());
                    }
                }
                self.ask_back(&outcome, place, from, now, effects)?;
                outcome
            }
            Err(error) => BatchOutcome::Invalid(error),
        };
        let verdict = match &outcome {
            BatchOutcome::Added { .. } => Verdict::Accept,
            // Of two batches for one place only the author is guilty, and the second is not passed on.
            BatchOutcome::Known
            | BatchOutcome::Taken
            | BatchOutcome::Gap { .. }
            | BatchOutcome::Ahead
            | BatchOutcome::NotAdmitted
            | BatchOutcome::TooFar
            | BatchOutcome::Unlinked
            | BatchOutcome::Full => Verdict::Ignore,
            BatchOutcome::Invalid(error) => self.judge(error.severity(), from, error, now, effects),
        };
        effects.push(Effect::Verdict(message, verdict));
        self.on_batch_outcome(outcome, &mut Newest::new(), effects);
        Ok(())
    }

    /// A batch that does not name the one before it as known here: its author signed another one there, or whoever sent
    /// it follows another branch. The sender is asked for that one, now and then: the two together are a proof.
    pub(super) fn ask_back(
        &mut self,
        outcome: &BatchOutcome,
        (station, sequence): (StationId, Sequence),
        from: StationId,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        if let (BatchOutcome::Unlinked, Some(before)) = (outcome, sequence.previous())
            && !self.ledger.is_accused(&station)?
            && self.gossip.may_ask_back(station, now)
        {
            effects.push(Effect::FetchLog { peer: from, station, from: before });
        }
        Ok(())
    }

    /// Asks a peer for what is missing of a log from `missing` on, unless that is under way.
    pub(super) fn ask_for_log(
        &mut self,
        peer: StationId,
        station: StationId,
        missing: Sequence,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if self.gossip.may_ask_for_log(station, now) {
            effects.push(Effect::FetchLog { peer, station, from: missing });
        }
    }

    /// The verdict on something invalid, and what it costs the sender.
    pub(super) fn judge(
        &mut self,
        severity: Severity,
        from: StationId,
        error: &impl std::fmt::Display,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        match severity {
            Severity::Peer => {
                self.part_from(from, format!("gossiped an invalid message: {error}"), BAN_MS, now, effects);
                Verdict::Reject
            }
            Severity::Later => {
                let is_told = self.gossip.newer_told.is_some_and(|told| now.since(told) < TELL_AGAIN_MS);
                if !is_told {
                    self.gossip.newer_told = Some(now);
                    effects.push(Effect::Event(Event::NewerVersion));
                }
                Verdict::Ignore
            }
            Severity::Fatal => Verdict::Ignore,
        }
    }

    /// Carries out what a batch that was taken in changed, and notes the newest of its log; returns how many batches
    /// and records were new.
    pub(super) fn on_batch_outcome(
        &mut self,
        outcome: BatchOutcome,
        newest: &mut Newest,
        effects: &mut Vec<Effect>,
    ) -> (u64, u64) {
        let BatchOutcome::Added { batches, transition } = outcome else { return (0, 0) };
        effects.extend(transition.map(Effect::Persist));
        for batch in &batches {
            effects.extend(self.gossip.settle(Awaiting::Batch(batch.id()), Verdict::Accept));
        }
        effects.extend(record_events(&batches));
        newest.extend(batches.iter().map(|batch| (batch.station(), batch.clone())));
        (batches.len() as u64, batches.iter().map(|batch| batch.records().len() as u64).sum())
    }

    pub(super) fn on_fetched_log(
        &mut self,
        from: StationId,
        checked: Checked,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        let bytes: usize = checked.batches.iter().map(VerifiedBatch::encoded_len).sum();
        let mut newest = Newest::new();
        for batch in checked.batches {
            let place = batch.signed().place();
            let outcome = self.ledger.add_verified(batch, now)?;
            self.ask_back(&outcome, place, from, now, effects)?;
            self.on_batch_outcome(outcome, &mut newest, effects);
        }
        if let Some(error) = checked.fault {
            self.judge(error.severity(), from, &error, now, effects);
        } else if bytes > FULL_ANSWER_BYTES {
            // There may be more of what was asked for.
            let next = newest.iter().filter_map(|(station, batch)| Some((*station, batch.sequence().next()?)));
            effects.extend(next.map(|(station, next)| Effect::FetchLog { peer: from, station, from: next }));
        }
        pass_on(newest, effects);
        Ok(())
    }

    pub(super) fn on_gossip_block(
        &mut self,
        message: MessageToken,
        from: StationId,
        data: &[u8],
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        let verdict = match Announcement::decode(data) {
            Ok(announcement) => {
                let hash = announcement.sealed.hash(self.ledger.rules());
                match self.on_announcement(announcement, from, now, effects)? {
                    None if self.gossip.owe(Awaiting::Block(hash), message, now) => return Ok(()),
                    verdict => verdict.unwrap_or(Verdict::Ignore),
                }
            }
            Err(error) => self.judge(error.severity(), from, &error, now, effects),
        };
        effects.push(Effect::Verdict(message, verdict));
        Ok(())
    }

    /// Checks an announcement and goes after its body; the verdict is about whoever sent it on. `None` while it waits
    /// for its parent.
    fn on_announcement(
        &mut self,
        announcement: Announcement,
        from: StationId,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Verdict>, ReadError> {
        let hash = match self.ledger.check_announcement(&announcement, now) {
            Ok(hash) => hash,
            Err(BlockRefusal::Chain(ChainError::UnknownParent { hash, .. })) => {
                if !self.gossip.may_stray(from, now) {
                    let reason = "announced blocks upon blocks that attach to nothing".to_owned();
                    self.part_from(from, reason, PAUSE_MS, now, effects);
                    return Ok(Some(Verdict::Ignore));
                }
                self.gossip.orphans.insert(hash, announcement, from, now);
                self.syncing.want(from, now);
                return Ok(None);
            }
            Err(BlockRefusal::Chain(ChainError::Ahead { .. })) => {
                self.gossip.ahead.push_back((announcement, from));
                if self.gossip.ahead.len() > MAX_ORPHANS {
                    self.gossip.ahead.pop_front();
                }
                return Ok(Some(Verdict::Ignore));
            }
            // Who sent it on may not have connected that block, and then cannot know.
            Err(BlockRefusal::Chain(ChainError::Invalid { .. })) => return Ok(Some(Verdict::Ignore)),
            Err(BlockRefusal::Connect(ConnectError::NotAdmitted { .. })) => {
                self.measure(from, encoded_len(&announcement), now, effects)?;
                return Ok(Some(Verdict::Ignore));
            }
            // Whoever has another head passes it on unseen: only the producer is answerable.
            Err(BlockRefusal::Connect(
                ConnectError::Reveal { .. } | ConnectError::Introduction { .. } | ConnectError::Seal { .. },
            )) => return Ok(Some(Verdict::Ignore)),
            Err(BlockRefusal::Connect(error)) if error.severity() == Severity::Fatal => {
                let ConnectError::Read(error) = error else {
                    return Ok(Some(Verdict::Ignore));
                };
                return Err(error);
            }
            Err(refusal) => return Ok(Some(self.judge(refusal.severity(), from, &refusal, now, effects))),
        };
        self.ledger.compare_introduction(&announcement)?;
        let (is_known, is_head) = (self.ledger.chain().contains(&hash), self.ledger.chain().head() == hash);
        // A sync may have brought the head before gossip did: others still hear of it from here.
        if (is_known && !is_head) || self.gossip.incomplete.contains_key(&hash) {
            return Ok(Some(Verdict::Ignore));
        }
        let header = &announcement.sealed.header;
        let verdict =
            if self.gossip.relays(header.previous, header.producer) { Verdict::Accept } else { Verdict::Ignore };
        if is_known {
            return Ok(Some(verdict));
        }
        let batches = BTreeMap::new();
        let incomplete = Incomplete { announcement, from, batches, since: now, attempts: 0, again_at: None };
        self.complete(hash, incomplete, now, effects)?;
        Ok(Some(verdict))
    }

    /// Puts an announced block together, or asks for what is missing. A bad body is its producer's fault alone.
    fn complete(
        &mut self,
        hash: BlockHash,
        incomplete: Incomplete,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        match self.ledger.assemble(&incomplete.announcement, &incomplete.batches)? {
            Ok(Assembled::Block(block)) => self.take_block(block, now, effects),
            Ok(Assembled::Missing(indexes)) => {
                let of_peer = self.gossip.incomplete.values().filter(|other| other.from == incomplete.from).count();
                if self.gossip.incomplete.len() < MAX_INCOMPLETE.0 && of_peer < MAX_INCOMPLETE.1 {
                    let peer = self.whom_to_ask(&incomplete, now);
                    let id_at = |index: &u32| incomplete.announcement.batch_ids.get(*index as usize).copied();
                    let ids = indexes.iter().filter_map(id_at).collect();
                    effects.push(Effect::FetchBatches { peer, block: hash, indexes, ids });
                    self.gossip.incomplete.insert(hash, incomplete);
                } else {
                    self.syncing.want(incomplete.from, now);
                }
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Who announced the block; once it has gone, whoever else is there, in turn.
    fn whom_to_ask(&self, incomplete: &Incomplete, now: Timestamp) -> StationId {
        let is_usable = |peer: &StationId| !self.syncing.is_banned(peer, now);
        if self.peers.contains_key(&incomplete.from) && is_usable(&incomplete.from) {
            return incomplete.from;
        }
        let others: Vec<StationId> = self.peers().filter(is_usable).collect();
        let turn = (incomplete.attempts as usize).checked_rem(others.len());
        turn.map_or(incomplete.from, |turn| others[turn])
    }

    fn take_block(&mut self, block: VerifiedBlock, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), ReadError> {
        let outcome = self.ledger.add_blocks(vec![block], now)?;
        self.adopt(outcome, now, effects)
    }

    pub(super) fn on_fetched_batches(
        &mut self,
        block: BlockHash,
        from: StationId,
        checked: Checked,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        let Some(mut incomplete) = self.gossip.incomplete.remove(&block) else { return Ok(()) };
        let before = incomplete.batches.len();
        // What else a peer sends must neither pile up nor count as progress.
        let wanted: HashSet<BatchId> = incomplete.announcement.batch_ids.iter().copied().collect();
        let batches = checked.batches.into_iter().filter(|batch| wanted.contains(&batch.id()));
        incomplete.batches.extend(batches.map(|batch| (batch.id(), batch)));
        if let Some(error) = checked.fault {
            self.judge(error.severity(), from, &error, now, effects);
        }
        let bytes: u64 = incomplete.batches.values().map(|batch| batch.encoded_len() as u64).sum();
        if bytes > u64::from(incomplete.announcement.sealed.header.body_bytes) {
            // The producer named batches that are no block together: it can never be whole.
            return Ok(());
        }
        if incomplete.batches.len() > before {
            return self.complete(block, incomplete, now, effects);
        }
        let pause = FIRST_PAUSE_MS.saturating_mul(2_i64.saturating_pow(incomplete.attempts)).min(LONGEST_PAUSE_MS);
        incomplete.attempts += 1;
        incomplete.again_at = Some(now.saturating_add(pause));
        self.gossip.incomplete.insert(block, incomplete);
        Ok(())
    }

    /// Goes on with announcements that waited for these blocks.
    pub(super) fn attach_orphans(
        &mut self,
        parents: &[BlockHash],
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        for parent in parents {
            for (announcement, from) in self.gossip.orphans.take_children(parent) {
                let hash = announcement.sealed.hash(self.ledger.rules());
                if let Some(verdict) = self.on_announcement(announcement, from, now, effects)? {
                    effects.extend(self.gossip.settle(Awaiting::Block(hash), verdict));
                }
            }
        }
        Ok(())
    }

    /// Tries again what waited for the clock or a predecessor; drops what waited too long.
    pub(super) fn retry_waiting(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), ReadError> {
        for outcome in self.ledger.retry_held(now)? {
            self.on_batch_outcome(outcome, &mut Newest::new(), effects);
        }
        self.gossip.asked_logs.retain(|_, since| now.since(*since) < LOG_PAUSE_MS);
        self.gossip.orphans.expire(now);
        self.strangers.expire(now);
        self.gossip.incomplete.retain(|_, incomplete| now.since(incomplete.since) < ORPHAN_FOR_MS);
        let is_due = |_: &BlockHash, incomplete: &mut Incomplete| incomplete.again_at.is_some_and(|at| at <= now);
        let due: Vec<_> = self.gossip.incomplete.extract_if(.., is_due).collect();
        for (hash, incomplete) in due {
            if !self.ledger.chain().contains(&hash) {
                self.complete(hash, Incomplete { again_at: None, ..incomplete }, now, effects)?;
            }
        }
        let is_late = |_: &Awaiting, (_, since): &mut (MessageToken, Timestamp)| now.since(*since) >= OWED_MS;
        let late = self.gossip.owed.extract_if(.., is_late);
        effects.extend(late.map(|(_, (message, _))| Effect::Verdict(message, Verdict::Ignore)));
        let latest = now.saturating_add(MAX_CLOCK_SKEW_MS);
        let waiting = std::mem::take(&mut self.gossip.ahead);
        for (announcement, from) in waiting {
            if announcement.sealed.header.timestamp <= latest {
                self.on_announcement(announcement, from, now, effects)?;
            } else {
                self.gossip.ahead.push_back((announcement, from));
            }
        }
        Ok(())
    }
}
