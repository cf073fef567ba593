//! When to sync and with whom, what syncs bring, and whom to part with.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::ids::{BlockHash, Sequence, StationId};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::{ReadError, roster_len};
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::alive::Statement;
use qfzz_sync::message::Status;
use qfzz_sync::opinion::{LiveOpinion, Question, SignedOpinion};
use qfzz_sync::peer::SessionError;
use qfzz_sync::plan::Anchor;
use qfzz_sync::report::{Fault, SyncReport};
use qfzz_sync::serve::PendingView;
use qfzz_sync::session::{Here, Taken};

use super::gossip::{Newest, pass_on};
use super::{NotSigning, State};
use crate::service::effect::{Checked, Effect, Event, Reply, Token};

/// Syncs under way at once, at most: a slow peer must not hold up the others.
const MAX_RUNNING: usize = 3;

/// After the peer subscribed to the topics, in milliseconds: what was gossiped before reached it not.
const AFTER_SUBSCRIBED_MS: i64 = 1_000;

/// How long a peer that gave no answer is left alone, in milliseconds.
const COOL_DOWN_MS: i64 = 5_000;

/// How soon a peer is asked again whose connection broke while this station waits for what it knows, in milliseconds.
const AGAIN_MS: i64 = 250;

/// How long a peer that sent something invalid is left alone, in milliseconds.
pub(super) const BAN_MS: i64 = 600_000;

/// How long a peer is left alone for what an honest one might do in trouble, too, in milliseconds.
pub(super) const PAUSE_MS: i64 = 60_000;

/// After a sync with a peer, in milliseconds: an announcement that does not attach is no reason for one sooner.
const BREATH_MS: i64 = 200;

/// How long a peer waits for its turn before syncs that have had theirs give way, in milliseconds.
const WAITS_MS: i64 = 2_000;

/// A sync that took this long, in milliseconds, with fewer bytes for it than this, was slow. Slow peers share one turn.
const SLOW: (u64, u64) = (10_000, 16);

/// What syncs with a peer that failed may take in all, in milliseconds, before signing waits for it no longer: it may be
/// silent on purpose. A first silence takes 20 s.
const MAX_FAILED_MS: u64 = 50_000;

/// Peers whose ban is remembered, at most; the oldest go first.
const MAX_BANNED: usize = 1_024;

/// When a station syncs.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// Between two syncs with the same peer, in milliseconds.
    pub interval_ms: i64,
}

pub(super) struct Syncing {
    config: SyncConfig,
    /// When a sync with each connected peer is due.
    due: BTreeMap<StationId, Timestamp>,
    running: BTreeSet<StationId>,
    /// Connected peers that were slow the last time.
    slow: BTreeSet<StationId>,
    /// When the last sync with each connected peer ended.
    ended: BTreeMap<StationId, Timestamp>,
    banned: HashMap<StationId, Timestamp>,
    /// What syncs took that failed with those from whom this station waits to hear of its own log, in milliseconds.
    failed_ms: BTreeMap<StationId, u64>,
    /// Whether a sync with some peer ended without fault since the start.
    is_synced: bool,
}

impl Syncing {
    pub(super) fn new(config: SyncConfig) -> Self {
        Self {
            config,
            due: BTreeMap::new(),
            running: BTreeSet::new(),
            slow: BTreeSet::new(),
            ended: BTreeMap::new(),
            banned: HashMap::new(),
            failed_ms: BTreeMap::new(),
            is_synced: false,
        }
    }

    /// A sync with this peer is wanted at `at`, or earlier if it was wanted earlier. No effect if it is not connected.
    pub(super) fn want(&mut self, peer: StationId, at: Timestamp) {
        let earliest = self.ended.get(&peer).map_or(at, |ended| ended.saturating_add(BREATH_MS).max(at));
        if let Some(due) = self.due.get_mut(&peer) {
            *due = earliest.min(*due);
        }
    }

    /// The next sync with this peer is due at `until`, whenever it was wanted. No effect if it is not connected.
    fn put_off(&mut self, peer: &StationId, until: Timestamp) {
        if let Some(due) = self.due.get_mut(peer) {
            *due = until;
        }
    }

    /// Peers with whom a sync may begin, with the time when it is due.
    fn waiting(&self) -> impl Iterator<Item = (StationId, Timestamp)> {
        let is_slow_turn_taken = self.running.iter().any(|peer| self.slow.contains(peer));
        let waiting = self.due.iter().filter(|(peer, _)| !self.running.contains(peer));
        let may_begin = waiting.filter(move |(peer, _)| !is_slow_turn_taken || !self.slow.contains(peer));
        may_begin.map(|(peer, due)| (*peer, *due))
    }

    /// Whether a peer is left alone.
    pub(super) fn is_banned(&self, peer: &StationId, now: Timestamp) -> bool {
        self.banned.get(peer).is_some_and(|until| *until > now)
    }

    /// Those with whom a sync is under way, or should have begun.
    fn asked(&self, now: Timestamp) -> impl Iterator<Item = StationId> {
        // Also a slow one that waits for its turn.
        let due = self.due.iter().filter(move |(peer, due)| **due <= now && !self.running.contains(peer));
        self.running.iter().chain(due.map(|(peer, _)| peer)).copied()
    }

    /// Every connected peer is asked as soon as may be.
    pub(super) fn want_all(&mut self, now: Timestamp) {
        let peers: Vec<StationId> = self.due.keys().copied().filter(|peer| !self.is_banned(peer, now)).collect();
        peers.into_iter().for_each(|peer| self.want(peer, now));
    }

    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.waiting().map(|(_, due)| due).min().filter(|_| self.running.len() < MAX_RUNNING)
    }
}

impl<R: LedgerRead> State<R> {
    /// Whether a sync with some peer ended without fault since the start.
    pub const fn is_synced(&self) -> bool {
        self.syncing.is_synced
    }

    /// What this station says of the daemon that runs it, to its peers; none from one that repairs the store.
    pub fn alive(&self, now: Timestamp) -> Option<Statement> {
        let run = Some(self.signing.run()).filter(|_| self.not_signing() != Some(NotSigning::Repairing))?;
        Some(Statement::sign(self.ledger.rules(), self.ledger.own().key(), run, now))
    }

    /// What this station says of a subject when a peer asks it at `now`; `None` while it signs nothing.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn live_opinion(&self, question: Question, now: Timestamp) -> Result<Option<SignedOpinion>, ReadError> {
        if self.not_signing().is_some() {
            return Ok(None);
        }
        Ok(Some(LiveOpinion::of(&self.ledger, question, now)?.sign(self.ledger.own().key())))
    }

    pub(super) fn on_connected(&mut self, peer: StationId, now: Timestamp) {
        self.peers.entry(peer).or_default();
        let banned_until = self.syncing.banned.get(&peer).copied().filter(|until| *until > now);
        self.syncing.due.insert(peer, banned_until.unwrap_or(now));
    }

    pub(super) fn on_familiar(&mut self, peer: StationId, now: Timestamp) {
        let is_news = self.peers.get_mut(&peer).is_some_and(|known| !std::mem::replace(&mut known.is_familiar, true));
        if is_news && self.signing.is_holding() && self.syncing.ended.contains_key(&peer) {
            // What it told as a stranger did not count.
            self.syncing.want(peer, now);
        }
    }

    pub(super) fn on_subscribed(&mut self, peer: StationId, now: Timestamp) {
        if let Some(known) = self.peers.get_mut(&peer)
            && !known.subscribed
        {
            known.subscribed = true;
            self.syncing.want(peer, now.saturating_add(AFTER_SUBSCRIBED_MS));
        }
    }

    pub(super) fn on_disconnected(&mut self, peer: StationId) {
        self.peers.remove(&peer);
        self.syncing.due.remove(&peer);
        self.syncing.slow.remove(&peer);
        self.syncing.ended.remove(&peer);
        self.gossip.disconnected(&peer);
        self.strangers.disconnected(&peer);
    }

    /// Whether a sync that has taken long should end here, because others wait for their turn.
    pub fn must_give_way(&self, now: Timestamp) -> bool {
        let is_late = |due: Timestamp| now.since(due) >= WAITS_MS;
        self.syncing.running.len() >= MAX_RUNNING && self.syncing.waiting().any(|(_, due)| is_late(due))
    }

    /// Starts the syncs that are due, the longest due first.
    pub(super) fn decide_syncs(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while self.syncing.running.len() < MAX_RUNNING {
            let next = self.syncing.waiting().filter(|(_, due)| *due <= now).min_by_key(|(peer, due)| (*due, *peer));
            let Some((peer, _)) = next else { return };
            self.syncing.running.insert(peer);
            self.syncing.due.insert(peer, now.saturating_add(self.syncing.config.interval_ms));
            effects.push(Effect::Sync(peer));
        }
    }

    pub(super) fn on_sync_ended(
        &mut self,
        report: SyncReport,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        let peer = report.peer;
        if let Some(other) = &report.other_run {
            let change = self.signing.heard_of(other, now);
            self.on_signing_changed(change, now, effects);
        }
        self.syncing.running.remove(&peer);
        if self.peers.contains_key(&peer) {
            self.syncing.ended.insert(peer, now);
            let is_slow = report.elapsed_ms >= SLOW.0 && report.bytes_in < report.elapsed_ms.saturating_mul(SLOW.1);
            if is_slow {
                self.syncing.slow.insert(peer);
            } else {
                self.syncing.slow.remove(&peer);
            }
        }
        let has_failed = report.fault.as_ref().is_some_and(|fault| !matches!(fault, Fault::GaveWay | Fault::Here));
        if !self.signing.is_holding() {
            self.syncing.failed_ms.clear();
        } else if has_failed && self.is_heard_of_own_log(&peer) {
            // With the time until it is asked again, so that what is short counts, too.
            let took = report.elapsed_ms.max(AGAIN_MS.unsigned_abs());
            *self.syncing.failed_ms.entry(peer).or_default() += took;
        }
        match &report.fault {
            None => {
                self.syncing.is_synced = true;
                let own_end = self.ledger.log_end(&self.ledger.own().station())?;
                if report.your_log.is_some_and(|told| told.next <= own_end.next) {
                    self.on_own_log_told(&peer, now)?;
                }
            }
            // Of several connections to one peer that one broke, or it is back already: what it knows is waited for.
            Some(Fault::Session(SessionError::Disconnected)) if self.signing.is_holding() => {
                self.syncing.put_off(&peer, now.saturating_add(AGAIN_MS));
            }
            Some(
                Fault::Session(SessionError::Timeout | SessionError::Disconnected) | Fault::Busy | Fault::Withheld,
            ) => self.syncing.put_off(&peer, now.saturating_add(COOL_DOWN_MS)),
            Some(fault @ Fault::Session(SessionError::Dribbled)) => {
                self.part_from(peer, fault.to_string(), PAUSE_MS, now, effects);
            }
            // It goes on when the others have had their turn.
            Some(Fault::GaveWay) => self.syncing.put_off(&peer, now),
            Some(fault) if fault.severity() == Severity::Peer => {
                self.part_from(peer, fault.to_string(), BAN_MS, now, effects);
            }
            Some(_) => {}
        }
        effects.push(Effect::Event(Event::Sync(Box::new(report))));
        Ok(())
    }

    /// The own log has reached all that a peer told of it.
    fn on_own_log_told(&mut self, peer: &StationId, now: Timestamp) -> Result<(), ReadError> {
        if self.may_tell_own_log(peer)? {
            self.signing.answered(now);
        } else {
            self.signing.answered_by_stranger(now);
        }
        Ok(())
    }

    /// Whether this station signs on the word of this peer that there is no more of its log: with a roster on that of those
    /// admitted, else on that of founders and those who are familiar. A stranger may want it to sign a place of its log
    /// twice.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn may_tell_own_log(&self, peer: &StationId) -> Result<bool, ReadError> {
        let rules = self.ledger.rules();
        if rules.has_roster() {
            return self.ledger.is_admitted(peer);
        }
        Ok(rules.is_founder(peer) || self.is_familiar(peer))
    }

    /// Whether a stranger's word counts where that of nobody else is heard for long: not with a roster that names others, as
    /// far as it is known here.
    pub(super) fn may_believe_strangers(&self) -> bool {
        let rules = self.ledger.rules();
        let is_only_founder = rules.parameters().founders.len() == 1 && rules.is_founder(&self.ledger.own().station());
        let names_nobody = || roster_len(self.ledger.read()).is_ok_and(|others| others == 0);
        self.signing.is_holding() && (!rules.has_roster() || (is_only_founder && names_nobody()))
    }

    fn is_familiar(&self, peer: &StationId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.is_familiar)
    }

    /// Whether this station waits for what this peer tells of its log: not for strangers, who could be silent for good.
    fn is_heard_of_own_log(&self, peer: &StationId) -> bool {
        // Who cannot be looked up is rather waited for.
        let is_known = self.is_familiar(peer) || self.may_tell_own_log(peer).unwrap_or(true);
        is_known && self.syncing.failed_ms.get(peer).is_none_or(|failed| *failed < MAX_FAILED_MS)
    }

    /// Whether a sync is under way or due that may be bringing this station's own log, while that is waited for.
    pub(super) fn is_asking_for_own_log(&self, now: Timestamp) -> bool {
        self.signing.is_holding() && self.syncing.asked(now).any(|peer| self.is_heard_of_own_log(&peer))
    }

    /// Parts with a peer for `ms` milliseconds, because of what it did, in the past tense.
    pub(super) fn part_from(
        &mut self,
        peer: StationId,
        reason: String,
        ms: i64,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let until = now.saturating_add(ms);
        if self.syncing.banned.get(&peer).is_some_and(|before| *before >= until) {
            return;
        }
        if self.syncing.banned.len() >= MAX_BANNED {
            let oldest =
                self.syncing.banned.iter().min_by_key(|(peer, until)| (**until, **peer)).map(|(peer, _)| *peer);
            oldest.map(|peer| self.syncing.banned.remove(&peer));
        }
        self.syncing.banned.insert(peer, until);
        self.syncing.put_off(&peer, until);
        effects.push(Effect::Ban { peer, reason, until });
    }

    pub(super) fn on_synced_blocks(
        &mut self,
        token: Token,
        blocks: Vec<VerifiedBlock>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        let head = self.ledger.chain().head();
        let new: Vec<VerifiedBlock> =
            blocks.into_iter().filter(|block| !self.ledger.chain().contains(&block.hash())).collect();
        let offered = new.clone();
        let outcome = self.ledger.add_blocks(new, now)?;
        let refused = outcome.refused.clone();
        let mut taken = Taken::default();
        let is_taken = |block: &&VerifiedBlock| self.ledger.chain().contains(&block.hash());
        for block in offered.iter().filter(is_taken) {
            taken.count += 1;
            taken.records += block.record_count();
        }
        let depths = outcome.transitions.iter().map(|transition| transition.reverted.len() as u64);
        taken.reorg_depth = depths.max().unwrap_or(0);
        self.adopt(outcome, now, effects)?;
        // Peers that are not connected to where this came from hear of the new head from here.
        let new_head = offered.last().filter(|block| block.hash() == self.ledger.chain().head());
        if let Some(block) = new_head.filter(|block| block.hash() != head) {
            effects.push(Effect::PublishBlock(block.clone()));
        }
        let outcome = refused.map_or(Ok(()), |(_, refusal)| Err(Fault::Block(refusal)));
        effects.push(Effect::Reply(token, Reply::Taken(taken, outcome)));
        Ok(())
    }

    pub(super) fn on_synced_batches(
        &mut self,
        token: Token,
        peer: StationId,
        checked: Checked,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        let mut taken = Taken::default();
        let mut newest = Newest::new();
        for batch in checked.batches {
            let place = batch.signed().place();
            let outcome = self.ledger.add_verified(batch, now)?;
            self.ask_back(&outcome, place, peer, now, effects)?;
            let (count, records) = self.on_batch_outcome(outcome, &mut newest, effects);
            taken.count += count;
            taken.records += records;
        }
        pass_on(newest, effects);
        let ended = checked.fault.map_or(Ok(()), |error| Err(Fault::Batch(error)));
        effects.push(Effect::Reply(token, Reply::Taken(taken, ended)));
        Ok(())
    }

    /// Where this station is: what a sync starts from.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn here(&self) -> Result<Here, ReadError> {
        let (chain, rules) = (self.ledger.chain(), self.ledger.rules());
        let tip = chain.tip(rules, &chain.head()).ok_or(ReadError::Damaged { what: "the head" })?;
        let own = self.ledger.own().station();
        let pending = self.ledger.pool().digest(rules);
        Ok(Here { tip, locator: chain.locator(), pending, own: (own, self.ledger.log_end(&own)?) })
    }

    /// What is known of a block.
    pub fn anchor(&self, hash: &BlockHash) -> Option<Anchor> {
        let chain = self.ledger.chain();
        Some(Anchor {
            hash: *hash,
            height: chain.height_of(hash)?,
            work: chain.work_of(hash)?,
            recent_times: chain.recent_times(hash),
            has_recent_batches: chain.has_recent_batches(hash),
        })
    }

    /// Those of `hashes` whose bodies are not known, in order.
    pub fn unknown(&self, hashes: Vec<BlockHash>) -> Vec<BlockHash> {
        hashes.into_iter().filter(|hash| !self.ledger.chain().contains(hash)).collect()
    }

    /// Where these stations' logs end here, with what is pending; in order. `None` of a station that is not admitted:
    /// nothing of it is taken in, but of this one's own log.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn log_ends(&self, stations: &[StationId]) -> Result<Vec<Option<LogEnd>>, ReadError> {
        let end = |station: &StationId| {
            let is_wanted = *station == self.ledger.own().station() || self.ledger.is_admitted(station)?;
            Ok(if is_wanted { Some(self.ledger.log_end(station)?) } else { None })
        };
        stations.iter().map(end).collect()
    }

    /// Whether a station may produce a block on `parent`; true where the state after that is not known, which is that
    /// of the head alone.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn may_produce(&self, parent: &BlockHash, producer: &StationId) -> Result<bool, ReadError> {
        Ok(self.ledger.chain().head() != *parent || self.ledger.is_admitted(producer)?)
    }
}

impl<R: LedgerRead> PendingView for State<R> {
    fn status(&self, asker: &StationId) -> Result<Status, ReadError> {
        let Here { tip, pending, .. } = self.here()?;
        let (federation, height) = (self.ledger.rules().federation(), self.ledger.chain().height());
        let your_log = self.ledger.log_end(asker)?;
        Ok(Status { federation, head: tip.hash, height, work: tip.work, pending, your_log, other_run: None })
    }

    fn confirmed_from(
        &self,
        station: &StationId,
        from: Sequence,
        bytes: usize,
    ) -> Result<Vec<VerifiedBatch>, ReadError> {
        self.ledger.confirmed_from(station, from, bytes)
    }

    fn pending_logs(&self, after: Option<StationId>, limit: usize) -> Vec<(StationId, LogEnd)> {
        self.ledger.pool().log_ends(after).take(limit).collect()
    }

    fn log_from(&self, station: &StationId, from: Sequence) -> Vec<VerifiedBatch> {
        self.ledger.pool().log_from(station, from).cloned().collect()
    }
}
