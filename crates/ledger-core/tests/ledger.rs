//! The ledger as a whole: groups of blocks, refusals, what is kept and what is on its way to the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::{Announcement, BlockError, VerifiedBlock};
use qfzz_ledger_core::chain::ChainError;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::ledger::{Assembled, BatchOutcome, BlockRefusal, BlocksOutcome, Ledger, NoBlock, Transition};
use qfzz_ledger_core::limits::{EMPTY_BLOCK_ANCESTORS, MAX_CLOCK_SKEW_MS, MAX_SIDE_HEADERS};
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::{ConnectError, Key, ReadError, StateRead, Undo, Value};
use qfzz_ledger_core::testing::{
    Author, added, at, interaction, ledger, own_log, reported, rules, solve, station, verified,
};
use qfzz_ledger_core::verify::Verifier;

/// Later than any block here.
const NOW: i64 = 1_000_000;

fn genesis(rules: &Rules) -> (Height, BlockHash) {
    (Height::ZERO, rules.genesis_hash())
}

fn after(block: &VerifiedBlock) -> (Height, BlockHash) {
    (block.index(), block.hash())
}

/// A branch of blocks by one author on `parent`, each with one batch.
fn branch(author: &mut Author, parent: (Height, BlockHash), blocks: u64) -> Vec<VerifiedBlock> {
    let mut parent = parent;
    let mut made = Vec::new();
    for number in 0..blocks {
        let batch = author.batch(at(0), vec![interaction("u")]);
        let block = author.block(parent, number, at(10 * (parent.0.get() as i64 + 1)), vec![batch]);
        parent = after(&block);
        made.push(block);
    }
    made
}

fn add<R: LedgerRead>(ledger: &mut Ledger<R>, blocks: &[VerifiedBlock]) -> BlocksOutcome {
    ledger.add_blocks(blocks.to_vec(), at(NOW)).expect("memory can be read")
}

fn commit<R: LedgerRead>(ledger: &mut Ledger<R>, store: &MemoryStore, transitions: &[Transition]) {
    for transition in transitions {
        store.apply(transition);
        ledger.committed(transition.number);
    }
}

/// Adds blocks that must all be taken in, and commits.
fn take(ledger: &mut Ledger<MemoryStore>, store: &MemoryStore, blocks: &[VerifiedBlock]) -> Vec<Transition> {
    let outcome = add(ledger, blocks);
    assert_eq!(outcome.refused, None);
    commit(ledger, store, &outcome.transitions);
    outcome.transitions
}

fn refusal(outcome: &BlocksOutcome) -> (BlockHash, &BlockRefusal) {
    let (hash, refusal) = outcome.refused.as_ref().expect("refused");
    (*hash, refusal)
}

fn hashes(blocks: &[VerifiedBlock]) -> Vec<BlockHash> {
    blocks.iter().map(VerifiedBlock::hash).collect()
}

fn connected(transition: &Transition) -> Vec<BlockHash> {
    transition.connected.iter().map(|(block, _)| block.hash()).collect()
}

#[test]
fn extensions_are_one_transition_and_a_reorganisation_is_its_own() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let short = branch(&mut Author::new(&rules, 2), genesis(&rules), 3);
    let long = branch(&mut Author::new(&rules, 3), genesis(&rules), 6);
    let all = [&short[..], &long[..]].concat();
    let transitions = take(&mut ledger, &store, &all);
    let numbers: Vec<u64> = transitions.iter().map(|it| it.number).collect();
    // Depending on which of the two third blocks is preferred, the third or the fourth of the long branch reorganises.
    let reached = if transitions[1].connected.len() == 3 { 3 } else { 4 };
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(connected(&transitions[0]), hashes(&short));
    assert_eq!(hashes(&transitions[0].kept), hashes(&long[..reached - 1]), "kept until they win");
    assert_eq!(transitions[1].reverted, hashes(&short).into_iter().rev().collect::<Vec<_>>());
    assert_eq!(connected(&transitions[1]), hashes(&long[..reached]));
    assert_eq!(connected(&transitions[2]), hashes(&long[reached..]), "what follows is extension");
    assert_eq!((transitions[2].head, transitions[2].height), (long[5].hash(), Height::new(6)));
    assert!(!transitions[0].replaces_state && transitions.iter().all(Transition::moves_head));
    assert!(take(&mut ledger, &store, &all).is_empty(), "what is known changes nothing");
}

#[test]
fn an_invalid_block_in_a_branch_is_forgotten_with_what_follows_it() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let best = branch(&mut Author::new(&rules, 2), genesis(&rules), 3);
    take(&mut ledger, &store, &best);
    let mut author = Author::new(&rules, 3);
    let good = branch(&mut author, genesis(&rules), 1);
    let mut honest = author.clone();
    let batch = author.batch(at(0), vec![interaction("u")]);
    // Its reveal is that of the third block, not of the second.
    let bad = author.block(after(&good[0]), 2, at(20), vec![batch]);
    let mut tail = author.clone();
    let following = branch(&mut tail, after(&bad), 3);
    let kept = take(&mut ledger, &store, &[good[0].clone(), bad.clone()]);
    assert_eq!(hashes(&kept[0].kept), [good[0].hash(), bad.hash()], "not looked at while it is not the best");

    let outcome = add(&mut ledger, &following);
    let reveal = ConnectError::Reveal { block: bad.hash(), producer: station(3) };
    assert_eq!(refusal(&outcome), (bad.hash(), &BlockRefusal::Connect(reveal)));
    assert_eq!(refusal(&outcome).1.severity(), Severity::Peer);
    commit(&mut ledger, &store, &outcome.transitions);
    assert_eq!(ledger.chain().head(), best[2].hash());
    assert!(ledger.chain().contains(&good[0].hash()) && !ledger.chain().contains(&bad.hash()));
    assert_eq!(store.block(&bad.hash()), Ok(None), "forgotten in the store, too");
    for block in [&bad, &following[0]] {
        let outcome = add(&mut ledger, std::slice::from_ref(block));
        let invalid = BlockRefusal::Chain(ChainError::Invalid { hash: block.hash() });
        assert_eq!(refusal(&outcome), (block.hash(), &invalid));
        assert!(outcome.transitions.is_empty());
    }
    let mut parent = after(&good[0]);
    let mut rest = Vec::new();
    for number in 1..4 {
        let batch = honest.batch(at(0), vec![interaction("v")]);
        let block = honest.block(parent, number, at(20 * (number as i64 + 1)), vec![batch]);
        parent = after(&block);
        rest.push(block);
    }
    take(&mut ledger, &store, &rest);
    assert_eq!(ledger.chain().head(), rest[2].hash(), "the honest branch is not touched by it");
}

#[test]
fn a_refused_block_costs_no_commit() {
    let rules = rules();
    let (mut ledger, _) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let log: Vec<VerifiedBatch> = (0..3).map(|_| author.batch(at(0), vec![interaction("u")])).collect();
    let block = |produced, body: &[VerifiedBatch]| author.block(genesis(&rules), produced, at(10), body.to_vec());
    let other = Author::new(&rules, 3).batch(at(0), vec![interaction("v")]);
    let hole = block(0, &[log[0].clone(), log[2].clone()]);
    let wrong_reveal = block(1, &log[..1]);
    let not_first = block(0, &[other.clone(), log[0].clone()]);
    let twice = block(0, &[log[0].clone(), log[0].clone()]);
    let unintroduced = block(0, &[other]);
    let expected = |block: &VerifiedBlock, next: u64, found: u64| ConnectError::NotNext {
        block: block.hash(),
        station: station(2),
        sequence: Sequence::new(found),
        expected: Sequence::new(next),
    };
    let (producer, introduction) = (station(2), |block: &VerifiedBlock| block.hash());
    let cases = [
        (&hole, expected(&hole, 1, 2)),
        (&twice, expected(&twice, 1, 0)),
        (&wrong_reveal, ConnectError::Reveal { block: wrong_reveal.hash(), producer }),
        (&not_first, ConnectError::Introduction { block: introduction(&not_first), producer }),
        (&unintroduced, ConnectError::Introduction { block: introduction(&unintroduced), producer }),
    ];
    for (block, error) in cases {
        let outcome = add(&mut ledger, std::slice::from_ref(block));
        assert_eq!(refusal(&outcome), (block.hash(), &BlockRefusal::Connect(error)));
        assert!(outcome.transitions.is_empty());
    }
    assert_eq!(ledger.chain().height(), Height::ZERO);
    assert_eq!(add(&mut ledger, &[block(0, &log)]).refused, None);
}

#[test]
fn headers_are_checked_against_their_ancestors() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let mut parent = genesis(&rules);
    let mut blocks = Vec::new();
    // Eleven blocks dated out of order: their median is 60.
    for (number, millis) in (0..).zip([10, 20, 30, 40, 50, 110, 100, 90, 80, 70, 60]) {
        let batch = author.batch(at(0), vec![interaction("u")]);
        blocks.push(author.block(parent, number, at(millis), vec![batch]));
        parent = after(blocks.last().expect("pushed"));
    }
    let outcome = add(&mut ledger, &blocks);
    commit(&mut ledger, &store, &outcome.transitions);
    assert_eq!(outcome.refused, None);
    assert_eq!(ledger.chain().median_time(&parent.1), at(60));
    let body = vec![author.batch(at(0), vec![interaction("u")])];
    let of = |change: &dyn Fn(&mut qfzz_ledger_core::header::BlockHeader)| {
        let mut header = author.header(parent, 11, at(61), &body);
        change(&mut header);
        author.seal(header, body.clone()).expect("valid by itself")
    };
    let check = |block: &VerifiedBlock, now| ledger.chain().check(&block.hash(), block.header(), at(now));
    let old = of(&|header| header.timestamp = at(60));
    let too_old = ChainError::TooOld { hash: old.hash(), found: at(60), median: at(60) };
    assert_eq!(check(&old, NOW), Err(too_old));
    let index = of(&|header| header.index = Height::new(13));
    let wrong = ChainError::Index { hash: index.hash(), found: Height::new(13), expected: Height::new(12) };
    assert_eq!(check(&index, NOW), Err(wrong));
    let unknown = of(&|header| header.previous = BlockHash::ZERO);
    let missing = ChainError::UnknownParent { hash: unknown.hash(), previous: BlockHash::ZERO };
    assert_eq!(check(&unknown, NOW), Err(missing));
    let good = of(&|_| {});
    let ahead = ChainError::Ahead { hash: good.hash(), found: at(61) };
    assert_eq!(check(&good, 60 - MAX_CLOCK_SKEW_MS), Err(ahead.clone()));
    assert_eq!((ahead.severity(), check(&good, 61 - MAX_CLOCK_SKEW_MS)), (Severity::Later, Ok(())));
}

#[test]
fn a_block_may_be_empty_while_one_of_its_last_four_ancestors_is_not() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let first = author.block(genesis(&rules), 0, at(1), vec![]);
    let empty = BlockRefusal::Chain(ChainError::Empty { hash: first.hash() });
    assert_eq!(refusal(&add(&mut ledger, &[first])).1, &empty);
    let mut parent = after(&branch(&mut author, genesis(&rules), 1)[0]);
    author = Author::new(&rules, 2);
    let with_batch = branch(&mut author, genesis(&rules), 1);
    take(&mut ledger, &store, &with_batch);
    for number in 1..=EMPTY_BLOCK_ANCESTORS {
        let block = author.block(parent, number, at(10 + number as i64), vec![]);
        assert_eq!(block.header().merkle_root, [0; 32]);
        parent = after(&block);
        take(&mut ledger, &store, &[block]);
    }
    let fifth = author.block(parent, EMPTY_BLOCK_ANCESTORS + 1, at(20), vec![]);
    let empty = BlockRefusal::Chain(ChainError::Empty { hash: fifth.hash() });
    assert_eq!(refusal(&add(&mut ledger, &[fifth])).1, &empty);
}

#[test]
fn the_lightest_tips_go_first_and_the_store_holds_what_is_known() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    take(&mut ledger, &store, &branch(&mut Author::new(&rules, 2), genesis(&rules), 4));
    let heavy = branch(&mut Author::new(&rules, 3), genesis(&rules), 3);
    let mut author = Author::new(&rules, 4);
    let batch = author.batch(at(0), vec![interaction("u")]);
    let light: Vec<VerifiedBlock> = (0..MAX_SIDE_HEADERS as i64)
        .map(|millis| author.block(genesis(&rules), 0, at(millis + 1), vec![batch.clone()]))
        .collect();
    let transitions = take(&mut ledger, &store, &[&heavy[..], &light[..]].concat());
    assert_eq!(transitions.len(), 1);
    let known = light.iter().filter(|block| ledger.chain().contains(&block.hash()));
    assert_eq!(known.count(), MAX_SIDE_HEADERS - 3);
    assert!(heavy.iter().all(|block| ledger.chain().contains(&block.hash())), "a heavier branch stays whole");
    for block in heavy.iter().chain(&light) {
        let stored = store.block(&block.hash()).expect("memory can be read").is_some();
        assert_eq!(stored, ledger.chain().contains(&block.hash()));
    }
}

/// A store that lost some bodies, as unsynced files can be lost with the power.
#[derive(Clone, Default)]
struct Lossy {
    store: MemoryStore,
    lost: Arc<Mutex<Vec<BlockHash>>>,
}

impl StateRead for Lossy {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        self.store.get(key)
    }
}

impl LedgerRead for Lossy {
    fn block(&self, hash: &BlockHash) -> Result<Option<VerifiedBlock>, ReadError> {
        let is_lost = self.lost.lock().expect("not poisoned").contains(hash);
        if is_lost { Ok(None) } else { self.store.block(hash) }
    }

    fn undo(&self, hash: &BlockHash) -> Result<Option<Undo>, ReadError> {
        self.store.undo(hash)
    }

    fn batch_at(&self, station: &StationId, sequence: Sequence) -> Result<Option<VerifiedBatch>, ReadError> {
        self.store.batch_at(station, sequence)
    }
}

#[test]
fn a_body_off_the_best_chain_that_was_lost_is_fetched_again() {
    let rules = rules();
    let lossy = Lossy::default();
    let own = own_log(&rules, 1);
    let mut ledger = Ledger::open(Arc::clone(&rules), lossy.clone(), own, [], [], [], at(0)).expect("an empty store");
    let best = branch(&mut Author::new(&rules, 2), genesis(&rules), 3);
    let side = branch(&mut Author::new(&rules, 3), genesis(&rules), 5);
    let outcome = add(&mut ledger, &[&best[..], &side[..2]].concat());
    commit(&mut ledger, &lossy.store, &outcome.transitions);
    lossy.lost.lock().expect("not poisoned").push(side[1].hash());

    let outcome = add(&mut ledger, &side[2..]);
    let (_, error) = refusal(&outcome);
    assert!(
        matches!(error, BlockRefusal::Chain(ChainError::UnknownParent { previous, .. }) if *previous == side[1].hash())
    );
    assert_eq!(error.severity(), Severity::Later, "nobody's fault, and no reason to stop");
    commit(&mut ledger, &lossy.store, &outcome.transitions);
    assert_eq!(ledger.chain().head(), best[2].hash());
    assert!(ledger.chain().contains(&side[0].hash()) && !ledger.chain().contains(&side[1].hash()));
    lossy.lost.lock().expect("not poisoned").clear();
    assert_eq!(add(&mut ledger, &side[1..]).refused, None);
    assert_eq!(ledger.chain().head(), side[4].hash());
}

#[test]
fn what_is_on_its_way_reads_the_same_before_and_after_its_commit() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let first =
        author.batch(at(0), vec![added("track", "maker", 300_000), interaction("u"), verified("track", "maker")]);
    let short = author.block(genesis(&rules), 0, at(10), vec![first]);
    let long = branch(&mut Author::new(&rules, 3), genesis(&rules), 3);
    let mut pending = add(&mut ledger, std::slice::from_ref(&short)).transitions;
    let keys: Vec<Key> = pending[0].writes.keys().cloned().collect();
    pending.extend(add(&mut ledger, &long).transitions);
    let keys: Vec<Key> = pending.iter().flat_map(|it| it.writes.keys().cloned()).chain(keys).collect();
    let read = |ledger: &Ledger<MemoryStore>| -> Vec<Option<Value>> {
        keys.iter().map(|key| ledger.read().get(key).expect("memory can be read")).collect()
    };
    let before = read(&ledger);
    assert!(before.iter().any(Option::is_none), "what only the reverted block said is gone");
    assert!(pending.len() >= 2);
    for transition in &pending {
        store.apply(transition);
        assert_eq!(read(&ledger), before, "applied, not reported");
        ledger.committed(transition.number);
        assert_eq!(read(&ledger), before, "reported");
        for block in long.iter().chain([&short]) {
            assert_eq!(ledger.read().block(&block.hash()), Ok(Some(block.clone())));
        }
    }
    let stored: Vec<Option<Value>> = keys.iter().map(|key| store.get(key).expect("memory can be read")).collect();
    assert_eq!(stored, before);
}

#[test]
fn own_batches_are_signed_stored_and_mined() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    assert_eq!(ledger.template(at(0)), Ok((None, Err(NoBlock::NothingPending))));
    let signed = ledger.sign(vec![interaction("u"); 300], at(1)).expect("memory can be read").expect("records");
    let counts: Vec<usize> = signed.own_batches.iter().map(|batch| batch.records().len()).collect();
    assert_eq!((counts, ledger.pool().records()), (vec![256, 44], 300));
    assert!(signed.own_batches[0].header().introduction.is_some() && !signed.moves_head());
    assert_eq!(ledger.sign(vec![], at(1)), Ok(None), "introduced already");
    commit(&mut ledger, &store, &[signed]);

    let (introduced, template) = ledger.template(at(2)).expect("memory can be read");
    let template = template.expect("records wait");
    assert_eq!((introduced, template.batches.len()), (None, 2));
    let header = solve(&rules, &template);
    let (block, outcome) = ledger.mined(template, header, at(3)).expect("memory can be read");
    let block = block.expect("valid");
    assert_eq!((outcome.refused, block.record_count(), ledger.pool().len()), (None, 300, 0));
    commit(&mut ledger, &store, &outcome.transitions);
    let mut verifier = Verifier::from_genesis(&rules);
    assert_eq!(verifier.next(block.to_signed()).as_ref(), Ok(&block));
    assert_eq!((verifier.state(), verifier.records()), (&store.state(), 300));
}

#[test]
fn a_station_without_records_introduces_itself_with_its_first_block() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let other = Author::new(&rules, 2).batch(at(0), vec![interaction("u")]);
    ledger.add_verified(other, at(0)).expect("memory can be read");
    let (introduced, template) = ledger.template(at(1)).expect("memory can be read");
    let introduced = introduced.expect("signed now");
    assert_eq!((introduced.own_batches.len(), introduced.own_batches[0].records().len()), (1, 0));
    let template = template.expect("a record waits");
    assert_eq!(template.batches[0], introduced.own_batches[0]);
    commit(&mut ledger, &store, &[introduced]);
    let header = solve(&rules, &template);
    let (block, outcome) = ledger.mined(template, header, at(1)).expect("memory can be read");
    assert_eq!(outcome.refused, None);
    let announced = block.expect("valid").announcement();
    assert_eq!(announced.introduction.map(|(header, _)| header.station), Some(station(1)));
    commit(&mut ledger, &store, &outcome.transitions);
    // The second block needs no introduction, and a batch without records starts none.
    let silent = Author::new(&rules, 3).batch(at(0), vec![]);
    ledger.add_verified(silent, at(2)).expect("memory can be read");
    assert_eq!(ledger.template(at(2)), Ok((None, Err(NoBlock::NothingPending))));
}

#[test]
fn a_block_that_was_overtaken_is_kept_or_fights_for_its_place() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let signed = ledger.sign(vec![interaction("u")], at(1)).expect("memory can be read");
    commit(&mut ledger, &store, &signed.into_iter().collect::<Vec<_>>());
    let (_, template) = ledger.template(at(2)).expect("memory can be read");
    let template = template.expect("a record waits");
    take(&mut ledger, &store, &branch(&mut Author::new(&rules, 2), genesis(&rules), 2));
    let header = solve(&rules, &template);
    let (block, outcome) = ledger.mined(template, header, at(30)).expect("memory can be read");
    assert_eq!((outcome.refused, outcome.transitions.len()), (None, 1));
    assert_eq!(hashes(&outcome.transitions[0].kept), [block.expect("valid").hash()]);
    assert_eq!(ledger.pool().records(), 1, "its record waits for the next one");
}

#[test]
fn this_stations_own_log_is_taken_over_from_others() {
    let rules = rules();
    let (mut ledger, _) = ledger(&rules, 1);
    let mut lost = Author::new(&rules, 1);
    let log: Vec<VerifiedBatch> = (0..3).map(|_| lost.batch(at(0), vec![interaction("u")])).collect();
    for batch in &log {
        let outcome = ledger.add_batch(batch.signed().clone(), at(1)).expect("memory can be read");
        let BatchOutcome::Added { transition: Some(transition), .. } = outcome else { panic!("stored: {outcome:?}") };
        assert_eq!(transition.own_batches, std::slice::from_ref(batch));
    }
    let next = ledger.sign(vec![interaction("u")], at(2)).expect("memory can be read").expect("a record");
    assert_eq!(next.own_batches[0].sequence(), Sequence::new(3));
    assert_eq!(next.own_batches[0].header().previous, log[2].id());
}

#[test]
fn a_ledger_opens_where_its_store_stands() {
    let rules = rules();
    let (mut first, store) = ledger(&rules, 1);
    let best = branch(&mut Author::new(&rules, 2), genesis(&rules), 3);
    let side = branch(&mut Author::new(&rules, 3), genesis(&rules), 2);
    take(&mut first, &store, &[&best[..], &side[..]].concat());
    let signed = first.sign(vec![interaction("u")], at(40)).expect("memory can be read").expect("a record");
    let headers = |blocks: &[VerifiedBlock]| -> Vec<_> {
        blocks.iter().map(|block| (block.hash(), block.header().clone())).collect()
    };
    let own_pending = signed.own_batches.clone();
    let mut second = Ledger::open(
        Arc::clone(&rules),
        store.clone(),
        own_log(&rules, 1),
        headers(&best),
        headers(&side),
        own_pending,
        at(50),
    )
    .expect("memory can be read");
    assert_eq!((second.chain().head(), second.pool().records()), (best[2].hash(), 1));
    assert_eq!(second.chain().locator(), first.chain().locator());
    let mut author = Author::new(&rules, 3);
    let rest = branch(&mut author, genesis(&rules), 4);
    assert_eq!(hashes(&rest[..2]), hashes(&side));
    take(&mut second, &store, &rest[2..]);
    assert_eq!(second.chain().head(), rest[3].hash());
    let mut verifier = Verifier::from_genesis(&rules);
    rest.iter().for_each(|block| assert_eq!(verifier.next(block.to_signed()).as_ref(), Ok(block)));
    assert_eq!(&store.state(), verifier.state());
}

#[test]
fn a_better_branch_than_what_a_power_cut_left_is_weighed_anew() {
    let rules = rules();
    let (mut before, store) = ledger(&rules, 1);
    let best = branch(&mut Author::new(&rules, 2), genesis(&rules), 1);
    let side = branch(&mut Author::new(&rules, 3), genesis(&rules), 2);
    let connected = take(&mut before, &store, &best).remove(0);
    store.apply(&Transition { connected: Vec::new(), kept: side.clone(), ..connected });
    // Bodies off the best chain lie beside the journal; the blocks that they were weighed against are gone with its end.
    let headers = |blocks: &[VerifiedBlock]| -> Vec<_> {
        blocks.iter().map(|block| (block.hash(), block.header().clone())).collect()
    };
    let (best, kept, own) = (headers(&best), headers(&side), own_log(&rules, 1));
    let mut after = Ledger::open(Arc::clone(&rules), store.clone(), own, best, kept, [], at(50)).expect("memory");
    // Known without being the head, it would never be connected: a sync fetches only what is not known.
    take(&mut after, &store, &side);
    assert_eq!(after.chain().head(), side[1].hash());
}

#[test]
fn a_store_that_contradicts_itself_is_its_own_fault() {
    let rules = rules();
    let blocks = branch(&mut Author::new(&rules, 2), genesis(&rules), 4);
    let open = |from: usize| {
        let best = blocks[from..3].iter().map(|block| (block.hash(), block.header().clone()));
        Ledger::open(Arc::clone(&rules), MemoryStore::default(), own_log(&rules, 1), best, [], [], at(50))
    };
    assert_eq!(open(1).err(), Some(ReadError::Damaged { what: "the index of headers" }));
    // Headers without the state that belongs to them: the block is not to blame.
    let mut ledger = open(0).expect("headers that follow each other");
    let error = ledger.add_blocks(blocks[3..].to_vec(), at(NOW)).expect_err("the state is that of genesis");
    assert_eq!(error, ReadError::Damaged { what: "the trust state" });
    assert!(!ledger.chain().is_invalid(&blocks[3].hash()));
}

#[test]
fn a_locator_names_the_newest_ten_and_then_ever_fewer() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let blocks = branch(&mut Author::new(&rules, 2), genesis(&rules), 40);
    take(&mut ledger, &store, &blocks);
    let heights: Vec<u64> =
        ledger.chain().locator().iter().map(|hash| ledger.chain().height_of(hash).expect("known").get()).collect();
    assert_eq!(heights, [40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 29, 25, 17, 1, 0]);
}

#[test]
fn an_announcement_is_checked_as_far_as_it_can_be() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let (mut clone, batch) = (author.clone(), author.batch(at(0), vec![interaction("u")]));
    let block = author.block(genesis(&rules), 0, at(10), vec![batch.clone()]);
    let check = |ledger: &Ledger<MemoryStore>, it: &Announcement| ledger.check_announcement(it, at(NOW));
    let good = block.announcement();
    assert_eq!(check(&ledger, &good), Ok(block.hash()));
    let refused = |it: Announcement| check(&ledger, &it).expect_err("refused");

    let without = Announcement { introduction: None, ..good.clone() };
    let introduction = ConnectError::Introduction { block: block.hash(), producer: station(2) };
    assert_eq!(refused(without), introduction.into());
    let body = BlockRefusal::Block(BlockError::Body { index: Height::new(1), hash: block.hash() });
    assert_eq!(refused(Announcement { batch_ids: vec![], ..good.clone() }), body);
    let foreign = Author::new(&rules, 3).batch(at(0), vec![interaction("u")]);
    let introduction = Some((foreign.header().clone(), foreign.signed().signature.clone()));
    assert_eq!(refused(Announcement { introduction, ..good.clone() }), body);
    let mut late = good.clone();
    late.sealed.header.timestamp = at(11);
    assert!(matches!(refused(late), BlockRefusal::Block(BlockError::Work { .. } | BlockError::Seal { .. })));
    let wrong = author.block(genesis(&rules), 1, at(10), vec![batch]);
    let reveal = ConnectError::Reveal { block: wrong.hash(), producer: station(2) };
    assert_eq!(refused(wrong.announcement()), reveal.into());

    // Off the head neither introduction nor reveal can be judged.
    take(&mut ledger, &store, std::slice::from_ref(&block));
    let other = clone.batch(at(1), vec![interaction("v")]);
    let beside = clone.block(genesis(&rules), 1, at(12), vec![other]);
    assert_eq!(check(&ledger, &beside.announcement()), Ok(beside.hash()));
    let orphan = author.block((Height::new(4), BlockHash::ZERO), 1, at(20), vec![]);
    let unknown = ChainError::UnknownParent { hash: orphan.hash(), previous: BlockHash::ZERO };
    assert_eq!(check(&ledger, &orphan.announcement()), Err(unknown.into()));
}

#[test]
fn an_announced_block_is_put_together_from_what_is_known() {
    let rules = rules();
    let (mut ledger, _) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let log: Vec<VerifiedBatch> = (0..3).map(|_| author.batch(at(0), vec![interaction("u")])).collect();
    let block = author.block(genesis(&rules), 0, at(10), log.clone());
    let announced = block.announcement();
    ledger.add_verified(log[0].clone(), at(0)).expect("memory can be read");
    let assemble = |extra: &[usize]| {
        let extra: BTreeMap<_, _> = extra.iter().map(|at| (log[*at].id(), log[*at].clone())).collect();
        ledger.assemble(&announced, &extra).expect("memory can be read")
    };
    assert_eq!(assemble(&[]), Ok(Assembled::Missing(vec![1, 2])));
    assert_eq!(assemble(&[2]), Ok(Assembled::Missing(vec![1])));
    assert_eq!(assemble(&[1, 2]), Ok(Assembled::Block(block)));
}

#[test]
fn what_a_sibling_took_to_the_chain_is_not_missing() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let log: Vec<VerifiedBatch> = (0..3).map(|_| author.batch(at(0), vec![interaction("u")])).collect();
    let mut other = Author::new(&rules, 3);
    let introduction = other.batch(at(0), vec![]);
    let block = other.block(genesis(&rules), 0, at(20), [&[introduction], &log[..]].concat());
    take(&mut ledger, &store, &[author.block(genesis(&rules), 0, at(10), log)]);
    assert!(ledger.pool().is_empty());
    let assembled = ledger.assemble(&block.announcement(), &BTreeMap::new()).expect("memory can be read");
    assert_eq!(assembled, Ok(Assembled::Missing(vec![0])));
}

#[test]
fn a_reorganisation_gives_back_what_it_reverted() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let log: Vec<VerifiedBatch> = (0..3)
        .map(|number| author.batch(at(0), vec![if number == 1 { reported("t", "m") } else { verified("t", "m") }]))
        .collect();
    let short = author.block(genesis(&rules), 0, at(10), log.clone());
    take(&mut ledger, &store, &[short]);
    assert!(ledger.pool().is_empty());
    // The other branch took the first batch only.
    let mut other = Author::new(&rules, 3);
    let introduction = other.batch(at(0), vec![]);
    let one = other.block(genesis(&rules), 0, at(10), vec![introduction, log[0].clone()]);
    let two = other.block(after(&one), 1, at(20), vec![]);
    take(&mut ledger, &store, &[one, two.clone()]);
    assert_eq!(ledger.chain().head(), two.hash());
    assert_eq!(ledger.pool().in_order().cloned().collect::<Vec<_>>(), log[1..]);
}
