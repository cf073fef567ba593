//! What waits outside the pool: batches without their predecessor or dated ahead, announcements without their parent.

use std::sync::Arc;

use qfzz_ledger_core::batch::{BatchError, SignedBatch};
use qfzz_ledger_core::block::Announcement;
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::held::Held;
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, Sequence};
use qfzz_ledger_core::ledger::{BatchOutcome, Ledger};
use qfzz_ledger_core::limits::{
    HELD_FOR_MS, MAX_CLOCK_SKEW_MS, MAX_HELD, MAX_HELD_PER_STATION, MAX_ORPHANS, MAX_ORPHANS_PER_PEER,
    MAX_SEQUENCE_AHEAD, ORPHAN_FOR_MS,
};
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::orphans::Orphans;
use qfzz_ledger_core::testing::{Author, added, at, interaction, key, ledger, rules, station};

fn offer(ledger: &mut Ledger<MemoryStore>, batch: SignedBatch, now: i64) -> BatchOutcome {
    ledger.add_batch(batch, at(now)).expect("memory can be read")
}

/// What was added, by sequence; panics at another outcome.
fn sequences(outcome: &BatchOutcome) -> Vec<u64> {
    match outcome {
        BatchOutcome::Added { batches, .. } => batches.iter().map(|batch| batch.sequence().get()).collect(),
        other => panic!("not added: {other:?}"),
    }
}

#[test]
fn each_batch_that_somebody_sends_has_its_outcome() {
    let rules = rules();
    let (mut ledger, _) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let mut other = author.clone();
    let log: Vec<SignedBatch> = (0..6).map(|_| author.batch(at(0), vec![interaction("u")]).signed().clone()).collect();
    other.batch(at(1), vec![]);
    let unlinked = other.batch(at(1), vec![interaction("v")]).signed().clone();

    assert_eq!(offer(&mut ledger, log[2].clone(), 0), BatchOutcome::Gap { from: Sequence::ZERO });
    assert_eq!(sequences(&offer(&mut ledger, log[0].clone(), 0)), [0]);
    assert_eq!(offer(&mut ledger, log[0].clone(), 0), BatchOutcome::Known);
    assert_eq!(offer(&mut ledger, unlinked, 0), BatchOutcome::Unlinked);
    assert_eq!(sequences(&offer(&mut ledger, log[1].clone(), 0)), [1, 2], "what waited for it comes with it");
    assert_eq!(offer(&mut ledger, log[5].clone(), 0), BatchOutcome::Gap { from: Sequence::new(3) });

    let far = |ahead: u64| {
        let mut batch = log[3].clone();
        batch.header.sequence = Sequence::new(3 + ahead);
        batch
    };
    assert_eq!(offer(&mut ledger, far(MAX_SEQUENCE_AHEAD + 1), 0), BatchOutcome::TooFar);
    assert_eq!(offer(&mut ledger, far(u64::MAX - 3), 0), BatchOutcome::TooFar);
    let (who, sequence) = (station(2), Sequence::new(3 + MAX_SEQUENCE_AHEAD));
    let invalid = BatchOutcome::Invalid(BatchError::Signature { station: who, sequence });
    assert_eq!(offer(&mut ledger, far(MAX_SEQUENCE_AHEAD), 0), invalid);
    // Another batch at a place that is taken accuses its author, so it is believed only if that signed it.
    let forged = SignedBatch { signature: Signature::from_bytes(vec![0; 64]), ..log[0].clone() };
    let invalid = BatchOutcome::Invalid(BatchError::Signature { station: who, sequence: Sequence::ZERO });
    assert_eq!(offer(&mut ledger, forged, 0), invalid);
}

#[test]
fn a_log_that_is_full_says_so() {
    let rules = rules();
    let (mut ledger, _) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let outcome = loop {
        let batch = author.batch(at(0), vec![interaction("u")]);
        match ledger.add_verified(batch, at(0)).expect("memory can be read") {
            BatchOutcome::Added { .. } => {}
            other => break other,
        }
    };
    assert_eq!((outcome, ledger.pool().len()), (BatchOutcome::Full, 1_024));
}

#[test]
fn what_is_dated_ahead_waits_for_the_clock_and_is_never_lost() {
    let rules = rules();
    let (mut ledger, _) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let first = author.batch(at(0), vec![interaction("u")]).signed().clone();
    let ahead = author.batch(at(MAX_CLOCK_SKEW_MS + 10), vec![interaction("u")]).signed().clone();
    let last = author.batch(at(0), vec![interaction("u")]).signed().clone();
    assert_eq!(offer(&mut ledger, ahead, 0), BatchOutcome::Ahead);
    assert_eq!(offer(&mut ledger, last, 0), BatchOutcome::Gap { from: Sequence::ZERO });
    // Its predecessor comes while it is not due yet.
    assert_eq!(sequences(&offer(&mut ledger, first, 1)), [0]);
    assert_eq!(ledger.retry_held(at(9)), Ok(vec![]));
    let outcomes = ledger.retry_held(at(10)).expect("memory can be read");
    assert_eq!(outcomes.iter().flat_map(sequences).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(ledger.pool().len(), 3);
    assert_eq!(ledger.retry_held(at(11)), Ok(vec![]), "nothing is left");
}

#[test]
fn what_waits_for_a_batch_goes_on_when_a_block_brings_it() {
    let rules = rules();
    let (mut ledger, _) = ledger(&rules, 1);
    let mut author = Author::new(&rules, 2);
    let log: Vec<_> = (0..3).map(|_| author.batch(at(0), vec![interaction("u")])).collect();
    assert_eq!(offer(&mut ledger, log[2].signed().clone(), 0), BatchOutcome::Gap { from: Sequence::ZERO });
    let block = author.block((Height::ZERO, rules.genesis_hash()), 0, at(1), log[..2].to_vec());
    let outcome = ledger.add_blocks(vec![block], at(1)).expect("memory can be read");
    assert_eq!(outcome.refused, None);
    let outcomes = ledger.retry_held(at(2)).expect("memory can be read");
    assert_eq!(outcomes.iter().map(sequences).collect::<Vec<_>>(), [[2]]);
}

#[test]
fn held_batches_are_bounded_by_station_in_all_and_in_time() {
    let rules = rules();
    let mut held = Held::default();
    for number in 2..=18 {
        let mut author = Author::new(&rules, number);
        for _ in 0..=MAX_HELD_PER_STATION {
            held.insert(author.batch(at(0), vec![interaction("u")]), at(i64::from(number)));
        }
    }
    assert_eq!(held.len(), MAX_HELD, "16 stations with 16 each; the 17th came too late");
    assert_eq!(held.take(&station(2), Sequence::new(16)), None, "the highest goes first");
    assert_eq!(held.take(&station(18), Sequence::ZERO), None);
    assert!(held.take(&station(2), Sequence::ZERO).is_some());
    assert_eq!(held.len(), MAX_HELD - 1);
    // One place is free again, for anybody.
    held.insert(Author::new(&rules, 18).batch(at(0), vec![]), at(18));
    assert!(held.take(&station(18), Sequence::ZERO).is_some());
    held.expire(at(2 + HELD_FOR_MS));
    assert_eq!(held.len(), MAX_HELD - 16, "station 2's have waited long enough");
    let all = held.take_all();
    assert_eq!((all.len(), held.is_empty()), (MAX_HELD - 16, true));
    assert!(all.is_sorted_by_key(|(batch, _)| (batch.station(), batch.sequence())));
    for (batch, since) in all {
        held.put_back(batch, since);
    }
    held.expire(at(3 + HELD_FOR_MS));
    assert_eq!(held.len(), MAX_HELD - 32, "what is put back waits since it first came");
}

fn announcement(rules: &Arc<Rules>, timestamp: i64) -> (BlockHash, Announcement) {
    let mut author = Author::new(rules, 2);
    let batch = author.batch(at(0), vec![added("track", "maker", 1)]);
    let unknown = BlockHash::from_bytes([if timestamp % 2 == 0 { 1 } else { 2 }; 32]);
    let block = author.block((Height::new(6), unknown), 0, at(timestamp), vec![batch]);
    (block.hash(), block.announcement())
}

#[test]
fn orphans_are_bounded_by_peer_in_all_and_in_time() {
    let rules = rules();
    let mut orphans = Orphans::default();
    let mut hashes = Vec::new();
    for number in 0..=MAX_ORPHANS_PER_PEER as i64 {
        let (hash, announced) = announcement(&rules, number);
        hashes.push(hash);
        orphans.insert(hash, announced.clone(), station(3), at(number));
        orphans.insert(hash, announced, station(4), at(number));
    }
    assert_eq!(orphans.len(), MAX_ORPHANS_PER_PEER, "a peer's oldest goes; what is known is not kept twice");
    let mut number = 1_000;
    for peer in 10..19 {
        for _ in 0..MAX_ORPHANS_PER_PEER {
            let (hash, announced) = announcement(&rules, number);
            orphans.insert(hash, announced, station(peer), at(number));
            number += 1;
        }
    }
    assert_eq!(orphans.len(), MAX_ORPHANS);
    let (hash, announced) = announcement(&rules, number);
    orphans.insert(hash, announced, station(30), at(number));
    assert_eq!(orphans.len(), MAX_ORPHANS, "the oldest of all goes");

    let children = orphans.take_children(&BlockHash::from_bytes([2; 32]));
    assert!(children.iter().all(|(child, _)| child.sealed.header.previous == BlockHash::from_bytes([2; 32])));
    let taken: Vec<BlockHash> = children.iter().map(|(child, _)| child.sealed.hash(&rules)).collect();
    assert!(taken.is_sorted() && !taken.contains(&hashes[1]), "ordered, without what was dropped");
    assert!(taken.contains(&hashes[3]) && orphans.take_children(&BlockHash::ZERO).is_empty());
    orphans.expire(at(999 + ORPHAN_FOR_MS));
    assert_eq!(orphans.len() + children.iter().filter(|(_, from)| *from != station(3)).count(), 91);
    orphans.expire(at(number + ORPHAN_FOR_MS));
    assert!(orphans.is_empty());
}

#[test]
fn a_claimed_end_of_the_number_range_harms_nobody() {
    let rules = rules();
    let (mut ledger, _) = ledger(&rules, 1);
    let place = (Sequence::new(u64::MAX), BatchId::from_bytes([1; 32]));
    let records = vec![interaction("u")];
    let last = SignedBatch::sign(&rules, &key(2), place, rules.genesis_hash(), at(0), None, records);
    assert_eq!(offer(&mut ledger, last.signed().clone(), 0), BatchOutcome::TooFar);
    assert_eq!(ledger.add_verified(last.clone(), at(0)), Ok(BatchOutcome::TooFar));
    let author = Author::new(&rules, 2);
    let mut header = author.header((Height::ZERO, rules.genesis_hash()), 0, at(1), std::slice::from_ref(&last));
    header.index = Height::new(u64::MAX);
    let block = author.seal(header, vec![last]).expect("valid by itself");
    let outcome = ledger.add_blocks(vec![block], at(1)).expect("memory can be read");
    assert!(outcome.refused.is_some() && ledger.chain().height() == Height::ZERO);
}
