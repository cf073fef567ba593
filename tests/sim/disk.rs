//! A station's disk: transitions in order, of which only a synced prefix outlives a crash.

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, StationId};
use qfzz_ledger_core::ledger::Transition;
use qfzz_ledger_core::state::Writes;
use qfzz_node::store::{LedgerStore, MemoryReader, MemoryStore};

use crate::chance::Chance;

/// Transitions whose kept blocks may not have reached the disk, counted from the newest.
const UNSYNCED_KEPT: usize = 12;

/// The disk. See the module.
pub(crate) struct Disk {
    journal: Vec<Transition>,
    /// How many of them are synced.
    synced: usize,
    /// Up to which the sync under way reaches.
    syncing: Option<usize>,
    /// How many there were when the station started: its transitions count from 1 after these.
    base: usize,
    store: MemoryStore,
}

/// What a crash took away.
#[derive(Default)]
pub(crate) struct Lost {
    pub(crate) own_batches: Vec<VerifiedBatch>,
    pub(crate) blocks: Vec<VerifiedBlock>,
    pub(crate) transitions: usize,
}

impl Disk {
    /// An empty disk.
    pub(crate) fn new(rules: &Rules, station: StationId) -> Self {
        Self { journal: Vec::new(), synced: 0, syncing: None, base: 0, store: MemoryStore::new(rules, station) }
    }

    /// What is committed.
    pub(crate) fn reader(&self) -> MemoryReader {
        self.store.reader()
    }

    /// All that was written, synced or not.
    pub(crate) fn journal(&self) -> &[Transition] {
        &self.journal
    }

    /// Whether nothing waits for a sync.
    pub(crate) fn is_idle(&self) -> bool {
        self.synced == self.journal.len()
    }

    /// Writes a transition, not synced.
    ///
    /// # Panics
    /// If it is not the next one.
    pub(crate) fn write(&mut self, transition: Transition) {
        let expected = (self.journal.len() - self.base + 1) as u64;
        assert_eq!(transition.number, expected, "transitions are written in order");
        self.journal.push(transition);
    }

    /// Starts a sync of all that waits; false if one is under way or nothing waits.
    pub(crate) fn start_sync(&mut self) -> bool {
        if self.syncing.is_some() || self.is_idle() {
            return false;
        }
        self.syncing = Some(self.journal.len());
        true
    }

    /// The sync under way is done: returns up to which transition everything is committed.
    ///
    /// # Panics
    /// If no sync is under way, or the store refuses a transition.
    pub(crate) fn finish_sync(&mut self) -> u64 {
        let upto = self.syncing.take().expect("a sync is under way");
        self.store.commit(&self.journal[self.synced..upto]).expect("each transition follows the one before");
        self.synced = upto;
        (self.synced - self.base) as u64
    }

    /// The power fails. What was synced stays; of the rest a prefix may have reached the disk, and so may any of the
    /// blocks off the best chain, which are never synced.
    pub(crate) fn crash(&mut self, chance: &mut Chance) -> Lost {
        let unsynced = self.journal.len() - self.synced;
        let survive = if chance.percent(30) { chance.index(unsynced + 1) } else { 0 };
        let gone = self.journal.split_off(self.synced + survive);
        let mut lost = Lost { transitions: gone.len(), ..Lost::default() };
        let recent = self.journal.len().saturating_sub(UNSYNCED_KEPT);
        for transition in &mut self.journal[recent..] {
            transition.kept.retain(|_| chance.percent(60));
        }
        for transition in gone {
            lost.own_batches.extend(transition.own_batches);
            lost.blocks.extend(transition.connected.into_iter().map(|(block, _)| block));
            let (survived, kept): (Vec<_>, Vec<_>) = transition.kept.into_iter().partition(|_| chance.percent(50));
            lost.blocks.extend(kept);
            if !survived.is_empty() {
                self.journal.push(only_kept(transition.head, transition.height, survived));
            }
        }
        self.synced = self.journal.len();
        self.syncing = None;
        lost
    }

    /// Reads everything anew, as a station does when it starts.
    ///
    /// # Panics
    /// If the store refuses a transition.
    pub(crate) fn restart(&mut self, rules: &Rules, station: StationId) {
        self.store = MemoryStore::new(rules, station);
        self.store.commit(&self.journal).expect("each transition follows the one before");
        self.base = self.journal.len();
    }
}

/// Nothing but blocks that were kept.
fn only_kept(head: BlockHash, height: Height, kept: Vec<VerifiedBlock>) -> Transition {
    Transition {
        number: 0,
        own_batches: Vec::new(),
        kept,
        dropped: Vec::new(),
        reverted: Vec::new(),
        connected: Vec::new(),
        replaces_state: false,
        writes: Writes::new(),
        head,
        height,
    }
}
