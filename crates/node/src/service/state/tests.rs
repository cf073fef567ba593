//! Decisions of the state that the simulator shows only by how long stations take to agree.

use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::ledger::NoBlock;
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::testing::{
    Author, admits, at, interaction, key, ledger, proof, rules, rules_with, rules_with_roster, station,
};
use qfzz_sync::alive::{OtherRun, Run, Statement};
use qfzz_sync::peer::SessionError;
use qfzz_sync::report::{Fault, SyncReport};

use super::{Hold, MiningConfig, NotSigning, State, StateConfig, SyncConfig};
use crate::service::effect::{Checked, Effect, Event, Input, MessageToken, Reply, Verdict};

mod own_log;

const HOLD_UNTIL: i64 = 5_000;

/// A run of its daemon that started at `started_at`.
fn run(id: u8, started_at: i64) -> Run {
    Run { started_at: at(started_at), id: [id; 8], place: [id; 8] }
}

/// Test station 1, connected with stations 2 and 3, after the syncs with them began.
fn state(rules: &Arc<Rules>) -> State<MemoryStore> {
    let config = StateConfig {
        mining: MiningConfig { enabled: true, interval_ms: 1_000, records: 100, slot_ms: 0 },
        sync: SyncConfig { interval_ms: 30_000 },
        hold: Hold::Until(at(HOLD_UNTIL)),
        run: run(1, 0),
    };
    let mut state = State::new(ledger(rules, 1).0, config);
    for peer in [2, 3] {
        state.handle(Input::Connected(station(peer)), at(0));
        state.handle(Input::Familiar(station(peer)), at(0));
    }
    state
}

fn branch(rules: &Arc<Rules>, author: &mut Author, blocks: u64) -> Vec<VerifiedBlock> {
    let mut parent = (Height::ZERO, rules.genesis_hash());
    let mut made = Vec::new();
    for number in 0..blocks {
        let batch = author.batch(at(0), vec![interaction("u")]);
        let block = author.block(parent, number, at(1 + i64::try_from(number).expect("few")), vec![batch]);
        parent = (block.index(), block.hash());
        made.push(block);
    }
    made
}

fn announced(message: MessageToken, from: StationId, block: &VerifiedBlock) -> Input {
    Input::GossipBlock { message, from, data: encode(&block.announcement()) }
}

fn gossiped(message: MessageToken, from: StationId, batch: &VerifiedBatch) -> Input {
    Input::GossipBatch { message, from, data: encode(batch.signed()) }
}

/// Batches as they come from a peer, which were found valid.
fn valid(batches: &[VerifiedBatch]) -> Checked {
    batches.iter().cloned().map(Ok).collect()
}

fn verdicts(effects: &[Effect]) -> Vec<(MessageToken, Verdict)> {
    let verdict = |effect: &Effect| match effect {
        Effect::Verdict(message, verdict) => Some((*message, *verdict)),
        _ => None,
    };
    effects.iter().filter_map(verdict).collect()
}

fn asked_for_body(effects: &[Effect]) -> Vec<(StationId, BlockHash)> {
    let asked = |effect: &Effect| match effect {
        Effect::FetchBatches { peer, block, .. } => Some((*peer, *block)),
        _ => None,
    };
    effects.iter().filter_map(asked).collect()
}

fn asked_for_log(effects: &[Effect]) -> Vec<(StationId, Sequence)> {
    let asked = |effect: &Effect| match effect {
        Effect::FetchLog { station, from, .. } => Some((*station, *from)),
        _ => None,
    };
    effects.iter().filter_map(asked).collect()
}

fn published(effects: &[Effect]) -> Vec<Sequence> {
    let published = |effect: &Effect| match effect {
        Effect::PublishBatch(batch) => Some(batch.sequence()),
        _ => None,
    };
    effects.iter().filter_map(published).collect()
}

#[test]
fn a_body_that_a_peer_has_not_got_yet_is_asked_for_again_and_elsewhere_once_it_has_gone() {
    let rules = rules();
    let mut state = state(&rules);
    let block = branch(&rules, &mut Author::new(&rules, 4), 1).remove(0);
    let hash = block.hash();
    let heard = state.handle(announced(1, station(2), &block), at(10));
    assert_eq!(verdicts(&heard), [(1, Verdict::Accept)]);
    assert_eq!(asked_for_body(&heard), [(station(2), hash)]);
    let in_vain = Input::FetchedBatches { block: hash, from: station(2), checked: Checked::default() };
    assert_eq!(asked_for_body(&state.handle(in_vain.clone(), at(20))), []);
    assert_eq!(state.wake_at(at(20)), at(120));
    assert_eq!(asked_for_body(&state.handle(Input::Tick, at(120))), [(station(2), hash)]);
    state.handle(in_vain, at(130));
    state.handle(Input::Disconnected(station(2)), at(140));
    assert_eq!(asked_for_body(&state.handle(Input::Tick, at(330))), [(station(3), hash)]);
    state.handle(Input::FetchedBatches { block: hash, from: station(3), checked: valid(block.batches()) }, at(340));
    assert_eq!(state.ledger().chain().head(), hash);
}

#[test]
fn batches_that_were_not_asked_for_are_no_progress() {
    let rules = rules();
    let mut state = state(&rules);
    let block = branch(&rules, &mut Author::new(&rules, 4), 1).remove(0);
    let other = Author::new(&rules, 5).batch(at(0), vec![interaction("u")]);
    state.handle(announced(1, station(2), &block), at(10));
    let fetched = Input::FetchedBatches { block: block.hash(), from: station(2), checked: valid(&[other]) };
    assert_eq!(asked_for_body(&state.handle(fetched, at(20))), []);
}

#[test]
fn an_announcement_is_passed_on_when_a_sync_brought_its_parent_or_the_block_itself() {
    let rules = rules();
    let blocks = branch(&rules, &mut Author::new(&rules, 4), 2);
    for brought in [&blocks[..1], &blocks[..]] {
        let mut state = state(&rules);
        assert_eq!(verdicts(&state.handle(announced(7, station(2), &blocks[1]), at(10))), []);
        let synced = state.handle(Input::SyncedBlocks { token: 8, blocks: brought.to_vec() }, at(20));
        assert_eq!(verdicts(&synced), [(7, Verdict::Accept)], "{} blocks", brought.len());
    }
    let mut state = state(&rules);
    state.handle(announced(7, station(2), &blocks[1]), at(10));
    assert_eq!(verdicts(&state.handle(Input::Tick, at(5_009))), []);
    assert_eq!(verdicts(&state.handle(Input::Tick, at(5_010))), [(7, Verdict::Ignore)]);
}

#[test]
fn what_a_log_lacks_is_asked_for_once_and_passed_on_by_its_newest_batch() {
    let rules = rules();
    let mut state = state(&rules);
    let mut author = Author::new(&rules, 4);
    let log: Vec<VerifiedBatch> = (0..4).map(|_| author.batch(at(0), vec![interaction("u")])).collect();
    let asked = state.handle(gossiped(1, station(2), &log[3]), at(10));
    assert_eq!(asked_for_log(&asked), [(author.station(), Sequence::ZERO)]);
    assert_eq!(asked_for_log(&state.handle(gossiped(2, station(3), &log[2]), at(20))), []);
    let fetched = state.handle(Input::FetchedLog { from: station(2), checked: valid(&log[..2]) }, at(30));
    assert_eq!(verdicts(&fetched), [(2, Verdict::Accept), (1, Verdict::Accept)]);
    assert_eq!(published(&fetched), [log[3].sequence()]);
    assert_eq!(state.ledger().pool().records(), 4);
}

#[test]
fn pending_batches_that_a_sync_brought_are_passed_on_by_the_newest_of_each_log() {
    let rules = rules();
    let mut state = state(&rules);
    let mut author = Author::new(&rules, 4);
    let batches: Vec<VerifiedBatch> = (0..3).map(|_| author.batch(at(0), vec![interaction("u")])).collect();
    let checked = valid(&batches);
    let synced = state.handle(Input::SyncedBatches { token: 1, peer: station(2), checked }, at(10));
    assert_eq!(published(&synced), [batches[2].sequence()]);
}

#[test]
fn no_tick_is_wanted_for_what_has_been_or_must_wait() {
    let rules = rules();
    let mut state = state(&rules);
    let batch = Author::new(&rules, 4).batch(at(0), vec![interaction("u")]);
    state.handle(gossiped(1, station(2), &batch), at(10));
    // The pending record has waited long enough before this station may sign a block.
    for now in [2_000, HOLD_UNTIL - 1, HOLD_UNTIL, HOLD_UNTIL + 1, 60_000] {
        state.handle(Input::Tick, at(now));
        assert!(state.wake_at(at(now)) > at(now), "at {now} ms");
    }
}

/// The sync with a peer ended.
fn sync_ended(peer: u8, fault: Option<Fault>) -> Input {
    Input::SyncEnded(Box::new(report(peer, LogEnd::EMPTY, fault)))
}

/// The report of a sync with a peer that told where this station's own log ends.
fn report(peer: u8, your_log: LogEnd, fault: Option<Fault>) -> SyncReport {
    SyncReport {
        peer: station(peer),
        blocks: 0,
        batches: 0,
        records: 0,
        bytes_in: 0,
        bytes_out: 0,
        round_trips: 0,
        reorg_depth: 0,
        elapsed_ms: 0,
        cpu_ms: 0,
        your_log: Some(your_log),
        other_run: None,
        fault,
    }
}

fn begun(effects: &[Effect]) -> Vec<StationId> {
    let begun = |effect: &Effect| match effect {
        Effect::Sync(peer) => Some(*peer),
        _ => None,
    };
    effects.iter().filter_map(begun).collect()
}

#[test]
fn slow_peers_share_one_turn_and_a_long_sync_gives_way_only_while_another_peer_waits() {
    let mut state = state(&rules());
    assert!(!state.must_give_way(at(0)), "one turn is free");
    assert_eq!(begun(&state.handle(Input::Connected(station(4)), at(0))), [station(4)]);
    assert!(!state.must_give_way(at(10_000)), "nobody waits");
    assert_eq!(begun(&state.handle(Input::Connected(station(5)), at(10_000))), []);
    assert!(!state.must_give_way(at(11_999)));
    assert!(state.must_give_way(at(12_000)));
    let slow = |peer: u8, fault| match sync_ended(peer, fault) {
        Input::SyncEnded(report) => Input::SyncEnded(Box::new(SyncReport { elapsed_ms: 20_000, ..*report })),
        _ => unreachable!("that is what it makes"),
    };
    assert_eq!(begun(&state.handle(slow(2, Some(Fault::GaveWay)), at(20_000))), [station(5)]);
    let next = begun(&state.handle(slow(3, Some(Fault::GaveWay)), at(20_000)));
    assert!(next == [station(2)] || next == [station(3)], "{next:?}");
    assert_eq!(begun(&state.handle(slow(4, Some(Fault::GaveWay)), at(20_000))), [], "the turn of the slow is taken");
    assert_eq!(begun(&state.handle(Input::Connected(station(6)), at(20_000))), [station(6)], "who is not slow may");
    let ended = if next == [station(2)] { 2 } else { 3 };
    let slow_again = begun(&state.handle(slow(ended, Some(Fault::GaveWay)), at(20_010)));
    assert_eq!(slow_again.len(), 1);
    assert_ne!(slow_again, next, "the others come first");
}

#[test]
fn who_announces_on_and_on_what_attaches_to_nothing_is_left_for_a_minute() {
    let rules = rules();
    let mut state = state(&rules);
    let author = Author::new(&rules, 4);
    let batch = author.clone().batch(at(0), vec![interaction("u")]);
    let orphan = |number: u64| {
        let mut parent = [7; 32];
        parent[..8].copy_from_slice(&number.to_le_bytes());
        author.block((Height::new(6), BlockHash::from_bytes(parent)), 0, at(1), vec![batch.clone()])
    };
    let banned = |effects: &[Effect]| {
        let until = |effect: &Effect| match effect {
            Effect::Ban { peer, until, .. } => Some((*peer, *until)),
            _ => None,
        };
        effects.iter().find_map(until)
    };
    for number in 0..512 {
        assert_eq!(banned(&state.handle(announced(number, station(2), &orphan(number)), at(10))), None, "{number}");
    }
    let one_more = state.handle(announced(512, station(2), &orphan(512)), at(10));
    assert_eq!(banned(&one_more), Some((station(2), at(60_010))));
    assert_eq!(banned(&state.handle(announced(513, station(3), &orphan(513)), at(10))), None, "nobody else is");
}

#[test]
fn requests_for_a_block_that_cannot_be_answered_do_not_pile_up() {
    let mut state = state(&rules());
    let refused = |effects: &[Effect]| effects.iter().any(|it| matches!(it, Effect::Reply(_, Reply::Overloaded)));
    let refusals = (0..300).filter(|token| refused(&state.handle(Input::Mine { token: *token }, at(10)))).count();
    assert_eq!(refusals, 300 - 256);
}

fn signs(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Persist(it) if !it.own_batches.is_empty()))
}

#[test]
fn a_clock_behind_the_chains_is_named_and_mining_is_not_tried_again_at_once() {
    let rules = rules();
    let mut state = state(&rules);
    state.handle(sync_ended(2, None), at(5));
    state.handle(sync_ended(3, None), at(5));
    let blocks = branch(&rules, &mut Author::new(&rules, 4), 1);
    state.handle(Input::SyncedBlocks { token: 1, blocks }, at(10));
    state.handle(Input::Submit { token: 2, records: vec![interaction("v")] }, at(10));
    let is_answered = |effects: &[Effect], token| {
        let answer =
            |it: &Effect| matches!(it, Effect::Reply(to, Reply::NotMined(NoBlock::ClockBehind)) if *to == token);
        effects.iter().any(answer)
    };
    let behind = at(-300_000);
    assert!(is_answered(&state.handle(Input::Mine { token: 3 }, behind), 3));
    let again = state.handle(Input::Mine { token: 4 }, behind.saturating_add(10));
    assert!(!is_answered(&again, 4) && !again.iter().any(|effect| matches!(effect, Effect::StartMining(_))));
    assert!(is_answered(&state.handle(Input::Tick, behind.saturating_add(1_010)), 4));
}

#[test]
fn with_a_full_disk_nothing_is_decided_and_all_that_wait_are_told() {
    let rules = rules();
    let mut state = state(&rules);
    let mut author = Author::new(&rules, 3);
    let block = branch(&rules, &mut Author::new(&rules, 2), 1).remove(0);
    // Held back until a peer has told of the own log, so that all of it waits.
    state.handle(Input::Submit { token: 1, records: vec![interaction("u")] }, at(1));
    state.handle(Input::Mine { token: 2 }, at(1));
    let refused = |effects: &[Effect]| -> Vec<u64> {
        let token = |effect: &Effect| match effect {
            Effect::Reply(token, Reply::DiskFull | Reply::Taken(_, Err(Fault::Here))) => Some(*token),
            _ => None,
        };
        effects.iter().filter_map(token).collect()
    };
    let mut told = refused(&state.handle(Input::Disk { full: true }, at(2)));
    told.sort_unstable();
    assert_eq!(told, [1, 2]);
    assert!(state.is_disk_full());
    let batch = author.batch(at(3), vec![interaction("u")]);
    let mut effects = Vec::new();
    for input in [
        Input::Submit { token: 3, records: vec![interaction("u")] },
        Input::Mine { token: 4 },
        Input::SyncedBlocks { token: 5, blocks: vec![block.clone()] },
        Input::SyncedBatches { token: 6, peer: station(2), checked: valid(std::slice::from_ref(&batch)) },
        gossiped(7, station(2), &batch),
        announced(8, station(2), &block),
        Input::Tick,
    ] {
        effects.extend(state.handle(input, at(HOLD_UNTIL + 1)));
    }
    assert_eq!(refused(&effects), [3, 4, 5, 6]);
    assert_eq!(verdicts(&effects), [(7, Verdict::Unseen), (8, Verdict::Unseen)], "nobody is blamed for it");
    assert!(!effects.iter().any(|it| matches!(it, Effect::Persist(_) | Effect::StartMining(_) | Effect::Sync(_))));
    assert!(state.ledger().pool().is_empty() && state.ledger().chain().height() == Height::ZERO);

    state.handle(Input::Disk { full: false }, at(HOLD_UNTIL + 2));
    state.handle(gossiped(9, station(2), &batch), at(HOLD_UNTIL + 2));
    assert_eq!(state.ledger().pool().records(), 1);
    let taken = state.handle(Input::SyncedBlocks { token: 10, blocks: vec![block] }, at(HOLD_UNTIL + 2));
    assert!(taken.iter().any(|it| matches!(it, Effect::Persist(_))));
}

/// The same once it may sign, its peers having told nothing new of its own log.
fn signing(rules: &Arc<Rules>) -> State<MemoryStore> {
    let mut state = state(rules);
    for peer in [2, 3] {
        state.handle(sync_ended(peer, None), at(5));
    }
    assert_eq!(state.not_signing(), None);
    state
}

/// The records that these effects bring to the disk as this station's own.
fn own_records(effects: &[Effect]) -> Vec<Record> {
    let persisted = effects.iter().filter_map(|effect| match effect {
        Effect::Persist(transition) => Some(&transition.own_batches),
        _ => None,
    });
    persisted.flatten().flat_map(|batch| batch.records().to_vec()).collect()
}

fn reasons(effects: &[Effect]) -> Vec<(u64, NotSigning)> {
    let reason = |effect: &Effect| match effect {
        Effect::Reply(token, Reply::NotSigning(reason)) => Some((*token, *reason)),
        _ => None,
    };
    effects.iter().filter_map(reason).collect()
}

#[test]
fn a_second_batch_of_one_place_is_not_passed_on_and_proven_once() {
    let rules = rules();
    let mut author = Author::new(&rules, 4);
    let pair = author.equivocate(at(0), [vec![interaction("a")], vec![interaction("b")]]);
    let mut state = signing(&rules);
    assert_eq!(verdicts(&state.handle(gossiped(1, station(2), &pair[0]), at(10))), [(1, Verdict::Accept)]);
    let met = state.handle(gossiped(2, station(3), &pair[1]), at(20));
    assert_eq!(verdicts(&met), [(2, Verdict::Ignore)], "who passes it on is not at fault");
    assert!(!met.iter().any(|effect| matches!(effect, Effect::Ban { .. })));
    assert_eq!(own_records(&met), [proof(&rules, &pair[0], &pair[1])]);
    assert_eq!(published(&met), [Sequence::ZERO], "the proof goes to all");
    let told = |effect: &Effect| matches!(effect, Effect::Event(Event::Equivocation { station, sequence }) if *station == author.station() && *sequence == Sequence::ZERO);
    assert_eq!(met.iter().filter(|effect| told(effect)).count(), 1);
    for now in [30, 2_000, 60_000] {
        let again = state.handle(gossiped(3, station(2), &pair[1]), at(now));
        assert_eq!(own_records(&again), [], "one record is enough");
    }
}

#[test]
fn a_proof_waits_for_signing_and_is_left_to_whoever_was_first() {
    let rules = rules();
    let pair = Author::new(&rules, 4).equivocate(at(0), [vec![interaction("a")], vec![interaction("b")]]);
    let witness = Author::new(&rules, 5).batch(at(0), vec![proof(&rules, &pair[0], &pair[1])]);
    for is_proven_elsewhere in [false, true] {
        let mut state = state(&rules);
        state.handle(gossiped(1, station(2), &pair[0]), at(10));
        assert_eq!(own_records(&state.handle(gossiped(2, station(2), &pair[1]), at(10))), []);
        if is_proven_elsewhere {
            state.handle(gossiped(3, station(2), &witness), at(15));
        }
        state.handle(sync_ended(2, None), at(20));
        let first = own_records(&state.handle(sync_ended(3, None), at(20)));
        assert_eq!(first.len(), usize::from(!is_proven_elsewhere));
    }
}

#[test]
fn a_forged_proof_costs_its_sender() {
    let rules = rules();
    let [one, other] = Author::new(&rules, 4).equivocate(at(0), [vec![interaction("a")], vec![interaction("b")]]);
    let (mut first, mut second) = (one.signed_header(), other.signed_header());
    if first.id(&rules) > second.id(&rules) {
        std::mem::swap(&mut first, &mut second);
    }
    second.signature = first.signature.clone();
    if first.id(&rules) > second.id(&rules) {
        std::mem::swap(&mut first, &mut second);
    }
    let forged = qfzz_ledger_core::codec::decode(&encode(&(first, second)), 4_096).expect("two signed headers");
    let batch = Author::new(&rules, 5).batch(at(0), vec![Record::BatchEquivocation(Box::new(forged))]);
    let mut state = signing(&rules);
    let heard = state.handle(gossiped(1, station(2), &batch), at(10));
    assert_eq!(verdicts(&heard), [(1, Verdict::Reject)]);
    assert!(heard.iter().any(|effect| matches!(effect, Effect::Ban { peer, .. } if *peer == station(2))));
    let checked = [batch.signed().clone().verify(&rules)].into_iter().collect();
    let synced = state.handle(Input::SyncedBatches { token: 7, peer: station(3), checked }, at(20));
    let refused = |effect: &Effect| matches!(effect, Effect::Reply(7, Reply::Taken(_, Err(Fault::Batch(_)))));
    assert!(synced.iter().any(refused));
    assert!(!state.ledger().is_accused(&station(4)).expect("memory can be read"));
}

#[test]
fn the_batch_before_one_that_does_not_link_is_asked_for_and_proves_it() {
    let rules = rules();
    let mut author = Author::new(&rules, 4);
    let pair = author.equivocate(at(0), [vec![interaction("a")], vec![interaction("b")]]);
    let next = author.batch(at(0), vec![interaction("c")]);
    let mut state = signing(&rules);
    state.handle(gossiped(1, station(2), &pair[1]), at(10));
    let unlinked = state.handle(gossiped(2, station(3), &next), at(20));
    assert_eq!(verdicts(&unlinked), [(2, Verdict::Ignore)]);
    assert_eq!(asked_for_log(&unlinked), [(author.station(), Sequence::ZERO)]);
    assert_eq!(asked_for_log(&state.handle(gossiped(3, station(3), &next), at(30))), [], "now and then");
    let checked = valid(&[pair[0].clone(), next]);
    let fetched = state.handle(Input::FetchedLog { from: station(3), checked }, at(40));
    assert_eq!(own_records(&fetched), [proof(&rules, &pair[0], &pair[1])]);
}

#[test]
fn blocks_taken_before_a_refused_one_of_their_group_are_reported() {
    let rules = rules();
    let mut state = signing(&rules);
    let mut author = Author::new(&rules, 4);
    let mut blocks = branch(&rules, &mut author, 2);
    let wrong_reveal = author.block(
        (blocks[1].index(), blocks[1].hash()),
        5,
        at(9),
        vec![author.clone().batch(at(0), vec![interaction("u")])],
    );
    blocks.push(wrong_reveal);
    let effects = state.handle(Input::SyncedBlocks { token: 3, blocks }, at(10));
    let reported = effects.iter().find_map(|effect| match effect {
        Effect::Reply(3, Reply::Taken(taken, outcome)) => Some((taken.count, taken.records, outcome.is_err())),
        _ => None,
    });
    assert_eq!(reported, Some((2, 2, true)));
}

#[test]
fn the_later_of_two_daemons_signs_no_more_and_says_so_at_once() {
    let rules = rules();
    let other_run = |run: Run, made_at: i64| {
        let statement = Statement::sign(&rules, &key(1), run, at(made_at));
        Input::SyncEnded(Box::new(SyncReport {
            other_run: Some(OtherRun { statement, age_ms: 0 }),
            ..report(2, LogEnd::EMPTY, None)
        }))
    };
    let mut later = signing(&rules);
    later.handle(Input::Submit { token: 1, records: vec![interaction("u")] }, at(10));
    let mut earlier = signing(&rules);
    let stopped = later.handle(other_run(run(9, -1_000), 50), at(60));
    assert!(stopped.iter().any(|effect| matches!(effect, Effect::Event(Event::StoppedSigning))));
    let refused = later.handle(Input::Submit { token: 2, records: vec![interaction("v")] }, at(70));
    assert_eq!(reasons(&refused), [(2, NotSigning::AnotherDaemon)]);
    assert_eq!(reasons(&later.handle(Input::Mine { token: 3 }, at(80))), [(3, NotSigning::AnotherDaemon)]);
    // What was already being mined is not sealed any more.
    assert!(!later.handle(Input::Tick, at(60_000)).iter().any(|it| matches!(it, Effect::StartMining(_))));

    let heard = earlier.handle(other_run(run(9, 1_000), 1_050), at(1_060));
    assert!(heard.iter().any(|effect| matches!(effect, Effect::Event(Event::AnotherDaemonStopped))));
    assert!(signs(&earlier.handle(Input::Submit { token: 2, records: vec![interaction("v")] }, at(1_070))));
    assert!(earlier.is_followed());
}

#[test]
fn a_batch_of_the_own_log_from_elsewhere_stops_signing_and_asks_all_peers() {
    let rules = rules();
    let mut state = signing(&rules);
    let foreign = Author::new(&rules, 1).batch(at(600), vec![interaction("elsewhere")]);
    let heard = state.handle(gossiped(1, station(2), &foreign), at(700));
    assert_eq!(state.not_signing(), Some(NotSigning::AnotherSeen));
    let asked = heard.iter().filter(|effect| matches!(effect, Effect::Sync(_))).count();
    assert_eq!(asked, 2);
    assert!(state.alive(at(700)).is_some_and(|it| it.is_signed_by(&rules, &station(1))));
}
