//! Which of several chains is the best one: a table of cases, through the rule itself and through whole ledgers.

use std::cmp::Ordering;
use std::sync::Arc;

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::fork_choice::Tip;
use qfzz_ledger_core::header::{Difficulty, Work};
use qfzz_ledger_core::ids::{BlockHash, Height};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::testing::{Author, at, interaction, ledger, rules};

/// The work of `blocks` blocks at difficulty 1.
fn work(blocks: usize) -> Work {
    let one = Difficulty::new(1).expect("in range").work();
    (0..blocks).fold(Work::ZERO, |sum, _| sum.plus(one))
}

fn tip(blocks: usize, rank: u8, hash: u8) -> Tip {
    Tip { work: work(blocks), rank: [rank; 32], hash: BlockHash::from_bytes([hash; 32]) }
}

#[test]
fn work_decides_then_the_lower_rank_then_the_lower_hash() {
    use Ordering::{Equal, Greater, Less};
    let cases = [
        ("more work wins against a lower rank and hash", tip(3, 9, 9), tip(2, 1, 1), Greater),
        ("less work loses with the lowest rank and hash", tip(2, 0, 0), tip(3, 255, 255), Less),
        ("on equal work the lower rank wins against a lower hash", tip(2, 1, 9), tip(2, 2, 1), Greater),
        ("on equal work the higher rank loses", tip(2, 2, 1), tip(2, 1, 9), Less),
        ("on equal rank the lower hash wins", tip(2, 1, 1), tip(2, 1, 2), Greater),
        ("on equal rank the higher hash loses", tip(2, 1, 2), tip(2, 1, 1), Less),
        ("a tip is no better than itself", tip(2, 1, 1), tip(2, 1, 1), Equal),
    ];
    for (why, one, other, expected) in cases {
        assert_eq!(one.cmp(&other), expected, "{why}");
        assert_eq!(one.is_better_than(&other), expected == Greater, "{why}");
    }
}

#[test]
fn rank_and_hash_are_compared_from_their_first_byte() {
    let with = |first: u8, last: u8| {
        let mut rank = [0; 32];
        (rank[0], rank[31]) = (first, last);
        Tip { rank, ..tip(1, 0, 0) }
    };
    assert!(with(1, 255).is_better_than(&with(2, 0)));
}

/// A branch of blocks by one author on `parent`, each with one batch.
fn branch(author: &mut Author, parent: (Height, BlockHash), blocks: u64, millis: i64) -> Vec<VerifiedBlock> {
    let mut parent = parent;
    let mut made = Vec::new();
    for number in 0..blocks {
        let batch = author.batch(at(0), vec![interaction("u")]);
        let block = author.block(parent, number, at(millis + 10 * (number as i64 + 1)), vec![batch]);
        parent = (block.index(), block.hash());
        made.push(block);
    }
    made
}

fn genesis(rules: &Rules) -> (Height, BlockHash) {
    (Height::ZERO, rules.genesis_hash())
}

/// The best of `branches` by the protocol's words: their lengths, then rank and hash of their last blocks.
fn best(rules: &Rules, branches: &[Vec<VerifiedBlock>]) -> BlockHash {
    let preference = |branch: &&Vec<VerifiedBlock>| {
        let last = branch.last().expect("no branch is empty");
        let rank = rules.rank(&last.header().previous, &last.header().producer);
        (std::cmp::Reverse(last.index()), rank, last.hash())
    };
    branches.iter().min_by_key(preference).expect("there are branches").last().expect("not empty").hash()
}

fn head_after(rules: &Arc<Rules>, blocks: impl IntoIterator<Item = Vec<VerifiedBlock>>) -> (BlockHash, usize) {
    let (mut ledger, store) = ledger(rules, 200);
    let mut reorganisations = 0;
    for blocks in blocks {
        reorganisations += give(&mut ledger, &store, blocks);
    }
    (ledger.chain().head(), reorganisations)
}

fn give(ledger: &mut Ledger<MemoryStore>, store: &MemoryStore, blocks: Vec<VerifiedBlock>) -> usize {
    let outcome = ledger.add_blocks(blocks, at(1_000_000)).expect("memory can be read");
    assert_eq!(outcome.refused, None);
    let reorganisations = outcome.transitions.iter().filter(|it| !it.reverted.is_empty()).count();
    for transition in outcome.transitions {
        store.apply(&transition);
        ledger.committed(transition.number);
    }
    reorganisations
}

/// All orders of 0, 1, 2.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn every_order_of_arrival_ends_with_the_same_head() {
    let rules = rules();
    let cases = [
        ("one is longest", [1, 2, 3]),
        ("two are longest", [3, 1, 3]),
        ("all are equal", [2, 2, 2]),
        ("single blocks", [1, 1, 1]),
    ];
    let mut ties = 0;
    for (round, (why, lengths)) in (0..).zip(cases) {
        let authors = [2, 3, 4].map(|number| Author::new(&rules, number + 3 * round));
        let branches: Vec<Vec<VerifiedBlock>> = authors
            .into_iter()
            .zip(lengths)
            .map(|(mut it, length)| branch(&mut it, genesis(&rules), length, 0))
            .collect();
        let expected = best(&rules, &branches);
        for order in ORDERS {
            let given = order.map(|number| branches[number].clone());
            let (head, reorganisations) = head_after(&rules, given);
            assert_eq!(head, expected, "{why}, {order:?}");
            let first = branches[order[0]].last().expect("not empty").hash();
            assert_eq!(reorganisations == 0, first == expected, "{why}, {order:?}");
            // One by one and interleaved, a block of each branch in turn.
            let longest = branches.iter().map(Vec::len).max().unwrap_or(0);
            let rounds = (0..longest).flat_map(|at| order.map(|number| branches[number].get(at).cloned()));
            let (head, _) = head_after(&rules, rounds.flatten().map(|block| vec![block]));
            assert_eq!(head, expected, "{why}, {order:?}, interleaved");
            ties += usize::from(first != expected && lengths == [2, 2, 2]);
        }
    }
    assert_eq!(ties, 4, "the equal ones met in both orders");
}

#[test]
fn of_one_producers_blocks_on_one_parent_the_lower_hash_wins() {
    let rules = rules();
    let mut author = Author::new(&rules, 2);
    let batch = author.batch(at(0), vec![interaction("u")]);
    let mut blocks: Vec<VerifiedBlock> =
        (1..=5).map(|millis| author.block(genesis(&rules), 0, at(millis), vec![batch.clone()])).collect();
    let lowest = blocks.iter().map(VerifiedBlock::hash).min();
    for _ in 0..blocks.len() {
        blocks.rotate_left(1);
        assert_eq!(Some(head_after(&rules, [blocks.clone()]).0), lowest);
    }
}

#[test]
fn a_longer_branch_from_a_deep_fork_wins_over_a_hundred_blocks() {
    let rules = rules();
    let common = branch(&mut Author::new(&rules, 2), genesis(&rules), 3, 0);
    let fork = (common[2].index(), common[2].hash());
    let short = branch(&mut Author::new(&rules, 3), fork, 120, 100);
    let long = branch(&mut Author::new(&rules, 4), fork, 121, 50);
    let expected = long[120].hash();
    assert_eq!(head_after(&rules, [common.clone(), short.clone(), long.clone()]), (expected, 1));
    assert_eq!(head_after(&rules, [common, long, short]), (expected, 0));
}
