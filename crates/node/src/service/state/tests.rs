//! Decisions of the state that the simulator shows only by how long stations take to agree.

use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::ledger::NoBlock;
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::testing::{Author, at, interaction, ledger, rules, station};

use qfzz_sync::report::{Fault, SyncReport};

use super::{Hold, MiningConfig, State, StateConfig, SyncConfig};
use crate::service::effect::{Effect, Input, MessageToken, Reply, Verdict};

const HOLD_UNTIL: i64 = 5_000;

/// Test station 1, connected with stations 2 and 3, after the syncs with them began.
fn state(rules: &Arc<Rules>) -> State<MemoryStore> {
    let config = StateConfig {
        mining: MiningConfig { enabled: true, interval_ms: 1_000, records: 100, slot_ms: 0 },
        sync: SyncConfig { interval_ms: 30_000 },
        hold: Hold::Until(at(HOLD_UNTIL)),
    };
    let mut state = State::new(ledger(rules, 1).0, config);
    for peer in [2, 3] {
        state.handle(Input::Connected(station(peer)), at(0));
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
    let (hash, nothing) = (block.hash(), Vec::new());
    let heard = state.handle(announced(1, station(2), &block), at(10));
    assert_eq!(verdicts(&heard), [(1, Verdict::Accept)]);
    assert_eq!(asked_for_body(&heard), [(station(2), hash)]);
    let in_vain = Input::FetchedBatches { block: hash, from: station(2), batches: nothing };
    assert_eq!(asked_for_body(&state.handle(in_vain.clone(), at(20))), []);
    assert_eq!(state.wake_at(at(20)), at(120));
    assert_eq!(asked_for_body(&state.handle(Input::Tick, at(120))), [(station(2), hash)]);
    state.handle(in_vain, at(130));
    state.handle(Input::Disconnected(station(2)), at(140));
    assert_eq!(asked_for_body(&state.handle(Input::Tick, at(330))), [(station(3), hash)]);
    let batches = block.batches().iter().map(|batch| batch.signed().clone()).collect();
    state.handle(Input::FetchedBatches { block: hash, from: station(3), batches }, at(340));
    assert_eq!(state.ledger().chain().head(), hash);
}

#[test]
fn batches_that_were_not_asked_for_are_no_progress() {
    let rules = rules();
    let mut state = state(&rules);
    let block = branch(&rules, &mut Author::new(&rules, 4), 1).remove(0);
    let other = Author::new(&rules, 5).batch(at(0), vec![interaction("u")]);
    state.handle(announced(1, station(2), &block), at(10));
    let batches = vec![other.signed().clone()];
    let fetched = Input::FetchedBatches { block: block.hash(), from: station(2), batches };
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
    let batches = log[..2].iter().map(|batch| batch.signed().clone()).collect();
    let fetched = state.handle(Input::FetchedLog { from: station(2), batches }, at(30));
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
    let signed = batches.iter().map(|batch| batch.signed().clone()).collect();
    let synced = state.handle(Input::SyncedBatches { token: 1, batches: signed }, at(10));
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
    Input::SyncEnded(Box::new(SyncReport {
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
        fault,
    }))
}

fn signs(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Persist(it) if !it.own_batches.is_empty()))
}

#[test]
fn signing_is_held_beyond_its_time_while_a_sync_may_bring_the_own_log() {
    let mut state = state(&rules());
    state.handle(Input::Submit { token: 1, records: vec![interaction("u")] }, at(10));
    let late = at(HOLD_UNTIL + 1_000);
    assert!(!signs(&state.handle(Input::Tick, late)));
    assert!(!signs(&state.handle(sync_ended(2, Some(Fault::Busy)), late)));
    assert!(signs(&state.handle(sync_ended(3, Some(Fault::Busy)), late)));
}

#[test]
fn a_clock_behind_the_chains_is_named_and_mining_is_not_tried_again_at_once() {
    let rules = rules();
    let mut state = state(&rules);
    state.handle(sync_ended(2, None), at(5));
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
            Effect::Reply(token, Reply::DiskFull | Reply::Taken(Err(Fault::Here))) => Some(*token),
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
        Input::SyncedBatches { token: 6, batches: vec![batch.signed().clone()] },
        gossiped(7, station(2), &batch),
        announced(8, station(2), &block),
        Input::Tick,
    ] {
        effects.extend(state.handle(input, at(HOLD_UNTIL + 1)));
    }
    assert_eq!(refused(&effects), [3, 4, 5, 6]);
    assert_eq!(verdicts(&effects), [(7, Verdict::Ignore), (8, Verdict::Ignore)]);
    assert!(!effects.iter().any(|it| matches!(it, Effect::Persist(_) | Effect::StartMining(_) | Effect::Sync(_))));
    assert!(state.ledger().pool().is_empty() && state.ledger().chain().height() == Height::ZERO);

    state.handle(Input::Disk { full: false }, at(HOLD_UNTIL + 2));
    state.handle(gossiped(9, station(2), &batch), at(HOLD_UNTIL + 2));
    assert_eq!(state.ledger().pool().records(), 1);
    let taken = state.handle(Input::SyncedBlocks { token: 10, blocks: vec![block] }, at(HOLD_UNTIL + 2));
    assert!(taken.iter().any(|it| matches!(it, Effect::Persist(_))));
}
