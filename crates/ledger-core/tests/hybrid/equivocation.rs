//! Which two batches of one place convict their station.

use qfzz_ledger_core::batch::{SignedBatch, SignedBatchHeader};
use qfzz_ledger_core::equivocation::BatchEquivocation;
use qfzz_ledger_core::ledger::BatchOutcome;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::testing::{Author, at, interaction, key, proof, station};

use super::{Listener, genesis, introduced_with, joined, open, parts, tip};

#[test]
fn a_proof_convicts_only_with_both_parts_of_both_signatures() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let [one, other] = author.equivocate(at(0), [vec![interaction("b")], vec![interaction("c")]]);
    // Anybody can make this of a batch that went by.
    let garbled = SignedBatchHeader {
        signature: joined(&[parts(&one.signed().signature).0, parts(&introduction.signed().signature).1]),
        ..one.signed_header()
    };
    let garbled = BatchEquivocation::new(&rules, one.signed_header(), garbled).expect("its Ed25519 parts verify");
    // And this, once Ed25519 is broken.
    let forged = introduced_with(&rules, &key(2), &key(7), "forged");
    let [low, high] = [introduction.signed_header(), forged.signed_header()];
    let two_keys = BatchEquivocation::new(&rules, low, high).expect("valid by itself");
    let record = |proof: &BatchEquivocation| Record::BatchEquivocation(Box::new(proof.clone()));
    let twice = introduced_with(&rules, &key(2), &key(2), "twice");
    let of_introductions = proof(&rules, &introduction, &twice);
    let cases = [
        ("the ML-DSA part of another batch", record(&garbled), false),
        ("an introduction with another key", record(&two_keys), false),
        ("two batches", proof(&rules, &one, &other), true),
        ("two introductions with one key", of_introductions, true),
    ];
    for (what, accusation, is_convicted) in cases {
        assert_eq!(accusation.check(&rules), Ok(()), "{what}: valid by itself");
        let mut witness = Author::new(&rules, 3);
        let mut listener = Listener::new(&rules, 1);
        let too_early = vec![witness.batch(at(0), vec![accusation.clone()])];
        let first = witness.block(genesis(&rules), 0, at(1), too_early);
        assert_eq!(listener.take(&first), None);
        assert!(!listener.convicted(&station(2)), "{what}: its key is not known yet");
        let body = vec![introduction.clone(), one.clone()];
        let second = witness.block(tip(&first), 1, at(2), body);
        assert_eq!(listener.take(&second), None);
        let accusing = witness.batch(at(0), vec![accusation.clone()]);
        assert!(matches!(listener.hear(accusing.signed()), BatchOutcome::Added { .. }));
        assert_eq!(listener.ledger.is_accused(&station(2)), Ok(is_convicted), "{what}: pending");
        let third = witness.block(tip(&second), 2, at(3), vec![accusing]);
        assert_eq!(listener.take(&third), None);
        assert_eq!(listener.convicted(&station(2)), is_convicted, "{what}");
    }
}

#[test]
fn the_ledger_finds_what_convicts_and_nothing_else() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let [one, other] = author.equivocate(at(0), [vec![interaction("b")], vec![interaction("c")]]);
    let mut listener = Listener::new(&rules, 1);
    listener.hear(introduction.signed());
    listener.hear(one.signed());
    let spoilt = joined(&[parts(&other.signed().signature).0, parts(&one.signed().signature).1]);
    let spoilt = SignedBatch { signature: spoilt, ..other.signed().clone() };
    assert_eq!(listener.hear(&spoilt), BatchOutcome::Taken);
    assert_eq!(listener.hear(introduced_with(&rules, &key(2), &key(7), "forged").signed()), BatchOutcome::Taken);
    assert!(listener.ledger.take_proofs().expect("memory can be read").is_empty());
    assert_eq!(listener.hear(other.signed()), BatchOutcome::Taken);
    let found = listener.ledger.take_proofs().expect("memory can be read");
    assert_eq!(found.iter().map(|proof| proof.station()).collect::<Vec<_>>(), [station(2)]);
    let block = author.block(genesis(&rules), 0, at(1), vec![introduction, one]);
    assert_eq!(listener.take(&block), None);
    assert_eq!(listener.ledger.convicts(&found[0]), Ok(true));
}

#[test]
fn two_batches_that_met_before_their_log_was_known_convict_once_it_is() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let [one, other] = author.equivocate(at(0), [vec![interaction("b")], vec![interaction("c")]]);
    let spoilt = joined(&[parts(&other.signed().signature).0, parts(&introduction.signed().signature).1]);
    let spoilt = SignedBatch { signature: spoilt, ..other.signed().clone() };
    for (second, is_found) in [(&spoilt, false), (other.signed(), true)] {
        let mut listener = Listener::new(&rules, 1);
        for batch in [one.signed(), second] {
            assert!(matches!(listener.hear(batch), BatchOutcome::Gap { .. }));
        }
        assert!(listener.ledger.take_proofs().expect("memory can be read").is_empty(), "nobody knows the key");
        listener.hear(introduction.signed());
        assert_eq!(!listener.ledger.take_proofs().expect("memory can be read").is_empty(), is_found);
    }
}

#[test]
fn what_others_sign_in_the_own_name_without_the_own_key_is_no_second_daemon() {
    let rules = open();
    let mut listener = Listener::new(&rules, 2);
    let forged = introduced_with(&rules, &key(2), &key(7), "forged");
    assert_eq!(listener.hear(forged.signed()), BatchOutcome::Unlinked);
    let signed = listener.ledger.sign(vec![interaction("a")], at(0)).expect("memory can be read");
    assert!(signed.is_some());
    assert_eq!(listener.hear(forged.signed()), BatchOutcome::Taken);
    assert_eq!(
        (listener.ledger.take_foreign(), listener.ledger.take_proofs().expect("memory can be read")),
        (None, vec![])
    );
    let twin = Author::new(&rules, 2).batch(at(5), vec![interaction("b")]);
    assert_eq!(listener.hear(twin.signed()), BatchOutcome::Taken);
    assert_eq!(listener.ledger.take_foreign(), Some(at(5)));
}
