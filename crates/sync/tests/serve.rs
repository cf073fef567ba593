//! The answering side: what fits, what is not known, and how much a peer may draw.

mod common;

use common::station::{Clock, Station};
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::crypto::SignatureScheme;
use qfzz_ledger_core::ids::{BlockHash, Sequence, StationId};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::testing::{at, interaction, rules, station, verified};
use qfzz_sync::message::{MAX_RESPONSE_BYTES, Request, Response, max_headers};
use qfzz_sync::serve::{Allowances, BURST_BYTES, answer_about_blocks, answer_about_pending};

const MIB: u64 = 1024 * 1024;

fn founder() -> Station {
    Station::new(&rules(), 1, &Clock::default())
}

/// A batch of nearly 60 KiB.
fn large_batch(number: u32) -> Vec<Record> {
    (0..256).map(|index| verified(&format!("{number:0>60}.{index:0>35}"), &"c".repeat(100))).collect()
}

fn blocks(answer: &Response) -> Vec<BlockHash> {
    let Response::Blocks(blocks) = answer else { panic!("{answer:?}") };
    let rules = rules();
    blocks.iter().map(|block| block.sealed.hash(&rules)).collect()
}

#[test]
fn over_any_time_a_peer_draws_64_mib_and_4_mib_a_second_and_one_answer() {
    let (peer, other) = (station(1), station(2));
    for answer in [1_000, 64 * 1024, MAX_RESPONSE_BYTES as u64] {
        let mut allowances = Allowances::default();
        let mut drawn = 0;
        for millis in 0..10_000 {
            while allowances.allows(&peer, at(millis)) {
                allowances.draw(&peer, answer, at(millis));
                drawn += answer;
            }
            let most = BURST_BYTES + 4 * MIB * millis as u64 / 1_000 + answer.max(4 * 1024);
            assert!(drawn <= most, "{drawn} of {most} after {millis} ms, {answer} bytes an answer");
        }
        if answer >= 4 * 1024 {
            assert!(drawn >= BURST_BYTES + 39 * MIB, "{drawn}");
        }
        assert!(allowances.allows(&other, at(0)), "another peer's share is its own");
    }
}

#[test]
fn a_tenth_of_a_second_gives_back_a_tenth_of_4_mib() {
    let (mut allowances, peer) = (Allowances::default(), station(1));
    allowances.draw(&peer, BURST_BYTES, at(0));
    assert!(!allowances.allows(&peer, at(0)));
    assert!(allowances.allows(&peer, at(100)));
    allowances.draw(&peer, 419_000, at(100));
    assert!(allowances.allows(&peer, at(100)), "419,000 of 419,430 bytes are drawn");
    allowances.draw(&peer, 4_096, at(100));
    assert!(!allowances.allows(&peer, at(100)));
    // 3,666 bytes too many were drawn: they are given back first.
    assert!(allowances.allows(&peer, at(101)));
    allowances.draw(&peer, 10 * MIB, at(101));
    assert!(!allowances.allows(&peer, at(2_600)));
    assert!(allowances.allows(&peer, at(2_602)));
}

#[test]
fn many_small_answers_are_counted_for_the_looking_up() {
    let (mut allowances, peer) = (Allowances::default(), station(1));
    let mut answers = 0;
    while answers < 100_000 && allowances.allows(&peer, at(0)) {
        allowances.draw(&peer, 0, at(0));
        answers += 1;
    }
    assert_eq!(answers, BURST_BYTES / 4_096);
}

#[test]
fn the_clock_set_back_gives_nothing_and_takes_nothing() {
    let (mut allowances, peer) = (Allowances::default(), station(1));
    allowances.draw(&peer, BURST_BYTES, at(60_000));
    assert!(!allowances.allows(&peer, at(0)));
    assert!(allowances.allows(&peer, at(60_001)));
}

#[test]
fn however_many_peers_ask_the_one_that_drew_most_is_remembered() {
    let (mut allowances, greedy) = (Allowances::default(), station(1));
    allowances.draw(&greedy, BURST_BYTES, at(0));
    for number in 0..3_000u32 {
        let mut id = [7; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        allowances.draw(&StationId::from_bytes(id), 1_000_000, at(0));
    }
    assert!(!allowances.allows(&greedy, at(0)));
}

#[test]
fn headers_follow_the_first_hash_that_is_on_the_best_chain() {
    let founder = founder();
    for number in 0..5 {
        founder.say(vec![interaction(&format!("u{number}"))]);
        founder.mine();
    }
    let chain: Vec<BlockHash> = founder.blocks().iter().map(|block| block.hash()).collect();
    let unknown = BlockHash::from_bytes([9; 32]);
    let ask = |locator: Vec<BlockHash>| {
        let answer = answer_about_blocks(&founder, SignatureScheme::Ed25519, &Request::Headers { locator })
            .expect("the store is in memory");
        match answer {
            Response::Headers { after, headers } => {
                let rules = founder.federation_rules();
                Some((after, headers.iter().map(|sealed| sealed.hash(rules)).collect::<Vec<_>>()))
            }
            _ => None,
        }
    };
    assert_eq!(ask(vec![unknown, chain[3], chain[1]]), Some((chain[3], vec![chain[4]])));
    assert_eq!(ask(vec![chain[4]]), Some((chain[4], vec![])));
    let genesis = founder.federation_rules().genesis_hash();
    assert_eq!(ask(vec![genesis]), Some((genesis, chain.clone())));
    assert_eq!((ask(vec![unknown]), ask(vec![])), (None, None));
}

#[test]
fn what_is_not_known_or_not_asked_here_is_unknown() {
    let founder = founder();
    let (unknown, asker) = (BlockHash::from_bytes([9; 32]), station(2));
    let genesis = founder.federation_rules().genesis_hash();
    for request in [
        Request::Headers { locator: vec![unknown] },
        Request::Blocks { hashes: vec![unknown] },
        Request::Blocks { hashes: vec![genesis] },
        Request::Blocks { hashes: vec![] },
        Request::BlockBatches { block: unknown, indexes: vec![0] },
    ] {
        assert!(request.is_about_blocks());
        assert_eq!(
            answer_about_blocks(&founder, SignatureScheme::Ed25519, &request),
            Ok(Response::Unknown),
            "{request:?}"
        );
        assert_eq!(answer_about_pending(&founder, &asker, &request, None), Ok(Response::Unknown));
    }
    for request in [Request::Status { alive: None }, Request::Pending { after: None }, Request::Logs { from: vec![] }] {
        assert!(!request.is_about_blocks());
        assert_eq!(
            answer_about_blocks(&founder, SignatureScheme::Ed25519, &request),
            Ok(Response::Unknown),
            "{request:?}"
        );
    }
    let logs = Request::Logs { from: vec![(asker, Sequence::ZERO)] };
    assert_eq!(answer_about_pending(&founder, &asker, &logs, None), Ok(Response::Batches(vec![])));
}

#[test]
fn an_answer_holds_the_first_blocks_that_fit_and_always_one() {
    let founder = founder();
    let mut number = 0;
    for _ in 0..4 {
        for _ in 0..17 {
            founder.say(large_batch(number));
            number += 1;
        }
        let block = founder.mine();
        assert!(block.header().body_bytes > 900 * 1_024, "{}", block.header().body_bytes);
    }
    let chain: Vec<BlockHash> = founder.blocks().iter().map(|block| block.hash()).collect();
    let ask = |hashes: &[BlockHash]| {
        let answer =
            answer_about_blocks(&founder, SignatureScheme::Ed25519, &Request::Blocks { hashes: hashes.to_vec() });
        let answer = answer.expect("the store is in memory");
        let bytes = encode(&answer);
        assert_eq!(Response::decode(&bytes), Ok(answer.clone()));
        answer
    };
    assert_eq!(blocks(&ask(&chain)), &chain[..2]);
    assert_eq!(blocks(&ask(&chain[3..])), &chain[3..]);
    let unknown = BlockHash::from_bytes([9; 32]);
    assert_eq!(blocks(&ask(&[chain[1], unknown, chain[2]])), [chain[1]]);

    // All batches of a block, and those asked for, in order.
    let all: Vec<u32> = (0..20).collect();
    let request = Request::BlockBatches { block: chain[0], indexes: all };
    let Ok(Response::Batches(batches)) = answer_about_blocks(&founder, SignatureScheme::Ed25519, &request) else {
        panic!("not batches")
    };
    assert_eq!(batches.len(), 17);
    let request = Request::BlockBatches { block: chain[0], indexes: vec![2, 5, 99] };
    let expected = Response::Batches(vec![batches[2].clone(), batches[5].clone()]);
    assert_eq!(answer_about_blocks(&founder, SignatureScheme::Ed25519, &request), Ok(expected));
}

#[test]
fn an_answer_holds_the_first_pending_batches_that_fit() {
    let founder = founder();
    for number in 0..60 {
        founder.say(large_batch(number));
    }
    let asker = station(2);
    let ask = |from: u64| {
        let request = Request::Logs { from: vec![(founder.id(), Sequence::new(from))] };
        let answer = answer_about_pending(&founder, &asker, &request, None).expect("the store is in memory");
        let bytes = encode(&answer).len();
        assert!(bytes <= MAX_RESPONSE_BYTES, "{bytes}");
        let Response::Batches(batches) = answer else { panic!("not batches") };
        let sequences: Vec<u64> = batches.iter().map(|batch| batch.header.sequence.get()).collect();
        (sequences, bytes)
    };
    let (first, bytes) = ask(0);
    assert!(bytes > MAX_RESPONSE_BYTES - 60 * 1024, "{bytes}");
    assert_eq!(first, (0..first.len() as u64).collect::<Vec<_>>());
    let (rest, _) = ask(first.len() as u64);
    assert_eq!(rest, (first.len() as u64..60).collect::<Vec<_>>());
    assert_eq!(ask(60).0, [0; 0]);
}

#[test]
fn a_page_of_headers_has_2000() {
    let founder = founder();
    for number in 0..=max_headers(SignatureScheme::Ed25519) {
        founder.say(vec![interaction(&format!("u{number}"))]);
        founder.mine();
    }
    let genesis = founder.federation_rules().genesis_hash();
    let answer = answer_about_blocks(&founder, SignatureScheme::Ed25519, &Request::Headers { locator: vec![genesis] });
    let Ok(Response::Headers { headers, .. }) = answer else { panic!("not headers") };
    assert_eq!(headers.len(), max_headers(SignatureScheme::Ed25519));
}
