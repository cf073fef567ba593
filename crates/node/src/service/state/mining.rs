//! When to mine: enough is pending, the oldest has waited, or the operator asked.
//!
//! Producers take turns by rank, one slot after the other, so that stations don't all mine at once. That is
//! politeness, not a rule of validity.

use qfzz_ledger_core::header::BlockHeader;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::ledger::{NoBlock, Template};
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::ReadError;
use qfzz_ledger_core::time::Timestamp;

use super::State;
use super::clients::{patience_ms, record_events};
use crate::service::effect::{Effect, Reply, Token};

/// Blocks whose producers take turns.
const RECENT_BLOCKS: usize = 100;

/// After a block of its own came to nothing a station waits this long, in milliseconds.
const AGAIN_MS: i64 = 1_000;

/// Requests for a block that wait, at most. While nothing may be signed they wait, and whoever asked may have gone.
const MAX_ASKED: usize = 256;

/// When a station mines.
#[derive(Clone, Debug)]
pub struct MiningConfig {
    /// Whether it mines by itself; asked by its operator it always does.
    pub enabled: bool,
    /// How long the oldest pending record may wait, in milliseconds.
    pub interval_ms: i64,
    /// How many pending records are enough.
    pub records: u64,
    /// How long each producer before this one is given, in milliseconds.
    pub slot_ms: i64,
}

pub(super) struct Mining {
    config: MiningConfig,
    /// The template that the miner works on.
    job: Option<Template>,
    /// Who asked for a block, and when.
    asked: Vec<(Token, Timestamp)>,
    /// Since when there is reason to mine on this head.
    reason_since: Option<Timestamp>,
    /// When this station's turn comes.
    due: Option<Timestamp>,
    is_used_up: bool,
    /// After a block that came to nothing: when to try again.
    not_before: Option<Timestamp>,
}

impl Mining {
    pub(super) const fn new(config: MiningConfig) -> Self {
        Self {
            config,
            job: None,
            asked: Vec::new(),
            reason_since: None,
            due: None,
            is_used_up: false,
            not_before: None,
        }
    }

    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        let due = self.due.filter(|_| self.job.is_none());
        let asked = self.not_before.filter(|_| !self.asked.is_empty());
        due.into_iter().chain(asked).min().map(|at| self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// Who asked for a block; nobody waits any more.
    pub(super) fn take_asked(&mut self) -> Vec<Token> {
        self.asked.drain(..).map(|(token, _)| token).collect()
    }

    /// The head moved: the job is stale, and turns begin anew.
    pub(super) fn head_moved(&mut self, effects: &mut Vec<Effect>) {
        if self.job.take().is_some() {
            effects.push(Effect::StopMining);
        }
        (self.reason_since, self.due) = (None, None);
    }
}

impl<R: LedgerRead> State<R> {
    pub(super) fn on_mine(&mut self, token: Token, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.mining.asked.len() < MAX_ASKED {
            self.mining.asked.push((token, now));
        } else {
            effects.push(Effect::Reply(token, Reply::Overloaded));
        }
    }

    /// Whether this station's reveal chain is used up.
    pub const fn is_used_up(&self) -> bool {
        self.mining.is_used_up
    }

    /// Starts the miner when it is time.
    pub(super) fn decide_mining(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), ReadError> {
        if let Some(reason) = self.signing.reason() {
            // What is being mined would have to be signed.
            self.mining.head_moved(effects);
            let is_over = |(_, since): &mut (Token, Timestamp)| now.since(*since) >= patience_ms(reason);
            let told = self.mining.asked.extract_if(.., is_over);
            effects.extend(told.map(|(token, _)| Effect::Reply(token, Reply::NotSigning(reason))));
            return Ok(());
        }
        if self.mining.job.is_some() || self.mining.not_before.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.mining.not_before = None;
        let is_asked = !self.mining.asked.is_empty();
        if !is_asked && !self.is_turn(now) {
            return Ok(());
        }
        let (introduced, template) = self.ledger.template(now)?;
        if let Some(transition) = introduced {
            let batches = transition.own_batches.clone();
            effects.push(Effect::Persist(Box::new(transition)));
            effects.extend(batches.iter().cloned().map(Effect::PublishBatch));
            effects.extend(record_events(&batches));
        }
        match template {
            Ok(template) => {
                effects.push(Effect::StartMining(Box::new(template.clone())));
                self.mining.job = Some(template);
            }
            Err(NoBlock::NothingPending) => self.reply_to_asked(effects, || Reply::Mined(None)),
            Err(NoBlock::NotAdmitted) => self.reply_to_asked(effects, || Reply::NotMined(NoBlock::NotAdmitted)),
            Err(NoBlock::RevealsUsedUp) => {
                self.mining.is_used_up = true;
                self.reply_to_asked(effects, || Reply::NotMined(NoBlock::RevealsUsedUp));
            }
            Err(NoBlock::ClockBehind) => {
                self.mining.not_before = Some(now.saturating_add(AGAIN_MS));
                self.reply_to_asked(effects, || Reply::NotMined(NoBlock::ClockBehind));
            }
        }
        (self.mining.reason_since, self.mining.due) = (None, None);
        Ok(())
    }

    fn reply_to_asked(&mut self, effects: &mut Vec<Effect>, reply: impl Fn() -> Reply) {
        effects.extend(self.mining.asked.drain(..).map(|(token, _)| Effect::Reply(token, reply())));
    }

    /// Whether there is reason to mine and the producers before this one have had their slots.
    fn is_turn(&mut self, now: Timestamp) -> bool {
        let MiningConfig { enabled, interval_ms, records, slot_ms } = self.mining.config;
        let pool = self.ledger.pool();
        if !enabled || self.mining.is_used_up || pool.records() == 0 {
            (self.mining.reason_since, self.mining.due) = (None, None);
            return false;
        }
        let Some(oldest) = pool.oldest() else { return false };
        let interval_ends = oldest.saturating_add(interval_ms);
        if pool.records() < records && now < interval_ends {
            self.mining.due = Some(interval_ends);
            return false;
        }
        let since = *self.mining.reason_since.get_or_insert(now);
        let turn = i64::try_from(self.turn()).unwrap_or(i64::MAX);
        let due = since.saturating_add(turn.saturating_mul(slot_ms));
        self.mining.due = Some(due);
        now >= due
    }

    /// This station's place, from 0, among itself and the recent producers that are connected.
    fn turn(&self) -> usize {
        let (chain, rules) = (self.ledger.chain(), self.ledger.rules());
        let (head, own) = (chain.head(), self.ledger.own().station());
        let rank = |station: &StationId| rules.rank(&head, station);
        let own_rank = rank(&own);
        let others = chain.recent_producers(RECENT_BLOCKS);
        let connected = others.iter().filter(|station| **station != own && self.peers.contains_key(station));
        connected.filter(|station| rank(station) < own_rank).count()
    }

    pub(super) fn on_mined(
        &mut self,
        header: BlockHeader,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        let is_current = |template: &Template| {
            template.header.merkle_root == header.merkle_root && template.header.previous == header.previous
        };
        let Some(template) = self.mining.job.take_if(|template| is_current(template)) else { return Ok(()) };
        let (block, outcome) = self.ledger.mined(template, header, now)?;
        let is_refused = outcome.refused.is_some();
        self.adopt(outcome, now, effects)?;
        if is_refused {
            // Something is wrong here, with the clock as a rule: not at once again.
            self.mining.not_before = Some(now.saturating_add(AGAIN_MS));
        }
        if let Some(block) = block.filter(|_| !is_refused) {
            effects.push(Effect::PublishBlock(block.clone()));
            self.reply_to_asked(effects, || Reply::Mined(Some(block.clone())));
        }
        Ok(())
    }
}
