//! One suite for every store. Each test runs on disk, where `reopen` closes and opens the store, and in memory.

mod stations;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::crypto::SignatureScheme;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence};
use qfzz_ledger_core::ledger::Transition;
use qfzz_ledger_core::limits::MAX_UNDO_BLOCKS;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::{Fate, Key, StateRead, Writes};
use qfzz_ledger_core::testing::{
    added, dataset_registered, dataset_verified, interaction, reported, rules, station, verified,
};
use qfzz_sync::message::{Request, Response};
use qfzz_sync::serve::answer_about_blocks;

use super::{Blocks, LedgerStore, StoreError, StoreRead};
use crate::checks::draws::draws_of;
pub(super) use stations::{Bench, HOME, Home, OnDisk, Peer, home_chain};
use stations::{InMemory, empty, peer_chain};

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
        let answer = answer_about_blocks(&view, SignatureScheme::Ed25519, &request).unwrap();
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
    // As deep as draws can be made again: the block after a record's draws.
    home.take(vec![other.mine(interaction("user"))]);
    home.commit();
    let reader = home.reader();
    let draws = |block: &VerifiedBlock| draws_of(&rules, &reader, block.batches()[0].record_id(0)).unwrap();
    let [deep, reached] = [0, 1].map(|at| draws(&blocks[at]));
    assert_eq!((deep.block, deep.out_of_reach, deep.draws.len()), (Some(Height::new(1)), vec![Height::new(2)], 0));
    assert_eq!((reached.out_of_reach, reached.draws.len(), reached.next), (vec![], 1, None));
    let explained = &reached.draws[0].explanation;
    assert_eq!((explained.height, explained.credit_before, explained.turn), (Height::new(3), 1, Some(0)));
    assert!(explained.step.as_ref().is_some_and(|step| step.fate == Fate::CreditUsed), "{explained:?}");
    assert_eq!((draws(&more[0]).draws.len(), draws(more.last().unwrap()).draws.len()), (1, 1));
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
        home.reopen_without_ledger();
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
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
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
        stop.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0);
    });
}

fn random_forks_leave_what_a_walk_from_genesis_gives<B: Bench>() {
    let mut reorganisations = 0;
    for seed in 1..=6u64 {
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
            let record = match draw(6) {
                0 => added(&format!("track {}", draw(5)), "artist", 1_000 * draw(900) as u32),
                1 => verified(&format!("track {}", draw(5)), "artist"),
                2 => reported(&format!("track {}", draw(5)), "artist"),
                3 => dataset_registered(&format!("set {}", draw(3)), draw(2) as u8),
                4 => dataset_verified(&format!("set {}", draw(3)), draw(2) as u8),
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
