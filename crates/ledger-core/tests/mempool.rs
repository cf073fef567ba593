//! The mempool: what follows the chain, the order of a block, and the limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::federation::{Limits, Rules};
use qfzz_ledger_core::ids::{Id, Sequence, StationId};
use qfzz_ledger_core::limits::{MAX_METADATA_BYTES, MAX_PENDING_BYTES, MAX_PENDING_PER_STATION};
use qfzz_ledger_core::mempool::{Inserted, LogEnd, Mempool};
use qfzz_ledger_core::record::{ContentAdded, Metadata, Record, Subject};
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::testing::{Author, at, interaction, rules, station, verified};
use qfzz_ledger_core::time::Timestamp;

/// The station whose pool is tested.
const OWN: u8 = 1;

fn pool() -> Mempool {
    Mempool::new(station(OWN))
}

fn batches(author: &mut Author, count: usize) -> Vec<VerifiedBatch> {
    (0..count).map(|_| author.batch(at(0), vec![interaction("u")])).collect()
}

fn add(pool: &mut Mempool, batch: &VerifiedBatch, chain: LogEnd) {
    assert_eq!(pool.insert(batch.clone(), chain, at(0)), Inserted::Added);
}

fn end_of(batch: &VerifiedBatch) -> LogEnd {
    LogEnd { next: batch.sequence().next().expect("a short log"), last: batch.id() }
}

/// An author whose first batch is on the chain.
fn settled(rules: &Arc<Rules>, number: u8) -> (Author, LogEnd) {
    let mut author = Author::new(rules, number);
    author.batch(at(0), vec![]);
    let end = author.end();
    (author, end)
}

/// A record of about `bytes` bytes.
fn long_record(bytes: usize) -> Record {
    let id = |text: &str| Id::new(text).expect("an id");
    Record::ContentAdded(ContentAdded {
        content_id: id("long"),
        creator_id: id("maker"),
        initial_score: Score::HALF,
        metadata: Metadata::new("x".repeat(bytes.min(MAX_METADATA_BYTES))).expect("short enough"),
    })
}

fn places(batches: &[VerifiedBatch]) -> Vec<(StationId, u64)> {
    batches.iter().map(|batch| (batch.station(), batch.sequence().get())).collect()
}

fn select(pool: &Mempool, limits: &Limits, latest: Timestamp) -> Vec<(StationId, u64)> {
    places(&pool.select(limits, None, latest))
}

#[test]
fn a_batch_is_taken_in_only_where_it_follows_its_log() {
    let rules = rules();
    let mut author = Author::new(&rules, 2);
    let mut other = author.clone();
    let log = batches(&mut author, 4);
    other.batch(at(9), vec![]);
    let unlinked = other.batch(at(9), vec![interaction("v")]);
    let mut pool = pool();
    let mut insert = |batch: &VerifiedBatch| pool.insert(batch.clone(), LogEnd::EMPTY, at(0));
    assert_eq!(insert(&log[1]), Inserted::Gap { from: Sequence::ZERO });
    assert_eq!(insert(&log[0]), Inserted::Added);
    assert_eq!(insert(&log[0]), Inserted::Known);
    assert_eq!(insert(&log[2]), Inserted::Gap { from: Sequence::new(1) });
    assert_eq!(insert(&unlinked), Inserted::Unlinked);
    assert_eq!(insert(&log[1]), Inserted::Added);
    assert_eq!(insert(&unlinked), Inserted::Taken);
    assert_eq!((pool.len(), pool.records(), pool.len_of(&station(2))), (2, 2, 2));
    assert_eq!(pool.log_end(&station(2)), Some(end_of(&log[1])));
    assert_eq!(pool.by_id(&log[1].id()), Some(&log[1]));
    assert_eq!(pool.by_id(&log[2].id()), None);
    assert_eq!(places(&pool.log_from(&station(2), Sequence::new(1)).cloned().collect::<Vec<_>>()), [(station(2), 1)]);
    assert_eq!(pool.log_from(&station(2), Sequence::new(u64::MAX)).count(), 0);
}

#[test]
fn a_place_on_the_chain_is_taken() {
    let rules = rules();
    let mut author = Author::new(&rules, 2);
    let log = batches(&mut author, 2);
    let mut pool = pool();
    assert_eq!(pool.insert(log[0].clone(), end_of(&log[0]), at(0)), Inserted::Taken);
    assert_eq!(pool.insert(log[1].clone(), end_of(&log[0]), at(0)), Inserted::Added);
}

#[test]
fn rounds_take_one_batch_of_each_station_in_order_of_arrival() {
    let rules = rules();
    let mut pool = pool();
    let logs: Vec<Vec<VerifiedBatch>> =
        [(4, 1), (2, 3), (3, 2)].map(|(number, count)| batches(&mut Author::new(&rules, number), count)).into();
    for batch in logs.iter().flatten() {
        add(&mut pool, batch, LogEnd::EMPTY);
    }
    let expected = [(4, 0), (2, 0), (3, 0), (2, 1), (3, 1), (2, 2)].map(|(number, place)| (station(number), place));
    assert_eq!(places(&pool.in_order().cloned().collect::<Vec<_>>()), expected);
    assert_eq!(select(&pool, rules.limits(), at(0)), expected);
}

#[test]
fn stations_stand_in_order_of_the_arrival_of_what_is_first_now() {
    let rules = rules();
    let mut pool = pool();
    let (mut two, two_end) = settled(&rules, 2);
    let (mut three, three_end) = settled(&rules, 3);
    let log = batches(&mut two, 2);
    let other = batches(&mut three, 1);
    add(&mut pool, &log[0], two_end);
    add(&mut pool, &other[0], three_end);
    add(&mut pool, &log[1], two_end);
    pool.reconcile(&station(2), end_of(&log[0]), vec![], at(1));
    // Station 2's first pending batch came after station 3's.
    assert_eq!(select(&pool, rules.limits(), at(0)), [(station(3), 1), (station(2), 2)]);
}

#[test]
fn the_introduction_stands_first_and_only_once() {
    let rules = rules();
    let mut pool = pool();
    let others = batches(&mut Author::new(&rules, 2), 2);
    let own = batches(&mut Author::new(&rules, OWN), 2);
    for batch in others.iter().chain(&own) {
        add(&mut pool, batch, LogEnd::EMPTY);
    }
    let selected = pool.select(rules.limits(), Some(&own[0]), at(0));
    let expected = [(OWN, 0), (2, 0), (2, 1), (OWN, 1)].map(|(number, place)| (station(number), place));
    assert_eq!(places(&selected), expected);
    // Dated after the block it could not stand in it, nor the block without it.
    assert_eq!(pool.select(rules.limits(), Some(&own[0]), at(-1)), []);
}

#[test]
fn what_is_dated_ahead_is_left_out_with_what_follows_it() {
    let rules = rules();
    // Once as stations that are on the chain, once as newcomers.
    for is_new in [false, true] {
        let mut pool = pool();
        for number in [2, 3] {
            let (mut author, end) =
                if is_new { (Author::new(&rules, number), LogEnd::EMPTY) } else { settled(&rules, number) };
            for millis in [0, if number == 2 { 500 } else { 0 }, 0] {
                let batch = author.batch(at(millis), vec![interaction("u")]);
                add(&mut pool, &batch, end);
            }
        }
        let first = u64::from(!is_new);
        let expected = [(2, 0), (3, 0), (3, 1), (3, 2)].map(|(number, place)| (station(number), first + place));
        assert_eq!(select(&pool, rules.limits(), at(499)), expected);
    }
}

#[test]
fn a_batch_that_does_not_fit_stops_its_log_and_no_other() {
    let rules = rules();
    let mut pool = pool();
    let (mut two, end) = settled(&rules, 2);
    let small = two.batch(at(0), vec![interaction("u")]);
    let big = two.batch(at(0), vec![long_record(2_000)]);
    let after = two.batch(at(0), vec![interaction("u")]);
    let (mut three, three_end) = settled(&rules, 3);
    let others = batches(&mut three, 3);
    [&small, &big, &after].into_iter().for_each(|batch| add(&mut pool, batch, end));
    others.iter().for_each(|batch| add(&mut pool, batch, three_end));
    let body = 4 * small.encoded_len() + 100;
    let limits = Limits { body_bytes: u32::try_from(body).expect("small"), ..Limits::default() };
    let expected = [(2, 1), (3, 1), (3, 2), (3, 3)].map(|(number, place)| (station(number), place));
    assert_eq!(select(&pool, &limits, at(0)), expected);
    let two_batches = Limits { block_batches: 2, ..Limits::default() };
    assert_eq!(select(&pool, &two_batches, at(0)), expected[..2]);
}

#[test]
fn newcomers_take_a_quarter_while_others_wait_and_else_all() {
    let rules = rules();
    let mut pool = pool();
    for number in 10..30 {
        let batch = Author::new(&rules, number).batch(at(0), vec![long_record(1_000)]);
        add(&mut pool, &batch, LogEnd::EMPTY);
    }
    let size = pool.in_order().next().expect("20 wait").encoded_len();
    let limits = Limits { body_bytes: u32::try_from(16 * size).expect("small"), ..Limits::default() };
    assert_eq!(select(&pool, &limits, at(0)).len(), 16, "nobody else waits");

    let (mut two, end) = settled(&rules, 2);
    let mut others = (0..40).map(|_| two.batch(at(0), vec![long_record(1_000)]));
    let few: Vec<VerifiedBatch> = others.by_ref().take(2).collect();
    few.iter().for_each(|batch| add(&mut pool, batch, end));
    let selected = select(&pool, &limits, at(0));
    assert_eq!(selected.iter().filter(|(who, _)| *who == station(2)).count(), 2);
    assert_eq!(selected.len(), 16, "what others leave over goes to newcomers");

    others.for_each(|batch| add(&mut pool, &batch, end));
    let selected = select(&pool, &limits, at(0));
    assert_eq!(selected.iter().filter(|(who, _)| *who != station(2)).count(), 4, "a quarter of the bytes");
    let by_count = Limits { block_batches: 8, ..Limits::default() };
    let selected = select(&pool, &by_count, at(0));
    assert_eq!(selected.len(), 8);
    assert_eq!(selected.iter().filter(|(who, _)| *who != station(2)).count(), 2, "a quarter of the batches");
}

#[test]
fn others_that_are_dated_ahead_do_not_make_newcomers_wait() {
    let rules = rules();
    let mut pool = pool();
    let (mut two, end) = settled(&rules, 2);
    let ahead = two.batch(at(1_000), vec![interaction("u")]);
    add(&mut pool, &ahead, end);
    let log = batches(&mut Author::new(&rules, 3), 8);
    log.iter().for_each(|batch| add(&mut pool, batch, LogEnd::EMPTY));
    let limits = Limits { block_batches: 8, ..Limits::default() };
    assert_eq!(select(&pool, &limits, at(0)).len(), 8);
}

#[test]
fn one_station_keeps_at_most_1024_batches_here_unless_it_is_this_one() {
    let rules = rules();
    let mut pool = pool();
    let log = batches(&mut Author::new(&rules, 2), MAX_PENDING_PER_STATION + 1);
    for batch in &log[..MAX_PENDING_PER_STATION] {
        add(&mut pool, batch, LogEnd::EMPTY);
    }
    assert_eq!(pool.insert(log[MAX_PENDING_PER_STATION].clone(), LogEnd::EMPTY, at(0)), Inserted::Full);
    assert_eq!(pool.len_of(&station(2)), MAX_PENDING_PER_STATION);
    for batch in batches(&mut Author::new(&rules, OWN), MAX_PENDING_PER_STATION + 1) {
        add(&mut pool, &batch, LogEnd::EMPTY);
    }
}

#[test]
fn a_full_pool_drops_the_newest_of_the_station_with_most_and_no_log_gets_a_hole() {
    let rules = rules();
    let mut pool = pool();
    let full_batch = |author: &mut Author| author.batch(at(0), vec![long_record(4_000); 14]);
    let ends: Vec<(Author, LogEnd)> = [2, 3].map(|number| settled(&rules, number)).into();
    let mut authors = ends.clone();
    let per_station = MAX_PENDING_BYTES / 2 / full_batch(&mut authors[0].0.clone()).encoded_len();
    for (author, end) in &mut authors {
        for _ in 0..per_station {
            let batch = full_batch(author);
            add(&mut pool, &batch, *end);
        }
    }
    let (mut four, end) = settled(&rules, 4);
    for count in 1..=10 {
        let batch = full_batch(&mut four);
        add(&mut pool, &batch, end);
        assert_eq!(pool.len_of(&station(4)), count);
    }
    let bytes: usize = pool.in_order().map(VerifiedBatch::encoded_len).sum();
    assert!(bytes <= MAX_PENDING_BYTES && bytes > MAX_PENDING_BYTES - 100_000, "{bytes}");
    for (_, end) in &ends {
        assert!(pool.len_of(&station(2)).abs_diff(pool.len_of(&station(3))) <= 1, "both give way");
        assert!(end.next.get() == 1);
    }
    for number in [2, 3, 4] {
        let sequences: Vec<u64> =
            pool.log_from(&station(number), Sequence::ZERO).map(|it| it.sequence().get()).collect();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn newcomers_share_a_quarter_of_the_pool() {
    let rules = rules();
    let mut pool = pool();
    let mut two = Author::new(&rules, 2);
    let mut results = Vec::new();
    while results.last() != Some(&Inserted::Full) {
        let batch = two.batch(at(0), vec![long_record(4_000); 14]);
        results.push(pool.insert(batch, LogEnd::EMPTY, at(0)));
    }
    let bytes: usize = pool.in_order().map(VerifiedBatch::encoded_len).sum();
    assert!(bytes <= MAX_PENDING_BYTES / 4 && bytes > MAX_PENDING_BYTES / 4 - 100_000, "{bytes}");
    // The newcomer with most gives way to another one, and to nobody's loss beside.
    let (mut three, end) = settled(&rules, 3);
    batches(&mut three, 3).iter().for_each(|batch| add(&mut pool, batch, end));
    let before = pool.len_of(&station(2));
    let other = Author::new(&rules, 4).batch(at(0), vec![long_record(4_000); 14]);
    add(&mut pool, &other, LogEnd::EMPTY);
    assert_eq!(pool.len_of(&station(2)), before - 1);
    assert_eq!(pool.len_of(&station(3)), 3);
}

#[test]
fn after_a_block_the_pool_holds_what_follows_it() {
    let rules = rules();
    for is_new in [false, true] {
        let mut pool = pool();
        let (mut author, end) = if is_new { (Author::new(&rules, 2), LogEnd::EMPTY) } else { settled(&rules, 2) };
        let mut fork = author.clone();
        let log = batches(&mut author, 4);
        log.iter().for_each(|batch| add(&mut pool, batch, end));
        assert_eq!(pool.reconcile(&station(2), end_of(&log[1]), vec![], at(5)), []);
        assert_eq!(pool.in_order().cloned().collect::<Vec<_>>(), log[2..]);
        assert_eq!((pool.records(), pool.pending_about_u()), (2, 2));
        // The block is reverted: its batches wait again, before what follows.
        assert_eq!(pool.reconcile(&station(2), end, log[..2].to_vec(), at(9)), []);
        assert_eq!(pool.in_order().cloned().collect::<Vec<_>>(), log);
        assert_eq!(pool.oldest(), Some(at(0)), "what was reverted does not make the rest younger");
        // Another log of the same station comes onto the chain: what no longer links goes.
        fork.batch(at(1), vec![interaction("v")]);
        assert_eq!(pool.reconcile(&station(2), fork.end(), vec![], at(9)), log[1..]);
        assert!(pool.is_empty() && pool.records() == 0 && pool.pending_about_u() == 0);
        assert_eq!((pool.oldest(), pool.log_end(&station(2))), (None, None));
    }
}

trait PendingAboutU {
    fn pending_about_u(&self) -> usize;
}

impl PendingAboutU for Mempool {
    fn pending_about_u(&self) -> usize {
        self.records_about(&Subject::User(Id::new("u").expect("an id"))).len()
    }
}

#[test]
fn records_about_a_subject_come_in_pool_order() {
    let rules = rules();
    let mut pool = pool();
    let (mut two, mut three) = (Author::new(&rules, 2), Author::new(&rules, 3));
    let mut sign = |author: &mut Author, contents: &[&str]| {
        let records = contents.iter().map(|content| verified(content, "maker")).collect();
        let batch = author.batch(at(0), records);
        add(&mut pool, &batch, LogEnd::EMPTY);
    };
    sign(&mut two, &["a", "b"]);
    sign(&mut two, &["a"]);
    sign(&mut three, &["b", "a"]);
    let id = |text: &str| Id::new(text).expect("an id");
    let about = |subject: Subject| -> Vec<(StationId, u64, u16)> {
        let found = pool.records_about(&subject);
        found.iter().map(|it| (it.batch.station, it.batch.sequence.get(), it.index)).collect()
    };
    let (two, three) = (station(2), station(3));
    let content = Subject::Content { creator_id: id("maker"), content_id: id("a") };
    assert_eq!(about(content), [(two, 0, 0), (three, 0, 1), (two, 1, 0)]);
    let all = [(two, 0, 0), (two, 0, 1), (three, 0, 0), (three, 0, 1), (two, 1, 0)];
    assert_eq!(about(Subject::Creator(id("maker"))), all);
    assert_eq!(about(Subject::User(id("maker"))), []);
    let of = |station: StationId, subject: Subject| -> Vec<(u64, u16)> {
        let found = pool.records_of(&station, &subject);
        assert!(found.iter().all(|it| it.batch.station == station));
        found.iter().map(|it| (it.batch.sequence.get(), it.index)).collect()
    };
    assert_eq!(of(two, Subject::Creator(id("maker"))), [(0, 0), (0, 1), (1, 0)], "one station's, in its log's order");
    assert_eq!(of(three, Subject::Creator(id("maker"))), [(0, 0), (0, 1)]);
    assert_eq!(of(station(4), Subject::Creator(id("maker"))), []);
}

#[test]
fn the_oldest_is_the_first_with_records() {
    let rules = rules();
    let mut pool = pool();
    let mut two = Author::new(&rules, 2);
    let introduction = two.batch(at(0), vec![]);
    pool.insert(introduction, LogEnd::EMPTY, at(10));
    assert_eq!(pool.oldest(), None);
    let with_records = two.batch(at(0), vec![interaction("u")]);
    pool.insert(with_records, LogEnd::EMPTY, at(20));
    let other = Author::new(&rules, 3).batch(at(0), vec![interaction("u")]);
    pool.insert(other, LogEnd::EMPTY, at(15));
    assert_eq!(pool.oldest(), Some(at(15)));
}

#[derive(Clone, Debug)]
enum Step {
    Sign { who: u8, bytes: usize },
    Offer { who: u8, at: usize },
    Connect { who: u8, count: usize },
    Revert { who: u8, count: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let who = OWN..=4;
    prop_oneof![
        (who.clone(), 0..3_000usize).prop_map(|(who, bytes)| Step::Sign { who, bytes }),
        (who.clone(), 0..12usize).prop_map(|(who, at)| Step::Offer { who, at }),
        (who.clone(), 1..4usize).prop_map(|(who, count)| Step::Connect { who, count }),
        (who, 1..4usize).prop_map(|(who, count)| Step::Revert { who, count }),
    ]
}

/// Whatever comes in whatever order: each log is what follows the chain without a hole, the counts are those of the
/// batches, and a block takes a prefix of each log within its limits.
#[test]
fn the_pool_is_always_what_follows_the_chain() {
    let rules = rules();
    let config = ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner =
        TestRunner::new_with_rng(config, proptest::test_runner::TestRng::deterministic_rng(Default::default()));
    runner.run(&vec(step(), 1..60), |steps| check_steps(&rules, steps)).expect("the pool keeps its promises");
}

fn check_steps(rules: &Arc<Rules>, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut pool = pool();
    let mut authors: Vec<Author> = (OWN..=4).map(|number| Author::new(rules, number)).collect();
    let mut logs: Vec<Vec<VerifiedBatch>> = vec![Vec::new(); 4];
    let mut on_chain = [0; 4];
    for step in steps {
        let end = |logs: &[Vec<VerifiedBatch>], on_chain: &[usize; 4], at: usize| match on_chain[at] {
            0 => LogEnd::EMPTY,
            count => end_of(&logs[at][count - 1]),
        };
        match step {
            Step::Sign { who, bytes } => {
                let at_index = usize::from(who - OWN);
                let batch = authors[at_index].batch(at(0), vec![long_record(bytes)]);
                logs[at_index].push(batch.clone());
                pool.insert(batch, end(&logs, &on_chain, at_index), at(0));
            }
            Step::Offer { who, at: place } => {
                let at_index = usize::from(who - OWN);
                if let Some(batch) = logs[at_index].get(place) {
                    let chain = end(&logs, &on_chain, at_index);
                    let next = pool.log_end(&station(who)).unwrap_or(chain).next.get() as usize;
                    let expected = match place {
                        _ if pool.by_id(&batch.id()).is_some() => Inserted::Known,
                        _ if place < next => Inserted::Taken,
                        _ if place > next => Inserted::Gap { from: Sequence::new(next as u64) },
                        _ => Inserted::Added,
                    };
                    prop_assert_eq!(pool.insert(batch.clone(), chain, at(0)), expected);
                }
            }
            Step::Connect { who, count } => {
                let at_index = usize::from(who - OWN);
                on_chain[at_index] = (on_chain[at_index] + count).min(logs[at_index].len());
                pool.reconcile(&station(who), end(&logs, &on_chain, at_index), vec![], at(0));
            }
            Step::Revert { who, count } => {
                let at_index = usize::from(who - OWN);
                let left = on_chain[at_index].saturating_sub(count);
                let reverted = logs[at_index][left..on_chain[at_index]].to_vec();
                on_chain[at_index] = left;
                let dropped = pool.reconcile(&station(who), end(&logs, &on_chain, at_index), reverted, at(0));
                prop_assert!(dropped.is_empty(), "all of one log links");
            }
        }
        let mut records = 0;
        for (at_index, log) in logs.iter().enumerate() {
            let who = station(OWN + at_index as u8);
            let waiting: Vec<VerifiedBatch> = pool.log_from(&who, Sequence::ZERO).cloned().collect();
            prop_assert_eq!(&waiting[..], &log[on_chain[at_index]..][..waiting.len()]);
            prop_assert_eq!(pool.len_of(&who), waiting.len());
            for batch in &waiting {
                prop_assert_eq!(pool.by_id(&batch.id()), Some(batch));
                records += batch.records().len();
            }
        }
        prop_assert_eq!(pool.records(), records as u64);
        prop_assert_eq!(pool.in_order().count(), pool.len());
        let subject = long_record(0).subject().expect("a content");
        prop_assert_eq!(pool.records_about(&subject).len(), records);
        check_selection(&pool, &logs, &on_chain)?;
    }
    Ok(())
}

fn check_selection(pool: &Mempool, logs: &[Vec<VerifiedBatch>], on_chain: &[usize; 4]) -> Result<(), TestCaseError> {
    let limits = Limits { block_batches: 5, body_bytes: 8_192, ..Limits::default() };
    let selected = pool.select(&limits, None, at(0));
    prop_assert!(selected.len() <= 5);
    prop_assert!(selected.iter().map(VerifiedBatch::encoded_len).sum::<usize>() <= 8_192);
    let ids: BTreeSet<_> = selected.iter().map(VerifiedBatch::id).collect();
    prop_assert_eq!(ids.len(), selected.len());
    for (at_index, log) in logs.iter().enumerate() {
        let of_one: Vec<_> =
            selected.iter().filter(|it| it.station() == station(OWN + at_index as u8)).cloned().collect();
        prop_assert_eq!(&of_one[..], &log[on_chain[at_index]..][..of_one.len()]);
    }
    prop_assert!(pool.is_empty() || !selected.is_empty(), "what waits and fits is taken");
    Ok(())
}
