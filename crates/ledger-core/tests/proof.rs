//! Proofs of records: every record of every batch has one that holds, and no altered one does.

use std::sync::Arc;

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::codec::{decode, encode};
use qfzz_ledger_core::federation::{Genesis, Rules};
use qfzz_ledger_core::header::Difficulty;
use qfzz_ledger_core::ids::{FederationId, Height, RecordId, Sequence};
use qfzz_ledger_core::merkle::InclusionProof;
use qfzz_ledger_core::proof::{BlockPart, ProofError, RecordProof};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::testing::{Author, added, at, interaction, reported, rules_with, verified};

/// A federation at difficulty 4: what is altered has a chance of 1 in 65,536 to meet it by itself.
fn rules() -> Arc<Rules> {
    rules_with(|parameters| parameters.difficulty = Difficulty::new(4).expect("in range"))
}

/// A block of three batches of two stations: 1, 5 and 3 records.
fn block(rules: &Arc<Rules>) -> VerifiedBlock {
    let (mut one, mut two) = (Author::new(rules, 1), Author::new(rules, 2));
    let first = one.batch(at(10), vec![interaction("user_001")]);
    let users = ["a", "b", "c", "d"].map(interaction);
    let second = two.batch(at(11), [vec![added("track", "artist", 600_000)], users.to_vec()].concat());
    let third = one.batch(at(12), vec![verified("t", "a"), reported("t", "a"), interaction("user_002")]);
    one.block((Height::ZERO, rules.genesis_hash()), 0, at(1_000), vec![first, second, third])
}

fn ids(block: &VerifiedBlock) -> Vec<RecordId> {
    let of_batch = |batch: &qfzz_ledger_core::batch::VerifiedBatch| {
        let count = u16::try_from(batch.records().len()).expect("few");
        (0..count).map(|index| batch.record_id(index)).collect::<Vec<_>>()
    };
    block.batches().iter().flat_map(of_batch).collect()
}

#[test]
fn each_record_of_a_block_has_a_proof_that_names_it_and_the_block() {
    let rules = rules();
    let block = block(&rules);
    let mut proven = 0;
    for id in ids(&block) {
        let proof = RecordProof::in_block(&rules, &block, &id, [None, None]).expect("the block holds it");
        let shown = proof.verify(Some(rules.federation())).expect("it holds");
        assert_eq!((shown.federation, shown.record), (rules.federation(), id));
        assert_eq!(shown.block, Some((block.index(), block.hash(), block.header().producer)));
        proven += 1;
    }
    assert_eq!(proven, 9);
}

#[test]
fn a_pending_record_is_proven_to_be_signed_and_in_no_block() {
    let rules = rules();
    let batch = Author::new(&rules, 3).batch(at(5), vec![interaction("a"), interaction("b")]);
    let proof = RecordProof::of_pending(&rules, &batch, 1, None).expect("there are two records");
    let shown = proof.verify(None).expect("it holds");
    assert_eq!((shown.record, shown.batch, shown.block), (batch.record_id(1), batch.id(), None));
    assert_eq!(RecordProof::of_pending(&rules, &batch, 2, None), None);
}

#[test]
fn there_is_no_proof_of_a_record_that_the_block_does_not_hold() {
    let rules = rules();
    let block = block(&rules);
    let station = block.batches()[0].station();
    for (sequence, index) in [(0, 1), (7, 0), (1, 3)] {
        let id = RecordId { station, sequence: Sequence::new(sequence), index };
        assert_eq!(RecordProof::in_block(&rules, &block, &id, [None, None]), None, "{id}");
    }
}

#[test]
fn each_way_to_lie_is_named() {
    let rules = rules();
    let other = rules_with(|parameters| parameters.name = qfzz_ledger_core::ids::Name::new("other").expect("a name"));
    let block = block(&rules);
    let id = ids(&block)[3];
    let proof = RecordProof::in_block(&rules, &block, &id, [None, None]).expect("the block holds it");
    let part = proof.block.clone().expect("in a block");
    let failure = |proof: &RecordProof| proof.verify(None).expect_err("it lies");

    let federation = FederationId::from_bytes([9; 32]);
    assert!(matches!(proof.verify(Some(federation)), Err(ProofError::Federation { .. })));
    let lie =
        RecordProof { genesis: Genesis { nonce: proof.genesis.nonce + 1, ..proof.genesis.clone() }, ..proof.clone() };
    assert!(matches!(failure(&lie), ProofError::Genesis(_)));
    // Everything is signed for one federation: under another genesis nothing of it verifies.
    let lie = RecordProof { genesis: other.genesis().clone(), ..proof.clone() };
    assert!(matches!(failure(&lie), ProofError::Signature { .. }));
    let Record::UserAction(mut action) = interaction("a") else { unreachable!("it is one") };
    action.trust_delta = "0.5".parse().expect("a delta");
    let lie = RecordProof { record: Record::UserAction(action), ..proof.clone() };
    assert!(matches!(failure(&lie), ProofError::Record(_)));
    let lie = RecordProof { record: interaction("somebody else"), ..proof.clone() };
    assert!(matches!(failure(&lie), ProofError::RecordPath { .. }));
    let mut lie = proof.clone();
    lie.header.introduction = None;
    assert!(matches!(failure(&lie), ProofError::Batch(_)));
    let lie = RecordProof { path: InclusionProof { leaves: 6, ..proof.path.clone() }, ..proof.clone() };
    assert!(matches!(failure(&lie), ProofError::RecordCount { .. }));
    let lie = RecordProof { path: InclusionProof { index: 65_536, ..proof.path.clone() }, ..proof.clone() };
    assert!(matches!(failure(&lie), ProofError::RecordCount { .. }));
    let lie = RecordProof { signature: part.sealed.seal.clone(), ..proof.clone() };
    assert!(matches!(failure(&lie), ProofError::Signature { .. }));

    let with = |part| RecordProof { block: Some(part), ..proof.clone() };
    let lie = with(BlockPart { path: InclusionProof { leaves: 4, ..part.path.clone() }, ..part.clone() });
    assert!(matches!(failure(&lie), ProofError::BatchCount { .. }));
    let lie = with(BlockPart { path: InclusionProof { index: 2, ..part.path.clone() }, ..part.clone() });
    assert!(matches!(failure(&lie), ProofError::BatchPath { .. }));
    let mut lie = part.clone();
    lie.sealed.header.nonce += 1;
    assert!(matches!(failure(&with(lie)), ProofError::Block(_)));
    let mut lie = part;
    lie.sealed.seal = proof.signature.clone();
    assert!(matches!(failure(&with(lie)), ProofError::Block(_)));
}

/// The parts of a proof as bytes, in one row, and back.
fn bytes(proof: &RecordProof) -> Vec<Vec<u8>> {
    let part = proof.block.as_ref().expect("in a block");
    vec![
        proof.genesis.encode(),
        encode(&proof.record),
        encode(&proof.path),
        encode(&proof.header),
        proof.signature.as_bytes().to_vec(),
        encode(&part.sealed),
        encode(&part.path),
    ]
}

/// Refused already where a part cannot be read.
fn read(parts: &[Vec<u8>]) -> Option<RecordProof> {
    let [genesis, record, path, header, signature, sealed, block_path] = parts else { return None };
    Some(RecordProof {
        author_key: None,
        genesis: Genesis::decode(genesis).ok()?,
        record: decode(record, 1 << 16).ok()?,
        path: decode(path, 1 << 16).ok()?,
        header: decode(header, 1 << 16).ok()?,
        signature: qfzz_ledger_core::crypto::Signature::from_bytes(signature.clone()),
        block: Some(BlockPart {
            producer_key: None,
            sealed: decode(sealed, 1 << 16).ok()?,
            path: decode(block_path, 1 << 16).ok()?,
        }),
    })
}

#[test]
fn a_proof_with_one_flipped_bit_is_refused_whichever_it_is() {
    let rules = rules();
    let block = block(&rules);
    let proof = RecordProof::in_block(&rules, &block, &ids(&block)[3], [None, None]).expect("the block holds it");
    let mut parts = bytes(&proof);
    assert_eq!(read(&parts), Some(proof));
    let (mut flipped, mut unreadable) = (0, 0);
    for part in 0..parts.len() {
        for bit in 0..parts[part].len() * 8 {
            parts[part][bit / 8] ^= 1 << (bit % 8);
            match read(&parts) {
                None => unreadable += 1,
                Some(altered) => assert!(altered.verify(None).is_err(), "bit {bit} of part {part}"),
            }
            parts[part][bit / 8] ^= 1 << (bit % 8);
            flipped += 1;
        }
    }
    println!("{flipped} proofs with one flipped bit, all refused, {unreadable} of them already when read");
}
