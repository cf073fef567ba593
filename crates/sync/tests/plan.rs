//! Which headers pass, and how bodies are split into requests.

mod common;

use common::station::{Clock, Station};
use qfzz_ledger_core::block::SealedHeader;
use qfzz_ledger_core::chain::{Chain, ChainError, Path};
use qfzz_ledger_core::ids::BlockHash;
use qfzz_ledger_core::ledger::{BlockRefusal, Template};
use qfzz_ledger_core::testing::{interaction, key, rules, solve};
use qfzz_sync::plan::{Anchor, CheckedHeader, check_headers, chunks};
use qfzz_sync::report::Fault;

/// Headers without batches that follow `last`.
fn empty_headers(station: &Station, mut last: SealedHeader, count: usize) -> Vec<SealedHeader> {
    let rules = station.federation_rules();
    let mut headers = Vec::new();
    for _ in 0..count {
        let mut header = last.header.clone();
        header.previous = last.hash(rules);
        header.index = header.index.next().expect("a short chain");
        header.timestamp = header.timestamp.saturating_add(1);
        (header.batch_count, header.body_bytes, header.merkle_root, header.nonce) = (0, 0, [0; 32], 0);
        let header = solve(rules, &Template { header, batches: Vec::new() });
        last = SealedHeader::seal(rules, &key(1), header);
        headers.push(last.clone());
    }
    headers
}

#[test]
fn headers_pass_the_rule_on_blocks_without_batches_exactly_where_the_chain_lets_them_pass() {
    let station = Station::new(&rules(), 1, &Clock::default());
    station.say(vec![interaction("u")]);
    let block = station.mine();
    let rules = station.federation_rules();
    let headers = empty_headers(&station, block.sealed().clone(), 6);

    let mut chain = Chain::new(rules);
    let mut follow = |sealed: &SealedHeader| {
        let hash = sealed.hash(rules);
        chain.check(&hash, &sealed.header, station.clock().now())?;
        chain.insert(hash, &sealed.header);
        chain.adopt(&Path { fork: sealed.header.previous, blocks: vec![hash] });
        Ok::<Chain, ChainError>(chain.clone())
    };
    let known = follow(block.sealed()).expect("it is on the chain");
    let head = known.head();
    let anchor = Anchor {
        hash: head,
        height: known.height(),
        work: known.work_of(&head).expect("the head is known"),
        recent_times: known.recent_times(&head),
        has_recent_batches: known.has_recent_batches(&head),
    };
    let followed = headers.iter().map(&mut follow).take_while(Result::is_ok).count();
    assert_eq!(followed, 4);
    let passed = check_headers(rules, &anchor, &headers[..4], station.clock().now());
    assert_eq!(passed.expect("all are valid").map(|checked| checked.headers.len()), Some(4));
    let fault = check_headers(rules, &anchor, &headers[..5], station.clock().now()).expect_err("the fifth is not");
    let hash = headers[4].hash(rules);
    assert_eq!(fault, Fault::Block(BlockRefusal::Chain(ChainError::Empty { hash })));
}

#[test]
fn bodies_are_split_by_size_and_by_number_and_a_large_block_goes_alone() {
    let kib = |sizes: &[u32]| -> Vec<usize> {
        let header = |(number, kib): (u8, &u32)| CheckedHeader {
            hash: BlockHash::from_bytes([number; 32]),
            body_bytes: kib * 1_024,
        };
        let headers: Vec<_> = (0..).zip(sizes).map(header).collect();
        let split = chunks(&headers);
        let in_order: Vec<BlockHash> = split.iter().flatten().copied().collect();
        assert_eq!(in_order, headers.iter().map(|header| header.hash).collect::<Vec<_>>());
        split.iter().map(Vec::len).collect()
    };
    assert_eq!(kib(&[]), [0; 0]);
    assert_eq!(kib(&[1, 1, 1]), [3]);
    assert_eq!(kib(&[128, 128, 1]), [2, 1]);
    assert_eq!(kib(&[1, 1_024, 1_024, 1]), [1, 1, 1, 1]);
    assert_eq!(kib(&[0; 200]), [200]);
    let many = vec![CheckedHeader { hash: BlockHash::ZERO, body_bytes: 0 }; 600];
    assert_eq!(chunks(&many).iter().map(Vec::len).collect::<Vec<_>>(), [256, 256, 88]);
}
