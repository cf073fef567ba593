//! One suite for every store. Each test runs on disk, where `reopen` closes and opens the store, and in memory.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence};
use qfzz_ledger_core::ledger::{BlocksOutcome, Ledger, Transition};
use qfzz_ledger_core::limits::MAX_UNDO_BLOCKS;
use qfzz_ledger_core::memory::MemoryStore as PeerStore;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::{Key, StateRead, Writes};
use qfzz_ledger_core::testing::{added, at, interaction, ledger, own_log, reported, rules, solve, station, verified};
use qfzz_ledger_core::verify::Verifier;
use qfzz_sync::message::{Request, Response};
use qfzz_sync::serve::answer_about_blocks;
use tempfile::TempDir;

use super::{Blocks, DiskStore, LedgerStore, MemoryStore, Opened, StoreError, StoreRead, StoredBatch};

/// The station whose store is tested.
pub(super) const HOME: u8 = 1;

/// Makes, closes and opens a store.
pub(super) trait Bench {
    type Store: LedgerStore;
    fn new(rules: &Arc<Rules>) -> Self;
    fn store(&mut self) -> &mut Self::Store;
    fn reopen(&mut self);
    /// As [`reopen`](Self::reopen), after a commit that failed: half of a group may have to be cut.
    fn reopen_after_failure(&mut self);
}

pub(super) struct InMemory(MemoryStore);

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

pub(super) struct OnDisk {
    pub(super) dir: PathBuf,
    _temporary: Option<TempDir>,
    rules: Arc<Rules>,
    store: Option<DiskStore>,
    /// What the last opening healed.
    pub(super) opened: Opened,
}

impl OnDisk {
    /// A store in a directory of the caller's.
    pub(super) fn at(dir: PathBuf, rules: &Arc<Rules>) -> Self {
        let (rules, opened) = (Arc::clone(rules), Opened::default());
        let mut bench = Self { dir, _temporary: None, rules, store: None, opened };
        bench.open().unwrap();
        bench
    }

    /// Closes the store, so that its files can be handled.
    pub(super) fn close(&mut self) {
        self.store = None;
    }

    pub(super) fn open(&mut self) -> Result<(), StoreError> {
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
pub(super) struct Home<B: Bench> {
    pub(super) bench: B,
    pub(super) rules: Arc<Rules>,
    /// None only while the store is closed.
    ledger: Option<Ledger<Reader<B>>>,
    /// Transitions that were decided and not committed yet.
    waiting: Vec<Transition>,
    own: Vec<VerifiedBatch>,
    keys: BTreeSet<Key>,
    reorganisations: usize,
    now: i64,
}

fn ledger_on<R: StoreRead + Clone>(rules: &Arc<Rules>, reader: R, now: i64) -> Ledger<R> {
    let plain = |headers: Vec<(BlockHash, _)>| {
        headers.into_iter().map(|(hash, sealed): (_, qfzz_ledger_core::block::SealedHeader)| (hash, sealed.header))
    };
    let best = plain(reader.headers(Height::new(1), usize::MAX).unwrap());
    let side = plain(reader.side_headers().unwrap());
    let pending = reader.own_pending().unwrap();
    Ledger::open(Arc::clone(rules), reader, own_log(rules, HOME), best, side, pending, at(now)).unwrap()
}

impl<B: Bench> Home<B> {
    pub(super) fn new(rules: &Arc<Rules>) -> Self {
        Self::on(B::new(rules), rules)
    }

    /// On a store that holds nothing but genesis.
    pub(super) fn on(mut bench: B, rules: &Arc<Rules>) -> Self {
        let ledger = Some(ledger_on(rules, bench.store().reader(), 0));
        let (waiting, own, keys) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { bench, rules: Arc::clone(rules), ledger, waiting, own, keys, reorganisations: 0, now: 0 }
    }

    /// Closes the store, does `reopen`, and starts the ledger from what the store holds. What waited is forgotten.
    pub(super) fn restart(&mut self, reopen: impl FnOnce(&mut B)) {
        self.ledger = None;
        self.waiting.clear();
        reopen(&mut self.bench);
        self.ledger = Some(ledger_on(&self.rules, self.bench.store().reader(), self.now));
    }

    /// Closes and opens the store.
    pub(super) fn reopen(&mut self) {
        self.restart(B::reopen);
    }

    fn ledger(&mut self) -> &mut Ledger<Reader<B>> {
        self.ledger.as_mut().expect("the store is open")
    }

    pub(super) fn reader(&mut self) -> Reader<B> {
        self.bench.store().reader()
    }

    pub(super) fn head(&mut self) -> BlockHash {
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
    pub(super) fn sign(&mut self, records: Vec<Record>) {
        self.now += 1;
        let now = at(self.now);
        let transition = self.ledger().sign(records, now).unwrap();
        self.wait(transition);
    }

    /// Mines what is pending; committed with what follows.
    pub(super) fn mine(&mut self) -> VerifiedBlock {
        self.now += 1;
        let (rules, now) = (Arc::clone(&self.rules), self.now);
        let (block, transitions) = mine(self.ledger(), &rules, now);
        self.wait(transitions);
        block
    }

    /// Takes blocks in; committed with what follows.
    pub(super) fn take(&mut self, blocks: Vec<VerifiedBlock>) {
        let now = at(self.now + 100_000);
        let outcome = self.ledger().add_blocks(blocks, now).unwrap();
        assert_eq!(outcome.refused, None);
        self.wait(outcome.transitions);
    }

    /// Commits all that waits, in one call.
    pub(super) fn commit(&mut self) -> Vec<Transition> {
        let transitions = std::mem::take(&mut self.waiting);
        self.bench.store().commit(&transitions).unwrap();
        if let Some(last) = transitions.last() {
            self.ledger().committed(last.number);
        }
        transitions
    }

    /// Compares all that can be read with a walk over the chain from genesis.
    pub(super) fn check(&mut self) {
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
    pub(super) fn state(&mut self) -> Writes {
        let reader = self.reader();
        self.keys.iter().map(|key| (key.clone(), reader.get(key).unwrap())).collect()
    }

    /// This station's batches so far, as they were acknowledged.
    pub(super) fn own(&self) -> &[VerifiedBatch] {
        &self.own
    }
}

fn mine<R: LedgerRead>(ledger: &mut Ledger<R>, rules: &Rules, now: i64) -> (VerifiedBlock, Vec<Transition>) {
    let (introduction, template) = ledger.template(at(now)).unwrap();
    let template = template.unwrap();
    let header = solve(rules, &template);
    let (block, BlocksOutcome { transitions, refused }) = ledger.mined(template, header, at(now)).unwrap();
    assert_eq!(refused, None);
    (block.unwrap(), introduction.into_iter().chain(transitions).collect())
}

/// Another station, with a store of its own.
pub(super) struct Peer {
    rules: Arc<Rules>,
    ledger: Ledger<PeerStore>,
    store: PeerStore,
    now: i64,
}

impl Peer {
    pub(super) fn new(rules: &Arc<Rules>, number: u8) -> Self {
        let (ledger, store) = ledger(rules, number);
        Self { rules: Arc::clone(rules), ledger, store, now: i64::from(number) }
    }

    fn apply(&mut self, transitions: impl IntoIterator<Item = Transition>) {
        for transition in transitions {
            self.store.apply(&transition);
            self.ledger.committed(transition.number);
        }
    }

    pub(super) fn sign(&mut self, records: Vec<Record>) -> Vec<VerifiedBatch> {
        self.now += 1;
        let transition = self.ledger.sign(records, at(self.now)).unwrap();
        let batches = transition.iter().flat_map(|transition| transition.own_batches.clone()).collect();
        self.apply(transition);
        batches
    }

    /// Signs a record and mines a block of what is pending.
    pub(super) fn mine(&mut self, record: Record) -> VerifiedBlock {
        self.sign(vec![record]);
        self.now += 1;
        let (block, transitions) = mine(&mut self.ledger, &self.rules, self.now);
        self.apply(transitions);
        block
    }

    pub(super) fn take(&mut self, blocks: Vec<VerifiedBlock>) {
        let outcome = self.ledger.add_blocks(blocks, at(self.now + 100_000)).unwrap();
        assert_eq!(outcome.refused, None);
        self.apply(outcome.transitions);
    }

    pub(super) fn take_batches(&mut self, batches: Vec<VerifiedBatch>) {
        for batch in batches {
            self.ledger.add_verified(batch, at(self.now)).unwrap();
        }
    }
}

macro_rules! for_each_store {
    ($($name:ident),+ $(,)?) => {
        mod on_disk {
            $(#[test] fn $name() { super::$name::<super::OnDisk>(); })+
        }
        mod in_memory {
            $(#[test] fn $name() { super::$name::<super::InMemory>(); })+
        }
    };
}

for_each_store!(
    an_empty_store_holds_genesis,
    what_was_committed_is_read_back,
    own_batches_are_pending_until_they_are_on_the_best_chain,
    a_reorganisation_leaves_what_a_walk_from_genesis_gives,
    a_chain_that_goes_back_and_forth_keeps_its_blocks,
    blocks_off_the_best_chain_are_kept_until_they_are_dropped,
    what_is_decided_together_is_committed_together,
    undo_data_is_kept_for_the_newest_thousand_blocks,
    a_state_that_is_replaced_leaves_nothing_of_the_old_one,
    a_transition_that_does_not_start_from_the_head_is_refused,
    a_consistent_reading_is_of_one_commit,
    random_forks_leave_what_a_walk_from_genesis_gives,
);

fn an_empty_store_holds_genesis<B: Bench>() {
    let rules = rules();
    let mut home = Home::<B>::new(&rules);
    for _ in 0..2 {
        let reader = home.reader();
        let (hash, sealed) = reader.header_at(Height::ZERO).unwrap().unwrap();
        assert_eq!(hash, rules.genesis_hash());
        assert_eq!(reader.header(&hash).unwrap(), Some(sealed));
        assert_eq!(reader.best_height(&hash).unwrap(), Some(Height::ZERO));
        let (view, request) = (Blocks(&reader), Request::Headers { locator: vec![hash] });
        let answer = answer_about_blocks(&view, &request).unwrap();
        assert!(matches!(answer, Response::Headers { after, headers } if after == hash && headers.is_empty()));
        assert_eq!(reader.headers(Height::ZERO, 10).unwrap().len(), 1);
        assert_eq!(reader.header_at(Height::new(1)).unwrap(), None);
        assert_eq!(reader.block(&BlockHash::from_bytes([3; 32])).unwrap(), None);
        assert_eq!(reader.get(&Key::Chain).unwrap(), None);
        assert_eq!(reader.batch(&station(HOME), Sequence::ZERO).unwrap(), None);
        drop(reader);
        home.check();
        home.reopen();
    }
}

fn what_was_committed_is_read_back<B: Bench>() {
    let rules = rules();
    let mut home = Home::<B>::new(&rules);
    let mut peer = Peer::new(&rules, 2);
    // More than one chunk of a log, and a block of more than one batch of keys.
    for round in 0..70 {
        let count = if round == 33 { 300 } else { 2 };
        home.sign((0..count).map(|n| interaction(&format!("user {round}.{n}"))).collect());
        let block = home.mine();
        home.commit();
        peer.take(vec![block]);
        if round % 9 == 0 {
            home.take(vec![peer.mine(added(&format!("track {round}"), "artist", 600_000))]);
            home.commit();
        }
        if round % 23 == 0 {
            home.reopen();
        }
    }
    home.check();
    home.reopen();
    home.check();
}

fn own_batches_are_pending_until_they_are_on_the_best_chain<B: Bench>() {
    let mut home = Home::<B>::new(&rules());
    for round in 0..6 {
        home.sign(vec![interaction(&format!("user {round}"))]);
        home.commit();
        home.check();
        assert_eq!(home.reader().own_pending().unwrap().len(), round + 1);
    }
    home.reopen();
    home.check();
    home.mine();
    home.commit();
    home.check();
    assert_eq!(home.reader().own_pending().unwrap(), []);
}

/// Home mines two blocks while the peer mines three that name other subjects and one of home's batches.
fn fork<B: Bench>(home: &mut Home<B>, peer: &mut Peer) -> (Vec<VerifiedBlock>, Vec<VerifiedBlock>) {
    home.sign(vec![interaction("common"), added("track", "artist", 700_000)]);
    let common = home.mine();
    peer.take(vec![common]);
    home.sign(vec![interaction("both")]);
    peer.take_batches(home.own()[home.own().len() - 1..].to_vec());
    let ours = vec![home.mine(), {
        home.sign(vec![interaction("ours alone"), verified("track", "artist")]);
        home.mine()
    }];
    home.commit();
    let theirs = vec![
        peer.mine(interaction("theirs")),
        peer.mine(reported("track", "artist")),
        peer.mine(interaction("theirs")),
    ];
    (ours, theirs)
}

fn a_reorganisation_leaves_what_a_walk_from_genesis_gives<B: Bench>() {
    let rules = rules();
    let (mut home, mut peer) = (Home::<B>::new(&rules), Peer::new(&rules, 2));
    let (ours, theirs) = fork(&mut home, &mut peer);
    home.check();
    home.take(theirs.clone());
    let transitions = home.commit();
    assert!(transitions.iter().any(|it| it.reverted == [ours[1].hash(), ours[0].hash()]), "it was a reorganisation");
    for _ in 0..2 {
        home.check();
        let reader = home.reader();
        assert_eq!(home.head(), theirs[2].hash());
        assert_eq!(reader.own_pending().unwrap().len(), 1, "the batch that only our branch had is pending again");
        for block in &ours {
            assert_eq!(reader.block(&block.hash()).unwrap().as_ref(), Some(block));
            assert_eq!(reader.undo(&block.hash()).unwrap(), None);
            assert_eq!(reader.best_height(&block.hash()).unwrap(), None);
            assert_eq!(reader.header(&block.hash()).unwrap().as_ref(), Some(block.sealed()));
        }
        let side: Vec<_> = reader.side_headers().unwrap().into_iter().map(|(hash, _)| hash).collect();
        assert_eq!(side, ours.iter().map(VerifiedBlock::hash).collect::<Vec<_>>());
        drop(reader);
        home.reopen();
    }
}

fn a_chain_that_goes_back_and_forth_keeps_its_blocks<B: Bench>() {
    let rules = rules();
    let (mut home, mut peer) = (Home::<B>::new(&rules), Peer::new(&rules, 2));
    let (ours, theirs) = fork(&mut home, &mut peer);
    let mut third = Peer::new(&rules, 3);
    third.take(home_chain(&mut home));
    home.take(theirs);
    home.commit();
    home.check();
    let back = vec![third.mine(interaction("back")), third.mine(interaction("forth"))];
    home.take(back.clone());
    home.commit();
    assert_eq!(home.head(), back[1].hash());
    home.check();
    home.reopen();
    home.check();
    assert_eq!(home.reader().header_at(ours[1].index()).unwrap().map(|(hash, _)| hash), Some(ours[1].hash()));
}

/// The best chain above genesis.
pub(super) fn home_chain<B: Bench>(home: &mut Home<B>) -> Vec<VerifiedBlock> {
    let reader = home.reader();
    let headers = reader.headers(Height::new(1), usize::MAX).unwrap();
    headers.iter().map(|(hash, _)| reader.block(hash).unwrap().unwrap()).collect()
}

fn blocks_off_the_best_chain_are_kept_until_they_are_dropped<B: Bench>() {
    let rules = rules();
    let (mut home, mut peer) = (Home::<B>::new(&rules), Peer::new(&rules, 2));
    let side = vec![peer.mine(interaction("a")), peer.mine(interaction("b"))];
    for _ in 0..3 {
        home.sign(vec![interaction("main")]);
        home.mine();
    }
    home.take(side.clone());
    home.commit();
    for _ in 0..2 {
        let reader = home.reader();
        assert_eq!(reader.block(&side[1].hash()).unwrap().as_ref(), Some(&side[1]));
        assert_eq!(reader.header(&side[0].hash()).unwrap().as_ref(), Some(side[0].sealed()));
        let headers: Vec<_> = reader.side_headers().unwrap().into_iter().map(|(hash, _)| hash).collect();
        assert_eq!(headers, [side[0].hash(), side[1].hash()]);
        drop(reader);
        home.reopen();
    }
    // A kept block that is connected, and then dropped, leaves both places.
    let longer: Vec<_> = (0..2).map(|n| peer.mine(interaction(&format!("longer {n}")))).collect();
    let ours = home_chain(&mut home);
    home.take(longer);
    home.commit();
    home.check();
    let mut drop_all = empty(&mut home);
    drop_all.dropped = ours.iter().map(VerifiedBlock::hash).chain([BlockHash::from_bytes([9; 32])]).collect();
    drop_all.kept = vec![ours[0].clone()];
    home.bench.store().commit(&[drop_all]).unwrap();
    for _ in 0..2 {
        let reader = home.reader();
        assert_eq!(reader.side_headers().unwrap(), []);
        assert!(ours.iter().all(|block| reader.block(&block.hash()).unwrap().is_none()));
        assert!(reader.block(&side[0].hash()).unwrap().is_some());
        drop(reader);
        home.check();
        home.reopen();
    }
}

/// A transition that changes nothing.
pub(super) fn empty<B: Bench>(home: &mut Home<B>) -> Transition {
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

fn what_is_decided_together_is_committed_together<B: Bench>() {
    let rules = rules();
    let (mut home, mut peer) = (Home::<B>::new(&rules), Peer::new(&rules, 2));
    // Signing, mining, being overtaken, and extending that: each reads what the ones before have decided.
    home.sign(vec![interaction("a"), added("track", "artist", 1)]);
    let block = home.mine();
    peer.take(vec![block]);
    home.sign(vec![interaction("b")]);
    home.mine();
    home.take(vec![peer.mine(interaction("c")), peer.mine(verified("track", "artist"))]);
    home.mine();
    let transitions = home.commit();
    assert!(transitions.len() > 4 && transitions.iter().any(|transition| !transition.reverted.is_empty()));
    home.check();
    home.reopen();
    home.check();
}

fn undo_data_is_kept_for_the_newest_thousand_blocks<B: Bench>() {
    let rules = rules();
    let (mut home, mut peer) = (Home::<B>::new(&rules), Peer::new(&rules, 2));
    // One reveal chain of the tests is too short for all of them.
    let blocks: Vec<_> =
        (0..MAX_UNDO_BLOCKS / 2).map(|n| peer.mine(interaction(&format!("user {}", n % 50)))).collect();
    let mut other = Peer::new(&rules, 3);
    other.take(blocks.clone());
    let more: Vec<_> =
        (0..=MAX_UNDO_BLOCKS / 2).map(|n| other.mine(interaction(&format!("user {}", n % 50)))).collect();
    home.take(blocks.clone());
    home.commit();
    home.take(more.clone());
    home.commit();
    home.reopen();
    let reader = home.reader();
    let has_undo = |block: &VerifiedBlock| reader.undo(&block.hash()).unwrap().is_some();
    assert_eq!(more.last().unwrap().index().get(), MAX_UNDO_BLOCKS + 1);
    assert!(!has_undo(&blocks[0]));
    assert!(blocks[1..].iter().chain(&more).all(has_undo));
    assert!(reader.block(&blocks[0].hash()).unwrap().is_some());
}

fn a_state_that_is_replaced_leaves_nothing_of_the_old_one<B: Bench>() {
    let mut home = Home::<B>::new(&rules());
    home.sign((0..200).map(|n| interaction(&format!("user {n}"))).collect());
    home.mine();
    home.commit();
    let old = home.state();
    let kept: Writes =
        old.iter().filter(|(key, _)| matches!(key, Key::Chain)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let replacing = Transition { replaces_state: true, writes: kept.clone(), ..empty(&mut home) };
    home.bench.store().commit(&[replacing]).unwrap();
    for _ in 0..2 {
        let reader = home.reader();
        for key in old.keys() {
            assert_eq!(reader.get(key).unwrap(), kept.get(key).cloned().flatten(), "{key:?}");
        }
        drop(reader);
        home.ledger = None;
        home.bench.reopen();
    }
}

fn a_transition_that_does_not_start_from_the_head_is_refused<B: Bench>() {
    let rules = rules();
    let (mut home, mut peer) = (Home::<B>::new(&rules), Peer::new(&rules, 2));
    let blocks = [peer.mine(interaction("a")), peer.mine(interaction("b"))];
    home.take(blocks.to_vec());
    let transitions = home.commit();
    let second = Transition { connected: transitions[0].connected[1..].to_vec(), ..empty(&mut home) };
    let not_head = Transition { reverted: vec![blocks[0].hash()], ..empty(&mut home) };
    for wrong in [second, not_head] {
        let refused = home.bench.store().commit(&[wrong]);
        assert!(matches!(refused, Err(StoreError::NotNext { .. })), "{refused:?}");
        home.restart(B::reopen_after_failure);
        home.check();
    }
}

fn a_consistent_reading_is_of_one_commit<B: Bench>() {
    let mut home = Home::<B>::new(&rules());
    let reader = home.reader();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (height, pending, last) = reader
                    .consistent(|store| {
                        let headers = store.headers(Height::ZERO, usize::MAX)?;
                        let pending = store.own_pending()?.len() as u64;
                        let last = store.batch(&station(HOME), Sequence::new(headers.len() as u64 - 1 + pending))?;
                        Ok::<_, StoreError>((headers.len() as u64 - 1, pending, last))
                    })
                    .unwrap();
                // Every block holds one batch, and the log ends where blocks and pending say it ends.
                assert!(pending <= 1, "{height} {pending}");
                assert_eq!(last, None);
                seen.insert(height);
            }
            seen.len()
        });
        for round in 0..40 {
            home.sign(vec![interaction(&format!("user {round}"))]);
            home.commit();
            home.mine();
            home.commit();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0);
    });
}

fn random_forks_leave_what_a_walk_from_genesis_gives<B: Bench>() {
    let mut reorganisations = 0;
    for seed in 1..=4u64 {
        let rules = rules();
        let mut home = Home::<B>::new(&rules);
        let mut peers = [Peer::new(&rules, 2), Peer::new(&rules, 3)];
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for step in 0..60 {
            let record = match draw(4) {
                0 => added(&format!("track {}", draw(5)), "artist", 1_000 * draw(900) as u32),
                1 => verified(&format!("track {}", draw(5)), "artist"),
                2 => reported(&format!("track {}", draw(5)), "artist"),
                _ => interaction(&format!("user {}", draw(8))),
            };
            let peer = draw(2) as usize;
            match draw(8) {
                0 => {
                    home.sign(vec![record]);
                    home.mine();
                }
                1 => home.sign(vec![record]),
                2..=4 => drop(peers[peer].mine(record)),
                5 => home.take(peer_chain(&peers[peer])),
                6 => {
                    home.commit();
                    let chain = home_chain(&mut home);
                    peers[peer].take(chain);
                    peers[peer].take_batches(home.reader().own_pending().unwrap());
                }
                _ => {
                    let chain = peer_chain(&peers[peer]);
                    peers[1 - peer].take(chain);
                }
            }
            if draw(2) == 0 {
                home.commit();
                if draw(4) == 0 {
                    home.reopen();
                }
            }
            if step % 20 == 19 {
                home.commit();
                home.check();
            }
        }
        reorganisations += home.reorganisations;
    }
    assert!(reorganisations >= 8, "{reorganisations}");
}

/// A peer's best chain above genesis.
pub(super) fn peer_chain(peer: &Peer) -> Vec<VerifiedBlock> {
    let chain = peer.ledger.chain();
    let hashes = (1..=chain.height().get()).filter_map(|height| chain.at(Height::new(height)));
    hashes.map(|hash| peer.store.block(&hash).unwrap().unwrap()).collect()
}
