//! The stations of the tests: one at home, on the store that is tested, and its peers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::{SealedHeader, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence};
use qfzz_ledger_core::ledger::{BlocksOutcome, Ledger, Transition};
use qfzz_ledger_core::memory::MemoryStore as PeerStore;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::{Key, StateRead, Writes};
use qfzz_ledger_core::testing::{at, ledger, own_log, solve, station};
use qfzz_ledger_core::verify::Verifier;
use tempfile::TempDir;

use crate::store::{DiskStore, LedgerStore, MemoryStore, Opened, StoreError, StoreRead, StoredBatch};

/// The station whose store is tested.
pub(in crate::store) const HOME: u8 = 1;

/// Makes, closes and opens a store.
pub(in crate::store) trait Bench {
    type Store: LedgerStore;
    fn new(rules: &Arc<Rules>) -> Self;
    fn store(&mut self) -> &mut Self::Store;
    fn reopen(&mut self);
    /// As [`reopen`](Self::reopen), after a commit that failed: half of a group may have to be cut.
    fn reopen_after_failure(&mut self);
}

pub(in crate::store) struct InMemory(MemoryStore);

impl Bench for InMemory {
    type Store = MemoryStore;

    fn new(rules: &Arc<Rules>) -> Self {
        Self(MemoryStore::new(rules, station(HOME)))
    }

    fn store(&mut self) -> &mut MemoryStore {
        &mut self.0
    }

    fn reopen(&mut self) {}

    fn reopen_after_failure(&mut self) {}
}

pub(in crate::store) struct OnDisk {
    pub(in crate::store) dir: PathBuf,
    _temporary: Option<TempDir>,
    pub(in crate::store) rules: Arc<Rules>,
    store: Option<DiskStore>,
    /// What the last opening healed.
    pub(in crate::store) opened: Opened,
}

impl OnDisk {
    /// A store in a directory of the caller's.
    pub(in crate::store) fn at(dir: PathBuf, rules: &Arc<Rules>) -> Self {
        let (rules, opened) = (Arc::clone(rules), Opened::default());
        let mut bench = Self { dir, _temporary: None, rules, store: None, opened };
        bench.open().unwrap();
        bench
    }

    /// Closes the store, so that its files can be handled.
    pub(in crate::store) fn close(&mut self) {
        self.store = None;
    }

    pub(in crate::store) fn open(&mut self) -> Result<(), StoreError> {
        self.close();
        let (store, opened) = DiskStore::open(&self.dir, Arc::clone(&self.rules), station(HOME))?;
        (self.store, self.opened) = (Some(store), opened);
        Ok(())
    }
}

impl Bench for OnDisk {
    type Store = DiskStore;

    fn new(rules: &Arc<Rules>) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut bench = Self::at(temporary.path().to_path_buf(), rules);
        bench._temporary = Some(temporary);
        bench
    }

    fn store(&mut self) -> &mut DiskStore {
        self.store.as_mut().expect("the store is open")
    }

    fn reopen(&mut self) {
        self.open().unwrap();
        assert_eq!(self.opened, Opened::default(), "nothing had to be healed");
    }

    fn reopen_after_failure(&mut self) {
        self.open().unwrap();
        assert_eq!(self.opened, Opened { cut: self.opened.cut, ..Opened::default() });
    }
}

type Reader<B> = <<B as Bench>::Store as LedgerStore>::Reader;

/// The station at home: a ledger on the store that is tested.
pub(in crate::store) struct Home<B: Bench> {
    pub(in crate::store) bench: B,
    pub(in crate::store) rules: Arc<Rules>,
    /// None only while the store is closed.
    ledger: Option<Ledger<Reader<B>>>,
    /// Transitions that were decided and not committed yet.
    waiting: Vec<Transition>,
    own: Vec<VerifiedBatch>,
    keys: BTreeSet<Key>,
    pub(in crate::store) reorganisations: usize,
    now: i64,
}

fn ledger_on<R: StoreRead + Clone>(rules: &Arc<Rules>, reader: R, now: i64) -> Ledger<R> {
    let plain = |headers: Vec<(BlockHash, _)>| {
        headers.into_iter().map(|(hash, sealed): (_, SealedHeader)| (hash, sealed.header))
    };
    let best = plain(reader.headers(Height::new(1), usize::MAX).unwrap());
    let side = plain(reader.side_headers().unwrap());
    let pending = reader.own_pending().unwrap();
    Ledger::open(Arc::clone(rules), reader, own_log(rules, HOME), best, side, pending, at(now)).unwrap()
}

impl<B: Bench> Home<B> {
    pub(in crate::store) fn new(rules: &Arc<Rules>) -> Self {
        Self::on(B::new(rules), rules)
    }

    /// On a store that holds nothing but genesis.
    pub(in crate::store) fn on(mut bench: B, rules: &Arc<Rules>) -> Self {
        let ledger = Some(ledger_on(rules, bench.store().reader(), 0));
        let (waiting, own, keys) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { bench, rules: Arc::clone(rules), ledger, waiting, own, keys, reorganisations: 0, now: 0 }
    }

    /// Closes the store, does `reopen`, and starts the ledger from what the store holds. What waited is forgotten.
    pub(in crate::store) fn restart(&mut self, reopen: impl FnOnce(&mut B)) {
        self.ledger = None;
        self.waiting.clear();
        reopen(&mut self.bench);
        self.ledger = Some(ledger_on(&self.rules, self.bench.store().reader(), self.now));
    }

    /// Closes and opens the store.
    pub(in crate::store) fn reopen(&mut self) {
        self.restart(B::reopen);
    }

    /// Closes and opens the store, whose state is no longer that of its blocks.
    pub(in crate::store) fn reopen_without_ledger(&mut self) {
        self.ledger = None;
        self.bench.reopen();
    }

    fn ledger(&mut self) -> &mut Ledger<Reader<B>> {
        self.ledger.as_mut().expect("the store is open")
    }

    pub(in crate::store) fn reader(&mut self) -> Reader<B> {
        self.bench.store().reader()
    }

    pub(in crate::store) fn head(&mut self) -> BlockHash {
        self.ledger().chain().head()
    }

    fn wait(&mut self, transitions: impl IntoIterator<Item = Transition>) {
        for transition in transitions {
            self.own.extend(transition.own_batches.iter().cloned());
            self.keys.extend(transition.writes.keys().cloned());
            self.reorganisations += usize::from(!transition.reverted.is_empty());
            self.waiting.push(transition);
        }
    }

    /// Signs records; committed with what follows.
    pub(in crate::store) fn sign(&mut self, records: Vec<Record>) {
        self.now += 1;
        let now = at(self.now);
        let transition = self.ledger().sign(records, now).unwrap();
        self.wait(transition);
    }

    /// Mines what is pending; committed with what follows.
    pub(in crate::store) fn mine(&mut self) -> VerifiedBlock {
        self.now += 1;
        let (rules, now) = (Arc::clone(&self.rules), self.now);
        let (block, transitions) = mine(self.ledger(), &rules, now);
        self.wait(transitions);
        block
    }

    /// Takes blocks in; committed with what follows.
    pub(in crate::store) fn take(&mut self, blocks: Vec<VerifiedBlock>) {
        let now = at(self.now + 100_000);
        let outcome = self.ledger().add_blocks(blocks, now).unwrap();
        assert_eq!(outcome.refused, None);
        self.wait(outcome.transitions);
    }

    /// Commits all that waits, in one call.
    pub(in crate::store) fn commit(&mut self) -> Vec<Transition> {
        let transitions = std::mem::take(&mut self.waiting);
        self.bench.store().commit(&transitions).unwrap();
        if let Some(last) = transitions.last() {
            self.ledger().committed(last.number);
        }
        transitions
    }

    /// Compares all that can be read with a walk over the chain from genesis.
    pub(in crate::store) fn check(&mut self) {
        let (reader, rules) = (self.reader(), Arc::clone(&self.rules));
        let mut verifier = Verifier::from_genesis(&rules);
        let headers = reader.headers(Height::ZERO, usize::MAX).unwrap();
        assert_eq!(headers.last().map(|(hash, _)| *hash), Some(self.head()));
        let mut next = Sequence::ZERO;
        for ((hash, sealed), height) in headers.iter().zip(0..).skip(1) {
            let height = Height::new(height);
            assert_eq!(reader.header_at(height).unwrap(), Some((*hash, sealed.clone())));
            assert_eq!(reader.header(hash).unwrap().as_ref(), Some(sealed));
            assert_eq!(reader.best_height(hash).unwrap(), Some(height));
            let block = reader.block(hash).unwrap().expect("a block of the best chain is there");
            assert_eq!(verifier.next(block.to_signed()).unwrap(), block);
            assert!(reader.undo(hash).unwrap().is_some());
            for batch in block.batches() {
                let stored = StoredBatch { batch: batch.clone(), height: Some(height) };
                assert_eq!(reader.batch(&batch.station(), batch.sequence()).unwrap(), Some(stored));
                if batch.station() == station(HOME) {
                    next = batch.sequence().next().unwrap();
                }
            }
        }
        self.keys.extend(verifier.state().keys().cloned());
        for key in &self.keys {
            let expected = StateRead::get(verifier.state(), key).unwrap();
            assert_eq!(reader.get(key).unwrap(), expected, "{key:?}");
        }
        let pending: Vec<_> = self.own.iter().filter(|batch| batch.sequence() >= next).cloned().collect();
        assert_eq!(reader.own_pending().unwrap(), pending);
        for batch in pending {
            let stored = StoredBatch { batch: batch.clone(), height: None };
            assert_eq!(reader.batch(&batch.station(), batch.sequence()).unwrap(), Some(stored));
        }
    }

    /// The trust state as far as it was ever written.
    pub(in crate::store) fn state(&mut self) -> Writes {
        let reader = self.reader();
        self.keys.iter().map(|key| (key.clone(), reader.get(key).unwrap())).collect()
    }

    /// This station's batches so far, as they were acknowledged.
    pub(in crate::store) fn own(&self) -> &[VerifiedBatch] {
        &self.own
    }
}

fn mine<R: LedgerRead>(ledger: &mut Ledger<R>, rules: &Rules, now: i64) -> (VerifiedBlock, Vec<Transition>) {
    let (introduction, template) = ledger.template(at(now)).unwrap();
    let template = template.unwrap();
    let header = solve(rules, &template);
    let (block, BlocksOutcome { transitions, refused, .. }) = ledger.mined(template, header, at(now)).unwrap();
    assert_eq!(refused, None);
    (block.unwrap(), introduction.into_iter().chain(transitions).collect())
}

/// Another station, with a store of its own.
pub(in crate::store) struct Peer {
    rules: Arc<Rules>,
    ledger: Ledger<PeerStore>,
    store: PeerStore,
    now: i64,
}

impl Peer {
    pub(in crate::store) fn new(rules: &Arc<Rules>, number: u8) -> Self {
        let (ledger, store) = ledger(rules, number);
        Self { rules: Arc::clone(rules), ledger, store, now: i64::from(number) }
    }

    fn apply(&mut self, transitions: impl IntoIterator<Item = Transition>) {
        for transition in transitions {
            self.store.apply(&transition);
            self.ledger.committed(transition.number);
        }
    }

    pub(in crate::store) fn sign(&mut self, records: Vec<Record>) -> Vec<VerifiedBatch> {
        self.now += 1;
        let transition = self.ledger.sign(records, at(self.now)).unwrap();
        let batches = transition.iter().flat_map(|transition| transition.own_batches.clone()).collect();
        self.apply(transition);
        batches
    }

    /// Signs a record and mines a block of what is pending.
    pub(in crate::store) fn mine(&mut self, record: Record) -> VerifiedBlock {
        self.sign(vec![record]);
        self.now += 1;
        let (block, transitions) = mine(&mut self.ledger, &self.rules, self.now);
        self.apply(transitions);
        block
    }

    pub(in crate::store) fn take(&mut self, blocks: Vec<VerifiedBlock>) {
        let outcome = self.ledger.add_blocks(blocks, at(self.now + 100_000)).unwrap();
        assert_eq!(outcome.refused, None);
        self.apply(outcome.transitions);
    }

    pub(in crate::store) fn take_batches(&mut self, batches: Vec<VerifiedBatch>) {
        for batch in batches {
            self.ledger.add_verified(batch, at(self.now)).unwrap();
        }
    }
}

/// A transition that changes nothing.
pub(in crate::store) fn empty<B: Bench>(home: &mut Home<B>) -> Transition {
    Transition {
        number: 0,
        own_batches: Vec::new(),
        kept: Vec::new(),
        dropped: Vec::new(),
        reverted: Vec::new(),
        connected: Vec::new(),
        replaces_state: false,
        writes: Writes::new(),
        head: home.head(),
        height: home.ledger().chain().height(),
    }
}

/// The best chain above genesis.
pub(in crate::store) fn home_chain<B: Bench>(home: &mut Home<B>) -> Vec<VerifiedBlock> {
    let reader = home.reader();
    let headers = reader.headers(Height::new(1), usize::MAX).unwrap();
    headers.iter().map(|(hash, _)| reader.block(hash).unwrap().unwrap()).collect()
}

/// A peer's best chain above genesis.
pub(in crate::store) fn peer_chain(peer: &Peer) -> Vec<VerifiedBlock> {
    let chain = peer.ledger.chain();
    let hashes = (1..=chain.height().get()).filter_map(|height| chain.at(Height::new(height)));
    hashes.map(|hash| peer.store.block(&hash).unwrap().unwrap()).collect()
}
