//! Clients, and what was promised to them and to the other stations.

use std::collections::{BTreeMap, BTreeSet};

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::ids::{BatchId, BlockHash, RecordId, Sequence, StationId};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::testing::{added, interaction, reported, verified};
use qfzz_node::service::effect::{Input, Receipt, Token};

use crate::chance::Chance;
use crate::world::{Event, World};

/// Between two requests of operators, in milliseconds, about.
const MINE_MS: i64 = 15_000;

/// Clients and witnesses.
pub(crate) struct Clients {
    chance: Chance,
    tokens: u64,
    /// Submissions that wait for their reply: the station, and how many records.
    waiting: BTreeMap<Token, (usize, usize)>,
    /// Every acknowledged record, with its author.
    pub(crate) acknowledged: BTreeMap<RecordId, (usize, Receipt)>,
    /// Every batch that left its author, by its place.
    left: BTreeMap<(StationId, Sequence), BatchId>,
    ids: BTreeSet<BatchId>,
    announced: BTreeSet<BlockHash>,
}

impl Clients {
    /// The clients of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: Chance::new(seed, 4),
            tokens: 0,
            waiting: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            left: BTreeMap::new(),
            ids: BTreeSet::new(),
            announced: BTreeSet::new(),
        }
    }

    /// A number that was never used.
    pub(crate) fn next_token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn records(&mut self) -> Vec<Record> {
        let chance = &mut self.chance;
        let count = if chance.percent(1) { 300 } else { chance.between(1, 3) };
        let record = |_| {
            let name = |kind: &str, number: i64| format!("{kind}{number}");
            let (content, creator) = (name("track", chance.between(0, 9)), name("artist", chance.between(0, 2)));
            match chance.between(0, 3) {
                0 => interaction(&name("user", chance.between(0, 9))),
                1 => added(&content, &creator, u32::try_from(chance.between(0, 1_000_000)).expect("not negative")),
                2 => verified(&content, &creator),
                _ => reported(&content, &creator),
            }
        };
        (0..count).map(record).collect()
    }

    /// A station gave receipts.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn acknowledged(&mut self, station: usize, token: Token, receipts: Vec<Receipt>) -> Result<(), String> {
        if self.waiting.remove(&token) != Some((station, receipts.len())) {
            return Err(format!("acknowledges {} records that nobody waits for", receipts.len()));
        }
        for receipt in receipts {
            let id = receipt.id;
            if self.acknowledged.insert(id, (station, receipt)).is_some() {
                return Err(format!("acknowledges record {id} twice"));
            }
        }
        Ok(())
    }

    /// A station told a client why it signs nothing now; whoever asked for a block is no client.
    pub(crate) fn turned_away(&mut self, token: Token) {
        self.waiting.remove(&token);
    }

    /// A station stopped: nobody waits for it any more.
    pub(crate) fn forget(&mut self, station: usize) {
        self.waiting.retain(|_, (waits_for, _)| *waits_for != station);
    }

    /// Whether somebody waits for a reply.
    pub(crate) fn wait(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A batch leaves a station.
    ///
    /// # Errors
    /// It is not the one that left for this place before.
    pub(crate) fn leaves(&mut self, batch: &VerifiedBatch) -> Result<(), String> {
        self.leaves_as(batch.signed().place(), batch.id())
    }

    /// A batch with this id leaves a station.
    ///
    /// # Errors
    /// It is not the one that left for this place before.
    pub(crate) fn leaves_as(&mut self, place: (StationId, Sequence), id: BatchId) -> Result<(), String> {
        self.ids.insert(id);
        let first = *self.left.entry(place).or_insert(id);
        if first == id { Ok(()) } else { Err(format!("sends a second batch {}.{}", place.0, place.1)) }
    }

    /// Whether a batch ever left its author.
    pub(crate) fn has_left(&self, batch: BatchId) -> bool {
        self.ids.contains(&batch)
    }

    /// A block was announced.
    pub(crate) fn announced(&mut self, block: BlockHash) {
        self.announced.insert(block);
    }

    /// Whether a block was ever announced.
    pub(crate) fn was_announced(&self, block: BlockHash) -> bool {
        self.announced.contains(&block)
    }
}

impl World {
    pub(crate) fn on_submit(&mut self) {
        if self.is_quiet() {
            return;
        }
        let wait = self.clients.chance.between(1, 2 * self.scenario.submit_ms);
        self.after(wait, Event::Submit);
        let station = self.clients.chance.index(self.stations.len());
        let records = self.clients.records();
        if self.stations[station].running.is_some() {
            let token = self.clients.next_token();
            self.clients.waiting.insert(token, (station, records.len()));
            self.line(format_args!("a client gives s{station} {} records", records.len()));
            self.input(station, Input::Submit { token, records });
        }
    }

    pub(crate) fn on_mine(&mut self) {
        if self.is_quiet() {
            return;
        }
        let wait = self.clients.chance.between(1, 2 * MINE_MS);
        self.after(wait, Event::Mine);
        let station = self.clients.chance.index(self.stations.len());
        let token = self.clients.next_token();
        self.line(format_args!("the operator of s{station} asks for a block"));
        self.input(station, Input::Mine { token });
    }
}
