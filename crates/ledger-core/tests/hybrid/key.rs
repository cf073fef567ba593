//! Which key a station has: by genesis, by an admission, on a branch and in a proof.

use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::ids::{BlockHash, Height, StationId};
use qfzz_ledger_core::ledger::{BatchOutcome, BlockRefusal, NoBlock};
use qfzz_ledger_core::ml_dsa::MlDsaKey;
use qfzz_ledger_core::proof::{ProofError, RecordProof};
use qfzz_ledger_core::record::{Record, RecordError, StationAdmitted};
use qfzz_ledger_core::state::{ConnectError, Standing, is_vouched, ml_dsa_key};
use qfzz_ledger_core::testing::{Author, admits, at, expels, interaction, key, station};
use qfzz_ledger_core::verify::Verifier;

use super::{Listener, NOW, genesis, introduced_with, joined, open, parts, roster, tip};

fn admits_with(station: StationId, key_hash: [u8; 32]) -> Record {
    let Record::StationAdmitted(it) = admits(station) else { panic!("an admission") };
    Record::StationAdmitted(StationAdmitted { ml_dsa_key_hash: Some(key_hash), ..it })
}

/// A roster with a chain that founder 1 produces.
struct Roster {
    listener: Listener,
    authors: Vec<Author>,
    last: (Height, BlockHash),
    produced: u64,
}

impl Roster {
    fn new(founders: u8) -> Self {
        let rules = roster(founders);
        let authors: Vec<Author> = (0..=8).map(|number| Author::new(&rules, number)).collect();
        let mut made = Self { last: genesis(&rules), listener: Listener::new(&rules, 8), authors, produced: 0 };
        let introductions = (1..=founders).map(|number| made.authors[usize::from(number)].batch(at(0), vec![]));
        let introductions = introductions.collect();
        assert_eq!(made.mine(introductions), None);
        made
    }

    fn mine(&mut self, body: Vec<VerifiedBatch>) -> Option<BlockRefusal> {
        let timestamp = at(10 + i64::try_from(self.last.0.get()).expect("few"));
        let block = self.authors[1].block(self.last, self.produced, timestamp, body);
        let refused = self.listener.take(&block);
        if refused.is_none() {
            (self.last, self.produced) = (tip(&block), self.produced + 1);
        }
        refused
    }

    fn say(&mut self, founder: usize, record: Record) {
        let batch = self.authors[founder].batch(at(0), vec![record]);
        assert_eq!(self.mine(vec![batch]), None);
    }

    fn standing(&self, number: u8) -> Standing {
        self.listener.ledger.standing(&station(number)).expect("memory can be read")
    }

    fn is_vouched(&self, number: u8) -> bool {
        let ledger = &self.listener.ledger;
        is_vouched(ledger.rules(), ledger.read(), &station(number)).expect("memory can be read")
    }
}

#[test]
fn a_station_introduces_itself_with_the_key_that_it_was_admitted_with() {
    let mut chain = Roster::new(2);
    assert_eq!(admits(station(5)).check(&chain.listener.rules), Err(RecordError::KeyHash));
    let right = key(5).ml_dsa_key().hash();
    chain.say(1, admits_with(station(5), right));
    chain.say(2, admits_with(station(5), [7; 32]));
    assert!(!chain.is_vouched(5), "a word with another key has no effect");
    chain.say(2, admits_with(station(5), right));
    assert!(chain.is_vouched(5));
    let forged = introduced_with(&chain.listener.rules, &key(5), &key(6), "forged");
    assert_eq!(chain.listener.hear(forged.signed()), BatchOutcome::NotAdmitted);
    let refused = chain.mine(vec![forged]);
    assert!(
        matches!(&refused, Some(BlockRefusal::Connect(ConnectError::KeyHash { station: it, .. })) if *it == station(5)),
        "{refused:?}"
    );
    let introduction = chain.authors[5].batch(at(0), vec![interaction("a")]);
    assert!(matches!(chain.listener.hear(introduction.signed()), BatchOutcome::Added { .. }));
    assert_eq!(chain.mine(vec![introduction]), None);
    chain.say(1, admits_with(station(5), [9; 32]));
    assert_eq!(chain.standing(5), Standing::Admitted, "its key is the one that it introduced itself with, for good");
}

#[test]
fn a_wrong_key_hash_is_mended_by_expelling_and_admitting_again() {
    let mut chain = Roster::new(2);
    let mut own = Listener::new(&chain.listener.rules, 5);
    chain.say(1, admits_with(station(5), [7; 32]));
    assert_eq!(chain.standing(5), Standing::Admitted);
    let introduction = chain.authors[5].batch(at(0), vec![interaction("a")]);
    assert_eq!(chain.listener.hear(introduction.signed()), BatchOutcome::NotAdmitted);
    for founder in [1, 2] {
        chain.say(founder, expels(station(5)));
    }
    for founder in [1, 2] {
        chain.say(founder, admits_with(station(5), key(5).ml_dsa_key().hash()));
    }
    assert!(matches!(chain.listener.hear(introduction.signed()), BatchOutcome::Added { .. }));
    assert_eq!(chain.mine(vec![introduction]), None);
    // The station itself knows when it was admitted with another key.
    let rules = Arc::clone(&own.rules);
    let mut founder = Author::new(&rules, 1);
    let batch = founder.batch(at(0), vec![admits_with(station(5), [7; 32])]);
    let block = founder.block(genesis(&rules), 0, at(1), vec![batch]);
    assert_eq!(own.take(&block), None);
    let signed = own.ledger.sign(vec![interaction("a")], at(0)).expect("memory can be read");
    assert!(signed.is_some());
    let (_, template) = own.ledger.template(at(NOW)).expect("memory can be read");
    assert_eq!(template, Err(NoBlock::NotAdmitted));
}

#[test]
fn a_pending_introduction_gives_way_when_its_station_is_admitted_with_another_key() {
    let mut chain = Roster::new(1);
    chain.say(1, admits_with(station(5), key(5).ml_dsa_key().hash()));
    let introduction = chain.authors[5].batch(at(0), vec![interaction("a")]);
    assert!(matches!(chain.listener.hear(introduction.signed()), BatchOutcome::Added { .. }));
    chain.say(1, expels(station(5)));
    assert_eq!(chain.listener.ledger.pool().len(), 0);
    chain.say(1, admits_with(station(5), [7; 32]));
    assert_eq!(chain.listener.hear(introduction.signed()), BatchOutcome::NotAdmitted);
}

#[test]
fn a_reorganisation_takes_back_which_key_a_station_has() {
    let rules = open();
    let mut listener = Listener::new(&rules, 1);
    let mut author = Author::new(&rules, 3);
    let body = vec![author.batch(at(0), vec![]), introduced_with(&rules, &key(2), &key(7), "two keys")];
    let short = author.block(genesis(&rules), 0, at(1), body);
    assert_eq!(listener.take(&short), None);
    let known = |listener: &Listener| ml_dsa_key(listener.ledger.read(), &station(2)).expect("memory can be read");
    assert_eq!(known(&listener).as_ref(), Some(key(7).ml_dsa_key()));
    let mut own = Author::new(&rules, 2);
    let low = own.block(genesis(&rules), 0, at(1), vec![own.clone().batch(at(0), vec![interaction("a")])]);
    own.batch(at(0), vec![interaction("a")]);
    let batch = own.batch(at(0), vec![interaction("b")]);
    let high = own.block(tip(&low), 1, at(2), vec![batch]);
    for block in [&low, &high] {
        assert_eq!(listener.take(block), None);
    }
    assert_eq!(listener.head(), high.hash());
    assert_eq!(known(&listener).as_ref(), Some(key(2).ml_dsa_key()));
    let mut verifier = Verifier::from_genesis(&rules);
    for block in [&low, &high] {
        verifier.next(block.to_signed()).expect("the chain verifies from genesis on");
    }
}

#[test]
fn a_proof_of_a_record_holds_with_both_keys_and_no_others() {
    let rules = open();
    let (mut founder, mut other) = (Author::new(&rules, 1), Author::new(&rules, 2));
    let introduction = founder.batch(at(0), vec![]);
    let record = other.batch(at(0), vec![interaction("a")]);
    let block = founder.block(genesis(&rules), 0, at(1), vec![introduction, record.clone()]);
    let keys = [2, 1].map(|number| Some(key(number).ml_dsa_key().clone()));
    let id = record.record_id(0);
    let of = |keys: [Option<MlDsaKey>; 2]| RecordProof::in_block(&rules, &block, &id, keys).expect("it is there");
    assert_eq!(of(keys.clone()).verify(Some(rules.federation())).map(|proven| proven.record), Ok(id));
    let [author, producer] = keys;
    let missing = |number: u8| Err(ProofError::Key { station: station(number) });
    assert_eq!(of([None, producer.clone()]).verify(None), missing(2));
    assert_eq!(of([author.clone(), None]).verify(None), missing(1));
    assert_eq!(of([producer.clone(), producer.clone()]).verify(None), missing(2), "its introduction holds another");
    assert_eq!(of([author.clone(), author.clone()]).verify(None), missing(1), "genesis names another");
    let mut garbled = of([author.clone(), producer.clone()]);
    let part = garbled.block.as_mut().expect("it is in a block");
    let (ed25519, _) = parts(&part.sealed.seal);
    part.sealed.seal = joined(&[ed25519, parts(&record.signed().signature).1]);
    assert_eq!(garbled.verify(None), Err(ProofError::MlDsaSignature { station: station(1) }));
    let later = other.batch(at(0), vec![interaction("b")]);
    let pending = |key: Option<MlDsaKey>| RecordProof::of_pending(&rules, &later, 0, key).expect("it is there");
    assert!(pending(author).verify(None).is_ok());
    assert_eq!(pending(producer).verify(None), Err(ProofError::MlDsaSignature { station: station(2) }));
}
