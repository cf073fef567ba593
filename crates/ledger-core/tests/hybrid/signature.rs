//! Signatures with a part that is not good: of introductions, later batches and seals.

use std::collections::HashMap;

use qfzz_ledger_core::batch::{BatchError, SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{BlockError, SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::crypto::{ED25519_SIGNATURE_BYTES, Signature};
use qfzz_ledger_core::ledger::BatchOutcome;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::{ConnectError, ml_dsa_key};
use qfzz_ledger_core::testing::{Author, at, interaction, key, station};

use super::{Listener, NOW, genesis, joined, open, parts, tip};

/// What may stand in the place of `good`, but not be taken: with a name for each, whether its length is the scheme's and
/// whether its Ed25519 part is good.
fn spoilt(good: &Signature, other: &Signature) -> Vec<(&'static str, Signature, bool, bool)> {
    let ((ed25519, ml_dsa), (other_ed25519, other_ml_dsa)) = (parts(good), parts(other));
    let flipped = |at: usize| {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] ^= 1;
        Signature::from_bytes(bytes)
    };
    vec![
        ("nothing", Signature::none(), false, false),
        ("the Ed25519 part alone", joined(&[ed25519]), false, true),
        ("the ML-DSA part alone", joined(&[ml_dsa]), false, false),
        ("one byte less", joined(&[ed25519, &ml_dsa[1..]]), false, true),
        ("one byte more", joined(&[ed25519, ml_dsa, &[0]]), false, true),
        ("both parts, swapped", joined(&[ml_dsa, ed25519]), true, false),
        ("the Ed25519 part of another", joined(&[other_ed25519, ml_dsa]), true, false),
        ("a bit of the Ed25519 part", flipped(5), true, false),
        ("zeros for the Ed25519 part", joined(&[&[0; ED25519_SIGNATURE_BYTES], ml_dsa]), true, false),
        ("the ML-DSA part of another", joined(&[ed25519, other_ml_dsa]), true, true),
        ("a bit of the ML-DSA part", flipped(ED25519_SIGNATURE_BYTES + 5), true, true),
        ("the last bit of the ML-DSA part", flipped(good.as_bytes().len() - 1), true, true),
        ("zeros for the ML-DSA part", joined(&[ed25519, &vec![0; ml_dsa.len()]]), true, true),
    ]
}

#[test]
fn an_introduction_is_refused_by_itself_where_either_part_of_its_signature_is_not_good() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let good = author.batch(at(0), vec![interaction("a")]);
    let other = Author::new(&rules, 3).batch(at(0), vec![interaction("a")]);
    assert_eq!(good.signed().clone().verify(&rules).as_ref(), Ok(&good));
    let (station, sequence) = good.signed().place();
    for (what, signature, has_length, has_ed25519) in spoilt(&good.signed().signature, &other.signed().signature) {
        let bytes = signature.as_bytes().len();
        let expected = match (has_length, has_ed25519) {
            (false, _) => BatchError::SignatureLength { station, sequence, bytes, expected: 3_373 },
            (true, false) => BatchError::Signature { station, sequence },
            (true, true) => BatchError::MlDsaSignature { station, sequence },
        };
        let batch = SignedBatch { signature, ..good.signed().clone() };
        assert_eq!(batch.verify(&rules), Err(expected.clone()), "{what}");
        assert_eq!(expected.severity(), Severity::Peer);
    }
}

#[test]
fn a_later_batch_is_refused_by_itself_or_by_its_log_and_in_a_block() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let mut elsewhere = author.clone();
    let good = author.batch(at(0), vec![interaction("a")]);
    let other = elsewhere.batch(at(1), vec![interaction("b")]);
    let (station, sequence) = good.signed().place();
    let mut listener = Listener::new(&rules, 1);
    assert!(matches!(listener.hear(introduction.signed()), BatchOutcome::Added { .. }));
    for (what, signature, has_length, has_ed25519) in spoilt(&good.signed().signature, &other.signed().signature) {
        let bytes = signature.as_bytes().len();
        let batch = SignedBatch { signature, ..good.signed().clone() };
        let expected = match (has_length, has_ed25519) {
            (false, _) => BatchError::SignatureLength { station, sequence, bytes, expected: 3_373 },
            (true, false) => BatchError::Signature { station, sequence },
            (true, true) => BatchError::MlDsaSignature { station, sequence },
        };
        assert_eq!(listener.hear(&batch), BatchOutcome::Invalid(expected.clone()), "{what}");
        let Ok(batch) = batch.verify(&rules) else {
            assert!(!(has_length && has_ed25519), "{what}: its key is not known to itself");
            continue;
        };
        let block = author.block(genesis(&rules), 0, at(1), vec![introduction.clone(), batch.clone()]);
        let mut elsewhere = Listener::new(&rules, 1);
        let refused = ConnectError::Signature { block: block.hash(), station, sequence };
        assert_eq!(elsewhere.take(&block), Some(refused.into()), "{what}");
        assert!(elsewhere.ledger.chain().is_invalid(&block.hash()), "the block names that very batch");
    }
    assert!(matches!(listener.hear(good.signed()), BatchOutcome::Added { .. }));
    assert!(listener.ledger.take_proofs().expect("memory can be read").is_empty(), "anybody can spoil a signature");
    let block = author.block(genesis(&rules), 0, at(1), vec![introduction, good]);
    assert_eq!(listener.take(&block), None);
    let known = ml_dsa_key(listener.ledger.read(), &station).expect("memory can be read");
    assert_eq!(known.as_ref(), Some(key(2).ml_dsa_key()));
}

#[test]
fn a_seal_is_refused_where_either_part_is_not_good_and_the_block_is_taken_with_the_good_one() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let first = author.block(genesis(&rules), 0, at(1), vec![author.clone().batch(at(0), vec![interaction("a")])]);
    author.batch(at(0), vec![interaction("a")]);
    let batch = author.batch(at(0), vec![interaction("b")]);
    let second = author.block(tip(&first), 1, at(2), vec![batch]);
    let mut listener = Listener::new(&rules, 1);
    for block in [&first, &second] {
        let other = if block == &first { &second } else { &first };
        for (what, seal, has_length, has_ed25519) in spoilt(&block.sealed().seal, &other.sealed().seal) {
            let sealed = SealedHeader { header: block.header().clone(), seal };
            let signed = SignedBlock { sealed, batches: block.to_signed().batches };
            let verified = signed.verify(&rules, &HashMap::new());
            if !(has_length && has_ed25519) {
                let expected = BlockError::Seal { index: block.index(), hash: block.hash() };
                assert_eq!(verified, Err(expected), "{what}");
                continue;
            }
            let verified = verified.expect("only the parent's state, or the body, has the key");
            let refused = ConnectError::Seal { block: block.hash(), producer: author.station() };
            let announced = listener.ledger.check_announcement(&verified.announcement(), at(NOW));
            assert_eq!(announced, Err(refused.clone().into()), "{what}, announced");
            assert_eq!(listener.take(&verified), Some(refused.into()), "{what}");
            assert!(!listener.ledger.chain().is_invalid(&block.hash()), "its hash does not cover the seal");
        }
        assert_eq!(listener.ledger.check_announcement(&block.announcement(), at(NOW)), Ok(block.hash()));
        assert_eq!(listener.take(block), None);
        assert_eq!(listener.head(), block.hash());
    }
}

#[test]
fn a_bad_seal_on_a_branch_that_becomes_better_is_fetched_again_and_blames_nobody_else() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let one = author.batch(at(0), vec![interaction("a")]);
    let two = author.batch(at(0), vec![interaction("b")]);
    let low = author.block(genesis(&rules), 0, at(1), vec![one]);
    let high = author.block(tip(&low), 1, at(2), vec![two]);
    // On equal work it stands before the other.
    let rank = |number: u8| rules.rank(&rules.genesis_hash(), &station(number));
    let first = (3..100).find(|number| rank(*number) < rank(2)).expect("one of many");
    let mut rival = Author::new(&rules, first);
    let body = vec![rival.batch(at(0), vec![interaction("c")])];
    let rival = rival.block(genesis(&rules), 0, at(1), body);
    let mut listener = Listener::new(&rules, 1);
    assert_eq!(listener.take(&rival), None);
    let (ed25519, _) = parts(&low.sealed().seal);
    let seal = joined(&[ed25519, parts(&high.sealed().seal).1]);
    let spoilt = SealedHeader { header: low.header().clone(), seal };
    let spoilt = VerifiedBlock::assemble(&rules, spoilt, low.batches().to_vec()).expect("valid by itself");
    assert_eq!(listener.take(&spoilt), None, "off the best chain nothing says which key it is of");
    assert!(listener.ledger.chain().contains(&low.hash()));
    let refused = listener.take(&high);
    assert!(refused.as_ref().is_some_and(|refusal| refusal.severity() == Severity::Later), "{refused:?}");
    assert_eq!(listener.head(), rival.hash());
    for block in [&low, &high] {
        assert!(!listener.ledger.chain().contains(&block.hash()));
        assert_eq!(listener.take(block), None);
    }
    assert_eq!(listener.head(), high.hash());
}

#[test]
fn a_batch_that_waits_for_its_log_is_checked_when_that_comes() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let batches: Vec<VerifiedBatch> = (0..3).map(|_| author.batch(at(0), vec![interaction("a")])).collect();
    let (ed25519, _) = parts(&batches[1].signed().signature);
    let garbled = joined(&[ed25519, parts(&batches[0].signed().signature).1]);
    let garbled = SignedBatch { signature: garbled, ..batches[1].signed().clone() };
    let mut listener = Listener::new(&rules, 1);
    assert!(matches!(listener.hear(&garbled), BatchOutcome::Gap { .. }), "nothing is known of that log");
    listener.hear(introduction.signed());
    let added = listener.hear(batches[0].signed());
    assert!(matches!(&added, BatchOutcome::Added { batches, .. } if batches.len() == 1), "{added:?}");
    assert!(matches!(listener.hear(batches[1].signed()), BatchOutcome::Added { .. }));
    // Once the log is known, what is ahead of it must be of its key.
    let later: Vec<VerifiedBatch> = (0..2).map(|_| author.batch(at(0), vec![interaction("a")])).collect();
    let ahead = joined(&[parts(&later[1].signed().signature).0, parts(&later[0].signed().signature).1]);
    assert_eq!(listener.hear(&SignedBatch { signature: ahead, ..later[1].signed().clone() }), BatchOutcome::Unlinked);
    assert!(matches!(listener.hear(later[1].signed()), BatchOutcome::Gap { .. }));
}
